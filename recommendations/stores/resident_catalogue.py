"""
The posts that a process holds in memory as candidates: facts in columns, vectors in the engines, one row per post.

The catalogue reads changes from the database by their time of change, so it is slightly behind. It never decides what
may be shown: the final check reads the rows themselves. Columns are replaced and not modified, so that a request works
on the same columns from beginning to end.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from itertools import islice
from typing import TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from monitoring import metrics
from recommendations.contracts import (
    CANDIDATE_COLUMNS,
    EMPTY_IDS,
    POPULARITY_SUMS,
    TAGS_PER_POST,
    UNKNOWN,
    BoolArray,
    Candidates,
    Float32Array,
    Float64Array,
    Int32Array,
    Int64Array,
    Policy,
)
from recommendations.ports import Engine, EngineError
from recommendations.stores import relational_posts as database
from recommendations.stores.popularity_sums import HalfLives, RelativePopularity, compute_heat, order_by
from recommendations.stores.vocabulary import Vocabularies

log = logging.getLogger(__name__)

OVERLAP = timedelta(seconds=10)
"""Each refresh reads this far back again: an entry point sets the time of a change seconds before it is committed."""
Group = TypeVar("Group", bound=np.integer)
PRIOR_SEEN_COUNT = 7.0
"""
The weight of the average rate in a post's quality, as a number of looks. Changes the answer.

