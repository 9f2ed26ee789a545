"""
Metrics of ranked lists.

A list has k places with post indexes, best first; -1 is an empty place. n cases have n lists and n sets of targets. A
metric of a case is a number per case (n,), so that intervals and paired comparisons can be computed; a metric of all
lists is one number. Lists rank the full catalogue: metrics on sampled negatives order systems differently (Krichene and
Rendle 2020, "On Sampled Metrics for Item Recommendation").
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommendations.contracts import BoolArray, Float64Array, Int32Array, Int64Array
from recommendations.evaluation.ragged import Ragged

CALIBRATION_ALPHA = 0.01
"""The share of the history's distribution that is mixed into a list's, so that no tag has probability 0."""


def rank_posts(scores: Float64Array, k: int) -> Int32Array:
    """
    Return the *k* highest of *scores* (n, posts) as lists (n, k). The lower post index wins a tie.

    A post with the score -inf is never listed; -1 fills the places that remain empty.
    """
    n, posts = scores.shape
    lists = np.full((n, k), -1, np.int32)
    width = min(k, posts)
    if not width:
        return lists
    thresholds = np.partition(scores, posts - width, axis=1)[:, posts - width]
    for row, threshold, ranked in zip(scores, thresholds, lists, strict=True):
        best = np.flatnonzero((row >= threshold) & (row > -np.inf))
        best = best[np.argsort(-row[best], kind="stable")][:width]
        ranked[: len(best)] = best
    return lists


def find_hits(lists: Int32Array, targets: Ragged) -> BoolArray:
    """Return which places (n, k) of *lists* hold a target of their case."""
    posts = int(max(lists.max(initial=-1), targets.values.max(initial=-1))) + 1
    keys = np.arange(len(lists))[:, None] * posts + lists
    return (lists >= 0) & np.isin(keys, targets.owners * posts + targets.values)


def compute_hit_rate(hits: BoolArray) -> Float64Array:
    """Return 1 for each case (n,) with a target among the k places, else 0."""
    return np.where(hits.any(axis=1), 1.0, 0.0)


def compute_recall(hits: BoolArray, target_counts: Int64Array) -> Float64Array:
    """Return the fraction (n,) of each case's targets (at least 1) that are among the k places."""
    return np.asarray(hits.sum(axis=1) / target_counts)


def compute_precision(hits: BoolArray) -> Float64Array:
    """Return the fraction (n,) of the k places that hold a target. Empty places count as misses."""
    return hits.mean(axis=1)


def compute_ndcg(hits: BoolArray, target_counts: Int64Array) -> Float64Array:
    """
    Return the normalized discounted cumulative gain (n,) of each case, 0 to 1, with binary gains.

    Järvelin and Kekäläinen 2002, "Cumulated Gain-Based Evaluation of IR Techniques", with the discount of Burges et al.
    2005: the sum of 1 / log2(place + 1) over places with a target, the first place being 1, divided by that sum for the
    best possible list, which has min(targets, k) targets at its top.
    """
    discounts = 1 / np.log2(np.arange(2, hits.shape[1] + 2))
    best = np.cumsum(discounts)[np.minimum(target_counts, hits.shape[1]) - 1]
    return hits @ discounts / best


def compute_average_precision(hits: BoolArray, target_counts: Int64Array) -> Float64Array:
    """
    Return the average precision (n,) of each case, 0 to 1. The mean over cases is MAP.

    Manning, Raghavan, Schütze 2008, "Introduction to Information Retrieval", section 8.4, cut at k: the sum of the
    precision at each place with a target, divided by min(targets, k).
    """
    precisions = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    return (precisions * hits).sum(axis=1) / np.minimum(target_counts, hits.shape[1])


def compute_reciprocal_rank(hits: BoolArray) -> Float64Array:
    """
    Return 1 / place of the first target in each list (n,), the first place being 1, or 0 without a target.

    The mean over cases is MRR. Voorhees 1999, "The TREC-8 Question Answering Track Report".
    """
    return np.where(hits.any(axis=1), 1 / (hits.argmax(axis=1) + 1), 0.0)


def count_exposures(lists: Int32Array, posts: int) -> Int64Array:
    """Return how many lists each post (posts,) is in."""
    return np.bincount(lists[lists >= 0], minlength=posts)


def compute_coverage(lists: Int32Array, posts: int) -> float:
    """
    Return the fraction of the catalogue of *posts* that is in at least one list.

    Ge, Delgado-Battenfeld, Jannach 2010, "Beyond Accuracy: Evaluating Recommender Systems by Coverage and Serendipity".
    Grows with the number of lists: compare only systems with the same cases.
    """
    return float(np.count_nonzero(count_exposures(lists, posts)) / posts)


