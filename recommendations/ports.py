"""
The ports: what the pipeline and the services require of engines, stores and embedders, edge cases included.

Implementations share these docstrings, not a base class. `tests/spec/` runs the same tests on every implementation.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol
from uuid import UUID

import numpy as np

from recommendations.contracts import (
    Affinity,
    BoolArray,
    CachedNeighbors,
    Candidates,
    CurrentPosts,
    Float32Array,
    IndexFilter,
    Int32Array,
    Int64Array,
    Interests,
    Query,
    RecordBatch,
    ServedSlate,
    Slate,
    SpaceTaste,
    SweepResult,
)


class VectorError(ValueError):
    """A vector cannot be used: wrong dimension or type, NaN or infinity. The message names the vector."""


class EngineError(RuntimeError):
    """An engine failed. Another engine may succeed."""


class Engine(Protocol):
    """
    Stores one vector for each catalogue row, and scores them. Every engine gives the same order; ties go to the lower
    post id.

    The cosine of a zero vector with any vector is 0. NaN or infinity raises `VectorError`. Any other failure raises
    `EngineError` and leaves the engine unchanged.

    An engine is created with its extra spaces. Each has a name, a dimension and at most one vector for each catalogue
    row. They are for collaborative factors, and only `score` uses them. An unknown name raises `VectorError`.
    """

    name: str
    dimension: int

    def put(self, rows: Int32Array, post_ids: Int64Array, vectors: Float32Array, *, space: str | None = None) -> None:
        """
        Store *vectors* (n, d) at *rows* (n,), replacing earlier vectors.

        *space* names an extra space, and d is its dimension. None is the engine's own space.
        """
        ...

    def drop(self, rows: Int32Array, *, space: str | None = None) -> None:
        """
        Remove *rows* (n,) from the extra space *space*, or from every space if it is None.

        Before a row is reused for another post it must be dropped from every space. Otherwise the new post would have
        vectors of the earlier post.
        """
        ...

    def nearest(self, queries: Float32Array, k: int, eligible: BoolArray) -> tuple[Int32Array, Float32Array]:
        """
        Return the *k* nearest rows of each query (q, d), best first. *eligible* is a mask over the rows.

        The result is two arrays (q, k): rows, with -1 if there are fewer than k, and cosines.
        """
        ...

    def score(
        self,
        rows: Int32Array,
        interests: Interests,
        columns: Float32Array,
        weights: Float32Array,
        *,
        extra_spaces: Sequence[SpaceTaste] = (),
    ) -> tuple[Float32Array, Float32Array]:
        """
        Return scores (n,) and their parts (n, 2 + c + s) for the candidates at *rows* (n,). -1 is a post without a row.

        Let a candidate's similarity to some interests be the maximum of weight · cosine over them, or 0 if there is no
        interest or the candidate has no vector. The parts are, in this order:

        - weights[0] · the similarity to the positive interests
        - -weights[1] · the similarity to the negative interests, or 0 if that similarity is below 0
        - weights[2:2 + c] · *columns* (n, c)
        - for each of the s *extra_spaces*, in their order: its weight (of the last s of *weights*) · the similarity to
          its interests, by the row's vector in that space

        A score is the sum of its parts. It depends on its own row only, not on the other candidates.
        """
        ...

    def diversify(
        self,
        rows: Int32Array,
        post_ids: Int64Array,
        scores: Float32Array,
        groups: Int64Array,
        k: int,
        trade_off: float,
        cap: int,
    ) -> Int64Array:
        """
        Return up to *k* positions, chosen greedily by (1 - trade_off) · score - trade_off · similarity.

        This is maximal marginal relevance (Carbonell and Goldstein 1998). Scores are first scaled to 0..1 by their own
        range. The similarity of a candidate is its highest cosine with an earlier pick, or 0 if that is below 0. At
        most *cap* picks share a group; the group -1 is unknown and has no cap.
        """
        ...

    def cosine(self, query: Float32Array, rows: Int32Array) -> Float32Array:
        """Return the cosine of *query* (d,) with each of *rows* (n,), as float32 (n,)."""
        ...

    def vectors(self, rows: Int32Array) -> Float32Array:
        """Return the unit vectors (n, d) at *rows* (n,); zeros for a row without a vector."""
        ...


class Catalogue(Protocol):
    """The posts that a process holds in memory as candidates: their columns, and a row for each post's vector."""

    def rows_of(self, post_ids: Int64Array) -> Int32Array:
        """Return the row of each of *post_ids* (n,); -1 for a post that is not resident."""
        ...

    def load_facts(self, candidates: Candidates, now: float) -> Candidates:
        """Return the candidates with every column that the catalogue has, at *now* (Unix seconds)."""
        ...

    def all_posts(self) -> Candidates:
        """
        Return every resident post as a candidate, in row order. The eligibility mask is computed from this.

        The columns of popularity and trend are not filled. An empty row counts as a removed post.
        """
        ...

    def trending(self, k: int, eligible: BoolArray) -> Int64Array:
        """Return the ids of the *k* eligible posts with the highest sums of recent interactions, best first."""
        ...

    def popular(self, k: int, eligible: BoolArray) -> Int64Array:
        """Return the ids of the *k* most popular eligible posts of the last year and of all time, best first."""
        ...

    def newest(self, k: int, eligible: BoolArray) -> Int64Array:
        """Return the ids of the *k* newest eligible posts, newest first."""
        ...

    def posts_in_region(self, region_id: int, k: int, eligible: BoolArray) -> tuple[Int64Array, Int64Array]:
        """Return what `popular` and `trending` return, by the interactions of the members of a region only."""
        ...

    def newest_by_topics(self, topic_ids: Int32Array, k: int, eligible: BoolArray) -> Int64Array:
        """Return the ids of the *k* newest eligible posts whose main tag is one of these, newest first."""
        ...

    def exploration_posts(
        self, max_served: int, k: int, eligible: BoolArray, rng: np.random.Generator
    ) -> tuple[Int64Array, Float32Array, Float32Array]:
        """
        Return up to *k* eligible posts in exploration, without failed posts: half the newest, half drawn with *rng*.

        A post is in exploration until it was served *max_served* times, or has as many positive interactions. It has
        failed if its rate of positive interactions is below the average with 95 % confidence. The result is three
        columns: post ids, how many members who looked at the post had a positive interaction, and how often members
        looked at it.
        """
        ...

    def newest_by_authors(self, author_ids: Int64Array, k: int, eligible: BoolArray) -> Int64Array:
        """Return the ids of the *k* newest eligible posts by these authors, newest first."""
        ...


