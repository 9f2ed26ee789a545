"""
A process's cache of the facts about viewers and posts that the final check needs. It is as current as the database.

Why facts may be used from memory. Before a request uses any cached fact, it reads the change log (`change_log.py`: one
small query) and evicts every viewer and post with an entry since this process's last read. Facts that are not cached
are read in the same round trip, after the log (`Prefetch`). So every change that was committed before the request began
is visible in the request, as if all rows had been read: a block holds in the next page.

When facts are not cached. Inside a transaction a query may return the transaction's own uncommitted writes, which may
be rolled back without a log entry. And if a trigger of the log is missing, changes have no entries. In both cases
nothing is cached and every row is read. The triggers are checked every `TRIGGER_CHECK_SECONDS`.

Why a generation counter. Threads share the cache. One thread may read a row, then another thread may read the log
entry of a change of that row and evict it, and then the first would store the outdated row: no later entry would ever
evict it. So every eviction raises `_generation`. A thread notes the generation before it reads rows, and caches them
only if it is still the same. The rows may still be used for the thread's own request, which began before the change.

Positions. The shared entries (posts, authors, everything) have one position per process. A viewer's own entries are
read only in that viewer's requests, so each cached viewer has a position of its own (`CachedViewer.log_position`).

Personal data: it is in memory only.
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
from recommendations.contracts import BoolArray, CurrentPosts, Int64Array, Query, is_in_sorted
from recommendations.models.change_log import ChangeKind
from recommendations.stores import change_log, relational_viewers
from recommendations.stores.profiles import (
    SELECT_FEEDBACK,
    SELECT_PROFILE,
    SELECT_REACTIONS,
    FeedbackRows,
    Profile,
    ProfileVersion,
    decode_reactions,
    profile_version,
)
from recommendations.stores.relational_posts import PostSnapshot, build_candidates, decode_posts, posts_query
from recommendations.stores.relational_viewers import Viewer, newest_seen_query
from recommendations.stores.resident_profiles import ResidentProfiles
from recommendations.stores.sql import PendingQueries, Rows, SqlQuery, fetch_all_rows
from recommendations.stores.vocabulary import Vocabularies

log = logging.getLogger(__name__)

MAX_POSTS = 20_000
"""Decoded posts in the cache, about 2 KB each. Changes the speed."""
MAX_VIEWERS = 10_000
"""Viewers in the cache. Changes the speed."""
TRIGGER_CHECK_SECONDS = 10.0
"""How often the cache checks that the triggers of the change log are installed. Changes the answer for that long if one
is dropped."""
VIEWERS_CACHE, POSTS_CACHE = "viewers", "posts"

viewer_hit, viewer_miss = (metrics.PROCESS_CACHE_REQUESTS.labels(VIEWERS_CACHE, outcome) for outcome in ("hit", "miss"))
post_hit, post_miss = (metrics.PROCESS_CACHE_REQUESTS.labels(POSTS_CACHE, outcome) for outcome in ("hit", "miss"))


@dataclass(frozen=True, slots=True)
class SeenPosts:
    """The posts that a viewer has seen most recently."""

    post_ids: Int64Array  # (n,) sorted
    is_all: bool
    """Whether these are all posts that the viewer has seen."""


class ViewerHistory(NamedTuple):
    """The facts about a viewer that personalize ranking."""

    seen: SeenPosts
    profile: Profile | None
    feedback: FeedbackRows
    reactions: Int64Array
    """Oldest first: the id of a liked post, or minus the id of a rejected post."""


class CachedTaste(NamedTuple):
    """What is cached of a viewer's taste. The profile itself is in `ResidentProfiles`."""

    version: ProfileVersion | None
    feedback: FeedbackRows
    reactions: Int64Array


