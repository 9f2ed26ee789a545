"""The resident rows of one vector space, and every operation on them."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wasm import validation
from wasm.errors import VectorError
from wasm.kernel import DEFAULT_DEADLINE_SECONDS, DEFAULT_MEMORY_LIMIT_BYTES, KernelStatistics
from wasm.module import Build
from wasm.padding import Float32Array
from wasm.shard import (
    SEGMENT_MASK_BYTES,
    SEGMENT_ROWS,
    Hits,
    Int32Array,
    Int64Array,
    Shard,
)

MAX_ROWS = 1 << 30
MAX_K = 100_000
MIN_SIEVE_DIMENSION = 96
"""Below this dimension the sieve is slower than reading the rows. For its effect on results see `scan_topk`."""
QUERIES_PER_PASS = 64
SUMS_BYTES_PER_PASS = 32 << 20
"""
The sieve uses two bytes per row and query during a pass. This and `QUERIES_PER_PASS` change speed and memory, never
the result.
"""


@dataclass(frozen=True, slots=True)
class SpaceStatistics:
    """Size and memory of a space, for monitoring."""

    dimension: int
    rows: int  # the highest row put, plus 1
    resident_bytes: int  # rows and their quantized forms
    shards: tuple[KernelStatistics, ...]

    @property
    def memory_bytes(self) -> int:
        """Linear memory of all shards."""
        return sum(shard.memory_bytes for shard in self.shards)

    @property
    def memory_limit_bytes(self) -> int:
        """Limit of the linear memory of all shards together."""
        return sum(shard.memory_limit_bytes for shard in self.shards)


@dataclass(frozen=True, slots=True)
class Taste:
    """Another space whose taste becomes one more part in `Space.score_candidates`."""

    space: "Space"
    rows: Int32Array  # (n,) rows of the candidates in that space; -1 for a candidate without a vector
    interests: Float32Array  # (i, d) with the dimension d of that space
    interest_weights: Float32Array  # (i,)


class Space:
    """
    Rows of one vector space in a sandbox, stored at unit length as float32, int8 and one bit per dimension.

    Safe to share between threads: each shard runs one call at a time, without the GIL. With several shards a scan
    runs on as many threads over one copy of the rows. A space belongs to the process that created it.
    """

    def __init__(
        self,
        dimension: int,
        *,
        memory_limit_bytes: int = DEFAULT_MEMORY_LIMIT_BYTES,
        deadline_seconds: float = DEFAULT_DEADLINE_SECONDS,
        shards: int = 1,
        build: Build | None = None,
    ) -> None:
        """
        Create an empty space.

        *memory_limit_bytes* limits all shards together; *deadline_seconds* limits each call into the kernel.
        *shards* and *build* change the speed, never the result.
        """
        self.dimension = validation.check_dimension(dimension)
        self._row_count = 0
        self._count_lock = threading.Lock()
        share = memory_limit_bytes // validation.check_positive("shards", shards)
        self._shards = [Shard(dimension, share, deadline_seconds, build) for _ in range(shards)]
        self._threads = ThreadPoolExecutor(shards, "wasm-scan") if shards > 1 else None

    def __len__(self) -> int:
        """Return the highest row ever put, plus 1."""
        return self._row_count

    def put(self, rows: Int32Array, ids: Int64Array, vectors: Float32Array) -> None:
        """
        Store *vectors* (m, d) as *rows* (m,) with their post *ids* (m,). An existing row is replaced.

        The space grows to the highest row. Raises `KernelMemoryError` before anything is written if it cannot grow.
        """
        rows = validation.check_rows("rows", rows, MAX_ROWS, lowest=0)
        ids = validation.check_array("ids", ids, np.int64, rows.shape)
        vectors = validation.check_array("vectors", vectors, np.float32, (len(rows), self.dimension))
        if not len(rows):
            return
        highest = int(rows.max()) + 1
        self._extend(highest)
        for index, shard in enumerate(self._shards):
            in_shard = self._shard_index(rows) == index
            shard.put(self._local_rows(rows[in_shard]), ids[in_shard], vectors[in_shard])
        with self._count_lock:
            self._row_count = max(self._row_count, highest)

    def drop(self, rows: Int32Array) -> None:
        """Drop *rows* (m,): a scan returns none of them, and each scores 0, until it is put again."""
        rows = validation.check_rows("rows", rows, self._row_count, lowest=0)
        for index, shard in enumerate(self._shards):
            shard.drop(self._local_rows(rows[self._shard_index(rows) == index]))

    def vectors(self, rows: Int32Array) -> Float32Array:
        """Return *rows* (n,) as unit vectors (n, d); zeros for -1 and for a dropped row."""
        rows = validation.check_rows("rows", rows, self._row_count)
        return self._gather_from_shards(rows, (self.dimension,), lambda shard, local, _: shard.vectors(local))

    def scan_topk(
        self,
        queries: Float32Array,
        k: int,
        eligible: NDArray[np.uint8] | None = None,
        *,
        sieve: bool = True,
    ) -> tuple[Int32Array, Float32Array]:
        """
        Return the *k* best eligible rows for each of *queries* (q, d): rows (q, k) and exact cosines (q, k).

        Best first, ties by the lower id; row -1 and score minus infinity if fewer than k rows are eligible.
        *eligible* is a bit mask over rows in little bit order; rows beyond its end are not eligible; None means
        all rows. Without *sieve* the result is provably exact. With *sieve* a scan of long rows is several times
        faster, and a row whose score equals the k-th best is lost with odds of 1 in 4,300 (`src/sieve.h`).
        """
        queries = validation.check_array("queries", queries, np.float32, (None, self.dimension))
        validation.check_positive("k", k)
        if k > MAX_K:
            raise VectorError(f"k is {k}; use 1 to {MAX_K}")
        if eligible is not None:
            eligible = validation.check_array("eligible", eligible, np.uint8, (None,))
            mask_bytes = -(-self._row_count // 8)
            if len(eligible) > mask_bytes:
                raise VectorError(f"eligible has {len(eligible)} bytes; it needs at most {mask_bytes}, one bit per row")
        sieve = sieve and self.dimension >= MIN_SIEVE_DIMENSION
        pass_size = min(QUERIES_PER_PASS, max(1, SUMS_BYTES_PER_PASS // (2 * max(1, self._row_count))))
        passes = [queries[start : start + pass_size] for start in range(0, len(queries), pass_size)]
        hits = [self._scan_pass(part, k, eligible, sieve) for part in passes]
        if not hits:
            return np.empty((0, k), np.int32), np.empty((0, k), np.float32)
        return np.concatenate([hit.rows for hit in hits]), np.concatenate([hit.scores for hit in hits])

    def rescore(self, rows: Int32Array, queries: Float32Array) -> Float32Array:
        """Return the cosine (n, q) of *rows* (n,) with *queries* (q, d); 0 for -1 and for a dropped row."""
        rows = validation.check_rows("rows", rows, self._row_count)
        queries = validation.check_array("queries", queries, np.float32, (None, self.dimension))
        return self._gather_from_shards(rows, (len(queries),), lambda shard, local, _: shard.rescore(local, queries))

    def score_candidates(
        self,
        rows: Int32Array,
        interests: Float32Array,
        interest_weights: Float32Array,
        columns: Float32Array,
        weights: Float32Array,
        extra_spaces: Sequence[Taste] = (),
        *,
        rejected_count: int = 0,
    ) -> tuple[Float32Array, Float32Array]:
        """
        Return totals (n,) and the parts (n, p) that add up to them, one for each of *weights* (p,).

        Part 0 is weights[0] * taste. The taste for a row is the largest of interest_weights[j] *
        cosine(row, interests[j]), and 0 for row -1 or without *interests* (i, d). The last *rejected_count* interests
        are rejected: they have no taste, but one part more, which follows it, for the largest of their weighted
        cosines, at least 0. Then follow one part for each of *columns* (n, c) and one for the taste in each of the
        *extra_spaces*, each times its weight. A total is the sum of its parts from left to right.
        """
        rows = validation.check_rows("rows", rows, self._row_count)
        interests = validation.check_array("interests", interests, np.float32, (None, self.dimension))
        interest_weights = validation.check_array("interest_weights", interest_weights, np.float32, (len(interests),))
        columns = validation.check_array("columns", columns, np.float32, (len(rows), None))
        validation.check_range("rejected_count", rejected_count, 0, len(interests))
        part_count = 1 + (rejected_count > 0) + columns.shape[1] + len(extra_spaces)
        weights = validation.check_array("weights", weights, np.float32, (part_count,))
        if extra_spaces:
            tastes = [taste.space.score_taste(taste, len(rows)) for taste in extra_spaces]
            columns = np.column_stack([columns, *tastes])
        if len(self._shards) == 1:
            return self._shards[0].score_candidates(rows, interests, interest_weights, columns, weights, rejected_count)
        scored = self._gather_from_shards(
            rows,
            (1 + part_count,),
            lambda shard, local, chosen: np.column_stack(
                shard.score_candidates(local, interests, interest_weights, columns[chosen], weights, rejected_count)
            ),
        )
        return scored[:, 0], scored[:, 1:]

    def score_taste(self, taste: Taste, count: int) -> Float32Array:
        """Return the unweighted taste (n,) for a request's candidates in this space."""
        if len(taste.rows) != count:
            raise VectorError(f"an extra space has {len(taste.rows)} rows; it needs {count}, one for each candidate")
        no_columns, one = np.empty((count, 0), np.float32), np.ones(1, np.float32)
        return self.score_candidates(taste.rows, taste.interests, taste.interest_weights, no_columns, one)[0]

    def diversify(
        self,
        rows: Int32Array,
        scores: Float32Array,
        groups: Int64Array,
        k: int,
        trade_off: float,
        cap: int,
        ids: Int64Array,
    ) -> Int32Array:
        """
        Return positions (at most *k*) in *rows* (n,), picked greedily by maximal marginal relevance.

        Each pick has the largest (1 - trade_off) * score - trade_off * max(0, cosine with the nearest pick);
        ties by the lower of *ids* (n,). At most *cap* picks share one of *groups* (n,); a negative group is
        unknown and is not capped. Row -1 has a cosine of 0 with every pick. *trade_off* is 0 (scores alone) to 1.
        """
        rows = validation.check_rows("rows", rows, self._row_count)
        scores = validation.check_array("scores", scores, np.float32, rows.shape)
        groups = validation.check_array("groups", groups, np.int64, rows.shape)
        ids = validation.check_array("ids", ids, np.int64, rows.shape)
        k, cap = (
            min(validation.check_positive("k", k), len(rows)),
            min(validation.check_positive("cap", cap), max(len(rows), 1)),
        )
        validation.check_range("trade_off", trade_off, 0, 1)
        vectors = self.vectors(rows) if len(self._shards) > 1 else None
        return self._shards[0].diversify(rows, vectors, scores, groups, ids, k, trade_off, cap)

    def recycle(self) -> int:
        """
        Move the rows into new instances without the scratch of past large calls; return the bytes freed.

        Every result stays the same, byte for byte (see `Kernel.recycle`). Calls to a shard wait while it is moved.
        Shards are moved one after another, so the system needs memory for a second copy of one shard's rows.
        """
        return sum(shard.recycle() for shard in self._shards)

    def close(self) -> None:
        """Free the memory now. Every later call raises `KernelError`."""
        for shard in self._shards:
            shard.kernel.close()
        if self._threads is not None:
            self._threads.shutdown()

    def statistics(self) -> SpaceStatistics:
        """Return the current statistics for monitoring. Does not wait for a running call."""
        return SpaceStatistics(
            dimension=self.dimension,
            rows=self._row_count,
            resident_bytes=sum(shard.segments * shard.segment_bytes for shard in self._shards),
            shards=tuple(shard.kernel.statistics() for shard in self._shards),
        )

    # Segments of 1,024 rows are assigned to the shards in rotation.

    def _shard_index(self, rows: Int32Array) -> Int32Array:
        return rows // SEGMENT_ROWS % len(self._shards)

    def _local_rows(self, rows: Int32Array) -> Int32Array:
        if len(self._shards) == 1:
            return rows
        local = rows // (SEGMENT_ROWS * len(self._shards)) * SEGMENT_ROWS + rows % SEGMENT_ROWS
        return np.where(rows < 0, np.int32(-1), local)

    def _global_rows(self, local: Int32Array, index: int) -> Int32Array:
        segment = local // SEGMENT_ROWS * len(self._shards) + index
        return np.where(local < 0, np.int32(-1), segment * SEGMENT_ROWS + local % SEGMENT_ROWS)

    def _extend(self, row_count: int) -> None:
        segments = -(-row_count // SEGMENT_ROWS)
        for index, shard in enumerate(self._shards):
            shard.extend(-(-(segments - index) // len(self._shards)))

    def _gather_from_shards(
        self,
        rows: Int32Array,
        lengths: tuple[int, ...],
        run: Callable[[Shard, Int32Array, NDArray[np.bool_] | slice], Float32Array],
    ) -> Float32Array:
        """Call *run* on each shard with its rows and return the results (n, *lengths) in the order of *rows*."""
        if len(self._shards) == 1:
            return run(self._shards[0], rows, slice(None))
        out = np.empty((len(rows), *lengths), np.float32)
        for index, shard in enumerate(self._shards):
            in_shard = self._shard_index(rows) == index
            if in_shard.any():
                out[in_shard] = run(shard, self._local_rows(rows[in_shard]), in_shard)
        return out

    def _scan_pass(self, queries: Float32Array, k: int, eligible: NDArray[np.uint8] | None, sieve: bool) -> Hits:
        if self._threads is None:
            return self._shards[0].scan_topk(queries, k, eligible, sieve)
        self._shards[0].kernel.require_usable()
        masks = self._shard_masks(eligible)
        hits = list(
            self._threads.map(
                lambda index: self._shards[index].scan_topk(queries, k, masks[index], sieve),
                range(len(self._shards)),
            )
        )
        return self._merge_hits(hits, k)

    def _shard_masks(self, eligible: NDArray[np.uint8] | None) -> list[NDArray[np.uint8] | None]:
        count = len(self._shards)
        if eligible is None:
            return [None] * count
        padded = np.zeros(-(-len(eligible) // SEGMENT_MASK_BYTES) * SEGMENT_MASK_BYTES, np.uint8)
        padded[: len(eligible)] = eligible
        segments = padded.reshape(-1, SEGMENT_MASK_BYTES)
        return [np.ascontiguousarray(segments[index::count]).reshape(-1) for index in range(count)]

    def _merge_hits(self, shard_hits: list[Hits], k: int) -> Hits:
        rows = np.concatenate([self._global_rows(hits.rows, index) for index, hits in enumerate(shard_hits)], axis=1)
        ids = np.concatenate([hits.ids for hits in shard_hits], axis=1)
        scores = np.concatenate([hits.scores for hits in shard_hits], axis=1)
        order = np.lexsort((ids, -scores), axis=1)[:, :k]
        take = np.take_along_axis
        return Hits(take(rows, order, 1), take(ids, order, 1), take(scores, order, 1))