class PostFacts(Protocol):
    """Reads the current facts of posts, for the final check."""

    def read(
        self, query: Query, post_ids: Int64Array, *, is_viewer_current: bool = False, prefetch: Any = None
    ) -> CurrentPosts:
        """
        Return *post_ids* (n,) as candidates, in this order, on current facts. A deleted post stays `UNKNOWN`.

        Also fills which posts the viewer has seen, and which contain a muted word of the viewer. *is_viewer_current*:
        this request has just read the viewer's facts, possibly with *prefetch*, so they are not read again.
        """
        ...

    def is_current(self, facts_version: Any) -> bool:
        """Return whether a `CurrentPosts.facts_version` is still current, as of the last read of its viewer's facts."""
        ...


class ColdPosts(Protocol):
    """Reads the facts of non-resident posts."""

    def read(self, post_ids: Int64Array, interests: Interests, wanted_tag_ids: Int32Array) -> Candidates:
        """
        Return the posts in this order, with their facts and similarity. A deleted post stays `UNKNOWN`.

        A post has `TAGS_PER_POST` tags, among them one of *wanted_tag_ids* if it has any of these.
        """
        ...


class StoreError(RuntimeError):
    """A store is unreachable, or did not answer in time."""


class BudgetedCache(Protocol):
    """A cache with a maximum number of entries, which all processes share."""

    def sweep(self, now: float, *, max_entries: int) -> SweepResult:
        """
        Remove the least recently used entries until at most *max_entries* remain; *now* is in Unix seconds.

        The time of last use has a resolution of one second. The order within one second is undefined. Between two
        sweeps the cache may exceed its budget. Raises `StoreError` if the cache is unreachable.
        """
        ...