@dataclass(slots=True)
class CachedViewer:
    """A cached viewer. Log entries from `log_position` on may change it."""

    viewer: Viewer
    read_year: int
    """The year in which the viewer was read: whether they are an adult depends on it."""
    log_position: int
    seen: SeenPosts | None = None
    """None if it has not been read; `taste` likewise."""
    taste: CachedTaste | None = None


class FactGroup(Enum):
    """The groups of facts that can be read together with the log."""

    VIEWER = "viewer"
    HISTORY = "history"
    POSTS = "posts"


@dataclass(slots=True)
class Prefetch:
    """The queries sent for a request: the change log, then the facts that the request needs and that are not cached."""

    viewer_id: int
    """0 if the viewer is not cached."""
    cached_viewer: CachedViewer | None
    """The cached viewer when the queries were sent."""
    query_counts: dict[FactGroup, int]
    """The number of queries of each group."""
    pending: PendingQueries
    generation: int
    """
    The cache's generation when the queries were sent. After `apply_changes`: the generation then, or -1 if another
    thread evicted something in between. Rows of generation -1 must not be cached.
    """
    log_position: int = 0
    """The position of the log, after `apply_changes`. The rows were read at this position or later."""
    rows: dict[FactGroup, list[Rows]] = field(default_factory=dict)
    missing_post_ids: frozenset[int] = frozenset()
    """The posts that were queried."""


@dataclass(slots=True)
class FactsVersion:
    """The cached objects that a page was checked with. After a change the cache holds another object."""

    viewer_id: int
    seen: SeenPosts | None
    """None if the feed does not use it."""
    post_ids: list[int]
    posts: list[PostSnapshot | None]
    current_at_generation: int = -1
    """The cache's generation when all objects were last found to be current."""


def decode_seen_posts(rows: Rows) -> SeenPosts:
    """Return the seen posts from the rows of `newest_seen_query`."""
    return SeenPosts(np.sort(np.array([id for (id,) in rows], np.int64)), len(rows) < relational_viewers.SEEN_LIMIT)


def history_queries(viewer_id: int) -> tuple[SqlQuery, ...]:
    """Return the queries for a `ViewerHistory`: seen posts, profile, negative feedback, reactions."""
    own = (viewer_id,)
    return newest_seen_query(viewer_id), (SELECT_PROFILE, own), (SELECT_FEEDBACK, own), (SELECT_REACTIONS, own)


def reads_committed_data() -> bool:
    """Return whether queries read only committed data. In a transaction they may read its own writes."""
    return not connection.in_atomic_block


def evict_oldest(entries: dict[Any, Any], max_entries: int) -> None:
    """Evict the oldest entries beyond *max_entries*."""
    while len(entries) > max_entries:
        del entries[next(iter(entries))]


