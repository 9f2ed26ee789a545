"""
Training of the item weight table (`recommendations/collaborative/item_weights.py`).

The table is that of EASE (Steck 2019, "Embarrassingly shallow autoencoders for sparse data"): the item-to-item matrix B
with a zero diagonal that minimizes |X - XB|² + ridge · |B|², where X (members, posts) holds the likes. It has a closed
form: with P = (X'X + ridge · I)⁻¹, B[i, j] = -P[i, j] / P[j, j].

P is a matrix over the posts, but it can be computed in the space of the members, whichever is smaller:
P = (I - X'(XX' + ridge · I)⁻¹X) / ridge (the matrix inversion lemma). So the exact table is possible as long as either
number is up to `max_exact`. Beyond that, each post gets a ridge regression among its strongest co-liked posts only,
which needs no matrix over all posts.

A positive weight from i to j tells that members liked both. It is kept only if at least `min_members` members did, so
that neither a score nor a reason reveals what one member liked.

The exact table has a weight for almost every pair of posts, too many to store. A score is a sum of many small weights
of both signs, so what is left out must be small in the scores and not in its row: the weights of a post that many
members liked are in the scores of many members. The entries with the largest products of absolute weight and likes of
the source are kept. As many entries of each post, the largest of its row, find a sixth less of the NDCG by global time
(docs/evaluation.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from recommendations.collaborative.item_weights import ItemWeightTable
from recommendations.collaborative.part_scores import WEIGHT_UNIT, Int16Array
from recommendations.contracts import BoolArray, Float32Array, Float64Array, Int32Array, Int64Array

BLOCK_POSTS = 512
"""Rows of the table that are computed together. Changes the memory and the speed."""
INVERTED_AT_ONCE = 2_048
"""Rows of a matrix that LAPACK inverts in one call. Changes the speed."""
DENSE_POSTS = 8_192
"""Most liked posts whose common likes are held as a dense matrix. Changes the memory and the speed."""

Integers = NDArray[np.signedinteger[Any]]
OnPosts = Callable[[int, int], None]
"""Called with the number of posts that are done and the number of all posts."""


@dataclass(frozen=True)
class ItemWeightSettings:
    """The settings of a training. All of them change the result."""

    ridge: float = 50.0
    """Strength of the regularization, above 0."""
    mean_entries: int = 400
    """Entries that the exact table keeps for each liked post, on average."""
    max_entries: int = 1_000
    """Most entries that a table keeps of one post: those with the largest absolute weights."""
    min_members: int = 2
    """Members that must have liked both posts for a positive weight."""
    max_exact: int = 20_000
    """Members or posts, whichever are fewer, up to which the table is exact."""
    neighborhood: int = 300
    """Co-liked posts that the regression of one post uses beyond `max_exact`."""

    @classmethod
    def from_stored(cls, stored: Mapping[str, Any]) -> ItemWeightSettings:
        """Return the settings of a stored model, which another release may have trained: unknown ones are ignored."""
        return cls(**{field.name: stored[field.name] for field in fields(cls) if field.name in stored})


@dataclass(frozen=True)
class Entries:
    """Entries of the table as columns (e,), in the order of source and target."""

    sources: Int32Array
    targets: Int32Array
    weights: Int16Array

    @classmethod
    def join(cls, parts: Sequence[Entries]) -> Entries:
        """Return the entries of all *parts*, one after the other."""
        return cls(
            np.concatenate([np.zeros(0, np.int32), *(part.sources for part in parts)]),
            np.concatenate([np.zeros(0, np.int32), *(part.targets for part in parts)]),
            np.concatenate([np.zeros(0, np.int16), *(part.weights for part in parts)]),
        )


def train_item_weights(
    likes: sparse.csr_matrix,
    post_ids: Int64Array,
    settings: ItemWeightSettings,
    on_posts: OnPosts = lambda done, total: None,
) -> ItemWeightTable:
    """
    Return the table for *likes* (m, p), a matrix of 0 and 1, and the sorted ids (p,) of its posts.

    Deterministic: equal inputs give equal bytes on the same machine. An exception of *on_posts* ends the training.
    """
    if min(likes.shape) <= settings.max_exact:
        entries = keep_largest(likes, Entries.join(list(exact_entries(likes, settings, on_posts))), settings)
    else:
        entries = neighborhood_entries(likes, settings, on_posts)
    starts = np.searchsorted(entries.sources, np.arange(len(post_ids) + 1)).astype(np.int64)
    return ItemWeightTable(post_ids, starts, entries.targets, entries.weights)


def to_units(weights: Float64Array) -> Int16Array:
    """Return *weights* as multiples of `WEIGHT_UNIT`, rounded and limited to below 2. Those of EASE are below 1."""
    return np.clip(np.rint(weights / WEIGHT_UNIT), -32_767, 32_767).astype(np.int16)


# The exact table


def exact_entries(likes: sparse.csr_matrix, settings: ItemWeightSettings, on_posts: OnPosts) -> Iterator[Entries]:
    """Yield the largest entries of the exact table for blocks of posts, computed in the smaller of the two spaces."""
    members, posts = likes.shape
    by_post = sparse.csr_matrix(likes.T, dtype=np.float64)
    on_posts(0, posts)
    compute_rows, diagonal = (invert_members if members < posts else invert_posts)(by_post, settings.ridge)
    for start in range(0, posts, BLOCK_POSTS):
        rows = compute_rows(start, min(start + BLOCK_POSTS, posts))
        common = (by_post[start : start + BLOCK_POSTS] @ by_post.T).toarray()
        units = to_units(rows / -diagonal)
        units[np.arange(len(rows)), start + np.arange(len(rows))] = 0
        units[(units > 0) & (common < settings.min_members)] = 0
        kept = find_largest(np.abs(units), settings.max_entries)
        sources, targets = np.nonzero(kept)
        yield Entries((start + sources).astype(np.int32), targets.astype(np.int32), units[kept])
        on_posts(start + len(rows), posts)


def keep_largest(likes: sparse.csr_matrix, entries: Entries, settings: ItemWeightSettings) -> Entries:
    """Return the `mean_entries` of each post with the largest products of absolute weight and likes of the source."""
    like_counts = np.asarray(likes.sum(axis=0)).ravel().astype(np.int64)
    sizes = np.abs(entries.weights).astype(np.int64) * like_counts[entries.sources]
    (kept,) = find_largest(sizes[None], settings.mean_entries * likes.shape[1])
    return Entries(entries.sources[kept], entries.targets[kept], entries.weights[kept])


ComputeRows = Callable[[int, int], Float64Array]
"""Returns the rows of P from a first post to before a last post. Their diagonal entries are not used."""


def invert_posts(by_post: sparse.csr_matrix, ridge: float) -> tuple[ComputeRows, Float64Array]:
    """Return P and its diagonal (p,), inverted in the space of the posts."""
    inverse = invert_gram(by_post, ridge)
    return lambda start, end: inverse[start:end], np.diag(inverse)


def invert_members(by_post: sparse.csr_matrix, ridge: float) -> tuple[ComputeRows, Float64Array]:
    """Return P, which is computed for the rows that are asked for, and its diagonal (p,)."""
    inverse = invert_gram(sparse.csr_matrix(by_post.T), ridge)

    def project(start: int, end: int) -> Float64Array:
        return by_post[start:end] @ inverse  # (b, m)

    def compute_rows(start: int, end: int) -> Float64Array:
        return (by_post @ project(start, end).T).T / -ridge

    posts = by_post.shape[0]
    blocks = [(start, min(start + BLOCK_POSTS, posts)) for start in range(0, posts, BLOCK_POSTS)]
    sums = [by_post[start:end].multiply(project(start, end)).sum(axis=1) for start, end in blocks]
    return compute_rows, (1 - np.concatenate([np.asarray(part).ravel() for part in sums])) / ridge


def invert_gram(rows: sparse.csr_matrix, ridge: float) -> Float64Array:
    """Return (RR' + ridge · I)⁻¹ for R = *rows* (n, d)."""
    gram = (rows @ rows.T).toarray()
    gram[np.diag_indices_from(gram)] += ridge
    invert_in_place(gram)
    return gram


def invert_in_place(matrix: Float64Array) -> None:
    """
    Invert *matrix* (n, n), which must be symmetric and positive definite.

    The matrix is split into four blocks, and their Schur complement is inverted in the same way. LAPACK would invert it
    in one call, but SciPy does not release the interpreter during the call: for minutes no other thread could renew
    the lease of the job, and another worker would start the same training.
    """
    if len(matrix) <= INVERTED_AT_ONCE:
        matrix[:] = linalg.inv(matrix, assume_a="pos", check_finite=False)
        return
    half = len(matrix) // 2
    first, across, last = matrix[:half, :half], matrix[:half, half:], matrix[half:, half:]
    invert_in_place(first)
    scaled = first @ across
    last -= across.T @ scaled
    invert_in_place(last)
    np.matmul(scaled, last, out=across)
    first += across @ scaled.T
    across *= -1
    matrix[half:, :half] = across.T


def find_largest(sizes: Integers, count: int) -> BoolArray:
    """Return which of *sizes* (b, p) are among the *count* largest of their row and above 0; the lower column wins."""
    if sizes.shape[1] <= count:
        return sizes > 0
    threshold = np.partition(sizes, -count, axis=1)[:, -count, None]
    is_above, is_equal = sizes > threshold, sizes == threshold
    room = count - is_above.sum(axis=1, keepdims=True)
    return (is_above | (is_equal & (np.cumsum(is_equal, axis=1, dtype=np.int32) <= room))) & (sizes > 0)


# The table of neighborhoods


def neighborhood_entries(likes: sparse.csr_matrix, settings: ItemWeightSettings, on_posts: OnPosts) -> Entries:
    """
    Return the entries of the table whose columns are regressions among the `neighborhood` co-liked posts of each post.

    For post j with neighborhood N, P is the inverse of (X'X + ridge · I) restricted to N and j, and column j of B is
    -P[i, j] / P[j, j] for i in N. With every post in N this is the exact table.
    """
    common = CommonLikes.count(likes)
    posts = len(common.order)
    targets, sources, weights = [], [], []
    for number in range(posts):
        if number % BLOCK_POSTS == 0:
            on_posts(number, posts)
        neighbors, counts = common.find_neighbors(number, settings)
        units = to_units(regress(common.get_block(np.append(neighbors, number)), settings.ridge))
        units[(units > 0) & (counts < settings.min_members)] = 0
        targets.append(np.full(len(neighbors), common.order[number], np.int32))
        sources.append(common.order[neighbors])
        weights.append(units)
    on_posts(posts, posts)
    return sort_entries(np.concatenate(sources), np.concatenate(targets), np.concatenate(weights), settings.max_entries)


def regress(system: Float64Array, ridge: float) -> Float64Array:
    """Return the weights (n,) of n posts for the last post of *system* (n + 1, n + 1), their common likes."""
    system[np.diag_indices_from(system)] += ridge
    unit = np.zeros(len(system))
    unit[-1] = 1
    solved = linalg.solve(system, unit, assume_a="pos", overwrite_a=True, check_finite=False)
    return solved[:-1] / -solved[-1]


def sort_entries(sources: Int32Array, targets: Int32Array, weights: Int16Array, count: int) -> Entries:
    """Return the *count* largest absolute weights of each source, without zeros; the lower target wins."""
    order = np.lexsort((targets, -np.abs(weights), sources))
    order = order[weights[order] != 0]
    places = np.arange(len(order)) - np.searchsorted(sources[order], sources[order])
    order = np.sort(order[places < count])
    order = order[np.lexsort((targets[order], sources[order]))]
    return Entries(sources[order], targets[order], weights[order])


@dataclass(frozen=True)
class CommonLikes:
    """
    How many members liked each pair of posts: X'X, with the posts numbered from the most liked to the least.

    A neighborhood consists mostly of well-liked posts. The counts among those are read from a dense matrix, which is
    ten times as fast as from the sparse one.
    """

    order: Int32Array  # (p,) the column of X of each number
    counts: sparse.csr_matrix  # (p, p)
    dense: Float32Array  # (d, d) the counts of the first d posts

    @classmethod
    def count(cls, likes: sparse.csr_matrix) -> CommonLikes:
        """Return the counts of *likes* (m, p)."""
        like_counts = np.asarray(likes.sum(axis=0)).ravel()
        order = np.argsort(-like_counts, kind="stable").astype(np.int32)
        ordered = sparse.csr_matrix(likes[:, order], dtype=np.float32)
        counts = sparse.csr_matrix(ordered.T @ ordered)
        counts.sort_indices()
        return cls(order, counts, counts[:DENSE_POSTS, :DENSE_POSTS].toarray())

    def get_row(self, number: int) -> tuple[Int32Array, Float32Array]:
        """Return the sorted numbers (n,) of the posts that were liked together with a post, and the counts (n,)."""
        start, end = self.counts.indptr[number : number + 2]
        return self.counts.indices[start:end], self.counts.data[start:end]

    def find_neighbors(self, number: int, settings: ItemWeightSettings) -> tuple[Int32Array, Float32Array]:
        """Return the sorted numbers (n,) of the posts with the most common likes, and the counts (n,)."""
        numbers, counts = self.get_row(number)
        others = np.flatnonzero(numbers != number)
        strongest = np.sort(others[np.argsort(-counts[others], kind="stable")[: settings.neighborhood]])
        return numbers[strongest], counts[strongest]

    def get_block(self, numbers: Int32Array) -> Float64Array:
        """Return the counts (n, n) among posts."""
        block = np.zeros((len(numbers), len(numbers)))
        is_dense = numbers < len(self.dense)
        at = np.flatnonzero(is_dense)
        block[np.ix_(at, at)] = self.dense[np.ix_(numbers[at], numbers[at])]
        for place in np.flatnonzero(~is_dense):
            known, counts = self.get_row(int(numbers[place]))
            found = np.minimum(np.searchsorted(known, numbers), len(known) - 1)
            block[place] = block[:, place] = np.where(known[found] == numbers, counts[found], 0)
        return block
