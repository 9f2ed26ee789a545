"""
What the inside asks of the outside. A port states the law, edge cases included; the wings keep it.

Engines and stores share these docstrings, not a base class; `tests/spec/` holds every one of them to the same tests.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

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
    Slate,
    SpaceTaste,
    SweepResult,
)


class VectorError(ValueError):
    """A vector cannot be used: wrong dimension or type, NaN or infinity. Says which."""


class EngineError(RuntimeError):
    """An engine could not do its work; another one may."""


class Engine(Protocol):
    """
    Keeps one vector per catalogue row and scores them. Every engine gives the same order; ties go to the lower post id.

    A zero vector is alike to nothing: its cosine is 0. NaN or infinity raises `VectorError`.
    What cannot be done for another reason raises `EngineError`, and changes nothing.

    An engine is made with its extra spaces: each has a name, a dimension and at most one vector per catalogue row. They
    are for collaborative factors, and take part in `score` only. A name that the engine was not made with raises
    `VectorError`.
    """

    name: str
    dimension: int

    def put(self, rows: Int32Array, post_ids: Int64Array, vectors: Float32Array, *, space: str | None = None) -> None:
        """
        Keep *vectors* (n, d) at *rows* (n,), in place of what was there.

        *space* names an extra space, whose dimension is d then; None is the engine's own space.
        """
        ...

    def drop(self, rows: Int32Array, *, space: str | None = None) -> None:
        """
        Remove these rows from the extra space of this name, or, without a name, from every space.

        A row that another post will take is dropped without a name: no vector of the earlier post stays behind.
        """
        ...

    def nearest(self, queries: Float32Array, k: int, eligible: BoolArray) -> tuple[Int32Array, Float32Array]:
        """
        Return, for each query (q, d), its *k* nearest rows among the *eligible* ones (a mask over rows), best first.

        Two arrays (q, k): rows, -1 where there are fewer, and cosines.
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
        Return scores (n,) and their parts (n, 2 + c + s) for the candidates at *rows* (n,); -1: no vector.

        The first part is weights[0] · the highest of weight · cosine over the positive interests; the second is
        -weights[1] · the same over the negative ones, where that is above 0; the next are weights[2:2 + c] · *columns*
        (n, c). Each of the s *extra_spaces* adds one part, in their order: its weight (the last s of *weights*) · the
        highest of weight · cosine over its interests, by the vector that the row has in that space. Without a vector
        or an interest, the similarity is 0.
        A score is the sum of its parts, and depends on its own row only.
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
        Return up to *k* positions, greedily by (1 - trade_off) · score - trade_off · similarity to what was picked.

        Likeness is the highest cosine with an earlier pick (maximal marginal relevance, Carbonell and Goldstein 1998).
        A similarity below 0 counts as 0. At most *cap* picks share a group; the group -1 is unknown and has no cap.
        Scores are first moved to 0..1 by their own range.
        """
        ...

    def cosine(self, query: Float32Array, rows: Int32Array) -> Float32Array:
        """Return the cosine of *query* (d,) with each of *rows* (n,), as float32 (n,)."""
        ...

    def vectors(self, rows: Int32Array) -> Float32Array:
        """Return the unit vectors (n, d) at *rows*; zero where there is none."""
        ...


class Catalogue(Protocol):
    """The posts that a process keeps in memory as candidates: columns, and a row for each post's vector."""

    def rows_of(self, post_ids: Int64Array) -> Int32Array:
        """Return each post's row, -1 where it is not resident."""
        ...

    def load_facts(self, candidates: Candidates, now: float) -> Candidates:
        """Return the candidates with every column that the catalogue knows of, at *now* (Unix seconds)."""
        ...

    def all_posts(self) -> Candidates:
        """
        Return every resident post as a candidate, in row order: what eligibility is reckoned from.

        Its engagement is not filled in; an empty row is a removed post.
        """
        ...

    def trending(self, k: int, eligible: BoolArray) -> Int64Array:
        """Return the ids of the *k* eligible posts with the highest engagement, best first."""
        ...

    def newest(self, k: int, eligible: BoolArray) -> Int64Array:
        """Return the ids of the *k* newest eligible posts, newest first."""
        ...

    def trending_in_region(self, region_id: int, k: int, eligible: BoolArray) -> Int64Array:
        """Return the ids of the *k* eligible posts with the highest engagement by members of a region, best first."""
        ...

    def newest_by_topics(self, topic_ids: Int32Array, k: int, eligible: BoolArray) -> Int64Array:
        """Return the ids of the *k* newest eligible posts whose main tag is one of these, newest first."""
        ...

    def exploration_posts(
        self, max_served: int, k: int, eligible: BoolArray
    ) -> tuple[Int64Array, Float32Array, Float32Array]:
        """
        Return the *k* newest eligible posts that were served less than *enough* times, without those that failed.

        Three columns: ids, positive acts, served_count. A post has failed when it is certain, at 95 %, to do worse
        than the usual one.
        """
        ...

    def newest_by_authors(self, author_ids: Int64Array, k: int, eligible: BoolArray) -> Int64Array:
        """Return the ids of the *k* newest eligible posts by these authors, newest first."""
        ...


