"""
Item weights: how much a like of one post speaks for each other post.

The table is that of EASE (Steck 2019, "Embarrassingly shallow autoencoders for sparse data"): the item-to-item matrix B
with a zero diagonal that minimizes |X - XB|² + ridge · |B|², where X (members, posts) holds the likes. It has a closed
form: with P = (X'X + ridge · I)⁻¹, B[i, j] = -P[i, j] / P[j, j].

P is a matrix over the posts, but it can be computed in the space of the members, whichever is smaller:
P = (I - X'(XX' + ridge · I)⁻¹X) / ridge (the matrix inversion lemma). So the exact table is possible as long as either
number is up to `MAX_EXACT`. Beyond that, each post gets a ridge regression among its strongest co-liked posts only,
which needs no matrix over all posts.

A member's score of a post is the sum of the weights of their liked posts. Each addend is the contribution of one liked
post, so the explanation of a score is the score itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import linalg, sparse

from recommendations.contracts import Float32Array, Float64Array, Int32Array, Int64Array

MAX_EXACT = 20_000
"""Members or posts, whichever are fewer, up to which the table is exact. Changes the answer, and the time to train."""
POSTS_PER_ROW = 100
"""Largest weights that the table keeps of each liked post. Changes the answer, and the size."""
NEIGHBORHOOD = 300
"""Co-liked posts that the regression of one post uses beyond `MAX_EXACT`. Changes the answer, and the time to train."""
BLOCK_POSTS = 1_024


@dataclass(frozen=True)
class ItemWeights:
    """A table with a row for each liked post: the posts that a like speaks for or against, and by how much."""

    post_ids: Int64Array  # (p,) sorted
    targets: Int32Array  # (p, k) positions in *post_ids*, sorted within a row; -1 after the last
    weights: Float32Array  # (p, k) 0 after the last


def train_item_weights(
    likes: sparse.csr_matrix, post_ids: Int64Array, *, ridge: float, per_row: int = POSTS_PER_ROW
) -> ItemWeights:
    """
    Return the table for *likes* (m, p), a matrix of 0 and 1. *ridge* is above 0.

    Deterministic: equal inputs give equal bytes on the same machine.
    """
    members, posts = likes.shape
    per_row = min(per_row, max(posts - 1, 1))
    if min(members, posts) <= MAX_EXACT:
        blocks = exact_blocks(likes, ridge)
    else:
        blocks = neighborhood_blocks(likes, ridge)
    targets = np.full((posts, per_row), -1, np.int32)
    weights = np.zeros((posts, per_row), np.float32)
    for start, block in blocks:
        keep_largest(block, targets[start : start + len(block)], weights[start : start + len(block)])
    return ItemWeights(post_ids, targets, weights)


def exact_blocks(likes: sparse.csr_matrix, ridge: float) -> Iterator[tuple[int, Float32Array]]:
    """
    Yield blocks of rows (b, p) of the exact table, each with its first row.

    One symmetric system is solved in the smaller of the two spaces; the blocks bound the memory of the result.
    """
    members, posts = likes.shape
    if members < posts:
        gram = (likes @ likes.T).toarray().astype(np.float64)
        gram[np.diag_indices(members)] += ridge
        dense = likes.toarray().astype(np.float64)
        solved = linalg.solve(gram, dense, assume_a="pos", overwrite_a=True)  # (m, p)
        diagonal = (1 - np.einsum("mp,mp->p", dense, solved)) / ridge
        for start in range(0, posts, BLOCK_POSTS):
            rows = -(dense[:, start : start + BLOCK_POSTS].T @ solved) / ridge
            yield start, to_weights(rows, diagonal, start)
        return
    gram = (likes.T @ likes).toarray().astype(np.float64)
    gram[np.diag_indices(posts)] += ridge
    inverse = linalg.inv(gram, overwrite_a=True)
    diagonal = np.diag(inverse).copy()
    for start in range(0, posts, BLOCK_POSTS):
        yield start, to_weights(inverse[start : start + BLOCK_POSTS], diagonal, start)


def to_weights(rows: Float64Array, diagonal: Float64Array, start: int) -> Float32Array:
    """Return rows (b, p) of B from those of P without its diagonal, which is *diagonal* (p,); row 0 is post *start*."""
    weights = (rows / -diagonal).astype(np.float32)
    at = np.arange(len(rows))
    weights[at, start + at] = 0
    return weights


def neighborhood_blocks(likes: sparse.csr_matrix, ridge: float) -> Iterator[tuple[int, Float32Array]]:
    """
    Yield blocks of rows (b, p) of the table whose columns are regressions among `NEIGHBORHOOD` co-liked posts each.

    For post j with neighborhood N, P is the inverse of (X'X + ridge · I) restricted to N and j, and column j of B is
    -P[i, j] / P[j, j] for i in N. With every post in N this is the exact table.
    """
    gram = (likes.T @ likes).tocsr().astype(np.float64)
    posts = gram.shape[0]
    columns = sparse.lil_matrix((posts, posts), dtype=np.float32)
    for post in range(posts):
        neighbors, weights = regress_post(gram, post, ridge)
        columns.rows[post], columns.data[post] = neighbors.tolist(), weights.tolist()
    rows = columns.T.tocsr()
    for start in range(0, posts, BLOCK_POSTS):
        yield start, rows[start : start + BLOCK_POSTS].toarray()


def regress_post(gram: sparse.csr_matrix, post: int, ridge: float) -> tuple[Int64Array, Float32Array]:
    """Return the sorted neighborhood (n,) of *post* and its weights (n,); *gram* (p, p) counts the common likes."""
    row = gram.getrow(post)
    others = row.indices != post
    indices, counts = row.indices[others], row.data[others]
    strongest = np.lexsort((indices, -counts))[:NEIGHBORHOOD]
    neighbors = np.sort(indices[strongest]).astype(np.int64)
    among = np.append(neighbors, post)
    system = gram[among][:, among].toarray()
    system[np.diag_indices(len(among))] += ridge
    unit = np.zeros(len(among))
    unit[-1] = 1
    solved = linalg.solve(system, unit, assume_a="pos")
    return neighbors, (-solved[:-1] / solved[-1]).astype(np.float32)


def keep_largest(block: Float32Array, targets: Int32Array, weights: Float32Array) -> None:
    """Write the largest absolute weights of each row of *block* (b, p) into *targets* and *weights* (b, k)."""
    count = targets.shape[1]
    chosen = np.argpartition(-np.abs(block), min(count, block.shape[1] - 1), axis=1)[:, :count]
    chosen.sort(axis=1)
    values = np.take_along_axis(block, chosen, axis=1)
    is_used = values != 0
    order = np.argsort(~is_used, axis=1, kind="stable")
    targets[:] = np.take_along_axis(np.where(is_used, chosen, -1), order, axis=1)
    weights[:] = np.take_along_axis(values, order, axis=1)


def score_posts(table: ItemWeights, liked: Int32Array, strengths: Float32Array) -> Float32Array:
    """
    Return the score (p,) of every post of the table for a member who liked the posts at *liked* (n,).

    It is the sum of *strengths* (n,) · weights, added in the order of *liked*, so that equal inputs give equal bytes.
    """
    targets, weights = table.targets[liked], table.weights[liked] * strengths[:, None]
    used = targets >= 0
    return np.bincount(targets[used], weights[used], minlength=len(table.post_ids)).astype(np.float32)
