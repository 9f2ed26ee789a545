"""The engine on the WebAssembly kernel: a thin adapter that speaks the words of `ports.Engine` to `wasm.Space`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

import wasm
from recommendations.contracts import UNKNOWN, BoolArray, Float32Array, Int32Array, Int64Array, Interests, SpaceTaste
from recommendations.engines.extra_spaces import NO_EXTRA_SPACES, space_named
from recommendations.ports import EngineError, VectorError


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turn the kernel's errors into those that the port names."""
    try:
        yield
    except wasm.VectorError as error:
        raise VectorError(str(error)) from error
    except wasm.KernelError as error:
        raise EngineError(f"The kernel gave no answer: {error}") from error


def as_float32(values: Float32Array) -> Float32Array:
    """Return *values* as the kernel takes them: float32 and contiguous."""
    return np.ascontiguousarray(values, np.float32)


class WasmEngine:
    """Keeps `Engine` in sandboxes, one for each space, with a memory limit and a deadline."""

    name = "wasm_simd"

    def __init__(
        self, dimension: int, *, memory_limit_bytes: int, extra_dimensions: Mapping[str, int] = NO_EXTRA_SPACES
    ) -> None:
        """
        *extra_dimensions*: the dimension of each extra space, by name.

        *memory_limit_bytes* holds for all spaces together: the longer vectors get more.
        """
        self.dimension = dimension
        total = dimension + sum(extra_dimensions.values())
        with translate_errors():
            self._space, *extra = [
                wasm.Space(length, memory_limit_bytes=memory_limit_bytes * length // total)
                for length in (dimension, *extra_dimensions.values())
            ]
        self._extra_spaces = dict(zip(extra_dimensions, extra, strict=True))

    def put(self, rows: Int32Array, post_ids: Int64Array, vectors: Float32Array, *, space: str | None = None) -> None:
        """See `Engine.put`."""
        chosen = self._space if space is None else space_named(space, self._extra_spaces)
        with translate_errors():
            chosen.put(np.asarray(rows, np.int32), post_ids, as_float32(vectors))

    def drop(self, rows: Int32Array, *, space: str | None = None) -> None:
        """See `Engine.drop`."""
        for chosen in self._every_space() if space is None else [space_named(space, self._extra_spaces)]:
            with translate_errors():
                chosen.drop(rows[rows < len(chosen)])

    def nearest(self, queries: Float32Array, k: int, eligible: BoolArray) -> tuple[Int32Array, Float32Array]:
        """See `Engine.nearest`."""
        # The catalogue may have rows beyond the highest one put: posts that have no vector yet.
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
        with translate_errors():
            dislike = self._dislike(rows, interests)
            weights = np.concatenate([weights[:1], -weights[1:2], weights[2:]])
            return self._space.score_candidates(
                rows,
                as_float32(interests.positive),
                as_float32(interests.positive_weights),
                as_float32(np.column_stack([dislike, columns])),
                as_float32(weights),
                extra,
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
        """Return the memory held and the calls made in all spaces, for monitoring; its rows are the own space's."""
        own, *extra = [space.statistics() for space in self._every_space()]
        return replace(
            own,
            resident_bytes=own.resident_bytes + sum(space.resident_bytes for space in extra),
            shards=own.shards + tuple(shard for space in extra for shard in space.shards),
        )

    def recycle(self) -> int:
        """Give back the scratch that large calls left; return its bytes. Every answer stays the same."""
        with translate_errors():
            return sum(space.recycle() for space in self._every_space())

    def _every_space(self) -> list[wasm.Space]:
        return [self._space, *self._extra_spaces.values()]

    def _known_rows(self, rows: Int32Array, space: wasm.Space | None = None) -> Int32Array:
        """Return *rows*, -1 for those beyond the highest one put: posts that have no vector yet."""
        highest = len(self._space if space is None else space)
        return np.where(rows < highest, rows, UNKNOWN).astype(np.int32)

    def _extra_taste(self, rows: Int32Array, taste: SpaceTaste) -> wasm.Taste:
        """Return what the kernel needs for the part of one extra space."""
        space = space_named(taste.space, self._extra_spaces)
        return wasm.Taste(space, self._known_rows(rows, space), as_float32(taste.interests), as_float32(taste.weights))

    def _dislike(self, rows: Int32Array, interests: Interests) -> Float32Array:
        """Return the similarity (n,) to the negative interests; only who turned something down pays for the call."""
        if not len(interests.negative):
            return np.zeros(len(rows), np.float32)
        cosines = self._space.rescore(rows, as_float32(interests.negative))
        # NumPy compares rows ten times as fast as columns.
        similarity: Float32Array = np.maximum(np.multiply(cosines, interests.negative_weights).T.copy().max(axis=0), 0)
        return similarity