class PostFacts(Protocol):
    """Tells what posts are judged by, as of this moment: what the last look is based on."""

    def read(
        self, query: Query, post_ids: Int64Array, *, is_viewer_current: bool = False, prefetch: Any = None
    ) -> CurrentPosts:
        """
        Return the posts as candidates, in this order, as the database has them now; what is gone stays `UNKNOWN`.

        It also tells which the viewer has seen, and which hold one of the viewer's muted words. *is_now*: the
        viewer's facts were read a moment ago in this very request, with *inquiry* perhaps; as of then is good enough.
        """
        ...

    def is_current(self, facts_version: Any) -> bool:
        """Return whether all of a `Looked.basis` is still so, as of when its viewer's facts were read last."""
        ...


class ColdPosts(Protocol):
    """Reads the facts of posts that are not resident."""

    def read(self, post_ids: Int64Array, interests: Interests) -> Candidates:
        """Return these posts in this order with their facts and their similarity; what is gone stays `UNKNOWN`."""
        ...


class StoreError(RuntimeError):
    """A store cannot be reached, or did not answer in time."""


class BudgetedCache(Protocol):
    """A cache that all processes share, and that has a budget of entries."""

    def sweep(self, now: float, *, max_entries: int) -> SweepResult:
        """
        Remove the entries used longest ago, until at most *most* are left; *now* is in Unix seconds.

        A last use counts in whole seconds. Which of the entries used in the same second goes first is not defined.
        Between two sweeps the cache may exceed its budget. Raises `StoreError` if the cache cannot be reached.
        """
        ...


class SlateCache(BudgetedCache, Protocol):
    """
    Keeps slates for a while. A cache that cannot be reached is a miss and never an error, except in `sweep`.

    A member's slates are one entry: they expire together, a fixed time after the last `put` for the member, and a
    sweep evicts them together. A sweep takes a slate's `built_at` for its last use, and evicts no last good slate.
    """

    def get(self, member_id: int, feed_key: str) -> Slate | None:
        """Return the slate kept for this member and feed, or None. It has no parts."""
        ...

    def get_last_good(self, member_id: int, feed_key: str) -> Slate | None:
        """Return the slate kept last for this member and feed, a retired one too; None if it was purged."""
        ...

    def get_many_with_epoch(self, member_id: int, feed_keys: Sequence[str]) -> tuple[list[Slate | None], bytes]:
        """Return the slate kept for each of *feeds*, as `get` does, and the epoch, as `epoch` does: one question."""
        ...

    def epoch(self, member_id: int) -> bytes:
        """Return what stands for the time since this member's slates were last purged or retired."""
        ...

    def put(self, member_id: int, feed_key: str, slate: Slate, epoch: bytes) -> None:
        """
        Keep this slate in place of an earlier one, unless the *epoch* in which it was begun has ended.

        A slate with a value that does not fit its packed field is not kept: the error is logged and not raised.
        """
        ...

    def purge(self, member_ids: Sequence[int]) -> None:
        """Forget every slate of these members, and end their epoch."""
        ...

    def purge_all(self) -> None:
        """Forget every slate of everybody, and end their epochs."""
        ...

    def retire(self, member_ids: Sequence[int]) -> None:
        """Serve these members' slates no more but as the last good one, and end their epoch."""
        ...

    def claim(self, member_id: int, feed_key: str, *, seconds: int) -> bool:
        """Return whether the caller is the one to make this slate anew; for *seconds* at most, nobody else is."""
        ...

    def release(self, member_id: int, feed_key: str) -> None:
        """Give up the claim: the slate is made."""
        ...


class VectorCache(BudgetedCache, Protocol):
    """
    Caches vectors of posts, of one embedding model, for an hour after they were put; reading does not prolong that.

    While it cannot be reached, `get` finds nothing and `put` and `forget` do nothing: no error, except in `sweep`.
    """

    def get(self, post_ids: Collection[int], now: float) -> dict[int, Float32Array]:
        """
        Return the cached vectors (d,) of *post_ids*, bit for bit as they were put; a post without one is left out.

        *now* (Unix seconds) becomes the last use of each vector found.
        """
        ...

    def put(self, vectors: Mapping[int, Float32Array], now: float) -> None:
        """Cache *vectors* (d,) by post id, in place of earlier ones; *now* (Unix seconds) is their last use."""
        ...

    def remove(self, post_ids: Sequence[int]) -> None:
        """Remove the vectors of these posts; a post without one is no error."""
        ...


