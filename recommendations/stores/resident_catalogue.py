"""
The posts that this process keeps in memory as candidates: columns here, vectors in the engines, a row each.

It follows the database by time of change, a little behind. It is never the last word on what may be shown: the last
look reads the rows themselves. Columns are replaced, not changed, so that a request keeps the ones it started with.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterable, Sequence
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
    ENGAGEMENT_HALF_LIFE_SECONDS,
    UNKNOWN,
    BoolArray,
    Candidates,
    Float32Array,
    Float64Array,
    Int32Array,
    Int64Array,
)
from recommendations.ports import Engine, EngineError
from recommendations.stores import relational_posts as database
from recommendations.stores.vocabulary import Vocabularies

log = logging.getLogger(__name__)

OVERLAP = timedelta(seconds=10)
"""Changes are read this far back again: a row is dated by its door and may be committed seconds later."""
Group = TypeVar("Group", bound=np.integer)
NO_HEAT = -math.inf
PRIOR_SERVED_COUNT = 20.0
"""How many served_count of the usual post a post's quality starts from. Changes the answer."""
MAX_REGION_POSTS = 2_000
"""Posts that a region's trending is chosen from. Changes the answer where all of them are seen or may not be."""
RETRY_SECONDS = 30.0
"""How often vectors that an engine could not take are handed to it again."""
PUT_BATCH_ROWS = 4_096
ID_TABLE_MAX_SPARSITY = 16
"""Ids a post that a table from ids to rows may span, four bytes each. Changes the speed, and memory."""
FACT_COLUMNS = tuple(name for name in CANDIDATE_COLUMNS if name not in ("post_ids", "origins"))
SCAN_BLOCK_ROWS = 2_048
"""Rows of an order that are looked at together, until enough are eligible. Changes the speed."""


class RowLookup:
    """
    From a post's id to its row, by a table over the span of the ids: a sequence gives them, so they lie close.

    Where more than `SPARSE` ids would be missing for each that is there, the ids are searched instead.
    """

    def __init__(self, post_ids: Int64Array) -> None:
        used = np.flatnonzero(post_ids).astype(np.int32)
        ids = post_ids[used]
        self._low, high = (int(ids.min()), int(ids.max())) if len(ids) else (0, -1)
        self._is_table = high - self._low < ID_TABLE_MAX_SPARSITY * len(ids)
        if self._is_table:
            # The last entry answers for every id that is out of the span.
            self._rows = np.full(high - self._low + 2, UNKNOWN, np.int32)
            self._rows[ids - self._low] = used
        else:
            order = np.argsort(ids, kind="stable")
            self._ids, self._rows = ids[order], used[order]

    def rows_of(self, post_ids: Int64Array) -> Int32Array:
        """Return the row (n,) of each post, `UNKNOWN` where it has none."""
        if self._is_table:
            at = post_ids - self._low
            outside = len(self._rows) - 1
            return self._rows[np.where((at >= 0) & (at < outside), at, outside)]
        at = np.minimum(np.searchsorted(self._ids, post_ids), len(self._ids) - 1)
        return np.where(self._ids[at] == post_ids, self._rows[at], np.int32(UNKNOWN))


class RowOrders:
    """The posts' rows in every order that is asked for, each made when it first is; they hold until a post changes."""

    def __init__(self, posts: Candidates) -> None:
        self._posts = posts
        self._of_regions: WeakKeyDictionary[RegionTrends, Int32Array] = WeakKeyDictionary()

    @cached_property
    def newest_first(self) -> Int32Array:
        """Rows by age, the newest first."""
        return np.lexsort((self._posts.post_ids, -np.nan_to_num(self._posts.created_at))).astype(np.int32)

    @cached_property
    def newest_ranks(self) -> Int32Array:
        """The place (n,) of each row in `latest`."""
        places = np.empty(len(self.newest_first), np.int32)
        places[self.newest_first] = np.arange(len(places), dtype=np.int32)
        return places

    @cached_property
    def row_lookup(self) -> RowLookup:
        """The row of each post."""
        return RowLookup(self._posts.post_ids)

    @cached_property
    def by_author(self) -> tuple[Int64Array, Int32Array]:
        """Authors, sorted, and the row of each of their posts, the newest first."""
        return self._group_rows(self._posts.author_ids)

    @cached_property
    def by_topic(self) -> tuple[Int32Array, Int32Array]:
        """Main tags, sorted, and the row of each of their posts, the newest first."""
        return self._group_rows(self._posts.topic_ids)

    def hottest_in(self, region: RegionTrends) -> Int32Array:
        """Return the rows of what trends in *region*, the hottest first."""
        if region not in self._of_regions:
            rows = self.row_lookup.rows_of(region.hottest)
            self._of_regions[region] = rows[rows != UNKNOWN]
        return self._of_regions[region]

    def _group_rows(self, groups: NDArray[Group]) -> tuple[NDArray[Group], Int32Array]:
        order = self.newest_first[np.argsort(groups[self.newest_first], kind="stable")]
        return groups[order], order