class SlateCache(BudgetedCache, Protocol):
    """
    Caches slates for a limited time. An unreachable cache is a miss and never an error, except in `sweep`.

    The slates of a member are one entry: they expire together, a fixed time after the last `put` for the member, and a
    sweep evicts them together. A sweep uses a slate's `built_at` as its last use, and does not evict last good slates.
    """

    def get(self, member_id: int, feed_key: str) -> Slate | None:
        """Return the cached slate of this member and feed, or None. It has no score parts."""
        ...

    def get_last_good(self, member_id: int, feed_key: str) -> Slate | None:
        """Return the last slate that was cached for this member and feed, even if retired; None if it was purged."""
        ...

    def get_many_with_epoch(self, member_id: int, feed_keys: Sequence[str]) -> tuple[list[Slate | None], bytes]:
        """Return the results of `get` for each of *feed_keys*, and of `epoch`, in one round trip."""
        ...

    def epoch(self, member_id: int) -> bytes:
        """Return the epoch of this member's slates: an opaque value that changes when they are purged or retired."""
        ...

    def put(self, member_id: int, feed_key: str, slate: Slate, epoch: bytes) -> None:
        """
        Cache this slate, replacing an earlier one, unless the *epoch* read before it was built has ended.

        A slate with a value that does not fit its packed field is not cached. The error is logged and not raised.
        """
        ...

    def purge(self, member_ids: Sequence[int]) -> None:
        """Delete every slate of these members, and end their epochs."""
        ...

    def purge_all(self) -> None:
        """Delete every slate of all members, and end their epochs."""
        ...

    def retire(self, member_ids: Sequence[int]) -> None:
        """Retire these members' slates, so that only `get_last_good` returns them, and end their epochs."""
        ...

    def claim(self, member_id: int, feed_key: str, *, seconds: int) -> bool:
        """Return whether the caller may rebuild this slate. Other callers may not until `release`, or for *seconds*."""
        ...

    def release(self, member_id: int, feed_key: str) -> None:
        """Release the claim after the slate is built."""
        ...

    def add_served(self, member_id: int, request_id: UUID, served: ServedSlate) -> bool:
        """
        Store a slate as it was served, and return whether it is stored. False: the cache is unreachable, or the
        member's slates were removed less than a minute ago, perhaps after this request began.

        The last 10 of a member are stored, for a quarter of an hour after the last of them. Neither `purge` nor
        `retire` removes them, because a reader who pages on has passed their posts nevertheless.
        """
        ...

    def get_served(self, member_id: int, request_ids: Collection[UUID]) -> dict[UUID, ServedSlate]:
        """Return those of the slates that are stored by `add_served` for this member, by request id."""
        ...

    def remove_served(self, member_ids: Sequence[int]) -> None:
        """Remove what `add_served` stored for these members, and store nothing of them for a minute."""
        ...


class VectorCache(BudgetedCache, Protocol):
    """
    Caches the vectors of posts from one embedding model, for an hour after `put`. Reading does not extend this.

    While the cache is unreachable, `get` is a miss and `put` and `remove` do nothing. Only `sweep` raises an error.
    """

    def get(self, post_ids: Collection[int], now: float) -> dict[int, Float32Array]:
        """
        Return the cached vectors (d,) of *post_ids*, bit for bit as in `put`, without posts that have none.

        *now* (Unix seconds) becomes the last use of each returned vector.
        """
        ...

    def put(self, vectors: Mapping[int, Float32Array], now: float) -> None:
        """Cache *vectors* (d,) by post id, replacing earlier ones; *now* (Unix seconds) is their last use."""
        ...

    def remove(self, post_ids: Sequence[int]) -> None:
        """Remove the vectors of these posts. A post without a vector is ignored."""
        ...


class NeighborCache(BudgetedCache, Protocol):
    """
    Caches answers to vector queries for five minutes, and records which posts have changed since.

    Times are the store's own, in whole seconds, so that all processes use one clock. While the cache is unreachable,
    `get` is a miss and `put` and `mark_changed` do nothing. Only `sweep` raises an error.
    """

    def get(self, key: str) -> CachedNeighbors | None:
        """
        Return the answer cached under *key* with every post that has changed since, or None.

        An answer counts as computed some seconds before its `put`, because the posts that it was computed from may have
        been that far behind the database. A post that changed in the same second counts as changed since. Also returns
        None if more posts have changed than the cache records.
        """
        ...

    def put(self, key: str, post_ids: Int64Array, cosines: Float32Array) -> None:
        """Cache an answer: *post_ids* (n,), best first, and their *cosines* (n,). Replaces an earlier one."""
        ...

    def mark_changed(self, post_ids: Sequence[int]) -> None:
        """Record that these posts changed now, for every answer that is already cached."""
        ...


