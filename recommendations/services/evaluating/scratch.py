"""
A scratch platform: the product itself on a database of its own, in which nothing but a training set exists.

The product's lists must come from the pipeline that serves, and from nothing that the training set does not contain. So
a child process (`manage.py rank_cases`) runs the product on an empty SQLite database: it imports members, posts and
interactions with the importers, learns and trains as workers do, and ranks a feed for each case. This process only
writes files and reads lists. It never sees the child's database, and the child never sees a target.

The child has no Redis, so it cannot touch the caches, queues or metrics of a platform that is running. Its Redis URLs
name port 0, on which nothing can listen: a call fails at once, and the product serves without caches.

The folder holds personal data. Only its owner may read it, and it is deleted at the end, also after an error. After a
kill -9 it remains, and the next run deletes it: both processes of a run hold a shared lock on a file in its folder, and
a folder whose lock can be had alone belongs to no run.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recommendations.contracts import Float64Array, Int32Array
from recommendations.evaluation.folds import Fold
from recommendations.evaluation.interactions import Interactions
from recommendations.services.evaluating.captures import Capture, CapturedFold
from recommendations.services.evaluating.platform import (
    Platform,
    fill_times,
    interaction_rows,
    member_key,
    member_rows,
    post_key,
    post_rows,
)

FOLDER_PREFIX, LOCK_FILE = "recsys-evaluation-", "lock"
DATABASE, PLATFORM_FILE, CASES_FILE, LISTS_FILE, VECTORS_FILE, CAPTURE_FILE = (
    "platform.sqlite3",
    "platform.json",
    "cases.json",
    "lists.json",
    "vectors.npz",
    "capture.npz",
)
MODELS = "models"
"""The folder of the child's trained models."""
MANAGE = Path(__file__).parents[3] / "manage.py"
NOT_INHERITED = frozenset(
    {
        "CACHE_ENCRYPTION_KEYS",
        "EMBEDDINGS_ARCHIVE_DIR",
        "METRICS_PORT",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "PROMETHEUS_MULTIPROC_DIR",
        "QDRANT_API_KEY",
        "QDRANT_URL",
        "SECRETS_DIR",
        "TOKEN_SIGNING_KEYS",
    }
)
"""Variables that would connect the child with the platform that is running."""
NO_REDIS = "redis://127.0.0.1:0/0"
RANKED_VARIANT = "wasm_conservative"
"""The variant whose policy ranks. The child's `WASM_ASSIGNMENT` has it; this module must not import Django's models."""
RANKED_FEEDS = ("discovery", "trending", "non_personalized")
"""The feeds that rank the full catalogue."""

Progress = Callable[[str], None]
"""Called with a line about what was done."""


class ScratchError(RuntimeError):
    """The scratch platform could not rank. The message is the child's."""


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a new folder that only this user may read, and delete it at the end. Deletes the folders of dead runs."""
    delete_abandoned_folders(Path(tempfile.gettempdir()))
    # Another run must not find the folder before it is locked, so it has another name until then.
    new = Path(tempfile.mkdtemp(prefix=f"new-{FOLDER_PREFIX}"))
    with lock_folder(new, fcntl.LOCK_SH):
        folder = new.rename(new.with_name(new.name.removeprefix("new-")))
        try:
            yield folder
        finally:
            shutil.rmtree(folder)


def delete_abandoned_folders(parent: Path) -> None:
    """Delete the scratch folders of this user in *parent* whose run is dead."""
    for folder in parent.glob(f"{FOLDER_PREFIX}*"):
        # Another run may delete its own folder meanwhile.
        with suppress(OSError):
            if folder.stat().st_uid == os.getuid():
                with lock_folder(folder, fcntl.LOCK_EX):
                    shutil.rmtree(folder)


@contextmanager
def lock_folder(folder: Path, kind: int) -> Iterator[None]:
    """Hold a lock on *folder*, `LOCK_SH` or `LOCK_EX`. Raises `BlockingIOError` if other locks do not allow it."""
    with (folder / LOCK_FILE).open("ab") as lock:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
        yield


@dataclass(frozen=True)
class FoldLists:
    """The lists that the product ranked for a fold."""

    fold: Fold
    lists: dict[str, Int32Array]
    """By feed (cases, size)."""
    fallbacks: dict[str, int]
    """By feed: the cases for which a fallback ranked."""

    def is_for(self, fold: Fold, size: int) -> bool:
        """Return whether these are the lists for the cases of *fold*, each of *size* posts."""
        is_same = self.fold.train is fold.train and self.fold.members is fold.members
        return is_same and all(lists.shape[1] == size for lists in self.lists.values())


class ScratchPlatform:
    """
    Ranks folds with the product. The folds of one platform must come in order.

    A training set that begins with the previous one, as those of a global time split do, is not imported again: only
    its new interactions are, and the product learns them as it would day by day.
    """

    def __init__(
        self,
        folder: Path,
        platform: Platform,
        *,
        seed: int,
        feeds: Sequence[str] = RANKED_FEEDS,
        progress: Progress = lambda line: None,
    ) -> None:
        """*folder* is empty. *seed* gives the order of interactions without times, and what exploration draws."""
        self._folder, self._platform, self._seed = folder, platform, seed
        self._feeds, self._progress = tuple(feeds), progress
        self._imported: Interactions | None = None
        self._ranked: list[FoldLists] = []

    def rank(self, fold: Fold, size: int) -> FoldLists:
        """Return the lists for each case of *fold*. Raises `ScratchError`."""
        ranked = next((ranked for ranked in self._ranked if ranked.is_for(fold, size)), None)
        if ranked is None:
            ranked = self._rank_new(fold, size)
            self._ranked.append(ranked)
        return ranked

    def capture(self, fold: Fold) -> CapturedFold:
        """Return the candidates of the discovery feed for each case of *fold*. Raises `ScratchError`."""
        self._run(fold, feeds=(), captures=True)
        capture = Capture.load(self._folder / CAPTURE_FILE)
        keys = index_posts(fold)
        return CapturedFold(fold, capture, np.array([keys[key] for key in capture.keys.tolist()], np.int32))

    def _rank_new(self, fold: Fold, size: int) -> FoldLists:
        self._run(fold, feeds=self._feeds, size=size)
        answer = json.loads((self._folder / LISTS_FILE).read_text())
        keys = index_posts(fold)
        lists = {feed: read_lists(answer["lists"][feed], keys, size) for feed in self._feeds}
        return FoldLists(fold, lists, answer["fallbacks"])

    def _run(self, fold: Fold, *, feeds: Sequence[str], size: int = 0, captures: bool = False) -> None:
        """Let the child learn from the training set of *fold*, and answer for its cases."""
        self._import(fold.train)
        cases = {
            "now": self._now,
            "seed": self._seed,
            "size": size,
            "feeds": feeds,
            "captures": captures,
            "members": [member_key(index) for index in fold.members.tolist()],
        }
        (self._folder / CASES_FILE).write_text(json.dumps(cases))
        run_child(self._folder, self._progress)

    def _import(self, train: Interactions) -> None:
        """Write the files of *train* for the child to import."""
        start = len(self._imported) if self._imported is not None and is_start_of(self._imported, train) else 0
        if not start:
            empty_folder(self._folder)
        times = fill_times(train, self._seed)
        self._now = float(times.max(initial=0)) + 1
        write_files(self._folder, self._platform, train, times, start, self._now)
        self._imported = train


def index_posts(fold: Fold) -> dict[str, int]:
    """Return the index of each post by its id on the scratch platform."""
    return {post_key(index): index for index in range(len(fold.train.post_ids))}


def empty_folder(folder: Path) -> None:
    """Delete everything in *folder* but its lock."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOCK_FILE:
            path.unlink()


