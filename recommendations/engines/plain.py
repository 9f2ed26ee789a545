"""The control engine, in plain NumPy: slow and obvious. It defines the correct results of every other engine."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from recommendations.contracts import (
    UNKNOWN,
    BoolArray,
    Float32Array,
    Int32Array,
    Int64Array,
    Interests,
    SpaceTaste,
    sum_parts,
)
from recommendations.engines.extra_spaces import NO_EXTRA_SPACES, space_named
from recommendations.ports import VectorError


def as_float32(values: ArrayLike) -> Float32Array:
    """Return *values* as contiguous float32. A number beyond float32 becomes infinity, which every check refuses."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, np.float32)


def validate_vectors(name: str, vectors: Float32Array, dimension: int) -> Float32Array:
    """Return *vectors* as float32 (n, dimension). Raises `VectorError` for a wrong shape, NaN or infinity."""
    vectors = as_float32(vectors)
    if vectors.ndim != 2 or vectors.shape[1] != dimension:
        raise VectorError(f"{name}: give rows of {dimension} numbers, not an array of shape {vectors.shape}.")
    if not np.isfinite(vectors).all():
        raise VectorError(f"{name}: row {int(np.argmin(np.isfinite(vectors).all(axis=1)))} has NaN or infinity.")
    return vectors