class ResidentFacts:
    """This process's cache of viewers and posts. Thread-safe."""

    def __init__(self, vocabularies: Vocabularies) -> None:
        self._vocabularies = vocabularies
        self._lock = threading.Lock()
        self._posts: dict[int, PostSnapshot] = {}
        self._by_author: dict[int, set[int]] = {}
        self._viewers: dict[int, CachedViewer] = {}
        self._ids_by_external_id: dict[str, int] = {}
        self._position = 0
        self._generation = 0
        self._triggers_checked_at = -TRIGGER_CHECK_SECONDS
        self._are_triggers_installed = False

    def prefetch(
        self, *, external_id: str | None = None, pk: int = 0, has_history: bool = False, post_ids: Sequence[int] = ()
    ) -> Prefetch | None:
        """
        Send the query of the change log, and the queries for those facts of the viewer and posts that are not cached.

        Does not wait for the results. Returns None if nothing may be cached; each fact is then read when it is needed.
        """
        if not self._may_cache():
            return None
        viewer_id = pk if external_id is None else self._ids_by_external_id.get(external_id, 0)
        cached, generation = self._viewers.get(viewer_id), self._generation
        since = self._position
        log_query = change_log.changes_query(since, viewer_id, cached.log_position if cached else since)
        queries: dict[FactGroup, Sequence[SqlQuery]] = {}
        if cached is None:
            queries[FactGroup.VIEWER] = relational_viewers.viewer_queries(external_id=external_id, pk=pk or None)
        if has_history and (cached is None or cached.seen is None or cached.taste is None):
            queries[FactGroup.HISTORY] = history_queries(viewer_id)
        if missing := [post_id for post_id in post_ids if post_id not in self._posts]:
            queries[FactGroup.POSTS] = (posts_query(missing),)
        pending = PendingQueries(log_query, *chain.from_iterable(queries.values()))
        return Prefetch(
            viewer_id,
            cached,
            {group: len(group_queries) for group, group_queries in queries.items()},
            pending,
            generation,
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
        Return the current facts of the member with this id, or None if there is no such member.

        With *prefetch*, the facts are those at the time when its queries were sent.
        """
        prefetch = prefetch or self.prefetch(external_id=external_id, pk=pk or 0)
        if prefetch is None:
            return self._read_viewer(now, external_id, pk)
        cached = self.apply_changes(prefetch)
        if cached is not None and cached.read_year == now.year and external_id in (None, cached.viewer.external_id):
            viewer_hit.inc()
            return cached.viewer
        viewer_miss.inc()
        if FactGroup.VIEWER in prefetch.rows:
            generation, log_position = prefetch.generation, prefetch.log_position
            viewer = relational_viewers.build_viewer(prefetch.rows[FactGroup.VIEWER], now)
        else:
            generation, log_position = self._generation, self._position
            viewer = self._read_viewer(now, external_id, pk)
        with self._lock:
            if viewer is not None and self._generation == generation:
                self._viewers[viewer.id] = CachedViewer(viewer, now.year, log_position)
                self._ids_by_external_id[viewer.external_id] = viewer.id
                evict_oldest(self._viewers, MAX_VIEWERS)
                evict_oldest(self._ids_by_external_id, MAX_VIEWERS)
            metrics.CACHE_ENTRIES.labels(VIEWERS_CACHE).set(len(self._viewers))
        return viewer

    def _read_viewer(self, now: datetime, external_id: str | None, pk: int | None) -> Viewer | None:
        queries = relational_viewers.viewer_queries(external_id=external_id, pk=pk)
        return relational_viewers.build_viewer(fetch_all_rows(*queries), now)

    def apply_changes(self, prefetch: Prefetch) -> CachedViewer | None:
        """
        Evict everything that has changed according to the prefetched log entries, and distribute the prefetched rows.

        Returns the cached viewer if it is still valid, else None.
        """
        log_rows, *rows = prefetch.pending.rows()
        changes = change_log.decode_changes(log_rows)
        cached, viewer_id = prefetch.cached_viewer, prefetch.viewer_id
        with self._lock:
            is_only_evictor = self._generation == prefetch.generation
            if not changes.is_complete or changes.complete_from > self._position:
                self._evict_all()
            elif cached is not None and changes.complete_from > cached.log_position:
                self._evict(ChangeKind.VIEWER, viewer_id)
            for kind, row_id in changes.rows:
                self._evict(kind, row_id)
            self._position = max(self._position, changes.position)
            prefetch.log_position, prefetch.generation = changes.position, self._generation if is_only_evictor else -1
            for group, count in prefetch.query_counts.items():
                prefetch.rows[group], rows = rows[:count], rows[count:]
            if cached is None or self._viewers.get(viewer_id) is not cached:
                # A viewer that another thread has cached in between may have been read before this log position.
                return None
            cached.log_position = max(cached.log_position, changes.position)
            return cached

    def get_seen_posts(self, viewer_id: int) -> SeenPosts:
        """Return the posts that the viewer has seen, as of this viewer's last `apply_changes`."""
        cached = self._cached_viewer(viewer_id)
        if cached is not None and cached.seen is not None:
            return cached.seen
        log_position = cached.log_position if cached else 0
        (rows,) = fetch_all_rows(newest_seen_query(viewer_id))
        seen = decode_seen_posts(rows)
        self._cache_viewer_facts(cached, log_position, seen=seen)
        return seen

    def get_history(
        self, viewer_id: int, profiles: ResidentProfiles, prefetch: Prefetch | None = None
    ) -> ViewerHistory:
        """Return the viewer's history, as of this viewer's last `apply_changes`."""
        cached = self._cached_viewer(viewer_id)
        if cached is not None and cached.seen is not None and cached.taste is not None:
            version, feedback, reactions = cached.taste
            return ViewerHistory(cached.seen, profiles.get(viewer_id, version), feedback, reactions)
        if prefetch is not None and prefetch.viewer_id == viewer_id and FactGroup.HISTORY in prefetch.rows:
            log_position, history_rows = prefetch.log_position, prefetch.rows[FactGroup.HISTORY]
        else:
            log_position = cached.log_position if cached else 0
            history_rows = fetch_all_rows(*history_queries(viewer_id))
        seen_rows, profile_rows, feedback, reaction_rows = history_rows
        seen, version = decode_seen_posts(seen_rows), profile_version(profile_rows)
        taste = CachedTaste(version, feedback, decode_reactions(reaction_rows))
        self._cache_viewer_facts(cached, log_position, seen=seen, taste=taste)
        return ViewerHistory(seen, profiles.get(viewer_id, version, profile_rows), feedback, taste.reactions)

    def _cached_viewer(self, viewer_id: int) -> CachedViewer | None:
        return self._viewers.get(viewer_id) if self._may_cache() else None

    def _cache_viewer_facts(self, cached: CachedViewer | None, log_position: int, **facts: object) -> None:
        """Cache facts of a viewer that were read while the viewer's position was *log_position*."""
        with self._lock:
            # If another thread has moved the position, the facts may have changed after they were read here.
            if (
                cached is not None
                and cached.log_position == log_position
                and self._viewers.get(cached.viewer.id) is cached
            ):
                for name, value in facts.items():
                    setattr(cached, name, value)

    def read(
        self, query: Query, post_ids: Int64Array, *, is_viewer_current: bool = False, prefetch: Prefetch | None = None
    ) -> CurrentPosts:
        """See `PostFacts.read`."""
        ids = post_ids.tolist()
        if not is_viewer_current and (prefetch := self.prefetch(pk=query.viewer_id, post_ids=ids)) is not None:
            self.apply_changes(prefetch)
        posts = self.get_posts(ids, prefetch)
        seen = self.get_seen_posts(query.viewer_id) if query.uses_history else None
        candidates = build_candidates(post_ids, posts, self._is_seen(query, post_ids, seen), query.muted_words)
        views = {id: post.view for id, post in zip(ids, posts, strict=True) if post is not None}
        return CurrentPosts(candidates, views, FactsVersion(query.viewer_id, seen, ids, posts))

    def is_current(self, facts_version: FactsVersion) -> bool:
        """See `PostFacts.is_current`."""
        if facts_version.current_at_generation == (generation := self._generation):
            return True
        cached = self._viewers.get(facts_version.viewer_id)
        if cached is None or (facts_version.seen is not None and cached.seen is not facts_version.seen):
            return False
        is_unchanged = all(map(is_, map(self._posts.get, facts_version.post_ids), facts_version.posts))
        if is_unchanged:
            facts_version.current_at_generation = generation
        return is_unchanged

    def get_posts(self, post_ids: Sequence[int], prefetch: Prefetch | None = None) -> list[PostSnapshot | None]:
        """Return the posts, as of the last `apply_changes` or of *prefetch*; None for a post that was deleted."""
        may_cache = self._may_cache()
        posts = [self._posts.get(post_id) if may_cache else None for post_id in post_ids]
        missing = {post_id for post_id, post in zip(post_ids, posts, strict=True) if post is None}
        if may_cache:
            post_hit.inc(len(posts) - len(missing))
            post_miss.inc(len(missing))
        if not missing:
            return posts
        read: dict[int, PostSnapshot] = {}
        if prefetch is not None and FactGroup.POSTS in prefetch.rows:
            (rows,) = prefetch.rows[FactGroup.POSTS]
            read = decode_posts(rows, self._vocabularies)
            self._cache_posts(read, prefetch.generation)
            missing -= prefetch.missing_post_ids
        if missing:
            generation = self._generation
            more = decode_posts(fetch_all_rows(posts_query(sorted(missing)))[0], self._vocabularies)
            if may_cache:
                self._cache_posts(more, generation)
            read |= more
        return [post or read.get(post_id) for post_id, post in zip(post_ids, posts, strict=True)]

    def _is_seen(self, query: Query, post_ids: Int64Array, seen: SeenPosts | None) -> BoolArray:
        """Return the mask (n,) of posts that the viewer has seen; all False if the feed does not use the history."""
        if seen is None:
            return np.zeros(len(post_ids), np.bool_)
        is_seen = is_in_sorted(post_ids, seen.post_ids)
        if not seen.is_all:
            is_seen |= is_in_sorted(
                post_ids, relational_viewers.find_seen(query.viewer_id, post_ids[~is_seen].tolist())
            )
        return is_seen

    def clear(self) -> None:
        """Evict everything. The next requests read their rows again."""
        with self._lock:
            self._evict_all()

    # Cache and evict

    def _may_cache(self) -> bool:
        """Return whether facts read now may be cached: they are committed, and every change gets a log entry."""
        if not reads_committed_data():
            return False
        if monotonic() - self._triggers_checked_at >= TRIGGER_CHECK_SECONDS:
            self._are_triggers_installed, self._triggers_checked_at = change_log.are_triggers_installed(), monotonic()
            if not self._are_triggers_installed:
                log.error("change_log_not_installed")
                with self._lock:
                    self._evict_all()
        return self._are_triggers_installed

    def _cache_posts(self, posts: dict[int, PostSnapshot], generation: int) -> None:
        """Cache posts that were read at *generation*, unless anything was evicted since: they may be outdated."""
        with self._lock:
            if self._generation != generation:
                return
            for post_id, post in posts.items():
                self._evict_post(post_id)
                self._posts[post_id] = post
                self._by_author.setdefault(post.author_id, set()).add(post_id)
            while len(self._posts) > MAX_POSTS:
                self._evict_post(next(iter(self._posts)))
            metrics.CACHE_ENTRIES.labels(POSTS_CACHE).set(len(self._posts))

    def _evict(self, kind: int, row_id: int) -> None:
        self._generation += 1
        if kind == ChangeKind.POST:
            self._evict_post(row_id)
        elif kind == ChangeKind.AUTHOR:
            for post_id in tuple(self._by_author.get(row_id, ())):
                self._evict_post(post_id)
        elif kind == ChangeKind.VIEWER:
            self._viewers.pop(row_id, None)
        elif kind == ChangeKind.EVERYTHING:
            self._evict_all()
        elif row_id in self._viewers:
            self._viewers[row_id].seen = None

    def _evict_post(self, post_id: int) -> None:
        post = self._posts.pop(post_id, None)
        if post is None:
            return
        author_posts = self._by_author[post.author_id]
        author_posts.discard(post_id)
        if not author_posts:
            del self._by_author[post.author_id]

    def _evict_all(self) -> None:
        self._generation += 1
        for entries in (self._posts, self._by_author, self._viewers, self._ids_by_external_id):
            entries.clear()
        for name in (POSTS_CACHE, VIEWERS_CACHE):
            metrics.CACHE_ENTRIES.labels(name).set(0)
