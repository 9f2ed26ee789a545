"""
How much item weights count beside co-likes on this platform, measured on held-out likes.

Which of the two says more depends on the platform. Measured with the default policy on members of public sets that no
search had seen: where the order of likes says nothing (citeulike-a), item weights that count 4 times raise the NDCG by
11 %, and where it says much (MovieLens), they lower it by 6 %. So the factor is a constant of the trained model, which
the scale of the part contains (`find_item_factor`), and the weights of a policy mean the same on every platform.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import sparse

from recommendations.collaborative.nearest import SHRINKAGE
from recommendations.collaborative.strengths import CO_LIKED_FACTORS
from recommendations.contracts import Float64Array, Int32Array, Policy
from recommendations.training.held_out import (
    HeldOut,
    compute_ndcg,
    find_places,
    mean_last_of_page,
    score_cases,
    split_cases,
)
from recommendations.training.likes import Likes

FACTORS = (1.0, 0.5, 0.7, 1.4, 2.0, 2.8, 4.0, 5.6)
"""The factors that are tried; the first stays unless another is better. Change the answer."""
STANDARD_ERRORS = 2.0
"""A factor replaces 1 if its NDCG is higher by more than this number of standard errors. Changes the answer."""


def find_item_factor(cases: HeldOut, weights: sparse.csr_matrix, *, min_members: int) -> float:
    """
    Return the factor of item weights with the highest mean NDCG of the held-out likes.

    *weights* (p, p) are those of a table that was trained without the held-out likes. Posts are ranked by item weights
    and co-likes, added with the weights of the default policy. Co-likes are counted without the held-out likes, too,
    and those of fewer than *min_members* members are left out. A factor other than 1 needs a gain above
    `STANDARD_ERRORS`, because the best of several factors is partly chance.
    """
    policy = Policy()
    item_scale = mean_last_of_page(scores for _, scores in score_cases(cases.train, cases.members, weights))
    co_liked_scale = mean_last_of_page(scores for _, scores in score_co_likes(cases, min_members))
    places = np.zeros((len(FACTORS), len(cases)), np.int64)
    both = zip(score_cases(cases.train, cases.members, weights), score_co_likes(cases, min_members), strict=True)
    for (at, item_scores), (_, co_liked_scores) in both:
        item_part = policy.item_weights / item_scale * item_scores
        co_liked_part = policy.co_liked / co_liked_scale * np.where(np.isfinite(co_liked_scores), co_liked_scores, 0)
        for row, factor in enumerate(FACTORS):
            places[row, at] = find_places(factor * item_part + co_liked_part, cases.posts[at])
    ndcg = compute_ndcg(places)  # (factors, c)
    best = int(ndcg.mean(axis=1).argmax())
    gains = ndcg[best] - ndcg[0]
    return FACTORS[best] if gains.mean() > STANDARD_ERRORS * gains.std() / np.sqrt(len(cases)) else FACTORS[0]


def score_co_likes(cases: HeldOut, min_members: int) -> Iterator[tuple[slice, Float64Array]]:
    """
    Yield batches of cases with the co-like scores (b, p) of their members, as `nearest.pack_nearest` weighs pairs.

    -inf for a post that the member liked.
    """
    matrix, by_post = cases.train.matrix, cases.train.matrix.tocsc()
    lengths = 1 / np.sqrt(np.asarray(matrix.sum(axis=0)).ravel() + SHRINKAGE)
    for at in split_cases(len(cases), len(cases.train.post_ids)):
        strengths = weigh_latest_likes(cases.train, cases.members[at])
        sources = np.unique(strengths.indices)
        counts = (by_post[:, sources].T @ matrix).tocsr()
        counts.data[counts.data < min_members] = 0
        scaled = sparse.diags(lengths[sources]) @ counts @ sparse.diags(lengths)
        scores = (strengths[:, sources] @ scaled).toarray().astype(np.float64)
        scores[matrix[cases.members[at]].nonzero()] = -np.inf
        yield at, scores


def weigh_latest_likes(likes: Likes, members: Int32Array) -> sparse.csr_matrix:
    """Return the strengths (b, p) of the latest likes of *members* (b,), as `strengths.weigh_latest` weighs them."""
    ends = np.searchsorted(likes.members, members, "right")
    starts = np.maximum(np.searchsorted(likes.members, members, "left"), ends - len(CO_LIKED_FACTORS))
    posts = [likes.posts[start:end][::-1] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    factors = [CO_LIKED_FACTORS[: len(latest)] for latest in posts]
    rows = np.repeat(np.arange(len(members)), [len(latest) for latest in posts])
    shape = len(members), len(likes.post_ids)
    return sparse.csr_matrix((np.concatenate(factors), (rows, np.concatenate(posts))), shape)
