"""
Splits of interactions into training sets and test cases.

An evaluation asks what a member would have liked next. Three kinds of split answer it:

- *Last one out*, *last N* and *random one out* hold out posts of each member. They give one case for every member, but
  the training set contains what other members did after the moment of a case.
- *First likes* cuts the histories of some members short, as if they had joined a moment ago.
- The *global time split* trains on what happened before a cut, and tests on what happened after it, as in production.
  It gives fewer cases.

A post that a member likes is usually a post that the member viewed before, so splits work on *encounters*: a member and
a post, at their first interaction. The target of a case is a post that the member had not encountered at the moment and
liked at that moment or later. Interactions at the same time happened in the order of the input.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recommendations.contracts import BoolArray, Float64Array, Int32Array, Int64Array
from recommendations.evaluation.folds import Fold
from recommendations.evaluation.interactions import Interactions
from recommendations.evaluation.ragged import Ragged

DAY = 86_400.0
"""Seconds."""
YEAR = 365 * DAY
"""Seconds."""

CUT_SHARES = tuple(np.linspace(0.45, 0.95, 11).round(2).tolist())
"""The cuts of the global time split: shares of all interactions that happened before the cut. Changes the answer."""
CUT_WINDOW = YEAR
"""Seconds after a cut in which a liked post is a target. Changes the answer."""
CUT_MIN_HISTORY = 5
"""Positive interactions that a member must have before a cut to be a case of it. Changes the answer."""


@dataclass(frozen=True)
class Encounters:
    """The n first interactions of a member with a post, by member, then in the order in which they happened."""

    members: Int32Array  # (n,)
    posts: Int32Array  # (n,)
    rows: Int64Array  # (n,) of the first interaction, in the interactions
    is_positive: BoolArray  # (n,) whether the member liked the post then or later

    def take(self, selector: BoolArray | Int64Array) -> Encounters:
        """Return the selected encounters."""
        return Encounters(self.members[selector], self.posts[selector], self.rows[selector], self.is_positive[selector])


def find_encounters(interactions: Interactions) -> Encounters:
    """Return the encounters of *interactions*, which must be oldest first."""
    keys, rows, pairs = np.unique(interactions.pair_keys, return_index=True, return_inverse=True)
    is_positive = np.bincount(pairs, weights=interactions.is_positive, minlength=len(keys)) > 0
    members = interactions.members[rows]
    order = np.lexsort((rows, members))
    rows = rows[order]
    return Encounters(members[order], interactions.posts[rows], rows, is_positive[order])


def last_one_out(
    interactions: Interactions, *, min_history: int = 0, members: NDArray[np.integer] | None = None
) -> tuple[Fold, ...]:
    """Hold out the last post that each member liked. See `last_n_out`."""
    return last_n_out(interactions, 1, min_history=min_history, members=members)


def last_n_out(
    interactions: Interactions, n: int, *, min_history: int = 0, members: NDArray[np.integer] | None = None
) -> tuple[Fold, ...]:
    """
    Hold out the last *n* posts that each member liked. Return one fold.

    The moment of a case is the first encounter with a held-out post. The training set has nothing that the member of a
    case did at the moment or later, even if it was no like. Members without *n* such posts, or with fewer than
    *min_history* positive interactions before them, are no cases and are in the training set as a whole; with *members*
    (m,), so are all others. Raises `ValueError` if times are unknown.

    Measured on MovieLens small, hit rate and NDCG in the first ten: 671 cases, popularity .057/.032, EASE with a ridge
    of 100 .110/.058.
    """
    if not interactions.has_times:
        raise ValueError("The interactions have no times. Use random_one_out.")
    ordered = interactions.sort_by_time()
    encounters = find_encounters(ordered)
    liked = encounters.take(encounters.is_positive)
    counts = np.bincount(liked.members, minlength=len(interactions.member_ids))
    ends = np.cumsum(counts)
    is_tested = select_members(interactions, members) & (counts >= n)
    cutoffs = np.full(len(counts), len(ordered))
    cutoffs[is_tested] = liked.rows[ends[is_tested] - n]
    is_before = np.arange(len(ordered)) < cutoffs[ordered.members]
    likes_before = np.bincount(ordered.members[is_before & ordered.is_positive], minlength=len(counts))
    is_tested &= likes_before >= min_history
    tested = np.flatnonzero(is_tested).astype(np.int32)
    places = ends[tested][:, None] - n + np.arange(n)
    targets = np.sort(liked.posts[places], axis=1).astype(np.int64)
    train = ordered.take(is_before | ~is_tested[ordered.members])
    return (Fold(train, tested, ordered.times[cutoffs[tested]], Ragged.from_lists(targets.tolist())),)


def cut_to_first_likes(
    interactions: Interactions, counts: Sequence[int], *, members: NDArray[np.integer]
) -> tuple[Fold, ...]:
    """
    Cut the history of each of *members* (m,) to the first posts that they liked. Return a fold for each of *counts*.

    The moment of a case is the first encounter with the liked post after that many, which is its target. The training
    set of a fold has what the members of its cases did before, and everything of all others. Members without such a
    post are no case, and nothing of them is in the training set. A count without cases gives no fold. Raises
    `ValueError` if times are unknown.
    """
    if not interactions.has_times:
        raise ValueError("The interactions have no times to find the first likes by.")
    ordered = interactions.sort_by_time()
    encounters = find_encounters(ordered)
    liked = encounters.take(encounters.is_positive)
    lengths = np.bincount(liked.members, minlength=len(interactions.member_ids))
    starts = np.cumsum(lengths) - lengths
    is_cut = select_members(interactions, members)
    folds = []
    for count in counts:
        tested = np.flatnonzero(is_cut & (lengths > count)).astype(np.int32)
        rows = liked.rows[starts[tested] + count]
        ends = np.where(is_cut, 0, len(ordered))
        ends[tested] = rows
        train = ordered.take(np.arange(len(ordered)) < ends[ordered.members])
        targets = ordered.posts[rows].astype(np.int64)
        folds.append(Fold(train, tested, ordered.times[rows], Ragged(targets, np.arange(len(tested) + 1))))
    return tuple(filter(len, folds))


def random_one_out(
    interactions: Interactions, *, seed: int, min_history: int = 0, members: NDArray[np.integer] | None = None
) -> tuple[Fold, ...]:
    """
    Hold out one post that each member liked, at random. Return one fold, whose moments are unknown.

    For data without times; with times, a history would contain what happened after the target. The training set has no
    interaction of the member with the held-out post. Members with fewer than *min_history* other positive interactions
    are no cases; with *members* (m,), so are all others.
    """
    encounters = find_encounters(interactions)
    liked = encounters.take(encounters.is_positive)
    counts = np.bincount(liked.members, minlength=len(interactions.member_ids))
    is_tested = select_members(interactions, members) & (counts > min_history)
    starts = np.cumsum(counts) - counts
    # One number for each member, so that the choice for a member does not depend on which members are tested.
    drawn = np.floor(np.random.default_rng(seed).random(len(counts)) * counts).astype(np.int64)
    tested = np.flatnonzero(is_tested).astype(np.int32)
    targets = liked.posts[starts[tested] + drawn[tested]].astype(np.int64)
    held_out = tested.astype(np.int64) * len(interactions.post_ids) + targets
    train = interactions.take(~np.isin(interactions.pair_keys, held_out))
    return (Fold(train, tested, np.full(len(tested), np.nan), Ragged(targets, np.arange(len(tested) + 1))),)


def select_members(interactions: Interactions, members: NDArray[np.integer] | None) -> BoolArray:
    """Return a mask of the members: those in *members* (m,), or all for None."""
    mask = np.full(len(interactions.member_ids), members is None)
    if members is not None:
        mask[members] = True
    return mask


def find_cuts(interactions: Interactions, shares: ArrayLike = CUT_SHARES) -> Float64Array:
    """
    Return the times (c,) before which these *shares* of the interactions happened, from 0 to 1 (1 excluded).

    Raises `ValueError` if times are unknown or a share is out of range.
    """
    wanted = np.asarray(shares, np.float64)
    if not len(interactions) or not interactions.has_times:
        raise ValueError("The interactions have no times to cut at.")
    if (wanted < 0).any() or (wanted >= 1).any():
        raise ValueError("Give shares from 0 to less than 1.")
    return np.sort(interactions.times)[(wanted * len(interactions)).astype(np.int64)]


def split_by_time(
    interactions: Interactions,
    cuts: ArrayLike,
    *,
    window: float = CUT_WINDOW,
    min_history: int = CUT_MIN_HISTORY,
) -> tuple[Fold, ...]:
    """
    Train before each of the *cuts* (c,), in Unix seconds, and test in the *window* of seconds after it.

    A fold's training set is everything before its cut, by anyone. Its cases are the members with at least *min_history*
    positive interactions before the cut who liked a post in the window that they had not encountered before the cut.
    All such posts are the targets. A cut without cases gives no fold. Raises `ValueError` if times are unknown.

    The definition used in reports is `find_cuts` with its default shares and the defaults of this function: eleven cuts
    where 45 %, 50 %, …, 95 % of all interactions have happened, windows of 365 days, at least 5 positive interactions
    before the cut. Measured on MovieLens small, hit rate and NDCG in the first ten: 200 cases in 11 folds, popularity
    .310/.085, with a half-life of 365 days .370/.109 and of 30 days .400/.094, EASE with a ridge of 100 .445/.123.
    (With a minimum of 3 there are 203 cases: popularity .315/.090.) Windows overlap where little happened between two
    cuts, so one member may have several cases: intervals resample members, not cases.
    """
    if not interactions.has_times:
        raise ValueError("The interactions have no times. Use random_one_out.")
    ordered = interactions.sort_by_time()
    folds = (split_at(ordered, float(cut), window, min_history) for cut in np.asarray(cuts, np.float64))
    return tuple(fold for fold in folds if len(fold))


def split_at(ordered: Interactions, cut: float, window: float, min_history: int) -> Fold:
    """Return the fold of one *cut*. See `split_by_time`. *ordered* is oldest first."""
    start, end = np.searchsorted(ordered.times, [cut, cut + window])
    train, after = ordered.take(slice(0, start)), ordered.take(slice(start, end))
    liked = np.unique(after.pair_keys[after.is_positive])
    liked = liked[~np.isin(liked, train.pair_keys)]
    posts = max(len(ordered.post_ids), 1)
    likes_before = np.bincount(train.members[train.is_positive], minlength=len(ordered.member_ids))
    liked = liked[likes_before[liked // posts] >= min_history]
    members, owners = np.unique(liked // posts, return_inverse=True)
    targets = Ragged.from_owners(owners, liked % posts, len(members))
    return Fold(train, members.astype(np.int32), np.full(len(members), cut), targets)
