"""
What a viewer and posts are judged by, remembered by this process and never older than the moment it is asked.

Before anything remembered is used, the change log is asked what changed since (`change_log.py`: one small query), and
that is forgotten and read anew. What is not remembered is asked beside the log, in the same go (`Inquiry`). So a change
that is committed when a request asks holds in that request, as if every row had been read. Where the log is not kept,
and in a transaction, whose own writes may be undone, nothing is remembered and every row is read.

Personal data: it is in no file, and a process forgets it with its memory.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from itertools import chain
from operator import is_
from time import monotonic
from typing import Any, NamedTuple

import numpy as np
from django.db import connection

from monitoring import metrics
from recommendations.contracts import BoolArray, Candidates, Int64Array, Looked, Query, among
from recommendations.models.changes import ChangeKind
from recommendations.stores import change_log, relational_viewers
from recommendations.stores.profiles import READ_LESS, READ_PROFILE, Profile, Version, Wishes, version_of
from recommendations.stores.relational_posts import KnownPost, candidates_of, posts_of, posts_question
from recommendations.stores.relational_viewers import Viewer, newest_seen
from recommendations.stores.resident_profiles import ResidentProfiles
from recommendations.stores.sql import Asked, Question, Rows, queries
from recommendations.stores.vocabulary import Words

log = logging.getLogger(__name__)

POSTS = 20_000
"""Posts that are remembered, decoded: about 2 KB each. Changes the speed."""
VIEWERS = 10_000
"""Viewers that are remembered. Changes the speed."""
CHECK_SECONDS = 10.0
"""How often it is made sure that the triggers of the log are there."""
VIEWERS_NAME, POSTS_NAME = "viewers", "posts"

viewer_hit, viewer_miss = (metrics.REMEMBERED.labels(VIEWERS_NAME, word) for word in ("hit", "miss"))
post_hit, post_miss = (metrics.REMEMBERED.labels(POSTS_NAME, word) for word in ("hit", "miss"))


@dataclass(frozen=True, slots=True)
class SeenPosts:
    """What a viewer saw last."""

    post_ids: Int64Array  # (n,) sorted
    is_all: bool
    """Whether the viewer saw nothing else."""


class History(NamedTuple):
    """What ranking takes from what a viewer did and asked for."""

    seen: SeenPosts
    profile: Profile | None
    wishes: Wishes


@dataclass(slots=True)
class KnownViewer:
    """A viewer as they were read last; *position*: from where in the log they may have changed since."""

    viewer: Viewer
    year: int
    """Of the reading: who is of age depends on it."""
    position: int
    seen: SeenPosts | None = None
    """None: not read, as the next."""
    taste: tuple[Version | None, Wishes] | None = None


class Part(Enum):
    """What can be asked beside the log."""

    VIEWER = "viewer"
    HISTORY = "history"
    POSTS = "posts"


@dataclass(slots=True)
class Inquiry:
    """What was asked of the database for a request: first the log, then of all it needs what is not remembered."""

    viewer_id: int
    """0: nobody whom this process knows."""
    known: KnownViewer | None
    """As they were remembered when this was asked."""
    parts: dict[Part, int]
    """How many queries each took."""
    asked: Asked
    forgotten: int
    """How much this process had forgotten before; once answered, after it; -1 if others made it forget more."""
    position: int = 0
    """Where the log stood, once answered: what was asked beside it is as of then or later."""
    rows: dict[Part, list[Rows]] = field(default_factory=dict)
    post_ids: frozenset[int] = frozenset()
    """Those that were asked for."""


@dataclass(slots=True)
class Basis:
    """What posts were judged by: the very objects, since what changed is another."""

    viewer_id: int
    seen: SeenPosts | None
    """None: not asked for."""
    post_ids: list[int]
    posts: list[KnownPost | None]
    held_at: int = -1
    """How much this process had forgotten when all of it was last found to be so."""


def seen_by(rows: Rows) -> SeenPosts:
    """Return what was seen, by the rows of `newest_seen`."""
    return SeenPosts(np.sort(np.array([id for (id,) in rows], np.int64)), len(rows) < relational_viewers.SEEN_LIMIT)


def history_questions(viewer_id: int) -> tuple[Question, ...]:
    """Return the queries for what ranking takes from what a viewer did and asked for."""
    return newest_seen(viewer_id), (READ_PROFILE, (viewer_id,)), (READ_LESS, (viewer_id,))


def is_committed() -> bool:
    """Return whether what a query reads now is committed; in a transaction it may be our own, and be taken back."""
    return not connection.in_atomic_block


def trim(kept: dict[Any, Any], most: int) -> None:
    """Forget what has been kept longest, over *most*."""
    while len(kept) > most:
        del kept[next(iter(kept))]


class ResidentFacts:
    """This process's memory of viewers and posts. Safe under threads."""

    def __init__(self, words: Words) -> None:
        self._words = words
        self._lock = threading.Lock()
        self._posts: dict[int, KnownPost] = {}
        self._by_author: dict[int, set[int]] = {}
        self._viewers: dict[int, KnownViewer] = {}
        self._names: dict[str, int] = {}
        self._position = 0
        self._forgotten = 0
        self._checked_at = -CHECK_SECONDS
        self._is_kept = False

    def ask(
        self, *, external_id: str | None = None, pk: int = 0, history: bool = False, post_ids: Sequence[int] = ()
    ) -> Inquiry | None:
        """
        Ask what changed, of a member and of all; and of the member, history and posts what is not remembered.

        The answer is not waited for. None: nothing may be remembered, or asked ahead.
        """
        if not self._may_remember():
            return None
        viewer_id = pk if external_id is None else self._names.get(external_id, 0)
        known, before = self._viewers.get(viewer_id), self._forgotten
        since = self._position
        log = change_log.question(since, viewer_id, known.position if known else since)
        wanted: dict[Part, Sequence[Question]] = {}
        if known is None:
            wanted[Part.VIEWER] = relational_viewers.questions(external_id=external_id, pk=pk or None)
        if history and (known is None or known.seen is None or known.taste is None):
            wanted[Part.HISTORY] = history_questions(viewer_id)
        if missing := [post_id for post_id in post_ids if post_id not in self._posts]:
            wanted[Part.POSTS] = (posts_question(missing),)
        asked = Asked(log, *chain.from_iterable(wanted.values()))
        return Inquiry(
            viewer_id,
            known,
            {part: len(them) for part, them in wanted.items()},
            asked,
            before,
            post_ids=frozenset(missing),
        )

    def viewer(
        self,
        now: datetime,
        *,
        external_id: str | None = None,
        pk: int | None = None,
        inquiry: Inquiry | None = None,
    ) -> Viewer | None:
        """
        Return the member of this id with all that a last look needs, as of now; None if there is none.

        *inquiry*: what this request has asked of the member; then it is as of when it was asked.
        """
        inquiry = inquiry or self.ask(external_id=external_id, pk=pk or 0)
        if inquiry is None:
            return self._read_viewer(now, external_id, pk)
        known = self.follow(inquiry)
        if known is not None and known.year == now.year and external_id in (None, known.viewer.external_id):
            viewer_hit.inc()
            return known.viewer
        viewer_miss.inc()
        if Part.VIEWER in inquiry.rows:
            before, position = inquiry.forgotten, inquiry.position
            viewer = relational_viewers.viewer_of(inquiry.rows[Part.VIEWER], now)
        else:
            before, position = self._forgotten, self._position
            viewer = self._read_viewer(now, external_id, pk)
        with self._lock:
            if viewer is not None and self._forgotten == before:
                self._viewers[viewer.id] = KnownViewer(viewer, now.year, position)
                self._names[viewer.external_id] = viewer.id
                trim(self._viewers, VIEWERS)
                trim(self._names, VIEWERS)
            metrics.CACHE_ENTRIES.labels(VIEWERS_NAME).set(len(self._viewers))
        return viewer

    def _read_viewer(self, now: datetime, external_id: str | None, pk: int | None) -> Viewer | None:
        questions = relational_viewers.questions(external_id=external_id, pk=pk)
        return relational_viewers.viewer_of(queries(*questions), now)

    def follow(self, inquiry: Inquiry) -> KnownViewer | None:
        """Forget what changed, by the log; return this viewer if they are remembered and have not changed."""
        log_rows, *rows = inquiry.asked.rows()
        changes = change_log.told(log_rows)
        known, viewer_id = inquiry.known, inquiry.viewer_id
        with self._lock:
            is_alone = self._forgotten == inquiry.forgotten
            if not changes.is_whole or changes.cut > self._position:
                self._forget_all()
            elif known is not None and changes.cut > known.position:
                self._forget(ChangeKind.VIEWER, viewer_id)
            for kind, subject in changes.rows:
                self._forget(kind, subject)
            self._position = max(self._position, changes.position)
            inquiry.position, inquiry.forgotten = changes.position, self._forgotten if is_alone else -1
            for part, count in inquiry.parts.items():
                inquiry.rows[part], rows = rows[:count], rows[count:]
            if known is None or self._viewers.get(viewer_id) is not known:
                # One that another thread has read meanwhile may be from before this moment.
                return None
            known.position = max(known.position, changes.position)
            return known

    def seen(self, viewer_id: int) -> SeenPosts:
        """Return what the viewer saw last, as of when this viewer was followed last."""
        known = self._known(viewer_id)
        if known is not None and known.seen is not None:
            return known.seen
        before = known.position if known else 0
        (newest,) = queries(newest_seen(viewer_id))
        seen = seen_by(newest)
        self._keep(known, before, seen=seen)
        return seen

    def history(self, viewer_id: int, profiles: ResidentProfiles, inquiry: Inquiry | None = None) -> History:
        """Return what the viewer did and asked for, as of when they were followed last, by *inquiry* or another."""
        known = self._known(viewer_id)
        if known is not None and known.seen is not None and known.taste is not None:
            version, wishes = known.taste
            return History(known.seen, profiles.of(viewer_id, version), wishes)
        if inquiry is not None and inquiry.viewer_id == viewer_id and Part.HISTORY in inquiry.rows:
            position, found = inquiry.position, inquiry.rows[Part.HISTORY]
        else:
            position = known.position if known else 0
            found = queries(*history_questions(viewer_id))
        newest, rows, wishes = found
        seen, version = seen_by(newest), version_of(rows)
        self._keep(known, position, seen=seen, taste=(version, wishes))
        return History(seen, profiles.of(viewer_id, version, rows), wishes)

    def _known(self, viewer_id: int) -> KnownViewer | None:
        return self._viewers.get(viewer_id) if self._may_remember() else None

    def _keep(self, known: KnownViewer | None, before: int, **facts: object) -> None:
        """Remember facts of a viewer that were read when their position was *before*."""
        with self._lock:
            # Followed meanwhile, it may have changed after it was read here.
            if known is not None and known.position == before and self._viewers.get(known.viewer.id) is known:
                for name, value in facts.items():
                    setattr(known, name, value)

    def read(
        self, query: Query, post_ids: Int64Array, *, is_now: bool = False, inquiry: Inquiry | None = None
    ) -> Looked:
        """See `PostFacts.read`."""
        if not len(post_ids):
            return Looked(
                Candidates.unknown(post_ids, np.zeros(0, np.uint16)), {}, Basis(query.viewer_id, None, [], [])
            )
        asked = post_ids.tolist()
        if not is_now and (inquiry := self.ask(pk=query.viewer_id, post_ids=asked)) is not None:
            self.follow(inquiry)
        posts = self.posts(asked, inquiry)
        seen = self.seen(query.viewer_id) if query.uses_history else None
        candidates = candidates_of(post_ids, posts, self._seen_of(query, post_ids, seen), query.muted_words)
        views = {id: post.view for id, post in zip(asked, posts, strict=True) if post is not None}
        return Looked(candidates, views, Basis(query.viewer_id, seen, asked, posts))

    def hold(self, basis: Basis) -> bool:
        """See `PostFacts.hold`."""
        if basis.held_at == (forgotten := self._forgotten):
            return True
        known = self._viewers.get(basis.viewer_id)
        if known is None or (basis.seen is not None and known.seen is not basis.seen):
            return False
        holds = all(map(is_, map(self._posts.get, basis.post_ids), basis.posts))
        if holds:
            basis.held_at = forgotten
        return holds

    def posts(self, post_ids: Sequence[int], inquiry: Inquiry | None = None) -> list[KnownPost | None]:
        """Return these posts, as of when anybody was followed last, or *inquiry* was; None for one that is gone."""
        may_remember = self._may_remember()
        found = [self._posts.get(post_id) if may_remember else None for post_id in post_ids]
        missing = {post_id for post_id, post in zip(post_ids, found, strict=True) if post is None}
        if may_remember:
            post_hit.inc(len(found) - len(missing))
            post_miss.inc(len(missing))
        if not missing:
            return found
        read: dict[int, KnownPost] = {}
        if inquiry is not None and Part.POSTS in inquiry.rows:
            (rows,) = inquiry.rows[Part.POSTS]
            read = posts_of(rows, self._words)
            self._remember(read, inquiry.forgotten)
            missing -= inquiry.post_ids
        if missing:
            before = self._forgotten
            others = posts_of(queries(posts_question(sorted(missing)))[0], self._words)
            if may_remember:
                self._remember(others, before)
            read |= others
        return [post or read.get(post_id) for post_id, post in zip(post_ids, found, strict=True)]

    def _seen_of(self, query: Query, post_ids: Int64Array, seen: SeenPosts | None) -> BoolArray:
        """Return which of the posts the query's viewer has seen; none where the feed may not use it."""
        if seen is None:
            return np.zeros(len(post_ids), np.bool_)
        found = among(post_ids, seen.post_ids)
        if not seen.is_all:
            found |= among(post_ids, relational_viewers.seen_of(query.viewer_id, post_ids[~found].tolist()))
        return found

    def clear(self) -> None:
        """Forget everything: whoever comes next is read."""
        with self._lock:
            self._forget_all()

    # Remembering

    def _may_remember(self) -> bool:
        """Return whether what is read now will hold: it is committed, and the log will tell if it no longer does."""
        if not is_committed():
            return False
        if monotonic() - self._checked_at >= CHECK_SECONDS:
            self._is_kept, self._checked_at = change_log.is_kept(), monotonic()
            if not self._is_kept:
                log.error("change_log_not_kept")
                with self._lock:
                    self._forget_all()
        return self._is_kept

    def _remember(self, posts: dict[int, KnownPost], before: int) -> None:
        """Remember posts that were read when so much had been forgotten; if more has been since, they may be old."""
        with self._lock:
            if self._forgotten != before:
                return
            for post_id, post in posts.items():
                self._drop(post_id)
                self._posts[post_id] = post
                self._by_author.setdefault(post.author_id, set()).add(post_id)
            while len(self._posts) > POSTS:
                self._drop(next(iter(self._posts)))
            metrics.CACHE_ENTRIES.labels(POSTS_NAME).set(len(self._posts))

    def _forget(self, kind: int, subject: int) -> None:
        self._forgotten += 1
        if kind == ChangeKind.POST:
            self._drop(subject)
        elif kind == ChangeKind.AUTHOR:
            for post_id in tuple(self._by_author.get(subject, ())):
                self._drop(post_id)
        elif kind == ChangeKind.VIEWER:
            self._viewers.pop(subject, None)
        elif kind == ChangeKind.EVERYTHING:
            self._forget_all()
        elif subject in self._viewers:
            self._viewers[subject].seen = None

    def _drop(self, post_id: int) -> None:
        post = self._posts.pop(post_id, None)
        if post is None:
            return
        own = self._by_author[post.author_id]
        own.discard(post_id)
        if not own:
            del self._by_author[post.author_id]

    def _forget_all(self) -> None:
        self._forgotten += 1
        for kept in (self._posts, self._by_author, self._viewers, self._names):
            kept.clear()
        for name in (POSTS_NAME, VIEWERS_NAME):
            metrics.CACHE_ENTRIES.labels(name).set(0)