def compute_gini(lists: Int32Array, posts: int) -> float:
    """
    Return the Gini coefficient of the posts' exposures: 0 if all are in equally many lists, near 1 if one is in all.

    With the exposures x in ascending order, i from 1 to n: the sum of (2i - n - 1) x_i, divided by n times the sum of x
    (Gunawardana and Shani 2015, "Evaluating Recommender Systems", in units of exposures). NaN if all lists are empty.
    """
    exposures = np.sort(count_exposures(lists, posts))
    total = exposures.sum()
    weights = 2 * np.arange(1, posts + 1) - posts - 1
    return float((weights * exposures).sum() / (posts * total)) if total else np.nan


def compute_novelty(lists: Int32Array, like_counts: NDArray[np.integer], members: int) -> Float64Array:
    """
    Return the mean self-information (n,) of the posts of each list, in bits; NaN for an empty list.

    Zhou et al. 2010, "Solving the apparent diversity-accuracy dilemma of recommender systems": -log2 of the share of
    *members* who liked the post. *like_counts* (posts,) counts them in the training set. One is added to both numbers,
    so that the novelty of a post that nobody liked is finite.
    """
    bits = -np.log2((like_counts + 1) / (members + 1))
    return average_places(np.where(lists >= 0, bits[lists], np.nan))


def average_places(values: Float64Array) -> Float64Array:
    """Return the mean (n,) of *values* (n, k) without NaN; NaN where all are NaN."""
    known = ~np.isnan(values)
    counts = known.sum(axis=1)
    return np.where(counts, np.where(known, values, 0).sum(axis=1) / np.maximum(counts, 1), np.nan)


def scale_rows(vectors: csr_array, norm: int) -> csr_array:
    """Return *vectors* (n, d), each divided by its norm: the sum (*norm* 1) or length (2). Rows of zeros stay."""
    scaled = csr_array(vectors, dtype=np.float64, copy=True)
    scaled.eliminate_zeros()
    norms = scaled.sum(axis=1) if norm == 1 else np.sqrt(scaled.multiply(scaled).sum(axis=1))
    scaled.data /= np.repeat(norms, np.diff(scaled.indptr))
    return scaled


def compute_intra_list_similarity(lists: Int32Array, vectors: csr_array) -> Float64Array:
    """
    Return the mean cosine (n,) between two different posts of each list; NaN with fewer than two posts.

    Ziegler et al. 2005, "Improving Recommendation Lists Through Topic Diversification", as a mean over pairs. *vectors*
    (posts, d) may be of any length; a vector of zeros has the cosine 0 with every other. Lower is more varied. With
    unit vectors, the sum over pairs is the squared length of their sum, minus the sum of their squared lengths.
    """
    members = build_list_matrix(lists, vectors.shape[0])
    unit = scale_rows(vectors, 2)
    total = members @ unit
    pairs = total.multiply(total).sum(axis=1) - members @ unit.multiply(unit).sum(axis=1)
    counts = (lists >= 0).sum(axis=1)
    return np.where(counts > 1, pairs / np.maximum(counts * (counts - 1), 1), np.nan)


def build_list_matrix(lists: Int32Array, posts: int) -> csr_array:
    """Return a sparse matrix (n, posts): 1 where the post is in the list."""
    cases, places = np.nonzero(lists >= 0)
    return csr_array((np.ones(len(cases)), (cases, lists[cases, places])), shape=(len(lists), posts))


def compute_miscalibration(lists: Int32Array, likes: csr_array, tags: csr_array) -> Float64Array:
    """
    Return how far the tags of each list are from the tags of the member's likes (n,), in nats. 0 is calibrated.

    Steck 2018, "Calibrated Recommendations": the Kullback-Leibler divergence of p, the distribution of tags over the
    liked posts, and q, that over the list, where 1 % of p is mixed into q. Each post counts once, shared equally by its
    tags. *likes* (n, posts) and *tags* (posts, tags) are 1 where a member likes a post and a post has a tag. NaN if
    there are no tags among the likes or in the list.
    """
    shares = scale_rows(tags, 1)
    wanted = scale_rows(likes @ shares, 1)
    listed = scale_rows(build_list_matrix(lists, tags.shape[0]) @ shares, 1)
    mixed = wanted * CALIBRATION_ALPHA + listed * (1 - CALIBRATION_ALPHA)
    cases, columns = wanted.nonzero()
    p, q = wanted[cases, columns], mixed[cases, columns]
    divergence = np.bincount(cases, weights=p * np.log(p / q), minlength=len(lists))
    is_known = (np.diff(wanted.indptr) > 0) & (np.diff(listed.indptr) > 0)
    return np.where(is_known, divergence, np.nan)