@dataclass(frozen=True)
class PostCounts:
    """What members do to posts, a row each as in the posts' columns."""

    heat: Float64Array  # (n,) log2 of the engagement as it would stand at time 0: it orders posts for all time
    positive_count: Float32Array  # (n,) acts that speak for the post
    served_count: Float32Array  # (n,) times that it was served

    @classmethod
    def zeros(cls, n: int) -> PostCounts:
        """Return the counts of posts that nobody met."""
        return cls(np.full(n, NO_HEAT), np.zeros(n, np.float32), np.zeros(n, np.float32))

    def copy(self) -> PostCounts:
        """Return columns that may be written to."""
        return PostCounts(self.heat.copy(), self.positive_count.copy(), self.served_count.copy())

    def with_new_rows(self, n: int) -> PostCounts:
        """Return the columns with *n* more rows."""
        more = PostCounts.zeros(n)
        return PostCounts(
            np.concatenate([self.heat, more.heat]),
            np.concatenate([self.positive_count, more.positive_count]),
            np.concatenate([self.served_count, more.served_count]),
        )

    def reset(self, rows: Int32Array) -> None:
        """Let these rows be those of posts that nobody met."""
        self.heat[rows], self.positive_count[rows], self.served_count[rows] = NO_HEAT, 0, 0

    @cached_property
    def average_rate(self) -> float:
        """Positive acts an impression, over all posts that were served; what a post without any is taken for."""
        served = float(self.served_count.sum())
        return (
            min(max(float(self.positive_count[self.served_count > 0].sum()) / served, 0.001), 0.999) if served else 0.05
        )

    @cached_property
    def is_promising(self) -> BoolArray:
        """Whether each post (n,) may do as well as the usual one."""
        return find_promising(self.positive_count, self.served_count, self.average_rate)

    def candidate_columns(self, rows: Int32Array, now: float) -> dict[str, Float32Array]:
        """Return the columns (n,) of `Candidates` that say what members did to the posts at *rows*, at *now*."""
        return {
            "engagement": np.exp2(self.heat[rows] - now / ENGAGEMENT_HALF_LIFE_SECONDS).astype(np.float32),
            "served_count": self.served_count[rows],
            "quality": self.quality(rows),
        }

    def quality(self, rows: Int32Array) -> Float32Array:
        """
        Return the quality (n,) of the posts at *rows*: r / (r + usual), from 0 to 1, and 0.5 for the usual.

        r is the rate of positive acts an impression, drawn to the usual one by `PRIOR_IMPRESSIONS` (a Bayesian
        average: the posterior mean of a Beta-binomial, Gelman et al., Bayesian Data Analysis, section 2.4).
        """
        usual, served_count = self.average_rate, self.served_count[rows]
        rate = (np.minimum(self.positive_count[rows], served_count) + PRIOR_SERVED_COUNT * usual) / (
            served_count + PRIOR_SERVED_COUNT
        )
        return (rate / (rate + usual)).astype(np.float32)


