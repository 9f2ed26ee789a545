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
from recommendations.contracts import BoolArray, Candidates, CurrentPosts, Int64Array, Query, is_in_sorted
from recommendations.models.change_log import ChangeKind
from recommendations.stores import change_log, relational_viewers
from recommendations.stores.profiles import (
    SELECT_FEEDBACK,
    SELECT_PROFILE,
    FeedbackRows,
    Profile,
    ProfileVersion,
    profile_version,
)
from recommendations.stores.relational_posts import PostSnapshot, build_candidates, decode_posts, posts_query
from recommendations.stores.relational_viewers import Viewer, newest_seen_query
from recommendations.stores.resident_profiles import ResidentProfiles
from recommendations.stores.sql import PendingQueries, Rows, SqlQuery, fetch_all_rows
from recommendations.stores.vocabulary import Vocabularies

log = logging.getLogger(__name__)

MAX_POSTS = 20_000
"""Posts that are remembered, decoded: about 2 KB each. Changes the speed."""
MAX_VIEWERS = 10_000
"""Viewers that are remembered. Changes the speed."""
TRIGGER_CHECK_SECONDS = 10.0
"""How often it is made sure that the triggers of the log are there."""
VIEWERS_CACHE, POSTS_CACHE = "viewers", "posts"

viewer_hit, viewer_miss = (metrics.PROCESS_CACHE_REQUESTS.labels(VIEWERS_CACHE, word) for word in ("hit", "miss"))
post_hit, post_miss = (metrics.PROCESS_CACHE_REQUESTS.labels(POSTS_CACHE, word) for word in ("hit", "miss"))


@dataclass(frozen=True, slots=True)
class SeenPosts:
    """What a viewer saw last."""

    post_ids: Int64Array  # (n,) sorted
    is_all: bool
    """Whether the viewer saw nothing else."""


class ViewerHistory(NamedTuple):
    """What ranking takes from what a viewer did and asked for."""

    seen: SeenPosts
    profile: Profile | None
    feedback: FeedbackRows


@dataclass(slots=True)
class CachedViewer:
    """A viewer as they were read last; *position*: from where in the log they may have changed since."""

    viewer: Viewer
    read_year: int
    """Of the reading: who is of age depends on it."""
    log_position: int
    seen: SeenPosts | None = None
    """None: not read, as the next."""
    taste: tuple[ProfileVersion | None, FeedbackRows] | None = None


class FactGroup(Enum):
    """What can be asked beside the log."""

    VIEWER = "viewer"
    HISTORY = "history"
    POSTS = "posts"


@dataclass(slots=True)
class Prefetch:
    """What was asked of the database for a request: first the log, then of all it needs what is not remembered."""

    viewer_id: int
    """0: nobody whom this process knows."""
    cached_viewer: CachedViewer | None
    """As they were remembered when this was asked."""
    query_counts: dict[FactGroup, int]
    """How many queries each took."""
    pending: PendingQueries
    generation: int
    """How much this process had forgotten before; once answered, after it; -1 if others made it forget more."""
    log_position: int = 0
    """Where the log stood, once answered: what was asked beside it is as of then or later."""
    rows: dict[FactGroup, list[Rows]] = field(default_factory=dict)
    missing_post_ids: frozenset[int] = frozenset()
    """Those that were asked for."""


@dataclass(slots=True)
class FactsVersion:
    """What posts were judged by: the very objects, since what changed is another."""

    viewer_id: int
    seen: SeenPosts | None
    """None: not asked for."""
    post_ids: list[int]
    posts: list[PostSnapshot | None]
    current_at_generation: int = -1
    """How much this process had forgotten when all of it was last found to be so."""


def decode_seen_posts(rows: Rows) -> SeenPosts:
    """Return what was seen, by the rows of `newest_seen`."""
    return SeenPosts(np.sort(np.array([id for (id,) in rows], np.int64)), len(rows) < relational_viewers.SEEN_LIMIT)


def history_queries(viewer_id: int) -> tuple[SqlQuery, ...]:
    """Return the queries for what ranking takes from what a viewer did and asked for."""
    return newest_seen_query(viewer_id), (SELECT_PROFILE, (viewer_id,)), (SELECT_FEEDBACK, (viewer_id,))