As many as 20 times served give, evenly over a page of 20.
"""
MAX_REGION_POSTS = 2_000
"""
The most popular posts stored per region, and as many trending ones. Changes the answer if a viewer has seen, or may not
see, all of them.
"""
RETRY_SECONDS = 30.0
"""How often vectors that an engine could not store are put into it again."""
PUT_BATCH_ROWS = 4_096
MAX_TRENDING_POSTS = 5_000
"""
The trending posts in order. Changes the answer if a viewer has seen, or may not see, nearly all of them: popular posts
take their places.
"""
ID_TABLE_MAX_SPARSITY = 16
"""The span of ids per post up to which a table maps ids to rows, at four bytes per id. Changes the speed and memory."""
FACT_COLUMNS = tuple(name for name in CANDIDATE_COLUMNS if name not in ("post_ids", "origins"))
SCAN_BLOCK_ROWS = 2_048
"""Rows of an order that are tested together until enough are eligible, after a first block. Changes the speed."""
FIRST_BLOCK_FACTOR = 2
"""Rows of the first block, for each row that is wanted: usually most posts are eligible. Changes the speed."""


class RowLookup:
    """
    Maps post ids to rows, by a table over the span of the ids. Ids come from a sequence, so they are dense.

    If the span has more than `ID_TABLE_MAX_SPARSITY` ids per post, a binary search is used instead.
    """

    def __init__(self, post_ids: Int64Array) -> None:
        used_rows = np.flatnonzero(post_ids).astype(np.int32)
        ids = post_ids[used_rows]
        self._low, high = (int(ids.min()), int(ids.max())) if len(ids) else (0, -1)
        self._is_table = high - self._low < ID_TABLE_MAX_SPARSITY * len(ids)
        if self._is_table:
            # The last entry is the result for every id outside of the span.
            self._rows = np.full(high - self._low + 2, UNKNOWN, np.int32)
            self._rows[ids - self._low] = used_rows
        else:
            order = np.argsort(ids, kind="stable")
            self._ids, self._rows = ids[order], used_rows[order]

    def rows_of(self, post_ids: Int64Array) -> Int32Array:
        """Return the row (n,) of each post, `UNKNOWN` where it has none."""
        if self._is_table:
            at = post_ids - self._low
            outside = len(self._rows) - 1
            return self._rows[np.where((at >= 0) & (at < outside), at, outside)]
        at = np.minimum(np.searchsorted(self._ids, post_ids), len(self._ids) - 1)
        return np.where(self._ids[at] == post_ids, self._rows[at], np.int32(UNKNOWN))


class RowOrders:
    """The rows of the posts in several orders, each computed at its first use. They are valid until a post changes."""

    def __init__(self, posts: Candidates) -> None:
        self._posts = posts
        self._of_regions: WeakKeyDictionary[RegionPosts, tuple[Int32Array, Int32Array]] = WeakKeyDictionary()

    @cached_property
    def newest_first(self) -> Int32Array:
        """All rows, newest post first."""
        return np.lexsort((self._posts.post_ids, -np.nan_to_num(self._posts.created_at))).astype(np.int32)

    @cached_property
    def newest_ranks(self) -> Int32Array:
        """The position (n,) of each row in `newest_first`."""
        ranks = np.empty(len(self.newest_first), np.int32)
        ranks[self.newest_first] = np.arange(len(ranks), dtype=np.int32)
        return ranks

    @cached_property
    def row_lookup(self) -> RowLookup:
        """The mapping from post ids to rows."""
        return RowLookup(self._posts.post_ids)

    @cached_property
    def by_author(self) -> tuple[Int64Array, Int32Array]:
        """Sorted author ids (n,), and the rows (n,) of their posts, newest first per author."""
        return self._group_rows(self._posts.author_ids)

    @cached_property
    def by_topic(self) -> tuple[Int32Array, Int32Array]:
        """Sorted topic ids (n,) and the rows (n,) of their posts, newest first per topic (a post's first tag)."""
        return self._group_rows(self._posts.topic_ids)

    def rows_in(self, region: RegionPosts) -> tuple[Int32Array, Int32Array]:
        """Return the rows of the posts in *region*: by popularity, and by trend."""
        if region not in self._of_regions:
            popular, trending = (self.row_lookup.rows_of(ids) for ids in (region.popular_ids, region.trending_ids))
            self._of_regions[region] = popular[popular != UNKNOWN], trending[trending != UNKNOWN]
        return self._of_regions[region]

    def _group_rows(self, groups: NDArray[Group]) -> tuple[NDArray[Group], Int32Array]:
        order = self.newest_first[np.argsort(groups[self.newest_first], kind="stable")]
        return groups[order], order


@dataclass(frozen=True)
class PostCounts:
    """The popularity and the interaction counts of posts, by the same rows as the posts' columns."""

    popularity: RelativePopularity
    positive_count: Float32Array  # (n,) positive interactions
    served_count: Float32Array  # (n,) how often the post was served
    seen_count: Float32Array  # (n,) how often members looked at the post

    @classmethod
    def zeros(cls, n: int, half_lives: HalfLives) -> PostCounts:
        """Return the counts of *n* posts without interactions. Their sums have *half_lives*."""
        counts = (np.zeros(n, np.float32) for _ in range(3))
        return cls(RelativePopularity.zeros(n, half_lives), *counts)

    def copy(self) -> PostCounts:
        """Return a copy that may be modified until a property of it is read."""
        return PostCounts(
            self.popularity.copy(), self.positive_count.copy(), self.served_count.copy(), self.seen_count.copy()
        )

    def with_new_rows(self, n: int) -> PostCounts:
        """Return the counts with *n* more rows, of posts without interactions."""
        half_lives = self.popularity.half_lives
        added = PostCounts.zeros(n, half_lives)
        return PostCounts(
            RelativePopularity(np.concatenate([self.popularity.heat, added.popularity.heat]), half_lives),
            np.concatenate([self.positive_count, added.positive_count]),
            np.concatenate([self.served_count, added.served_count]),
            np.concatenate([self.seen_count, added.seen_count]),
        )

    def reset(self, rows: Int32Array) -> None:
        """Reset these rows to posts without interactions."""
        self.popularity.heat[rows] = -np.inf
        self.positive_count[rows] = self.served_count[rows] = self.seen_count[rows] = 0

    @cached_property
    def success_count(self) -> Float32Array:
        """
        The positive interactions (n,) of members who looked at the post, at most.

        Further ones came from elsewhere, such as an import, and tell nothing about the rate.
        """
        return np.minimum(self.positive_count, self.seen_count)

    @cached_property
    def average_rate(self) -> float:
        """Positive interactions per look, over all posts, from 0.001 to 0.999; 0.05 if nobody looked at a post."""
        seen = float(self.seen_count.sum())
        return min(max(float(self.success_count.sum()) / seen, 0.001), 0.999) if seen else 0.05

    @cached_property
    def is_promising(self) -> BoolArray:
        """Whether each post (n,) may be at least as good as the average post."""
        return find_promising(self.success_count, self.seen_count, self.average_rate)

    def candidate_columns(self, rows: Int32Array, now: float) -> dict[str, Float32Array]:
        """Return the columns (n,) of `Candidates` that depend on interactions, for *rows* at *now* (Unix seconds)."""
        return {
            "popularity": self.popularity.all_time[rows],
            "year_popularity": self.popularity.year[rows],
            "trend": self.popularity.trend(rows, now),
            "served_count": self.served_count[rows],
            "quality": self.quality(rows),
        }

    def quality(self, rows: Int32Array) -> Float32Array:
        """
        Return the quality (n,) of the posts at *rows*: r / (r + average), from 0 to 1, and 0.5 for the average post.

        r is the rate of positive interactions per look, pulled towards the average with a weight of
        `PRIOR_SEEN_COUNT` (a Bayesian average: the posterior mean of a Beta-binomial, Gelman et al., Bayesian Data
        Analysis, section 2.4).
        """
        average = self.average_rate
        rate = (self.success_count[rows] + PRIOR_SEEN_COUNT * average) / (self.seen_count[rows] + PRIOR_SEEN_COUNT)
        return (rate / (rate + average)).astype(np.float32)


@dataclass(frozen=True)
class CatalogueState:
    """An immutable state of the catalogue. `posts` has one row per slot; an empty slot is a removed post with id 0."""

    posts: Candidates
    orders: RowOrders
    counts: PostCounts

    @cached_property
    def by_popularity(self) -> Int32Array:
        """Rows by popularity of all time and the year, highest first. Posts without interactions are left out."""
        popularity = self.counts.popularity
        return order_by(popularity.all_time + popularity.year, self.posts.post_ids)

    @cached_property
    def by_trend(self) -> Int32Array:
        """The `MAX_TRENDING_POSTS` rows with the highest trend, highest first."""
        return order_by(self.counts.popularity.fast_shares, self.posts.post_ids, MAX_TRENDING_POSTS)

    @cached_property
    def _in_exploration(self) -> dict[int, Int32Array]:
        return {}

    def in_exploration(self, max_served: int) -> Int32Array:
        """
        Return the rows of posts with fewer than *max_served* times served and positive interactions, newest first.

        A post with many positive interactions from elsewhere, an import for example, is not new to members. Computed
        once per value.
        """
        if max_served not in self._in_exploration:
            newest_first, counts = self.orders.newest_first, self.counts
            known = np.maximum(counts.served_count, counts.positive_count)[newest_first]
            self._in_exploration[max_served] = newest_first[known < max_served]
        return self._in_exploration[max_served]

    def with_posts(self, posts: Candidates, counts: PostCounts) -> CatalogueState:
        """Return a state with these posts and counts, and new orders."""
        return CatalogueState(posts, RowOrders(posts), counts)


@dataclass(frozen=True, eq=False)
class RegionPosts:
    """The posts that are popular or trending among the members of one region."""

    post_ids: Int64Array  # (n,)
    popularity: RelativePopularity  # of n posts

    @classmethod
    def empty(cls, half_lives: HalfLives) -> RegionPosts:
        """Return a region without posts. Its sums have *half_lives*."""
        return cls(EMPTY_IDS, RelativePopularity.zeros(0, half_lives))

    @cached_property
    def popular_ids(self) -> Int64Array:
        """The ids of the `MAX_REGION_POSTS` most popular posts, most popular first."""
        return self.post_ids[order_by(self.popularity.all_time + self.popularity.year, self.post_ids)][
            :MAX_REGION_POSTS
        ]

    @cached_property
    def trending_ids(self) -> Int64Array:
        """The ids of the `MAX_REGION_POSTS` posts with the highest trend, highest first."""
        return self.post_ids[order_by(self.popularity.fast_shares, self.post_ids, MAX_REGION_POSTS)]

    def with_changes(self, post_ids: Int64Array, heat: Float64Array) -> RegionPosts:
        """Return the region after posts (m,) have changed their heat (m, 5), without those in neither order."""
        is_unchanged = ~np.isin(self.post_ids, post_ids)
        joined = RegionPosts(
            np.concatenate([self.post_ids[is_unchanged], post_ids]),
            RelativePopularity(np.concatenate([self.popularity.heat[is_unchanged], heat]), self.popularity.half_lives),
        )
        is_kept = np.isin(joined.post_ids, np.concatenate([joined.popular_ids, joined.trending_ids]))
        return RegionPosts(
            joined.post_ids[is_kept], RelativePopularity(joined.popularity.heat[is_kept], joined.popularity.half_lives)
        )


@dataclass(frozen=True)
class ResidentSpace:
    """A vector space: its embedding model, and the engines that hold its vectors. All spaces share the rows."""

    name: str
    model: str
    dimension: int
    engines: Sequence[Engine]


class ResidentCatalogue:
    """Implements `Catalogue`. Thread-safe. There is one per process and set of embedding models."""

    def __init__(
        self,
        *,
        spaces: Sequence[ResidentSpace],
        vocabularies: Vocabularies,
        max_posts: int,
        refresh_seconds: float,
        read_half_lives: Callable[[], HalfLives],
    ) -> None:
        self.vocabularies = vocabularies
        self.refreshed_at: datetime | None = None
        self._spaces = spaces
        self._max_posts = max_posts
        self._refresh_seconds = refresh_seconds
        self._read_half_lives = read_half_lives
        self._lock = threading.Lock()
        empty = Candidates.unknown(np.zeros(0, np.int64), np.zeros(0, np.uint16))
        self._state = CatalogueState(empty, RowOrders(empty), PostCounts.zeros(0, Policy().popularity_half_lives))
        self._regions: dict[int, RegionPosts] = {}
        self._late_tags: dict[int, frozenset[int]] = {}
        """By tag: the posts that have it behind their first `TAGS_PER_POST` tags."""
        self._missing_vectors: dict[Engine, set[int]] = {}
        self._retried_at: datetime | None = None

    def __len__(self) -> int:
        return int(np.count_nonzero(self._state.posts.post_ids))

    # Refresh

    def refresh(self, now: datetime) -> None:
        """Read changes from the database, unless another thread is doing so or the last refresh is recent enough."""
        if self.refreshed_at and abs((now - self.refreshed_at).total_seconds()) < self._refresh_seconds:
            return
        # Other threads wait for the first load only. Later they go on with the current state.
        if not self._lock.acquire(blocking=self.refreshed_at is None):
            return
        try:
            self._sync(now)
        finally:
            self._lock.release()

    def _sync(self, now: datetime) -> None:
        since = self.refreshed_at - OVERLAP if self.refreshed_at else None
        if since is None:
            rows = list(database.newest_posts(self._max_posts))
            account_statuses: dict[int, int] = {}
        else:
            rows = list(database.changed_posts(since))
            account_statuses = database.changed_account_statuses(since)
        state, new_ids = self._with_posts(self._state, rows)
        state = with_account_statuses(state, account_statuses) if account_statuses else state
        half_lives = self._read_half_lives()
        if half_lives == state.counts.popularity.half_lives:
            state = with_counts(state, database.stats_since(since, new_ids))
            self._regions = self._regions | self._changed_regions(self._regions, half_lives, since, new_ids)
        else:  # the order of all posts has changed
            state = with_counts(with_half_lives(state, half_lives), database.stats_since(None, new_ids))
            self._regions = self._changed_regions({}, half_lives, None, new_ids)
        self._state = state
        self._sync_vectors(state, since, new_ids)
        self._retry_missing_vectors(state, now)
        self.refreshed_at = now

    def _with_posts(self, state: CatalogueState, rows: list[database.PostRow]) -> tuple[CatalogueState, Int64Array]:
        """Return the state with *rows* written, and the ids of new posts. The slots of removed posts become free."""
        if not rows:
            return state, EMPTY_IDS
        # Group posts by language and topic: a scan then skips whole blocks in languages the viewer does not read, and
        # similar posts share blocks.
        rows = sorted({row.id: row for row in rows}.values(), key=lambda row: (row.language, row.tags[:1]))
        ids = np.array([row.id for row in rows], np.int64)
        slots = rows_of(state, ids)
        is_new = (slots == UNKNOWN) & np.array([row.removed_at is None for row in rows], np.bool_)
        state, slots[is_new] = self._with_slots(state, int(is_new.sum()))
        written = np.flatnonzero(slots != UNKNOWN)
        posts = replace(state.posts, **{name: getattr(state.posts, name).copy() for name in CANDIDATE_COLUMNS})
        counts = state.counts.copy()
        counts.reset(slots[is_new])
        posts.post_ids[slots[written]] = ids[written]
        self._late_tags = self._with_late_tags([rows[i] for i in written])
        trimmed = [rows[i]._replace(tags=rows[i].tags[: posts.tag_ids.shape[1]]) for i in written]
        database.fill_columns(posts, slots[written].tolist(), trimmed, self.vocabularies)
        removed_slots = slots[written][posts.is_removed[slots[written]]]
        posts.post_ids[removed_slots] = 0
        counts.reset(removed_slots)
        for engine in (engine for space in self._spaces for engine in space.engines):
            engine.drop(np.concatenate([removed_slots, slots[is_new]]))
        return state.with_posts(posts, counts), ids[is_new]

    def _with_late_tags(self, rows: Sequence[database.PostRow]) -> dict[int, frozenset[int]]:
        """Return `_late_tags` after *rows* were written."""
        late = {row.id: {*map(self.vocabularies.tags.intern, row.tags[TAGS_PER_POST:])} for row in rows}
        added: dict[int, set[int]] = defaultdict(set)
        for post_id, tag_ids in late.items():
            for tag_id in tag_ids:
                added[tag_id].add(post_id)
        written = frozenset(late)
        kept = {tag_id: ids - written if ids & written else ids for tag_id, ids in self._late_tags.items()}
        return kept | {tag_id: kept.get(tag_id, frozenset()) | ids for tag_id, ids in added.items()}

    def find_late_tagged(self, tag_ids: Int32Array) -> Int64Array:
        """Return the ids, sorted, of the resident posts that have one of these tags behind their first tags."""
        late_tags = self._late_tags
        found = frozenset[int]().union(*(late_tags.get(tag_id, ()) for tag_id in tag_ids.tolist()))
        return np.array(sorted(found), np.int64)

    def _with_slots(self, state: CatalogueState, count: int) -> tuple[CatalogueState, Int32Array]:
        """
        Return the state with room for *count* more posts, and the rows of that room.

        Free rows are used first, then new rows up to the limit, then the rows of the oldest posts, which are replaced.
        """
        free = np.flatnonzero(state.posts.post_ids == 0).astype(np.int32)[:count]
        size = len(state.posts)
        added = min(count - len(free), max(0, self._max_posts - size))
        if added > 0:
            added_posts = Candidates.unknown(np.zeros(added, np.int64), np.zeros(added, np.uint16))
            joined = {
                name: np.concatenate([getattr(state.posts, name), getattr(added_posts, name)])
                for name in CANDIDATE_COLUMNS
            }
            joined["rows"] = np.arange(size + added, dtype=np.int32)
            state = state.with_posts(replace(state.posts, **joined), state.counts.with_new_rows(added))
        slots = np.concatenate([free, np.arange(size, size + max(added, 0), dtype=np.int32)])
        oldest = state.orders.newest_first[::-1][: count - len(slots)] if count > len(slots) else slots[:0]
        return state, np.sort(np.concatenate([slots, oldest]))

    def _sync_vectors(self, state: CatalogueState, since: datetime | None, new_ids: Int64Array) -> None:
        """Put the vectors changed since *since*, and those of the new posts, into every engine of their space."""
        for space in self._spaces:
            rows = database.embeddings_since(since, new_ids, space.name, space.model)
            while batch := list(islice(rows, PUT_BATCH_ROWS)):
                self._put_vectors(state, space, batch)

    def _put_vectors(self, state: CatalogueState, space: ResidentSpace, batch: list[tuple[int, bytes]]) -> None:
        """
        Put the usable vectors of *batch* (post id, float32 bytes) into the engines of *space*.

        A vector of another length or with NaN or infinity is skipped: its post gets no taste part. If an engine cannot
        store a batch (usually because its memory limit is reached), the posts are recorded as missing in it.
        """
        size = 4 * space.dimension
        usable = [(post_id, vector) for post_id, vector in batch if len(vector) == size]
        ids = np.array([post_id for post_id, _ in usable], np.int64)
        vectors = np.frombuffer(b"".join(vector for _, vector in usable), "<f4").reshape(-1, space.dimension)
        rows = rows_of(state, ids)
        is_finite = np.isfinite(vectors).all(axis=1)
        if unusable := len(batch) - int(is_finite.sum()):
            log.warning("vectors_skipped", extra={"count": unusable, "embedding_model": space.model})
        is_stored = (rows != UNKNOWN) & is_finite
        for engine in space.engines:
            missing = self._missing_vectors.setdefault(engine, set())
            try:
                engine.put(rows[is_stored], ids[is_stored], np.ascontiguousarray(vectors[is_stored], np.float32))
                missing -= set(ids.tolist())
            except EngineError:
                # The other engines have these vectors. This engine is not used until it has them too.
                missing |= set(ids[is_stored].tolist())
                log.exception("engine_vectors_not_stored", extra={"engine": engine.name, "count": len(missing)})
            metrics.ENGINE_MISSING_VECTORS.labels(space.name, engine.name).set(len(missing))

    def count_missing_vectors(self, engine: Engine) -> int:
        """Return how many vectors *engine* could not store. It would score their posts with a similarity of 0."""
        return len(self._missing_vectors.get(engine, ()))

    def _retry_missing_vectors(self, state: CatalogueState, now: datetime) -> None:
        """
        Put vectors that engines could not store into them again, every `RETRY_SECONDS`.

        There may be room for them: rows have been dropped, or the memory of a kernel has been recycled.
        """
        if not any(self._missing_vectors.values()):
            self._retried_at = None
            return
        self._retried_at = self._retried_at or now
        if (now - self._retried_at).total_seconds() < RETRY_SECONDS:
            return
        self._retried_at = now
        for space in self._spaces:
            missing = set().union(*(self._missing_vectors.get(engine, set()) for engine in space.engines))
            missing_ids = np.array(sorted(missing), np.int64)
            removed_ids = missing_ids[rows_of(state, missing_ids) == UNKNOWN].tolist()
            for engine in space.engines:
                self._missing_vectors.get(engine, set()).difference_update(removed_ids)
            rows = database.embeddings_of(sorted(missing.difference(removed_ids)), space.name, space.model)
            while batch := list(islice(rows, PUT_BATCH_ROWS)):
                self._put_vectors(state, space, batch)

    # Read

    def rows_of(self, post_ids: Int64Array) -> Int32Array:
        """See `Catalogue.rows_of`."""
        return rows_of(self._state, post_ids)

    def load_facts(self, candidates: Candidates, now: float) -> Candidates:
        """See `Catalogue.load_facts`."""
        state = self._state
        rows = rows_of(state, candidates.post_ids)
        is_resident = rows != UNKNOWN
        if is_resident.all():
            counts = state.counts.candidate_columns(rows, now)
            return state.posts.take(rows, post_ids=candidates.post_ids, origins=candidates.origins, **counts)
        result = Candidates.unknown(candidates.post_ids, candidates.origins)
        resident = state.posts.take(rows[is_resident], **state.counts.candidate_columns(rows[is_resident], now))
        for name in FACT_COLUMNS:
            getattr(result, name)[is_resident] = getattr(resident, name)
        return result

    def all_posts(self) -> Candidates:
        """See `Catalogue.all_posts`."""
        return self._state.posts

    def trending(self, k: int, eligible: BoolArray) -> Int64Array:
        """See `Catalogue.trending`."""
        return first_eligible_ids(self._state, self._state.by_trend, eligible, k)

    def popular(self, k: int, eligible: BoolArray) -> Int64Array:
        """See `Catalogue.popular`."""
        return first_eligible_ids(self._state, self._state.by_popularity, eligible, k)

    def newest(self, k: int, eligible: BoolArray) -> Int64Array:
        """See `Catalogue.newest`."""
        return first_eligible_ids(self._state, self._state.orders.newest_first, eligible, k)

    def newest_by_authors(self, author_ids: Int64Array, k: int, eligible: BoolArray) -> Int64Array:
        """See `Catalogue.newest_by_authors`."""
        state = self._state
        return newest_in_groups(state, *state.orders.by_author, author_ids, k, eligible)

    def newest_by_topics(self, topic_ids: Int32Array, k: int, eligible: BoolArray) -> Int64Array:
        """See `Catalogue.newest_by_topics`."""
        state = self._state
        return newest_in_groups(state, *state.orders.by_topic, topic_ids, k, eligible)

    def posts_in_region(self, region_id: int, k: int, eligible: BoolArray) -> tuple[Int64Array, Int64Array]:
        """See `Catalogue.posts_in_region`."""
        state, region = self._state, self._regions.get(region_id)
        if region is None:
            return EMPTY_IDS, EMPTY_IDS
        popular, trending = state.orders.rows_in(region)
        return first_eligible_ids(state, popular, eligible, k), first_eligible_ids(state, trending, eligible, k)

    def exploration_posts(
        self, max_served: int, k: int, eligible: BoolArray, rng: np.random.Generator
    ) -> tuple[Int64Array, Float32Array, Float32Array]:
        """See `Catalogue.exploration_posts`."""
        state = self._state
        counts, order = state.counts, state.in_exploration(max_served)
        newest = first_eligible_rows(state, order, eligible, k - k // 2)
        older = np.setdiff1d(rng.choice(order, k), newest) if len(order) else order
        rows = np.concatenate([newest, first_eligible_rows(state, rng.permutation(older), eligible, k // 2)])
        rows = rows[counts.is_promising[rows]]
        return state.posts.post_ids[rows], counts.success_count[rows], counts.seen_count[rows]

    def _changed_regions(
        self, regions: dict[int, RegionPosts], half_lives: HalfLives, since: datetime | None, new_ids: Int64Array
    ) -> dict[int, RegionPosts]:
        """Return those of *regions*, and new ones, with posts whose stats changed since *since*, after the changes."""
        changes: dict[int, list[database.RegionRow]] = {}
        for row in database.region_stats_since(since, new_ids):
            changes.setdefault(self.vocabularies.regions.intern(row.region), []).append(row)
        changed = {}
        for region_id, rows in changes.items():
            distinct = {row.post_id: row for row in rows}
            post_ids = np.array(list(distinct), np.int64)
            heat = heat_of(list(distinct.values()), half_lives)
            changed[region_id] = regions.get(region_id, RegionPosts.empty(half_lives)).with_changes(post_ids, heat)
        return changed


def heat_of(rows: Sequence[database.StatsRow | database.RegionRow], half_lives: HalfLives) -> Float64Array:
    """Return the heat (n, 5) of stored sums."""
    sums = np.array([[getattr(row, name) for name in POPULARITY_SUMS] for row in rows], np.float64)
    return compute_heat(sums, np.array([row.summed_at.timestamp() for row in rows]), half_lives)


def find_promising(success_count: Float32Array, seen_count: Float32Array, average_rate: float) -> BoolArray:
    """
    Return the mask (n,) of posts that may be as good as the average: False if they are worse with 95 % certainty.

    The upper bound of the rate comes from the normal approximation of the Beta posterior: mean + 1.645 standard
    deviations.
    """
    a, b = 1 + success_count, 1 + seen_count - success_count
    mean = a / (a + b)
    return mean + 1.645 * np.sqrt(mean * (1 - mean) / (a + b + 1)) >= average_rate


def newest_in_groups(
    state: CatalogueState,
    groups: NDArray[np.integer],
    rows: Int32Array,
    group_ids: NDArray[np.integer],
    k: int,
    eligible: BoolArray,
) -> Int64Array:
    """
    Return the ids of the *k* newest eligible posts of the groups *group_ids*.

    *groups* (n,) is sorted; *rows* (n,) are the rows of the posts, newest first within a group.
    """
    start, end = np.searchsorted(groups, group_ids, "left"), np.searchsorted(groups, group_ids, "right")
    group_rows = [rows[a:b] for a, b in zip(start.tolist(), end.tolist(), strict=True)]
    if sum(map(len, group_rows)) > SCAN_BLOCK_ROWS:
        group_rows = [first_eligible_rows(state, one_group, eligible, k) for one_group in group_rows]
    candidates = np.concatenate([rows[:0], *group_rows])
    return first_eligible_ids(state, candidates[np.argsort(state.orders.newest_ranks[candidates])], eligible, k)


def rows_of(state: CatalogueState, post_ids: Int64Array) -> Int32Array:
    """Return the row (n,) of each post, `UNKNOWN` where it has none."""
    return state.orders.row_lookup.rows_of(post_ids)


def first_eligible_ids(state: CatalogueState, order: Int32Array, eligible: BoolArray, k: int) -> Int64Array:
    """Return the ids of the first *k* rows of *order* that are *eligible*."""
    return state.posts.post_ids[first_eligible_rows(state, order, eligible, k)]


def first_eligible_rows(state: CatalogueState, order: Int32Array, eligible: BoolArray, k: int) -> Int32Array:
    """
    Return the first *k* rows of *order* that are *eligible*.

    Rows beyond the mask were added after the request began. They are not eligible.
    """
    order = order[order < len(eligible)] if len(eligible) < len(state.posts) else order
    found = [order[:0]]
    start, end = 0, FIRST_BLOCK_FACTOR * k
    while k and start < len(order):
        block = order[start:end]
        found.append(block[eligible[block]][:k])
        k -= len(found[-1])
        start, end = end, end + SCAN_BLOCK_ROWS
    return np.concatenate(found)


def with_counts(state: CatalogueState, stats: Iterable[database.StatsRow]) -> CatalogueState:
    """Return the state with changed counts."""
    changes = list(stats)
    if not changes:
        return state
    rows = rows_of(state, np.array([row.post_id for row in changes], np.int64))
    is_resident = rows != UNKNOWN
    counts = state.counts.copy()
    popularity = counts.popularity
    popularity.heat[rows[is_resident]] = heat_of(changes, popularity.half_lives)[is_resident]
    counts.positive_count[rows[is_resident]] = np.array([row.positive_count for row in changes], np.float32)[
        is_resident
    ]
    counts.served_count[rows[is_resident]] = np.array([row.served_count for row in changes], np.float32)[is_resident]
    counts.seen_count[rows[is_resident]] = np.array([row.seen_count for row in changes], np.float32)[is_resident]
    return CatalogueState(state.posts, state.orders, counts)


def with_half_lives(state: CatalogueState, half_lives: HalfLives) -> CatalogueState:
    """Return the state with sums of these *half_lives*, which are still to be read."""
    popularity = RelativePopularity.zeros(len(state.posts), half_lives)
    return CatalogueState(state.posts, state.orders, replace(state.counts, popularity=popularity))


def with_account_statuses(state: CatalogueState, account_statuses: dict[int, int]) -> CatalogueState:
    """Return the state with the account statuses of these authors (by member id) changed."""
    changed = np.flatnonzero(np.isin(state.posts.author_ids, np.array(list(account_statuses), np.int64)))
    if not len(changed):
        return state
    account_status = state.posts.account_status.copy()
    account_status[changed] = [account_statuses[int(author)] for author in state.posts.author_ids[changed]]
    return state.with_posts(replace(state.posts, account_status=account_status), state.counts)