@dataclass(frozen=True)
class CatalogueState:
    """One state of the catalogue. `posts` has a row for every slot; an empty slot is a removed post with id 0."""

    posts: Candidates
    orders: RowOrders
    counts: PostCounts

    @cached_property
    def hottest(self) -> Int32Array:
        """Rows by engagement, the highest first; posts without any are left out."""
        order = np.lexsort((self.posts.post_ids, -self.counts.heat)).astype(np.int32)
        return order[np.isfinite(self.counts.heat[order])]

    @cached_property
    def _served_less_than(self) -> dict[int, Int32Array]:
        return {}

    def served_less_than(self, max_served: int) -> Int32Array:
        """Return the rows that were served less often, the newest first; worked out once for each policy's number."""
        if max_served not in self._served_less_than:
            latest = self.orders.newest_first
            self._served_less_than[max_served] = latest[self.counts.served_count[latest] < max_served]
        return self._served_less_than[max_served]

    def with_posts(self, posts: Candidates, counts: PostCounts) -> CatalogueState:
        """Return the state after posts changed."""
        return CatalogueState(posts, RowOrders(posts), counts)


@dataclass(frozen=True, eq=False)
class RegionTrends:
    """What trends among the members of one region, at one moment."""

    heat: dict[int, float]
    """By post, as in `Counts.heat`."""
    hottest: Int64Array
    """The posts, the hottest first."""

    @classmethod
    def merge(cls, heat: dict[int, float], changes: dict[int, float]) -> RegionTrends:
        """Return the region after these changes; only its hottest posts are kept."""
        ranked = sorted((heat | changes).items(), key=lambda item: (-item[1], item[0]))[:MAX_REGION_POSTS]
        return cls(dict(ranked), np.array([post_id for post_id, _ in ranked], np.int64))


@dataclass(frozen=True)
class ResidentSpace:
    """One kind of vector that the posts have, by one model, and the engines that keep it. All spaces share the rows."""

    name: str
    model: str
    dimension: int
    engines: Sequence[Engine]


