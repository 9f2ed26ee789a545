"""Groups of the rows of columns, such as the interactions of one member with one post. No database access."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from recommendations.contracts import BoolArray, Int64Array


class Groups(NamedTuple):
    """Which of n rows belong together, in g groups."""

    numbers: Int64Array  # (n,) the number of the row's group
    firsts: Int64Array  # (g,) the first row of each group

    def __len__(self) -> int:
        return len(self.firsts)

    def any_of(self, mask: BoolArray) -> BoolArray:
        """Return for each group (g,) whether *mask* (n,) is true for any of its rows."""
        found = np.zeros(len(self.firsts), np.bool_)
        found[self.numbers[mask]] = True
        return found


def group_rows(*columns: Int64Array) -> Groups:
    """Return the groups of rows that have the same values in all *columns* (n,)."""
    order = np.lexsort(columns)
    is_first = np.ones(len(order), np.bool_)
    is_first[1:] = np.any([column[order[1:]] != column[order[:-1]] for column in columns], axis=0)
    numbers = np.empty(len(order), np.int64)
    numbers[order] = np.cumsum(is_first) - 1
    return Groups(numbers, order[is_first])


def count_before(numbers: Int64Array) -> Int64Array:
    """Return for each row (n,) how many rows of its group come before it. *numbers* (n,) are those of the groups."""
    order = np.argsort(numbers, kind="stable")
    counts = np.empty(len(numbers), np.int64)
    counts[order] = np.arange(len(numbers)) - np.searchsorted(numbers[order], numbers[order])
    return counts