class NeighborCache(BudgetedCache, Protocol):
    """
    Caches answers to vector queries for five minutes, and remembers which posts changed since each was made.

    The store itself tells the time, so that all processes go by one clock; moments are whole seconds. While the cache
    cannot be reached, `get` is a miss and `put` and `changed` do nothing: no error, except in `sweep`.
    """

    def get(self, key: str) -> CachedNeighbors | None:
        """
        Return the answer cached under *key* with every post that changed since it was made, or None.

        An answer counts as made some seconds before its `put`: the posts that it came from may have been that far
        behind the database. A post changed in the same second counts as changed since. None also if so many posts
        changed since that the cache no longer remembers all of them.
        """
        ...

    def put(self, key: str, post_ids: Int64Array, cosines: Float32Array) -> None:
        """Cache an answer: *post_ids* (n,), best first, and their *cosines* (n,). Replaces an earlier one."""
        ...

    def mark_changed(self, post_ids: Sequence[int]) -> None:
        """Note that these posts changed just now, for every answer cached before."""
        ...


class RecordQueue(Protocol):
    """
    Takes records of what was served, one or more at a time, to the worker that writes them to the database.

    A record leaves the queue only once it is written: a worker killed in between loses nothing. The records that it
    had taken are handed to the next one again, so writing a record twice must change nothing.
    """

    def push(self, *records: bytes) -> int:
        """
        Add *records* behind the others and return how many wait now; over the limit the oldest waiting are lost.

        Returns 0 if the queue cannot be reached: the records are lost, and a warning is logged.
        """
        ...

    def take(self, count: int) -> dict[bytes, bytes]:
        """
        Hand out up to *count* waiting records, oldest first, and before them all that were taken and not yet written.

        Returns the records by their receipt, which `written` asks for; equal records have receipts of their own. A
        record that can no longer be read is empty. Raises `StoreError` if the queue cannot be reached.
        """
        ...

    def acknowledge(self, receipts: Iterable[bytes]) -> None:
        """
        Remove the records of these *receipts*: they are in the database. An unknown receipt is no error.

        Raises `StoreError` if the queue cannot be reached.
        """
        ...


class ServedHistory(Protocol):
    """
    Remembers the last pages that each member was served, for two days after the last of them.

    Losing it costs the fatigue and nothing else: while it cannot be reached, `fatigue` is empty and `add` and `forget`
    do nothing.
    """

    def add(self, pages: Iterable[tuple[int, float, Sequence[int]]]) -> None:
        """
        Remember *pages*: member id, moment (Unix seconds) and post ids of each, oldest first.

        Only the last 20 of a member are remembered.
        """
        ...

    def fatigue(self, member_id: int, now: float, half_life_seconds: float) -> Affinity:
        """
        Return how tired the member may be of each post that they were served lately, from 0 to 1, at *now*.

        A post's fatigue is the sum of 0.5 · 2^(-age / half-life) over the times that it was served, and 1 at most. A
        page from the future counts as served now. Empty if nothing is remembered of the member.
        """
        ...

    def remove(self, member_ids: Sequence[int]) -> None:
        """Remove everything that is remembered of these members."""
        ...


class Embedder(Protocol):
    """Turns texts into vectors. The same text and model give the same vector."""

    name: str
    """The model with its version: what `PostEmbedding.model` keeps."""
    dimension: int

    def embed(self, texts: Sequence[str]) -> Float32Array:
        """Return unit vectors (n, d), float32; a text with nothing to embed gives a zero vector."""
        ...


class CrossModalEmbedder(Embedder, Protocol):
    """Turns texts and pictures into vectors of one space: a text is near to the pictures that it describes."""

    def embed_images(self, images: Sequence[bytes]) -> Float32Array:
        """
        Return unit vectors (n, d), float32, of *images*, each the bytes of a picture file.

        What is no picture raises `ImageError` saying which of them.
        """
        ...


class ImageError(ValueError):
    """Bytes that were to be a picture cannot be read as one. Says which."""


class VectorIndex(Protocol):
    """
    Posts by their vectors in one space, of one model: also those too old or too cold to be resident.

    It may be behind, and tell of posts that are no more: what it brings is filtered again on the catalogue's facts.
    What cannot be done raises `VectorIndexError`: we lose its candidates and no more.
    """

    dimension: int

    def nearest(self, vectors: Float32Array, k: int, index_filter: IndexFilter) -> tuple[Int64Array, Float32Array]:
        """
        Return, for each of *vectors* (q, d), the ids of the *k* nearest posts that are *wanted*, best first.

        Two arrays (q, k): ids, `UNKNOWN` where there are fewer, and cosines. Ties go to the lower id.
        A zero vector is near to nothing: a row of `UNKNOWN`.
        """
        ...


class VectorIndexError(RuntimeError):
    """A vector index does not answer, or not in time."""
