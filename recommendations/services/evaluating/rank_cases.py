"""What the child process of a scratch platform does: import, learn, train, and rank a feed for each case."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import cast
from uuid import NAMESPACE_OID, uuid5

import numpy as np

from recommendations.contracts import Candidates, Float32Array, Policy, Query
from recommendations.models import EmbeddingModel, Post, PostEmbedding
from recommendations.pipeline.run import TASTE_PARTS, Pipeline, apply_scorers, run_pipeline
from recommendations.pipeline.stages import Trace
from recommendations.services import policies, wiring
from recommendations.services.content.import_file import import_file
from recommendations.services.content.importing.fields import FILE_KINDS
from recommendations.services.errors import TooFewLikes
from recommendations.services.evaluating.captures import Capture
from recommendations.services.evaluating.scratch import (
    CAPTURE_FILE,
    CASES_FILE,
    LISTS_FILE,
    PLATFORM_FILE,
    VECTORS_FILE,
)
from recommendations.services.learning import co_likes
from recommendations.services.learning.learn import learn_all
from recommendations.services.serving.final_check import run_final_check
from recommendations.services.serving.query import SLATE_SIZE, WASM_ASSIGNMENT, build_query, get_viewer, load_history
from recommendations.services.serving.slates import build_fresh_slate, sync_catalogue
from recommendations.services.training.train import train
from recommendations.services.training.trained_models import KIND_NAMES
from recommendations.services.vectors.embedding import CONTENT_SPACE, embed_posts
from recommendations.stores.bulk import insert_columns
from recommendations.stores.relational_viewers import Viewer

Progress = Callable[[str], None]


class RejectedRowsError(RuntimeError):
    """The importer rejected a row of the scratch platform."""


@dataclass(frozen=True)
class Ranked:
    """The page that a member would get."""

    post_ids: list[str]
    is_fallback: bool


def rank_cases(folder: Path, progress: Progress) -> None:
    """Import the files in *folder*, and write the lists for its cases there. Raises `RejectedRowsError`."""
    cases = json.loads((folder / CASES_FILE).read_text())
    now = datetime.fromtimestamp(cases["now"], UTC)
    settings = json.loads((folder / PLATFORM_FILE).read_text())
    steps: dict[str, Callable[[], object]] = {
        "policies": lambda: put_policies(settings["policies"]),
        "imported": lambda: import_files(folder, now),
        "vectors": lambda: fill_vectors(folder, settings.get("model"), now),
        "learned": lambda: learn_all(now=now, progress=lambda done, total: None),
        "trained": lambda: train_models(now),
    }
    took = {}
    for name, step in steps.items():
        start = perf_counter()
        step()
        took[name] = perf_counter() - start
    start = perf_counter()
    pages = {
        feed: [
            rank_case(member_id=member, feed=feed, seed=cases["seed"], size=cases["size"], now=now)
            for member in cases["members"]
        ]
        for feed in cases["feeds"]
    }
    if cases["captures"]:
        capture_cases(cases["members"], seed=cases["seed"], now=now).save(folder / CAPTURE_FILE)
    took["ranked"] = perf_counter() - start
    answer = {
        "lists": {feed: [page.post_ids for page in ranked] for feed, ranked in pages.items()},
        "fallbacks": {feed: sum(page.is_fallback for page in ranked) for feed, ranked in pages.items()},
    }
    (folder / LISTS_FILE).write_text(json.dumps(answer))
    progress(f"{len(cases['members']):,} cases: " + ", ".join(f"{name} {t:.1f} s" for name, t in took.items()))


def import_files(folder: Path, now: datetime) -> None:
    """Import the rows of every kind. Rows that exist are updated, or left alone."""
    for kind in FILE_KINDS:
        path = folder / f"{kind}.jsonl"
        summary = import_file(kind=kind, path=path, now=now, progress=lambda done, total: None)
        if summary.errors_path:
            raise RejectedRowsError(f"{kind}: {summary.errors_path.read_text()[:500]}")


def fill_vectors(folder: Path, model: dict[str, str] | None, now: datetime) -> None:
    """Store the vectors that the platform has, and embed all other posts."""
    if model:
        with np.load(folder / VECTORS_FILE) as arrays:
            store_vectors(arrays["posts"].tolist(), arrays["vectors"].astype("<f4"), model, now)
    wiring.sync_embedding_models(now, must_be_current=True)
    embed_posts(embedder=wiring.embedder(), now=now)


def store_vectors(posts: Sequence[str], vectors: Float32Array, model: dict[str, str], now: datetime) -> None:
    """Store the *vectors* (n, d) of *posts* by external id, and use their *model*."""
    ids = dict(Post.objects.values_list("external_id", "pk"))
    rows = [row for row, post in enumerate(posts) if post in ids]
    columns = {
        "post_id": [ids[posts[row]] for row in rows],
        "vector": [vectors[row].tobytes() for row in rows],
    }
    dimension = vectors.shape[1]
    shared = {"space": CONTENT_SPACE, "embedding_model": model["model"], "dimension": dimension, "changed_at": now}
    insert_columns(PostEmbedding, columns, shared)
    EmbeddingModel.objects.get_or_create(
        space=CONTENT_SPACE,
        name=model["model"],
        defaults={
            "embedder": model["embedder"],
            "option": model["option"],
            "dimension": dimension,
            "state": EmbeddingModel.State.ACTIVE,
            "created_at": now,
            "activated_at": now,
            "changed_at": now,
        },
    )


def train_models(now: datetime) -> None:
    """Count co-likes and train every kind of model on what was learned, as the jobs do. Too few likes give no model."""
    co_likes.count_changes(now=now)
    co_likes.recount(now=now)
    for kind in KIND_NAMES:
        with suppress(TooFewLikes):
            train(kind=kind, now=now)


def put_policies(by_variant: dict[str, dict[str, object]]) -> None:
    """Activate the platform's policies."""
    for variant, settings in by_variant.items():
        policies.put_policy(variant=variant, settings=settings, note="evaluated", version=None)


