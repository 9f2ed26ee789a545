"""
Measurement of a table on likes that it was not trained on.

Of some members the newest like is held out. A table that was trained on all other likes ranks every post that the
member did not like before, and the measures say how high the held-out post is. The full catalogue is ranked: measures
on sampled posts order systems differently (Krichene and Rendle 2020, "On Sampled Metrics for Item Recommendation").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from recommendations.collaborative.item_weights import ItemWeightTable
from recommendations.collaborative.part_scores import WEIGHT_UNIT
from recommendations.contracts import BoolArray, Float64Array, Int32Array, Int64Array
from recommendations.training.likes import Likes

MAX_CASES = 2_000
"""Members whose newest like is held out. Changes the width of the intervals, and the time."""
LIST_LENGTH = 10
PAGE_LENGTH = 20
"""Posts of a first page: a scale is the score of the last of them."""
CASES_PER_BATCH = 256
SCORES_PER_BATCH = 2**25
"""Scores of a batch of cases: 256 MB as float64, however many posts there are. Changes the memory and the time."""


@dataclass(frozen=True)
class HeldOut:
    """Likes split into those to train on, and one held-out like of each case."""

    train: Likes
    """All other likes. Its columns are those of the likes before the split, so a post may have none left."""
    members: Int32Array  # (c,) positions of the cases' members
    posts: Int32Array  # (c,) positions of the held-out posts
    times: Float64Array  # (c,) when they were liked

    def __len__(self) -> int:
        return len(self.members)

    def take(self, is_taken: BoolArray) -> HeldOut:
        """Return the same split with the cases for which *is_taken* (c,) is true."""
        return HeldOut(self.train, self.members[is_taken], self.posts[is_taken], self.times[is_taken])


def hold_out(likes: Likes, seed: int, *, min_likes: int) -> HeldOut:
    """
    Return the split with the newest like of up to `MAX_CASES` members with at least *min_likes* likes.

    The members are chosen by a hash of their ids.
    """
    counts = np.bincount(likes.members, minlength=len(likes.member_ids))
    members = np.flatnonzero(counts >= min_likes)
    hashes = hash_ids(likes.member_ids[members], seed)
    chosen = np.sort(members[np.argsort(hashes, kind="stable")[:MAX_CASES]])
    newest = np.cumsum(counts)[chosen] - 1
    is_kept = np.ones(len(likes), np.bool_)
    is_kept[newest] = False
    train = Likes(likes.member_ids, likes.post_ids, likes.members[is_kept], likes.posts[is_kept], likes.times[is_kept])
    return HeldOut(train, chosen.astype(np.int32), likes.posts[newest], likes.times[newest])


def hash_ids(ids: Int64Array, seed: int) -> np.typing.NDArray[np.uint64]:
    """Return a hash of each id (n,): the finalizer of SplitMix64 (Steele, Lea and Flood 2014)."""
    state = ids.astype(np.uint64) + np.uint64((seed + 1) * 0x9E3779B97F4A7C15 % 2**64)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def to_matrix(table: ItemWeightTable, post_ids: Int64Array) -> sparse.csr_matrix:
    """Return the weights of *table* as a matrix (p, p) over *post_ids* (p,), which must be sorted."""
    positions = np.searchsorted(post_ids, table.post_ids)
    positions[np.isin(table.post_ids, post_ids, invert=True)] = -1
    sources = np.repeat(positions, np.diff(table.starts))
    targets = positions[table.targets]
    is_known = (sources >= 0) & (targets >= 0)
    weights = table.weights[is_known] * WEIGHT_UNIT
    return sparse.csr_matrix((weights, (sources[is_known], targets[is_known])), (len(post_ids), len(post_ids)))


def score_cases(likes: Likes, members: Int32Array, weights: sparse.csr_matrix) -> Iterator[tuple[slice, Float64Array]]:
    """Yield batches of cases with their scores (b, p); -inf for a post that the member liked."""
    for at in split_cases(len(members), len(likes.post_ids)):
        liked = likes.matrix[members[at]]
        scores = (liked @ weights).toarray()
        scores[liked.nonzero()] = -np.inf
        yield at, scores


def split_cases(cases: int, posts: int) -> Iterator[slice]:
    """Yield batches of *cases*, each of which may have a score for each of *posts*."""
    length = max(min(CASES_PER_BATCH, SCORES_PER_BATCH // max(posts, 1)), 1)
    for start in range(0, cases, length):
        yield slice(start, min(start + length, cases))


def rank_targets(cases: HeldOut, weights: sparse.csr_matrix) -> Int64Array:
    """Return the place (c,) of each held-out post among the posts that its member did not like, the first being 1."""
    places = np.zeros(len(cases), np.int64)
    for at, scores in score_cases(cases.train, cases.members, weights):
        places[at] = find_places(scores, cases.posts[at])
    return places


def rank_targets_by_likes(cases: HeldOut) -> Int64Array:
    """Return the place (c,) of each held-out post if posts are ranked by their number of likes."""
    matrix = cases.train.matrix
    counts = np.asarray(matrix.sum(axis=0))
    places = np.zeros(len(cases), np.int64)
    for at in split_cases(len(cases), len(cases.train.post_ids)):
        scores = np.repeat(counts, len(cases.members[at]), axis=0)
        scores[matrix[cases.members[at]].nonzero()] = -np.inf
        places[at] = find_places(scores, cases.posts[at])
    return places


def find_places(scores: Float64Array, targets: Int32Array) -> Int64Array:
    """Return the place (b,) of each target in its row of *scores* (b, p). The lower post wins a tie."""
    own = scores[np.arange(len(scores)), targets][:, None]
    is_before = (scores > own) | ((scores == own) & (np.arange(scores.shape[1]) < targets[:, None]))
    return is_before.sum(axis=1) + 1


def compute_hits(places: Int64Array) -> Float64Array:
    """Return 1 for each place (c,) up to `LIST_LENGTH`, else 0."""
    return np.where(places <= LIST_LENGTH, 1.0, 0.0)


def compute_ndcg(places: Int64Array) -> Float64Array:
    """Return the NDCG (c,) of lists of `LIST_LENGTH` posts with one target: 1 / log2(place + 1), 0 beyond the list."""
    return np.where(places <= LIST_LENGTH, 1 / np.log2(places + 1), 0.0)


def compute_scale(likes: Likes, members: Int32Array, table: ItemWeightTable) -> float:
    """
    Return the typical score of the last post of a first page.

    It is the mean over *members* (c,) of the `PAGE_LENGTH`-th highest score among the posts that they did not like, or
    1 if that is not above 0: a score is divided by it.
    """
    weights = to_matrix(table, likes.post_ids)
    return mean_last_of_page(scores for _, scores in score_cases(likes, members, weights))


def mean_last_of_page(batches: Iterable[Float64Array]) -> float:
    """Return the mean `PAGE_LENGTH`-th highest score of the rows of *batches* (b, p), or 1 if it is not above 0."""
    lasts = [np.zeros(0)]
    for scores in batches:
        count = min(PAGE_LENGTH, scores.shape[1])
        lasts.append(np.partition(scores, -count, axis=1)[:, -count])
    values = np.concatenate(lasts)
    values = values[np.isfinite(values)]
    mean = float(values.mean()) if len(values) else 0.0
    return mean if mean > 0 else 1.0