class ResidentCatalogue:
    """Keeps `Catalogue`. Safe under threads; a process has one."""

    def __init__(
        self,
        *,
        spaces: Sequence[ResidentSpace],
        vocabularies: Vocabularies,
        max_posts: int,
        refresh_seconds: float,
    ) -> None:
        self.words = vocabularies
        self.refreshed_at: datetime | None = None
        self._spaces = spaces
        self._max_posts = max_posts
        self._refresh_seconds = refresh_seconds
        self._lock = threading.Lock()
        empty = Candidates.unknown(np.zeros(0, np.int64), np.zeros(0, np.uint16))
        self._columns = CatalogueState(empty, RowOrders(empty), PostCounts.zeros(0))
        self._regions: dict[int, RegionTrends] = {}
        self._lacking: dict[Engine, set[int]] = {}
        self._tried_at: datetime | None = None

    def __len__(self) -> int:
        return int(np.count_nonzero(self._columns.posts.post_ids))

    # Following the database

    def refresh(self, now: datetime) -> None:
        """Read what changed, unless that was done less than the refresh interval ago or is being done right now."""
        if self.refreshed_at and abs((now - self.refreshed_at).total_seconds()) < self._refresh_seconds:
            return
        # The first load is waited for; later ones are not: the others go on with what is there.
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
            standings: dict[int, int] = {}
        else:
            rows = list(database.changed_posts(since))
            standings = database.changed_account_statuses(since)
        columns, new_ids = self._with_posts(self._columns, rows)
        columns = with_account_statuses(columns, standings) if standings else columns
        columns = with_counts(columns, database.stats_since(since, new_ids))
        self._sync_regions(since, new_ids)
        self._columns = columns
        self._sync_vectors(columns, since, new_ids)
        self._retry_missing_vectors(columns, now)
        self.refreshed_at = now

    def _with_posts(self, columns: CatalogueState, rows: list[database.PostRow]) -> tuple[CatalogueState, Int64Array]:
        """Return columns with *rows* written in, and the ids that are new. A removed post's slot is set free."""
        if not rows:
            return columns, EMPTY_IDS
        # Posts in one language and about one topic lie together: a scan skips what is not readable by whole blocks, and
        # reads what is alike from one place.
        rows = sorted({row.id: row for row in rows}.values(), key=lambda row: (row.language, row.tags[:1]))
        ids = np.array([row.id for row in rows], np.int64)
        at = rows_of(columns, ids)
        is_new = (at == UNKNOWN) & np.array([row.removed_at is None for row in rows], np.bool_)
        columns, at[is_new] = self._with_slots(columns, int(is_new.sum()))
        kept = np.flatnonzero(at != UNKNOWN)
        posts = replace(columns.posts, **{name: getattr(columns.posts, name).copy() for name in CANDIDATE_COLUMNS})
        counts = columns.counts.copy()
        counts.reset(at[is_new])
        posts.post_ids[at[kept]] = ids[kept]
        narrow = [rows[i]._replace(tags=rows[i].tags[: posts.tag_ids.shape[1]]) for i in kept]
        database.fill_columns(posts, at[kept].tolist(), narrow, self.words)
        gone = at[kept][posts.is_removed[at[kept]]]
        posts.post_ids[gone] = 0
        counts.reset(gone)
        for engine in (engine for space in self._spaces for engine in space.engines):
            engine.drop(np.concatenate([gone, at[is_new]]))
        return columns.with_posts(posts, counts), ids[is_new]

    def _with_slots(self, columns: CatalogueState, count: int) -> tuple[CatalogueState, Int32Array]:
        """Return columns with room for *count* more posts, and their rows: free ones, then new, then the oldest."""
        free = np.flatnonzero(columns.posts.post_ids == 0).astype(np.int32)[:count]
        have = len(columns.posts)
        grown = min(count - len(free), max(0, self._max_posts - have))
        if grown > 0:
            more = Candidates.unknown(np.zeros(grown, np.int64), np.zeros(grown, np.uint16))
            joined = {
                name: np.concatenate([getattr(columns.posts, name), getattr(more, name)]) for name in CANDIDATE_COLUMNS
            }
            joined["rows"] = np.arange(have + grown, dtype=np.int32)
            columns = columns.with_posts(replace(columns.posts, **joined), columns.counts.with_new_rows(grown))
        slots = np.concatenate([free, np.arange(have, have + max(grown, 0), dtype=np.int32)])
        oldest = columns.orders.newest_first[::-1][: count - len(slots)] if count > len(slots) else slots[:0]
        return columns, np.sort(np.concatenate([slots, oldest]))

    def _sync_vectors(self, columns: CatalogueState, since: datetime | None, new_ids: Int64Array) -> None:
        """Hand every engine the vectors of its space made since, and those of posts that are new here."""
        for space in self._spaces:
            rows = database.embeddings_since(since, new_ids, space.name, space.model)
            while batch := list(islice(rows, PUT_BATCH_ROWS)):
                self._put_vectors(columns, space, batch)

    def _put_vectors(self, columns: CatalogueState, space: ResidentSpace, batch: list[tuple[int, bytes]]) -> None:
        """Hand over the usable vectors; one of another length, or with NaN, is left out: its post has no taste part."""
        size = 4 * space.dimension
        usable = [(post_id, vector) for post_id, vector in batch if len(vector) == size]
        ids = np.array([post_id for post_id, _ in usable], np.int64)
        vectors = np.frombuffer(b"".join(vector for _, vector in usable), "<f4").reshape(-1, space.dimension)
        at = rows_of(columns, ids)
        finite = np.isfinite(vectors).all(axis=1)
        if unusable := len(batch) - int(finite.sum()):
            log.warning("vectors_unusable", extra={"count": unusable, "embedding_model": space.model})
        kept = (at != UNKNOWN) & finite
        for engine in space.engines:
            lacking = self._lacking.setdefault(engine, set())
            try:
                engine.put(at[kept], ids[kept], np.ascontiguousarray(vectors[kept], np.float32))
                lacking -= set(ids.tolist())
            except EngineError:
                # Out of memory, as a rule. Others have them; this one is not asked until it has them too.
                lacking |= set(ids[kept].tolist())
                log.exception("engine_lacks_vectors", extra={"engine": engine.name, "count": len(lacking)})
            metrics.ENGINE_MISSING_VECTORS.labels(space.name, engine.name).set(len(lacking))

    def count_missing_vectors(self, engine: Engine) -> int:
        """Return how many posts have a vector that *engine* could not take: it would rank them as alike to nothing."""
        return len(self._lacking.get(engine, ()))

    def _retry_missing_vectors(self, columns: CatalogueState, now: datetime) -> None:
        """Hand engines what they could not take, every `RETRY_SECONDS`: rows were dropped, or memory was recycled."""
        if not any(self._lacking.values()):
            self._tried_at = None
            return
        self._tried_at = self._tried_at or now
        if (now - self._tried_at).total_seconds() < RETRY_SECONDS:
            return
        self._tried_at = now
        for space in self._spaces:
            lacking = set().union(*(self._lacking.get(engine, set()) for engine in space.engines))
            resident = np.array(sorted(lacking), np.int64)
            gone = resident[rows_of(columns, resident) == UNKNOWN].tolist()
            for engine in space.engines:
                self._lacking.get(engine, set()).difference_update(gone)
            rows = database.embeddings_of(sorted(lacking.difference(gone)), space.name, space.model)
            while batch := list(islice(rows, PUT_BATCH_ROWS)):
                self._put_vectors(columns, space, batch)

    # Answering

    def rows_of(self, post_ids: Int64Array) -> Int32Array:
        """See `Catalogue.rows_of`."""
        return rows_of(self._columns, post_ids)

    def load_facts(self, candidates: Candidates, now: float) -> Candidates:
        """See `Catalogue.gather`."""
        columns = self._columns
        at = rows_of(columns, candidates.post_ids)
        known = at != UNKNOWN
        if known.all():
            facts = columns.counts.candidate_columns(at, now)
            return columns.posts.take(at, post_ids=candidates.post_ids, origins=candidates.origins, **facts)
        result = Candidates.unknown(candidates.post_ids, candidates.origins)
        resident = columns.posts.take(at[known], **columns.counts.candidate_columns(at[known], now))
        for name in FACT_COLUMNS:
            getattr(result, name)[known] = getattr(resident, name)
        return result

    def all_posts(self) -> Candidates:
        """See `Catalogue.everything`."""
        return self._columns.posts

    def trending(self, k: int, eligible: BoolArray) -> Int64Array:
        """See `Catalogue.trending`."""
        return first_eligible_ids(self._columns, self._columns.hottest, eligible, k)

    def newest(self, k: int, eligible: BoolArray) -> Int64Array:
        """See `Catalogue.newest`."""
        return first_eligible_ids(self._columns, self._columns.orders.newest_first, eligible, k)

    def newest_by_authors(self, author_ids: Int64Array, k: int, eligible: BoolArray) -> Int64Array:
        """See `Catalogue.by_authors`."""
        columns = self._columns
        return newest_in_groups(columns, *columns.orders.by_author, author_ids, k, eligible)

    def newest_by_topics(self, topic_ids: Int32Array, k: int, eligible: BoolArray) -> Int64Array:
        """See `Catalogue.by_topics`."""
        columns = self._columns
        return newest_in_groups(columns, *columns.orders.by_topic, topic_ids, k, eligible)

    def trending_in_region(self, region_id: int, k: int, eligible: BoolArray) -> Int64Array:
        """See `Catalogue.trending_in`."""
        columns, region = self._columns, self._regions.get(region_id)
        return (
            EMPTY_IDS if region is None else first_eligible_ids(columns, columns.orders.hottest_in(region), eligible, k)
        )

    def exploration_posts(
        self, max_served: int, k: int, eligible: BoolArray
    ) -> tuple[Int64Array, Float32Array, Float32Array]:
        """See `Catalogue.on_audition`."""
        columns = self._columns
        counts = columns.counts
        rows = first_eligible_rows(columns, columns.served_less_than(max_served), eligible, k)
        rows = rows[counts.is_promising[rows]]
        return columns.posts.post_ids[rows], counts.positive_count[rows], counts.served_count[rows]

    def _sync_regions(self, since: datetime | None, new_ids: Int64Array) -> None:
        """Take in the engagement by region that changed; each region keeps its hottest posts."""
        changed: dict[int, dict[int, float]] = {}
        for post_id, region, value, moment in database.region_stats_since(since, new_ids):
            changed.setdefault(self.words.regions.intern(region), {})[post_id] = compute_heat(value, moment.timestamp())
        regions = {
            number: RegionTrends.merge(self._regions[number].heat if number in self._regions else {}, heat)
            for number, heat in changed.items()
        }
        self._regions = self._regions | regions