class RecordQueue(Protocol):
    """
    Queues records of served slates and pages for the workers that write them to the database.

    A worker takes a batch, which no other worker gets for a minute, and acknowledges it after the records are written.
    A batch whose worker was killed is taken again after that time. So writing a batch twice must have no further
    effect.
    """

    def push(self, *records: bytes) -> int:
        """
        Append *records* and return the length of the queue. Over the limit, the oldest waiting records are lost.

        Returns 0 if the queue is unreachable. The caller then keeps the records.
        """
        ...

    def take(self, count: int) -> RecordBatch | None:
        """
        Return a batch whose worker was lost, or else up to *count* (1 or more) waiting records, oldest first.

        None if there is neither. A record that can no longer be read is empty. Raises `StoreError` if the queue is
        unreachable.
        """
        ...

    def acknowledge(self, batch_id: str) -> None:
        """
        Remove a batch after its records are written. An unknown batch is ignored.

        Raises `StoreError` if the queue is unreachable.
        """
        ...

    def set_aside(self, *records: bytes) -> None:
        """
        Store records that the caller cannot read, for a worker of another version of the code.

        When no others wait, they wait again, at most once every five minutes. A week after the first of them was set
        aside, those that are still not written are deleted. Raises `StoreError` if the queue is unreachable.
        """
        ...


class ServedHistory(Protocol):
    """
    Stores the last pages that each member was served, for two days after the last of them.

    Only fatigue depends on it. While it is unreachable, `fatigue` is empty and `add` and `remove` do nothing.
    """

    def add(self, pages: Iterable[tuple[int, float, Sequence[int]]]) -> None:
        """
        Add *pages*: the member id, time (Unix seconds) and post ids of each, oldest first.

        Only the last 20 pages of a member are stored.
        """
        ...

    def fatigue(self, member_id: int, now: float, half_life_seconds: float, min_age_seconds: float = 0.0) -> Affinity:
        """
        Return the fatigue of each post that the member was served recently, from 0 to 1, at *now* (Unix seconds).

        The fatigue of a post is the sum of 0.5 · 2^(-age / half-life) over the times that it was served, at most 1. A
        page from the future counts as served now. A page younger than *min_age_seconds* does not count: the reader is
        still on it. Empty if no page of the member is stored.
        """
        ...

    def remove(self, member_ids: Sequence[int]) -> None:
        """Remove every page of these members."""
        ...


class Embedder(Protocol):
    """Embeds texts. The same text and model give the same vector."""

    name: str
    """The embedding model with its version, as in `PostEmbedding.embedding_model`."""
    dimension: int

    def embed(self, texts: Sequence[str]) -> Float32Array:
        """Return unit vectors (n, d), float32; a zero vector for a text with nothing to embed."""
        ...


class CrossModalEmbedder(Embedder, Protocol):
    """Embeds texts and pictures in one space. A text is near the pictures that it describes."""

    def embed_images(self, images: Sequence[bytes]) -> Float32Array:
        """
        Return unit vectors (n, d), float32, of *images*, each the bytes of a picture file.

        Raises `ImageError` with the positions of images that cannot be read.
        """
        ...


class ImageError(ValueError):
    """
    Some images cannot be read. The message has the position of the first one among the given images.

    *problems* are sentences by position; there are none if all images together are too large.
    """

    def __init__(self, message: str, problems: Mapping[int, str] | None = None) -> None:
        super().__init__(message)
        self.problems = problems or {}


class VectorIndex(Protocol):
    """
    Finds posts by their vectors, in one space of one embedding model. It includes posts that are not resident.

    The index may lag behind the database and return deleted posts, so its results are filtered again on current facts.
    A failure raises `VectorIndexError` and costs only the candidates of this source.
    """

    dimension: int

    def nearest(self, vectors: Float32Array, k: int, index_filter: IndexFilter) -> tuple[Int64Array, Float32Array]:
        """
        Return the *k* posts nearest to each of *vectors* (q, d) that pass *index_filter*, best first.

        The result is two arrays (q, k): ids, with `UNKNOWN` if there are fewer than k, and cosines. Ties go to the
        lower id. A zero vector gives a row of `UNKNOWN`.
        """
        ...


class VectorIndexError(RuntimeError):
    """A vector index is unreachable, or did not answer in time."""