def reads_committed_data() -> bool:
    """Return whether what a query reads now is committed; in a transaction it may be our own, and be taken back."""
    return not connection.in_atomic_block


def evict_oldest(entries: dict[Any, Any], max_entries: int) -> None:
    """Forget what has been kept longest, over *most*."""
    while len(entries) > max_entries:
        del entries[next(iter(entries))]


class ResidentFacts:
    """This process's memory of viewers and posts. Safe under threads."""

    def __init__(self, vocabularies: Vocabularies) -> None:
        self._words = vocabularies
        self._lock = threading.Lock()
        self._posts: dict[int, PostSnapshot] = {}
        self._by_author: dict[int, set[int]] = {}
        self._viewers: dict[int, CachedViewer] = {}
        self._names: dict[str, int] = {}
        self._position = 0
        self._forgotten = 0
        self._checked_at = -TRIGGER_CHECK_SECONDS
        self._is_kept = False

    def prefetch(
        self, *, external_id: str | None = None, pk: int = 0, has_history: bool = False, post_ids: Sequence[int] = ()
    ) -> Prefetch | None:
        """
        Ask what changed, of a member and of all; and of the member, history and posts what is not remembered.

        The answer is not waited for. None: nothing may be remembered, or asked ahead.
        """
        if not self._may_cache():
            return None
        viewer_id = pk if external_id is None else self._names.get(external_id, 0)
        known, before = self._viewers.get(viewer_id), self._forgotten
        since = self._position
        log = change_log.changes_query(since, viewer_id, known.log_position if known else since)
        wanted: dict[FactGroup, Sequence[SqlQuery]] = {}
        if known is None:
            wanted[FactGroup.VIEWER] = relational_viewers.viewer_queries(external_id=external_id, pk=pk or None)
        if has_history and (known is None or known.seen is None or known.taste is None):
            wanted[FactGroup.HISTORY] = history_queries(viewer_id)
        if missing := [post_id for post_id in post_ids if post_id not in self._posts]:
            wanted[FactGroup.POSTS] = (posts_query(missing),)
        asked = PendingQueries(log, *chain.from_iterable(wanted.values()))
        return Prefetch(
            viewer_id,
            known,
            {part: len(them) for part, them in wanted.items()},
            asked,
            before,
            missing_post_ids=frozenset(missing),
        )

    def get_viewer(
        self,
        now: datetime,
        *,
        external_id: str | None = None,
        pk: int | None = None,
        prefetch: Prefetch | None = None,
    ) -> Viewer | None:
        """
        Return the member of this id with all that a last look needs, as of now; None if there is none.

        *inquiry*: what this request has asked of the member; then it is as of when it was asked.
        """
        prefetch = prefetch or self.prefetch(external_id=external_id, pk=pk or 0)
        if prefetch is None:
            return self._read_viewer(now, external_id, pk)
        known = self.apply_changes(prefetch)
        if known is not None and known.read_year == now.year and external_id in (None, known.viewer.external_id):
            viewer_hit.inc()
            return known.viewer
        viewer_miss.inc()
        if FactGroup.VIEWER in prefetch.rows:
            before, position = prefetch.generation, prefetch.log_position
            viewer = relational_viewers.build_viewer(prefetch.rows[FactGroup.VIEWER], now)
        else:
            before, position = self._forgotten, self._position
            viewer = self._read_viewer(now, external_id, pk)
        with self._lock:
            if viewer is not None and self._forgotten == before:
                self._viewers[viewer.id] = CachedViewer(viewer, now.year, position)
                self._names[viewer.external_id] = viewer.id
                evict_oldest(self._viewers, MAX_VIEWERS)
                evict_oldest(self._names, MAX_VIEWERS)
            metrics.CACHE_ENTRIES.labels(VIEWERS_CACHE).set(len(self._viewers))
        return viewer

    def _read_viewer(self, now: datetime, external_id: str | None, pk: int | None) -> Viewer | None:
        questions = relational_viewers.viewer_queries(external_id=external_id, pk=pk)
        return relational_viewers.build_viewer(fetch_all_rows(*questions), now)

    def apply_changes(self, prefetch: Prefetch) -> CachedViewer | None:
        """Forget what changed, by the log; return this viewer if they are remembered and have not changed."""
        log_rows, *rows = prefetch.pending.rows()
        changes = change_log.decode_changes(log_rows)
        known, viewer_id = prefetch.cached_viewer, prefetch.viewer_id
        with self._lock:
            is_alone = self._forgotten == prefetch.generation
            if not changes.is_complete or changes.complete_from > self._position:
                self._evict_all()
            elif known is not None and changes.complete_from > known.log_position:
                self._evict(ChangeKind.VIEWER, viewer_id)
            for kind, subject in changes.rows:
                self._evict(kind, subject)
            self._position = max(self._position, changes.position)
            prefetch.log_position, prefetch.generation = changes.position, self._forgotten if is_alone else -1
            for part, count in prefetch.query_counts.items():
                prefetch.rows[part], rows = rows[:count], rows[count:]
            if known is None or self._viewers.get(viewer_id) is not known:
                # One that another thread has read meanwhile may be from before this moment.
                return None
            known.log_position = max(known.log_position, changes.position)
            return known

    def get_seen_posts(self, viewer_id: int) -> SeenPosts:
        """Return what the viewer saw last, as of when this viewer was followed last."""
        known = self._cached_viewer(viewer_id)
        if known is not None and known.seen is not None:
            return known.seen
        before = known.log_position if known else 0
        (newest,) = fetch_all_rows(newest_seen_query(viewer_id))
        seen = decode_seen_posts(newest)
        self._cache_viewer_facts(known, before, seen=seen)
        return seen

    def get_history(
        self, viewer_id: int, profiles: ResidentProfiles, prefetch: Prefetch | None = None
    ) -> ViewerHistory:
        """Return what the viewer did and asked for, as of when they were followed last, by *inquiry* or another."""
        known = self._cached_viewer(viewer_id)
        if known is not None and known.seen is not None and known.taste is not None:
            version, wishes = known.taste
            return ViewerHistory(known.seen, profiles.get(viewer_id, version), wishes)
        if prefetch is not None and prefetch.viewer_id == viewer_id and FactGroup.HISTORY in prefetch.rows:
            position, found = prefetch.log_position, prefetch.rows[FactGroup.HISTORY]
        else:
            position = known.log_position if known else 0
            found = fetch_all_rows(*history_queries(viewer_id))
        newest, rows, wishes = found
        seen, version = decode_seen_posts(newest), profile_version(rows)
        self._cache_viewer_facts(known, position, seen=seen, taste=(version, wishes))
        return ViewerHistory(seen, profiles.get(viewer_id, version, rows), wishes)

    def _cached_viewer(self, viewer_id: int) -> CachedViewer | None:
        return self._viewers.get(viewer_id) if self._may_cache() else None

    def _cache_viewer_facts(self, known: CachedViewer | None, before: int, **facts: object) -> None:
        """Remember facts of a viewer that were read when their position was *before*."""
        with self._lock:
            # Followed meanwhile, it may have changed after it was read here.
            if known is not None and known.log_position == before and self._viewers.get(known.viewer.id) is known:
                for name, value in facts.items():
                    setattr(known, name, value)

    def read(
        self, query: Query, post_ids: Int64Array, *, is_viewer_current: bool = False, prefetch: Prefetch | None = None
    ) -> CurrentPosts:
        """See `PostFacts.read`."""
        if not len(post_ids):
            return CurrentPosts(
                Candidates.unknown(post_ids, np.zeros(0, np.uint16)), {}, FactsVersion(query.viewer_id, None, [], [])
            )
        asked = post_ids.tolist()
        if not is_viewer_current and (prefetch := self.prefetch(pk=query.viewer_id, post_ids=asked)) is not None:
            self.apply_changes(prefetch)
        posts = self.get_posts(asked, prefetch)
        seen = self.get_seen_posts(query.viewer_id) if query.uses_history else None
        candidates = build_candidates(post_ids, posts, self._is_seen(query, post_ids, seen), query.muted_words)
        views = {id: post.view for id, post in zip(asked, posts, strict=True) if post is not None}
        return CurrentPosts(candidates, views, FactsVersion(query.viewer_id, seen, asked, posts))

    def is_current(self, facts_version: FactsVersion) -> bool:
        """See `PostFacts.hold`."""
        if facts_version.current_at_generation == (forgotten := self._forgotten):
            return True
        known = self._viewers.get(facts_version.viewer_id)
        if known is None or (facts_version.seen is not None and known.seen is not facts_version.seen):
            return False
        holds = all(map(is_, map(self._posts.get, facts_version.post_ids), facts_version.posts))
        if holds:
            facts_version.current_at_generation = forgotten
        return holds

    def get_posts(self, post_ids: Sequence[int], prefetch: Prefetch | None = None) -> list[PostSnapshot | None]:
        """Return these posts, as of when anybody was followed last, or *inquiry* was; None for one that is gone."""
        may_remember = self._may_cache()
        found = [self._posts.get(post_id) if may_remember else None for post_id in post_ids]
        missing = {post_id for post_id, post in zip(post_ids, found, strict=True) if post is None}
        if may_remember:
            post_hit.inc(len(found) - len(missing))
            post_miss.inc(len(missing))
        if not missing:
            return found
        read: dict[int, PostSnapshot] = {}
        if prefetch is not None and FactGroup.POSTS in prefetch.rows:
            (rows,) = prefetch.rows[FactGroup.POSTS]
            read = decode_posts(rows, self._words)
            self._cache_posts(read, prefetch.generation)
            missing -= prefetch.missing_post_ids
        if missing:
            before = self._forgotten
            others = decode_posts(fetch_all_rows(posts_query(sorted(missing)))[0], self._words)
            if may_remember:
                self._cache_posts(others, before)
            read |= others
        return [post or read.get(post_id) for post_id, post in zip(post_ids, found, strict=True)]

    def _is_seen(self, query: Query, post_ids: Int64Array, seen: SeenPosts | None) -> BoolArray:
        """Return which of the posts the query's viewer has seen; none where the feed may not use it."""
        if seen is None:
            return np.zeros(len(post_ids), np.bool_)
        found = is_in_sorted(post_ids, seen.post_ids)
        if not seen.is_all:
            found |= is_in_sorted(post_ids, relational_viewers.find_seen(query.viewer_id, post_ids[~found].tolist()))
        return found

    def clear(self) -> None:
        """Forget everything: whoever comes next is read."""
        with self._lock:
            self._evict_all()

    # Remembering

    def _may_cache(self) -> bool:
        """Return whether what is read now will hold: it is committed, and the log will tell if it no longer does."""
        if not reads_committed_data():
            return False
        if monotonic() - self._checked_at >= TRIGGER_CHECK_SECONDS:
            self._is_kept, self._checked_at = change_log.are_triggers_installed(), monotonic()
            if not self._is_kept:
                log.error("change_log_not_installed")
                with self._lock:
                    self._evict_all()
        return self._is_kept

    def _cache_posts(self, posts: dict[int, PostSnapshot], before: int) -> None:
        """Remember posts that were read when so much had been forgotten; if more has been since, they may be old."""
        with self._lock:
            if self._forgotten != before:
                return
            for post_id, post in posts.items():
                self._evict_post(post_id)
                self._posts[post_id] = post
                self._by_author.setdefault(post.author_id, set()).add(post_id)
            while len(self._posts) > MAX_POSTS:
                self._evict_post(next(iter(self._posts)))
            metrics.CACHE_ENTRIES.labels(POSTS_CACHE).set(len(self._posts))

    def _evict(self, kind: int, subject: int) -> None:
        self._forgotten += 1
        if kind == ChangeKind.POST:
            self._evict_post(subject)
        elif kind == ChangeKind.AUTHOR:
            for post_id in tuple(self._by_author.get(subject, ())):
                self._evict_post(post_id)
        elif kind == ChangeKind.VIEWER:
            self._viewers.pop(subject, None)
        elif kind == ChangeKind.EVERYTHING:
            self._evict_all()
        elif subject in self._viewers:
            self._viewers[subject].seen = None

    def _evict_post(self, post_id: int) -> None:
        post = self._posts.pop(post_id, None)
        if post is None:
            return
        own = self._by_author[post.author_id]
        own.discard(post_id)
        if not own:
            del self._by_author[post.author_id]

    def _evict_all(self) -> None:
        self._forgotten += 1
        for kept in (self._posts, self._by_author, self._viewers, self._names):
            kept.clear()
        for name in (POSTS_CACHE, VIEWERS_CACHE):
            metrics.CACHE_ENTRIES.labels(name).set(0)