def compute_heat(engagement: float, timestamp: float) -> float:
    """Return the logarithm of an engagement that stands for *moment* (Unix seconds), as it would stand at time 0."""
    return (math.log2(engagement) if engagement > 0 else NO_HEAT) + timestamp / ENGAGEMENT_HALF_LIFE_SECONDS


def find_promising(positive_count: Float32Array, served_count: Float32Array, average_rate: float) -> BoolArray:
    """
    Return which posts may do as well as the usual one: false if, with 95 % certainty, they do worse.

    The upper bound is that of the Beta posterior by its normal approximation: mean + 1.645 standard deviations.
    """
    a, b = 1 + positive_count, 1 + np.maximum(served_count - positive_count, 0)
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
    """Return the ids of the *k* newest eligible posts of the *wanted* groups; *rows*: by group, the newest first."""
    start, end = np.searchsorted(groups, group_ids, "left"), np.searchsorted(groups, group_ids, "right")
    own = [rows[a:b] for a, b in zip(start.tolist(), end.tolist(), strict=True)]
    if sum(map(len, own)) > SCAN_BLOCK_ROWS:
        own = [first_eligible_rows(state, some, eligible, k) for some in own]
    found = np.concatenate([rows[:0], *own])
    return first_eligible_ids(state, found[np.argsort(state.orders.newest_ranks[found])], eligible, k)