def normalize_rows(vectors: Float32Array) -> Float32Array:
    """Return *vectors* (n, d) with rows of length 1; a zero row stays zero."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros(vectors.shape), where=lengths > 0).astype(np.float32)


def max_weighted_cosine(weights: Float32Array, cosines: Float32Array) -> Float32Array:
    """Return the maximum of *weights* (k,) · *cosines* (n, k) in each row, as (n,); 0 if there are no interests."""
    if cosines.shape[1] == 0:
        return np.zeros(len(cosines), np.float32)
    return (cosines * weights).max(axis=1).astype(np.float32)


class VectorMatrix:
    """The unit vectors of one space, by catalogue row, with their post ids. A row without a vector is zeros."""

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self.vectors = np.zeros((0, dimension), np.float32)
        self.post_ids = np.zeros(0, np.int64)

    def put(self, rows: Int32Array, post_ids: Int64Array, vectors: Float32Array) -> None:
        """Store *vectors* (n, d) at *rows* (n,), at unit length."""
        if not len(rows):
            return
        self._grow(int(rows.max()) + 1)
        self.vectors[rows] = normalize_rows(vectors)
        self.post_ids[rows] = post_ids

    def drop(self, rows: Int32Array) -> None:
        """Remove the vectors of *rows* (n,). Rows beyond the matrix are ignored."""
        rows = rows[rows < len(self.vectors)]
        self.vectors[rows] = 0
        self.post_ids[rows] = UNKNOWN

    def at(self, rows: Int32Array) -> Float32Array:
        """Return the vectors (n, d) of *rows* (n,); zeros for a row without a vector."""
        is_known = (rows >= 0) & (rows < len(self.vectors))
        vectors = np.zeros((len(rows), self.dimension), np.float32)
        vectors[is_known] = self.vectors[rows[is_known]]
        return vectors

    def _grow(self, count: int) -> None:
        """Extend the matrix to at least *count* rows. Doubles the size, so that growth is cheap on average."""
        if count <= len(self.vectors):
            return
        more = max(count, 2 * len(self.vectors)) - len(self.vectors)
        # Readers take no lock. The ids are replaced first, so that a reader with the new vectors also has the new ids.
        self.post_ids = np.concatenate([self.post_ids, np.full(more, UNKNOWN, np.int64)])
        self.vectors = np.concatenate([self.vectors, np.zeros((more, self.dimension), np.float32)])


class PlainEngine:
    """Implements `Engine` with one NumPy array for each space."""

    name = "plain"

    def __init__(self, dimension: int, *, extra_dimensions: Mapping[str, int] = NO_EXTRA_SPACES) -> None:
        """Create an empty engine. *extra_dimensions* are the dimensions of the extra spaces, by name."""
        self.dimension = dimension
        self._own = VectorMatrix(dimension)
        self._extra_spaces = {name: VectorMatrix(extra) for name, extra in extra_dimensions.items()}
        self._lock = threading.Lock()

    def put(self, rows: Int32Array, post_ids: Int64Array, vectors: Float32Array, *, space: str | None = None) -> None:
        """See `Engine.put`."""
        matrix = self._own if space is None else space_named(space, self._extra_spaces)
        vectors = validate_vectors("vectors", vectors, matrix.dimension)
        with self._lock:
            matrix.put(rows, post_ids, vectors)

    def drop(self, rows: Int32Array, *, space: str | None = None) -> None:
        """See `Engine.drop`."""
        all_matrices = [self._own, *self._extra_spaces.values()]
        matrices = all_matrices if space is None else [space_named(space, self._extra_spaces)]
        with self._lock:
            for matrix in matrices:
                matrix.drop(rows)

    def nearest(self, queries: Float32Array, k: int, eligible: BoolArray) -> tuple[Int32Array, Float32Array]:
        """See `Engine.nearest`."""
        queries = normalize_rows(validate_vectors("queries", queries, self.dimension))
        vectors, post_ids = self._own.vectors, self._own.post_ids
        n = min(len(eligible), len(vectors))
        allowed = np.flatnonzero(eligible[:n] & (post_ids[:n] >= 0)).astype(np.int32)
        rows = np.full((len(queries), k), UNKNOWN, np.int32)
        cosines = np.full((len(queries), k), -np.inf, np.float32)
        for i, query in enumerate(queries):
            similarity = vectors[allowed] @ query
            order = np.lexsort((post_ids[allowed], -similarity))[:k]
            rows[i, : len(order)], cosines[i, : len(order)] = allowed[order], similarity[order]
        return rows, cosines

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
        vectors = self.vectors(rows)
        positive = normalize_rows(validate_vectors("positive interests", interests.positive, self.dimension))
        negative = normalize_rows(validate_vectors("negative interests", interests.negative, self.dimension))
        taste = max_weighted_cosine(interests.positive_weights, vectors @ positive.T)
        dislike = np.maximum(max_weighted_cosine(interests.negative_weights, vectors @ negative.T), 0)
        extra = [self._extra_taste(rows, taste) for taste in extra_spaces]
        parts = (np.column_stack([taste, -dislike, columns, *extra]) * weights).astype(np.float32)
        return sum_parts(parts), parts

    def _extra_taste(self, rows: Int32Array, taste: SpaceTaste) -> Float32Array:
        """Return the unweighted part (n,) of one extra space."""
        matrix = space_named(taste.space, self._extra_spaces)
        interests = normalize_rows(validate_vectors(f"interests in {taste.space}", taste.interests, matrix.dimension))
        if taste.weights.shape != (len(interests),):
            raise VectorError(f"weights in {taste.space}: give one for each of {len(interests)} interests.")
        return max_weighted_cosine(taste.weights, matrix.at(rows) @ interests.T)

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
        if not len(rows):
            return np.zeros(0, np.int64)
        vectors = self.vectors(rows)
        spread = float(scores.max() - scores.min())
        relevance = (scores - scores.min()) / spread if spread > 0 else np.zeros(len(scores), np.float32)
        similarity = np.zeros(len(rows), np.float32)
        is_free = np.ones(len(rows), np.bool_)
        group_sizes: dict[int, int] = {}
        picks: list[int] = []
        while len(picks) < k and is_free.any():
            value = np.where(is_free, (1 - trade_off) * relevance - trade_off * similarity, -np.inf)
            pick = int(np.lexsort((post_ids, -value))[0])
            picks.append(pick)
            is_free[pick] = False
            group = int(groups[pick])
            group_sizes[group] = group_sizes.get(group, 0) + 1
            if group != UNKNOWN and group_sizes[group] >= cap:
                is_free &= groups != group
            similarity = np.maximum(similarity, vectors @ vectors[pick])  # below 0 counts as 0
        return np.array(picks, np.int64)

    def cosine(self, query: Float32Array, rows: Int32Array) -> Float32Array:
        """See `Engine.cosine`."""
        return (self.vectors(rows) @ normalize_rows(validate_vectors("query", query[None], self.dimension))[0]).astype(
            np.float32
        )

    def vectors(self, rows: Int32Array) -> Float32Array:
        """See `Engine.vectors`."""
        return self._own.at(rows)