def is_start_of(first: Interactions, second: Interactions) -> bool:
    """Return whether *second* begins with the rows of *first*, whose times are known."""
    n = len(first)
    columns = ("members", "posts", "kinds", "values", "times")
    return first.has_times and all(np.array_equal(getattr(first, name), getattr(second, name)[:n]) for name in columns)


def write_files(
    folder: Path, platform: Platform, train: Interactions, times: Float64Array, start: int, now: float
) -> None:
    """Write the rows that the child imports: *train* from row *start* on, and what is known of posts at *now*."""
    oldest = float(times.min(initial=now))
    write_json_lines(folder / "members.jsonl", member_rows(platform, oldest, now))
    write_json_lines(folder / "posts.jsonl", post_rows(platform, train, times, now))
    relationships = (row for row in platform.relationships if float(str(row["created_at"])) <= now)
    write_json_lines(folder / "relationships.jsonl", relationships)
    write_json_lines(folder / "interactions.jsonl", interaction_rows(train, times, start))
    settings: dict[str, object] = {"policies": platform.policies}
    if platform.vectors:
        settings["model"] = {name: getattr(platform.vectors, name) for name in ("embedder", "option", "model")}
        keys = [post_key(index) for index in platform.vectors.posts]
        np.savez(folder / VECTORS_FILE, posts=np.array(keys), vectors=platform.vectors.vectors)
    (folder / PLATFORM_FILE).write_text(json.dumps(settings))


def write_json_lines(file: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Write *rows* as JSON, one a line."""
    with file.open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in rows)


def read_lists(lists: Sequence[Sequence[str]], keys: Mapping[str, int], size: int) -> Int32Array:
    """Return the *lists* of post ids as post indexes (n, size), with -1 at the end of shorter lists."""
    indexes = np.full((len(lists), size), -1, np.int32)
    for row, posts in enumerate(lists):
        indexes[row, : len(posts)] = [keys[post] for post in posts]
    return indexes


def run_child(folder: Path, progress: Progress) -> None:
    """Run `manage.py rank_cases` on *folder*. Raises `ScratchError` with its last lines if it fails."""
    command = [sys.executable, str(MANAGE), "rank_cases", str(folder)]
    with subprocess.Popen(
        command,
        cwd=folder,
        env=child_environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as child:
        lines = []
        try:
            for line in child.stdout or ():
                lines.append(line.rstrip())
                progress(lines[-1])
        except BaseException:  # this process is being stopped
            child.kill()
            raise
    if child.returncode:
        raise ScratchError("\n".join(lines[-20:]) or f"manage.py rank_cases ended with {child.returncode}.")


def child_environment(folder: Path) -> dict[str, str]:
    """Return this process's environment with a database of its own, and without servers and secrets."""
    inherited = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
    return inherited | {
        "DJANGO_SETTINGS_MODULE": "recsys_project.settings",
        "SECRET_KEY": secrets.token_hex(32),
        "DATABASE_URL": f"sqlite:///{folder / DATABASE}",
        "MODEL_DIR": str(folder / MODELS),
        "REDIS_URL": NO_REDIS,
        "CACHE_REDIS_URL": NO_REDIS,
        "REPLAY_SHARE": "0",
        "LOG_LEVEL": "ERROR",
    }


@dataclass(frozen=True)
class ProductSystem:
    """A feed of the product as a system."""

    name: str
    feed: str
    scratch: ScratchPlatform

    def rank(self, fold: Fold, k: int) -> Int32Array:
        """See `System`. Raises `ScratchError`."""
        return self.scratch.rank(fold, k).lists[self.feed]