@wiring.pin_embedding_models
def rank_case(*, member_id: str, feed: str, seed: int, size: int, now: datetime) -> Ranked:
    """
    Return the first *size* picks of a fresh page.

    These are the steps of `recommend()` without caches and records. What exploration draws follows from the id of the
    request, so the id follows from the *seed*, the feed and the member: equal cases give equal lists.
    """
    query, viewer = build_case_query(member_id=member_id, feed=feed, seed=seed, now=now)
    slate = build_fresh_slate(query, WASM_ASSIGNMENT, viewer, feed_key=query.feed_key, epoch=b"").slate
    checked = run_final_check(query, slate, viewer, 0, size)
    return Ranked([pick.post.id for pick in checked.picks], bool(slate.fallback))


def build_case_query(*, member_id: str, feed: str, seed: int, now: datetime) -> tuple[Query, Viewer]:
    """Return the query of a case before the viewer's history is read, and the viewer."""
    sync_catalogue(now)
    viewer = get_viewer(now, member_id=member_id)
    request_id = uuid5(NAMESPACE_OID, f"{seed} {feed} {member_id} {now.timestamp()}")
    return replace(build_query(viewer, WASM_ASSIGNMENT, feed=feed, now=now), request_id=request_id), viewer


@wiring.pin_embedding_models
def capture_cases(members: Sequence[str], *, seed: int, now: datetime) -> Capture:
    """Return the candidates of the discovery feed of each of *members*, with their parts before weights."""
    pipeline = wiring.feed_pipeline("discovery", WASM_ASSIGNMENT.engine)
    cases = []
    for member_id in members:
        query, viewer = build_case_query(member_id=member_id, feed="discovery", seed=seed, now=now)
        query, _ = load_history(query, viewer, WASM_ASSIGNMENT)
        trace = Trace()
        run_pipeline(pipeline, query, trace)
        query, candidates = cast("tuple[Query, Candidates]", trace.inputs)
        unweighted = Policy.from_stored(asdict(query.policy) | dict.fromkeys(scored_parts(pipeline), 1.0))
        cases.append(apply_scorers(pipeline, replace(query, policy=unweighted), candidates, Trace()))
    keys = dict(Post.objects.values_list("pk", "external_id"))
    engine = wiring.engine(WASM_ASSIGNMENT.engine)
    return Capture.from_cases(cases, engine=engine, keys=keys, slate_size=SLATE_SIZE)


def scored_parts(pipeline: Pipeline) -> list[str]:
    """Return the names of the parts of a feed's scores."""
    return [*TASTE_PARTS, *(scorer.name for scorer in pipeline.scorers)]
