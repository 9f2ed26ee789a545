"""
The peers that every system is compared with: random, popularity in four forms, item neighbors, EASE.

They are simple, and hard to beat: with a careful protocol, tuned item neighbors and EASE are ahead of most published
models (Dacrema, Cremonesi, Jannach 2019, "Are We Really Making Much Progress?"). A peer is its hyperparameters. `fit`
learns from a training set and returns a scorer, which scores every post for each case.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, Protocol

import numpy as np
from scipy import linalg
from scipy.sparse import csr_array, vstack

from recommendations.contracts import Float64Array, Int32Array
from recommendations.evaluation.folds import Fold
from recommendations.evaluation.interactions import Interactions
from recommendations.evaluation.metrics import rank_posts
from recommendations.evaluation.splits import DAY

CASES_PER_BATCH = 256
"""Cases that are scored together: 8 bytes for each of them and each post. Changes the memory and the speed."""
POSTS_PER_CHUNK = 512
"""Posts whose co-occurrences with all others are held in memory together. Changes the memory."""


@dataclass(frozen=True)
class CaseBatch:
    """What a scorer may know of n cases."""

    members: Int32Array  # (n,) index of the member
    likes: csr_array  # (n, posts) 1 for each post that the member had liked
    moments: Float64Array  # (n,) Unix seconds; NaN without times


class Scorer(Protocol):
    """Scores posts with what a peer has learned."""

    def __call__(self, batch: CaseBatch) -> Float64Array:
        """Return a new array of scores (n, posts), higher is better, for the cases of the *batch*."""
        ...


class Peer(Protocol):
    """A peer with its hyperparameters: a frozen dataclass."""

    def fit(self, train: Interactions) -> Scorer:
        """Return a scorer that has learned from *train*. Raises `ValueError` if *train* lacks what the peer needs."""
        ...


@dataclass(frozen=True)
class PeerSystem:
    """A peer as a system."""

    name: str
    peer: Peer

    def rank(self, fold: Fold, k: int) -> Int32Array:
        """See `System`."""
        return rank_unknown(self.peer.fit(fold.train), fold, k)


def rank_unknown(scorer: Scorer, fold: Fold, k: int) -> Int32Array:
    """Return the *k* posts (n, k) with the highest scores for each case of *fold*, without the known posts."""
    lists = np.full((len(fold), k), -1, np.int32)
    for start in range(0, len(fold), CASES_PER_BATCH):
        cases = np.arange(start, min(start + CASES_PER_BATCH, len(fold)))
        scores = scorer(CaseBatch(fold.members[cases], fold.likes[cases], fold.moments[cases]))
        known = fold.known.take(cases)
        scores[known.owners, known.values] = -np.inf
        lists[cases] = rank_posts(scores, k)
    return lists


@dataclass(frozen=True)
class Random:
    """Posts in random order: what chance alone reaches."""

    seed: int = 0

    def fit(self, train: Interactions) -> Scorer:
        """See `Peer`. The scorer returns other scores in each call; the same calls return the same scores."""
        rng, posts = np.random.default_rng(self.seed), len(train.post_ids)
        return lambda batch: rng.random((len(batch.members), posts))


@dataclass(frozen=True)
class Popularity:
    """Posts by the number of likes in the training set."""

    def fit(self, train: Interactions) -> Scorer:
        """See `Peer`."""
        likes = np.bincount(train.posts[train.is_positive], minlength=len(train.post_ids)).astype(np.float64)
        return lambda batch: np.tile(likes, (len(batch.members), 1))


@dataclass(frozen=True)
class RecentPopularity:
    """
    Posts by the number of likes in the last *days* before the moment of the case.

    Equal posts are ordered by all likes before the moment, else every post without a like in that time would be equal.
    Ji, Sun, Zhang, Li 2020, "A Re-visit of the Popularity Baseline in Recommender Systems".
    """

    days: float = 7.0

    def fit(self, train: Interactions) -> Scorer:
        """See `Peer`. Needs times."""
        times, liked = sort_likes(train)
        posts = len(train.post_ids)

        def score(batch: CaseBatch) -> Float64Array:
            starts = np.searchsorted(times, batch.moments - self.days * DAY)
            ends = np.searchsorted(times, batch.moments)
            recent = [np.bincount(liked[a:b], minlength=posts) for a, b in zip(starts, ends, strict=True)]
            older = [np.bincount(liked[:b], minlength=posts) for b in ends]
            return np.array(recent).reshape(-1, posts) + np.array(older).reshape(-1, posts) / (len(liked) + 1)

        return score


@dataclass(frozen=True)
class DecayedPopularity:
    """Posts by their likes before the moment of the case, where a like counts half after each half-life."""

    half_life_days: float

    def fit(self, train: Interactions) -> Scorer:
        """See `Peer`. Needs times."""
        times, liked = sort_likes(train)
        posts, half_life = len(train.post_ids), self.half_life_days * DAY

        def score(batch: CaseBatch) -> Float64Array:
            scores = np.zeros((len(batch.members), posts))
            decayed, decayed_at, start = np.zeros(posts), 0.0, 0
            for case in np.argsort(batch.moments, kind="stable"):
                moment = float(batch.moments[case])
                end = int(np.searchsorted(times, moment))
                decayed *= 0.5 ** ((moment - decayed_at) / half_life)
                new = 0.5 ** ((moment - times[start:end]) / half_life)
                decayed += np.bincount(liked[start:end], weights=new, minlength=posts)
                scores[case], decayed_at, start = decayed, moment, end
            return scores

        return score


def sort_likes(train: Interactions) -> tuple[Float64Array, Int32Array]:
    """Return the times and the posts of all likes (n,), oldest first. Raises `ValueError` if times are unknown."""
    if not train.has_times:
        raise ValueError("The interactions have no times, so no popularity at a moment.")
    likes = train.take(train.is_positive).sort_by_time()
    return likes.times, likes.posts


@dataclass(frozen=True)
class ItemNeighbors:
    """
    Posts by their similarity to the posts that the member liked: the sum over those of a shrunk cosine.

    Sarwar et al. 2001, "Item-based Collaborative Filtering Recommendation Algorithms", with the shrinkage of Bell and
    Koren 2007: n_ij / (sqrt(n_i n_j) + shrinkage), where n_ij members liked both. A post has the *neighbors* most
    similar posts.
    """

    neighbors: int = 100
    shrinkage: float = 10.0

    def fit(self, train: Interactions) -> Scorer:
        """See `Peer`."""
        matrix = train.positive_matrix()
        counts = matrix.sum(axis=0)
        by_post = csr_array(matrix.T)
        empty = csr_array((0, by_post.shape[0]))
        similarity = csr_array(vstack([empty, *self.compute_rows(matrix, by_post, counts)]))
        by_liked = csr_array(similarity.T)
        return lambda batch: (batch.likes @ by_liked).toarray()

    def compute_rows(self, matrix: csr_array, by_post: csr_array, counts: Float64Array) -> Iterator[csr_array]:
        """Yield the similarities of a chunk of posts (c, posts) to their neighbors, for all posts in turn."""
        for start in range(0, len(counts), POSTS_PER_CHUNK):
            both = csr_array(by_post[start : start + POSTS_PER_CHUNK] @ matrix)
            rows = np.repeat(np.arange(both.shape[0]), np.diff(both.indptr))
            both.data /= np.sqrt(counts[start + rows] * counts[both.indices]) + self.shrinkage
            both.data[both.indices == start + rows] = 0
            kept = np.flatnonzero(both.data >= self.find_thresholds(both)[rows])
            # By row, then from the highest similarity, then from the lowest post: equal ones may still be too many.
            kept = kept[np.lexsort((both.indices[kept], -both.data[kept], rows[kept]))]
            starts = np.searchsorted(rows[kept], rows[kept])
            kept = kept[np.arange(len(kept)) - starts < self.neighbors]
            yield csr_array((both.data[kept], (rows[kept], both.indices[kept])), shape=both.shape)

    def find_thresholds(self, similarities: csr_array) -> Float64Array:
        """Return the similarity of the last neighbor in each row (c,); 0 in a row that has fewer."""
        thresholds = np.zeros(similarities.shape[0])
        for row, (start, end) in enumerate(pairwise(similarities.indptr)):
            if end - start > self.neighbors:
                place = end - start - self.neighbors
                thresholds[row] = np.partition(similarities.data[start:end], place)[place]
        return thresholds


@dataclass(frozen=True)
class Ease:
    """
    EASE: a linear model with a weight from every liked post to every other, in closed form.

    Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data": with X (members, posts) and
    P = (X'X + ridge I)^-1, the weight from post i to post j is -P_ij / P_jj, and 0 from a post to itself. This needs
    memory for posts² numbers and time for posts³. By the Woodbury identity P = (I - X' (XX' + ridge I)^-1 X) / ridge,
    so with fewer members than posts the smaller inverse of members² numbers is enough. Both give the same scores.
    """

    ridge: float = 100.0
    space: Literal["smaller", "posts", "members"] = "smaller"
    """Which inverse is computed. Changes the memory and the time."""

    def fit(self, train: Interactions) -> Scorer:
        """See `Peer`."""
        matrix = train.positive_matrix()
        matrix = matrix[np.flatnonzero(np.diff(matrix.indptr))]
        is_primal = self.space == "posts" or (self.space == "smaller" and matrix.shape[1] <= matrix.shape[0])
        return self.fit_posts(matrix) if is_primal else self.fit_members(matrix)

    def fit_posts(self, matrix: csr_array) -> Scorer:
        """Solve in the space of posts: P itself."""
        weights = invert(matrix.T @ matrix, self.ridge)
        weights /= -np.diag(weights)
        np.fill_diagonal(weights, 0)
        return lambda batch: batch.likes @ weights

    def fit_members(self, matrix: csr_array) -> Scorer:
        """
        Solve in the space of members. P is never computed.

        With K = (XX' + ridge I)^-1, the likes h of a member have the scores h - hP / diag(P), where
        hP = (h - hX'KX) / ridge. The diagonal of X'KX is computed for a chunk of posts at a time.
        """
        inverse = invert(matrix @ matrix.T, self.ridge)
        by_post = csr_array(matrix.T)
        chunks = (by_post[start : start + POSTS_PER_CHUNK] for start in range(0, by_post.shape[0], POSTS_PER_CHUNK))
        diagonal = np.concatenate([np.zeros(0), *(chunk.multiply(chunk @ inverse).sum(axis=1) for chunk in chunks)])

        def score(batch: CaseBatch) -> Float64Array:
            projected = ((batch.likes @ by_post).toarray() @ inverse) @ matrix
            likes = batch.likes.toarray()
            return likes - (likes - projected) / (1 - diagonal)

        return score


def invert(gram: csr_array, ridge: float) -> Float64Array:
    """Return the inverse (n, n) of *gram* + *ridge* · I, which is positive definite."""
    regularized = gram.toarray()
    regularized[np.diag_indices_from(regularized)] += ridge
    return linalg.inv(regularized, overwrite_a=True, check_finite=False, assume_a="pos")
