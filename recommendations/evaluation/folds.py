"""Folds: what systems may learn from, and the test cases to rank for. Splits create them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommendations.contracts import Float64Array, Int32Array, Int64Array
from recommendations.evaluation.interactions import Interactions, build_matrix
from recommendations.evaluation.ragged import Ragged


@dataclass(frozen=True)
class Fold:
    """
    One training set and its n test cases. A case asks: what would the member like next, at this moment?

    The history of a case is every interaction of its member in the training set, so a split must leave out of `train`
    whatever a member of a case did at the moment or later. A target is never among the known posts.
    """

    train: Interactions
    """What a system may learn from, oldest first if times are known."""
    members: Int32Array  # (n,) index of the member
    moments: Float64Array  # (n,) Unix seconds at which the list is asked for; NaN without times
    targets: Ragged  # (n) lists of post indexes, ascending: what the member liked at the moment or later

    def __len__(self) -> int:
        return len(self.members)

    @cached_property
    def histories(self) -> Ragged:
        """The rows of `train` by the member of each case (n), in the order of `train`."""
        everyone = np.arange(len(self.train))
        return Ragged.from_owners(self.train.members, everyone, len(self.train.member_ids)).take(self.members)

    @cached_property
    def known(self) -> Ragged:
        """The posts that the member of each case (n) had interacted with, ascending. They must not be recommended."""
        matrix = build_matrix(
            self.histories.owners,
            self.train.posts[self.histories.values],
            (len(self), len(self.train.post_ids)),
        )
        matrix.sort_indices()
        return Ragged(matrix.indices.astype(np.int64), matrix.indptr.astype(np.int64))

    @cached_property
    def likes(self) -> csr_array:
        """A sparse matrix (n, posts): 1 for each post that the member of the case had liked."""
        return self.train.positive_matrix()[self.members]

    def take(self, cases: NDArray[np.integer]) -> Fold:
        """Return the fold with only these cases (k,), by position. The training set stays."""
        return Fold(self.train, self.members[cases], self.moments[cases], self.targets.take(cases))


def hide_targets(fold: Fold) -> Fold:
    """Return the *fold* with no target in any case: what a system gets to see."""
    return replace(fold, targets=Ragged.from_lists([[]] * len(fold)))


def count_cases(folds: Sequence[Fold]) -> int:
    """Return the number of cases in all *folds*."""
    return sum(map(len, folds))


def join_members(folds: Sequence[Fold]) -> Int64Array:
    """Return the member of every case in *folds*, one fold after the other."""
    return np.concatenate([fold.members for fold in folds]).astype(np.int64)


class System(Protocol):
    """What is evaluated: the product's pipeline, or a peer."""

    @property
    def name(self) -> str:
        """The name in reports."""
        ...

    def rank(self, fold: Fold, k: int) -> Int32Array:
        """
        Return the *k* best posts for each case (n, k), as post indexes, best first.

        A system learns from `fold.train` only, and returns no known post. The targets are hidden from it. Missing
        places at the end of a list are -1.
        """
        ...
