"""Resident rows in one sandbox. `space.py` has validated the arguments; calls copy their inputs and results."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from wasm.kernel import Kernel
from wasm.memory import ArraySpec
from wasm.module import Build
from wasm.padding import Float32Array, pad_into, padded_dimension

Int32Array = NDArray[np.int32]
Int64Array = NDArray[np.int64]

SEGMENT_ROWS = 1024
SEGMENT_MASK_BYTES = SEGMENT_ROWS // 8
CHUNK_BYTES = 256 << 10
"""Bytes of vectors copied at a time. Changes the speed, never the result."""
RESERVE_BYTES = 2 * CHUNK_BYTES
"""Scratch that is allocated with the rows, so that a full shard can still be written to and recycled."""


@dataclass(frozen=True, slots=True)
class Hits:
    """The best rows for each query, best first; -1 and minus infinity where fewer were eligible."""

    rows: Int32Array  # (q, k)
    ids: Int64Array  # (q, k)
    scores: Float32Array  # (q, k)


class Shard:
    """A kernel whose memory holds segments of 1,024 rows."""

    def __init__(self, dimension: int, memory_limit_bytes: int, deadline_seconds: float, build: Build | None) -> None:
        self.kernel = Kernel(memory_limit_bytes=memory_limit_bytes, deadline_seconds=deadline_seconds, build=build)
        self._width = padded_dimension(dimension)
        self._dimension = dimension
        self.segments = 0
        # Cached per size of call, until the space grows.
        self._workspace = lru_cache(maxsize=256)(self.kernel.call)
        self.segment_bytes: int = self.kernel.call("open_space", self._width)
        self.kernel.scratch_start = self.kernel.call("scratch_base", 0)

    def extend(self, segments: int) -> None:
        """Grow to *segments* segments. The new segments hold no live row."""
        with self.kernel.lock:
            if segments <= self.segments:
                return
            start = self.kernel.scratch_start + (segments - self.segments) * self.segment_bytes
            self.kernel.memory.grow_to(start + RESERVE_BYTES)
            self.kernel.call("extend_space", segments)
            self.kernel.scratch_start, self.segments = start, segments
            self._workspace.cache_clear()

    def recycle(self) -> int:
        """Move the segments into a new instance; return the bytes freed."""
        return self.kernel.recycle(RESERVE_BYTES)

    def put(self, rows: Int32Array, ids: Int64Array, vectors: Float32Array) -> None:
        """Write rows. The shard must have been extended to hold them."""
        for part in self._chunks(len(rows)):
            count = len(rows[part])
            with self.kernel.lock:
                row, id_, vector = self.kernel.lay_out_scratch(
                    ArraySpec(np.int32, (count,)),
                    ArraySpec(np.int64, (count,)),
                    ArraySpec(np.float32, (count, self._width)),
                )
                row.array[:] = rows[part]
                id_.array[:] = ids[part]
                pad_into(vector.array, vectors[part])
                self.kernel.run_operation("put_rows", row.address, id_.address, vector.address, count)

    def drop(self, rows: Int32Array) -> None:
        """Mark rows as not live."""
        with self.kernel.lock:
            (row,) = self.kernel.lay_out_scratch(ArraySpec(np.int32, rows.shape))
            row.array[:] = rows
            self.kernel.run_operation("drop_rows", row.address, len(rows))

    def vectors(self, rows: Int32Array) -> Float32Array:
        """Return rows (n, d); zeros for a row that is not live."""
        out = np.empty((len(rows), self._dimension), np.float32)
        for part in self._chunks(len(rows)):
            count = len(rows[part])
            with self.kernel.lock:
                row, vector = self.kernel.lay_out_scratch(
                    ArraySpec(np.int32, (count,)), ArraySpec(np.float32, (count, self._width))
                )
                row.array[:] = rows[part]
                self.kernel.run_operation("read_rows", row.address, count, vector.address)
                out[part] = vector.array[:, : self._dimension]
        return out

    def scan_topk(self, queries: Float32Array, k: int, eligible: NDArray[np.uint8] | None, sieve: bool) -> Hits:
        """Return the k best eligible rows for each query."""
        count, mask_bytes = len(queries), 0 if eligible is None else -(-len(eligible) // 4) * 4
        with self.kernel.lock:
            workspace = self._workspace("scan_workspace", count, k, int(sieve))
            query, mask, rows, ids, scores, work = self.kernel.lay_out_scratch(
                ArraySpec(np.float32, (count, self._width)),
                ArraySpec(np.uint8, (mask_bytes,)),
                ArraySpec(np.int32, (count, k)),
                ArraySpec(np.int64, (count, k)),
                ArraySpec(np.float32, (count, k)),
                ArraySpec(np.uint8, (workspace,)),
            )
            pad_into(query.array, queries)
            if eligible is not None:
                mask.array[: len(eligible)] = eligible
                mask.array[len(eligible) :] = 0
            self.kernel.run_operation(
                "scan_topk",
                *(
                    query.address,
                    count,
                    k,
                    0 if eligible is None else mask.address,
                    mask_bytes // 4,
                    int(sieve),
                ),
                *(rows.address, ids.address, scores.address, work.address),
            )
            return Hits(rows.array.copy(), ids.array.copy(), scores.array.copy())

    def rescore(self, rows: Int32Array, queries: Float32Array) -> Float32Array:
        """Return the cosine (n, q) of each row with each query; 0 for a row that is not live."""
        with self.kernel.lock:
            row, query, out = self.kernel.lay_out_scratch(
                ArraySpec(np.int32, rows.shape),
                ArraySpec(np.float32, (len(queries), self._width)),
                ArraySpec(np.float32, (len(rows), len(queries))),
            )
            row.array[:] = rows
            pad_into(query.array, queries)
            self.kernel.run_operation("rescore", row.address, len(rows), query.address, len(queries), out.address)
            return out.array.copy()

    def score_candidates(
        self,
        rows: Int32Array,
        interests: Float32Array,
        interest_weights: Float32Array,
        columns: Float32Array,
        weights: Float32Array,
        rejected_count: int,
    ) -> tuple[Float32Array, Float32Array]:
        """Return totals (n,) and parts (n, p), one for each of *weights* (p,)."""
        count, width = columns.shape
        with self.kernel.lock:
            row, interest, interest_weight, column, weight, parts, totals = self.kernel.lay_out_scratch(
                ArraySpec(np.int32, (count,)),
                ArraySpec(np.float32, (len(interests), self._width)),
                ArraySpec(np.float32, (len(interests),)),
                ArraySpec(np.float32, (count, width)),
                ArraySpec(np.float32, weights.shape),
                ArraySpec(np.float32, (count, len(weights))),
                ArraySpec(np.float32, (count,)),
            )
            row.array[:] = rows
            pad_into(interest.array, interests)
            interest_weight.array[:] = interest_weights
            column.array[:] = columns
            weight.array[:] = weights
            self.kernel.run_operation(
                "score_candidates",
                *(row.address, count, interest.address, interest_weight.address),
                *(len(interests) - rejected_count, rejected_count),
                *(column.address, width, weight.address, parts.address, totals.address),
            )
            return totals.array.copy(), parts.array.copy()

    def diversify(
        self,
        rows: Int32Array,
        vectors: Float32Array | None,
        scores: Float32Array,
        groups: Int64Array,
        ids: Int64Array,
        k: int,
        trade_off: float,
        cap: int,
    ) -> Int32Array:
        """Return positions (at most k), best first. *vectors* (n, d) replace the rows, which may be in other shards."""
        count = len(rows)
        with self.kernel.lock:
            workspace = self._workspace("diversify_workspace", count, k)
            row, vector, score, group, id_, positions, work = self.kernel.lay_out_scratch(
                ArraySpec(np.int32, (count,)),
                ArraySpec(np.float32, (0 if vectors is None else count, self._width)),
                ArraySpec(np.float32, (count,)),
                ArraySpec(np.int64, (count,)),
                ArraySpec(np.int64, (count,)),
                ArraySpec(np.int32, (k,)),
                ArraySpec(np.uint8, (workspace,)),
            )
            row.array[:] = rows
            if vectors is not None:
                pad_into(vector.array, vectors)
            score.array[:] = scores
            group.array[:] = groups
            id_.array[:] = ids
            picked_count: int = self.kernel.run_operation(
                "diversify",
                *(
                    row.address,
                    0 if vectors is None else vector.address,
                    score.address,
                    group.address,
                    id_.address,
                ),
                *(count, k, float(trade_off), cap, positions.address, work.address),
            )
            return positions.array[:picked_count].copy()

    def _chunks(self, count: int) -> list[slice]:
        size = max(1, CHUNK_BYTES // (4 * self._width))
        return [slice(start, start + size) for start in range(0, count, size)]
