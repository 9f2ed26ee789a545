"""The engine on the WebAssembly kernel: a thin adapter from `ports.Engine` to `wasm.Space`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

import wasm
from recommendations.contracts import UNKNOWN, BoolArray, Float32Array, Int32Array, Int64Array, Interests, SpaceTaste
from recommendations.engines.extra_spaces import NO_EXTRA_SPACES, space_named
from recommendations.engines.plain import as_float32
from recommendations.ports import EngineError, VectorError


@contextmanager
def translate_errors() -> Iterator[None]:
    """Raise the errors of the kernel as those of the port."""
    try:
        yield
    except wasm.VectorError as error:
        raise VectorError(str(error)) from error
    except wasm.KernelError as error:
        raise EngineError(f"The kernel failed: {error}") from error


class WasmEngine:
    """Implements `Engine` with one sandbox for each space. Sandboxes have a memory limit and a deadline."""

    name = "wasm_simd"

    def __init__(
        self, dimension: int, *, memory_limit_bytes: int, extra_dimensions: Mapping[str, int] = NO_EXTRA_SPACES
    ) -> None:
        """
        Create an empty engine. *extra_dimensions* are the dimensions of the extra spaces, by name.

        *memory_limit_bytes* is shared by all spaces, in proportion to their dimensions.
        """
        self.dimension = dimension
        total = dimension + sum(extra_dimensions.values())
        with translate_errors():
            self._space, *extra = [
                wasm.Space(size, memory_limit_bytes=memory_limit_bytes * size // total, build=wasm.fastest_build())
                for size in (dimension, *extra_dimensions.values())
            ]
        self._extra_spaces = dict(zip(extra_dimensions, extra, strict=True))

    def put(self, rows: Int32Array, post_ids: Int64Array, vectors: Float32Array, *, space: str | None = None) -> None:
        """See `Engine.put`."""
        target = self._space if space is None else space_named(space, self._extra_spaces)
        with translate_errors():
            target.put(np.asarray(rows, np.int32), post_ids, as_float32(vectors))

    def drop(self, rows: Int32Array, *, space: str | None = None) -> None:
        """See `Engine.drop`."""
        for target in self._all_spaces() if space is None else [space_named(space, self._extra_spaces)]:
            with translate_errors():
                target.drop(rows[rows < len(target)])

    def nearest(self, queries: Float32Array, k: int, eligible: BoolArray) -> tuple[Int32Array, Float32Array]:
        """See `Engine.nearest`."""
        # The catalogue may have more rows than the space: posts that have no vector yet.
        mask = np.packbits(eligible[: len(self._space)], bitorder="little")
        with translate_errors():
            return self._space.scan_topk(as_float32(queries), k, mask)

    def score(
        self,
        rows: Int32Array,
        interests: Interests,
        columns: Float32Array,
        weights: Float32Array,
        *,
        extra_spaces: Sequence[SpaceTaste] = (),
    ) -> tuple[Float32Array, Float32Array]:
        """See `Engine.score`."""
        extra = [self._extra_taste(rows, taste) for taste in extra_spaces]
        rows = self._known_rows(rows)
        rejected_count = len(interests.negative)
        if not rejected_count:  # the kernel has a part for rejected interests only if there are any
            columns = np.column_stack([np.zeros(len(rows), np.float32), columns])
        with translate_errors():
            return self._space.score_candidates(
                rows,
                as_float32(np.concatenate([interests.positive, interests.negative])),
                as_float32(np.concatenate([interests.positive_weights, interests.negative_weights])),
                as_float32(columns),
                as_float32(np.concatenate([weights[:1], -weights[1:2], weights[2:]])),
                extra,
                rejected_count=rejected_count,
            )

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
        """See `Engine.diversify`."""
        if not len(rows) or k <= 0:
            return np.zeros(0, np.int64)
        spread = float(scores.max() - scores.min())
        relevance = as_float32((scores - scores.min()) / spread) if spread > 0 else np.zeros(len(scores), np.float32)
        with translate_errors():
            picks = self._space.diversify(self._known_rows(rows), relevance, groups, k, trade_off, cap, post_ids)
        return picks.astype(np.int64)

    def cosine(self, query: Float32Array, rows: Int32Array) -> Float32Array:
        """See `Engine.cosine`."""
        with translate_errors():
            return self._space.rescore(self._known_rows(rows), as_float32(query[None]))[:, 0]

    def vectors(self, rows: Int32Array) -> Float32Array:
        """See `Engine.vectors`."""
        with translate_errors():
            return self._space.vectors(self._known_rows(rows))

    def statistics(self) -> wasm.SpaceStatistics:
        """Return the memory and calls of all spaces, for monitoring. `rows` counts the engine's own space only."""
        own, *extra = [space.statistics() for space in self._all_spaces()]
        return replace(
            own,
            resident_bytes=own.resident_bytes + sum(space.resident_bytes for space in extra),
            shards=own.shards + tuple(shard for space in extra for shard in space.shards),
        )

    def recycle(self) -> int:
        """Release the scratch memory of large calls, and return its size in bytes. Does not change any result."""
        with translate_errors():
            return sum(space.recycle() for space in self._all_spaces())

    def _all_spaces(self) -> list[wasm.Space]:
        return [self._space, *self._extra_spaces.values()]

    def _known_rows(self, rows: Int32Array, space: wasm.Space | None = None) -> Int32Array:
        """Return *rows* (n,), with -1 for rows beyond the last one put: posts that have no vector yet."""
        row_count = len(self._space if space is None else space)
        return np.where(rows < row_count, rows, UNKNOWN).astype(np.int32)

    def _extra_taste(self, rows: Int32Array, taste: SpaceTaste) -> wasm.Taste:
        """Return the arguments of the kernel for one extra space."""
        space = space_named(taste.space, self._extra_spaces)
        return wasm.Taste(space, self._known_rows(rows, space), as_float32(taste.interests), as_float32(taste.weights))