def rows_of(state: CatalogueState, post_ids: Int64Array) -> Int32Array:
    """Return the row of each post, `UNKNOWN` where it has none."""
    return state.orders.row_lookup.rows_of(post_ids)


def first_eligible_ids(state: CatalogueState, order: Int32Array, eligible: BoolArray, k: int) -> Int64Array:
    """Return the ids of the first *k* rows of *order* that are *eligible*."""
    return state.posts.post_ids[first_eligible_rows(state, order, eligible, k)]


def first_eligible_rows(state: CatalogueState, order: Int32Array, eligible: BoolArray, k: int) -> Int32Array:
    """
    Return the first *k* rows of *order* that are *eligible*.

    Rows beyond the mask came after the request began, and are not eligible.
    """
    order = order[order < len(eligible)] if len(eligible) < len(state.posts) else order
    found: list[Int32Array] = []
    for start in range(0, len(order), SCAN_BLOCK_ROWS):
        stretch = order[start : start + SCAN_BLOCK_ROWS]
        found.append(stretch[eligible[stretch]][:k])
        k -= len(found[-1])
        if not k:
            break
    return np.concatenate([order[:0], *found])


def with_counts(state: CatalogueState, stats: Iterable[tuple[int, float, datetime, int, int]]) -> CatalogueState:
    """Return columns with the counts that *stats* tell: post id, engagement and its moment, positive_count, served_count."""
    told = list(stats)
    if not told:
        return state
    at = rows_of(state, np.array([row[0] for row in told], np.int64))
    known = at != UNKNOWN
    counts = state.counts.copy()
    counts.heat[at[known]] = np.array([compute_heat(row[1], row[2].timestamp()) for row in told])[known]
    counts.positive_count[at[known]] = np.array([row[3] for row in told], np.float32)[known]
    counts.served_count[at[known]] = np.array([row[4] for row in told], np.float32)[known]
    return CatalogueState(state.posts, state.orders, counts)


def with_account_statuses(state: CatalogueState, account_statuses: dict[int, int]) -> CatalogueState:
    """Return columns in which these authors stand as told."""
    changed = np.flatnonzero(np.isin(state.posts.author_ids, np.array(list(account_statuses), np.int64)))
    if not len(changed):
        return state
    account_status = state.posts.account_status.copy()
    account_status[changed] = [account_statuses[int(author)] for author in state.posts.author_ids[changed]]
    return state.with_posts(replace(state.posts, account_status=account_status), state.counts)
