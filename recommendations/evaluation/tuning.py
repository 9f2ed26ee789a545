"""
Selection of hyperparameters, with the same budget for every peer and never on the members that are tested.

All members are assigned to two halves at random. For the cases of one half, a configuration is selected on validation
members of the other half: the last post that each of them liked in the first training set is held out. So every member
can be tested, no target is read, and no member is tested with a configuration that was selected on the member.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from recommendations.contracts import Int8Array, Int32Array, Int64Array
from recommendations.evaluation.folds import Fold
from recommendations.evaluation.interactions import Interactions
from recommendations.evaluation.metrics import compute_ndcg, find_hits
from recommendations.evaluation.peers import Peer, rank_unknown
from recommendations.evaluation.splits import last_one_out, random_one_out

VALIDATION_MEMBERS = 300
"""Most validation members of a half."""
VALIDATION_K = 10
"""Configurations are compared by NDCG in this many places."""


@dataclass(frozen=True)
class Family:
    """A kind of peer with its configurations, the most promising first: a budget of b tries the first b."""

    name: str
    configurations: tuple[Peer, ...]


@dataclass(frozen=True)
class TunedSystem:
    """A family as a system: each half of the members is ranked with the configuration selected on the other half."""

    name: str
    halves: Int8Array  # (members,) 0 or 1
    choices: tuple[Peer, Peer]
    """For the cases of half 0, and of half 1."""

    def rank(self, fold: Fold, k: int) -> Int32Array:
        """See `System`."""
        lists = np.full((len(fold), k), -1, np.int32)
        halves = self.halves[fold.members]
        for peer in dict.fromkeys(self.choices):
            cases = np.flatnonzero(np.array([choice == peer for choice in self.choices])[halves])
            if len(cases):
                lists[cases] = rank_unknown(peer.fit(fold.train), fold.take(cases), k)
        return lists

    @cached_property
    def description(self) -> str:
        """The selected configurations, such as: Ease(ridge=100.0, space='smaller')."""
        return " / ".join(dict.fromkeys(map(repr, self.choices)))


def tune(family: Family, folds: Sequence[Fold], *, budget: int, seed: int) -> TunedSystem:
    """
    Return the *family* with a configuration for each half of the members, out of its first *budget* configurations.

    Raises `ValueError` if a half has no validation members.
    """
    train = folds[0].train
    halves = assign_halves(len(train.member_ids), seed)
    candidates = family.configurations[:budget]
    choices = [
        select_peer(candidates, build_validation(train, np.flatnonzero(halves != half), seed)) for half in (0, 1)
    ]
    return TunedSystem(family.name, halves, (choices[0], choices[1]))


def assign_halves(members: int, seed: int) -> Int8Array:
    """Return 0 or 1 for each of *members* (members,), equally often, at random."""
    return (np.random.default_rng(seed).permutation(members) % 2).astype(np.int8)


def build_validation(train: Interactions, members: Int64Array, seed: int) -> Fold:
    """Return a fold that holds out one liked post of at most `VALIDATION_MEMBERS` of *members*, within *train*."""
    likes = np.diff(train.positive_matrix().indptr)
    eligible = np.random.default_rng(seed).permutation(members[likes[members] >= 2])
    chosen = np.sort(eligible[:VALIDATION_MEMBERS])
    if train.has_times:
        (fold,) = last_one_out(train, min_history=1, members=chosen)
    else:
        (fold,) = random_one_out(train, seed=seed, min_history=1, members=chosen)
    if not len(fold):
        raise ValueError("A half has no validation members with two likes in the first training set.")
    return fold


def select_peer(candidates: Sequence[Peer], validation: Fold) -> Peer:
    """Return the candidate with the highest mean NDCG on the *validation* fold; the first of equals."""
    if len(candidates) == 1:
        return candidates[0]
    figures = []
    for peer in candidates:
        lists = rank_unknown(peer.fit(validation.train), validation, VALIDATION_K)
        figures.append(compute_ndcg(find_hits(lists, validation.targets), validation.targets.lengths).mean())
    return candidates[int(np.argmax(figures))]
