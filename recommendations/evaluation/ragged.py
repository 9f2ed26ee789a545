"""Lists of different lengths, stored as two arrays. History, known posts and targets of test cases have this form."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from recommendations.contracts import BoolArray, Int64Array


@dataclass(frozen=True)
class Ragged:
    """n lists of whole numbers. List i is `values[starts[i]:starts[i + 1]]`."""

    values: Int64Array  # (m,)
    starts: Int64Array  # (n + 1,) from 0 to m, never falling

    @classmethod
    def from_lists(cls, lists: Sequence[Sequence[int]]) -> Ragged:
        """Return these lists."""
        starts = np.concatenate([[0], np.cumsum([len(items) for items in lists], dtype=np.int64)])
        return cls(np.array([value for items in lists for value in items], np.int64), starts)

    @classmethod
    def from_owners(cls, owners: NDArray[np.integer], values: NDArray[np.integer], n: int) -> Ragged:
        """Return *n* lists from an owner, 0 to n - 1, and a value for each entry (m,). A list keeps their order."""
        order = np.argsort(owners, kind="stable")
        starts = np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=n), dtype=np.int64)])
        return cls(values[order].astype(np.int64), starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, index: int) -> Int64Array:
        return self.values[self.starts[index] : self.starts[index + 1]]

    def __iter__(self) -> Iterator[Int64Array]:
        return (self[index] for index in range(len(self)))

    @cached_property
    def lengths(self) -> Int64Array:
        """The number of values in each list (n,)."""
        return np.diff(self.starts)

    @cached_property
    def owners(self) -> Int64Array:
        """The list that each value is in (m,)."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def take(self, indexes: NDArray[np.integer]) -> Ragged:
        """Return the lists at these indexes (k,), in this order."""
        lengths = self.lengths[indexes]
        starts = np.concatenate([[0], np.cumsum(lengths)])
        positions = np.repeat(self.starts[indexes] - starts[:-1], lengths) + np.arange(starts[-1])
        return Ragged(self.values[positions], starts)

    def keep(self, mask: BoolArray) -> Ragged:
        """Return all n lists with only the values (m,) for which *mask* is True. Lists may become empty."""
        return Ragged.from_owners(self.owners[mask], self.values[mask], len(self))


def join_ragged(parts: Sequence[Ragged]) -> Ragged:
    """Return the lists of all *parts*, one part after the other."""
    lengths = np.concatenate([np.zeros(1, np.int64), *(part.lengths for part in parts)])
    return Ragged(np.concatenate([np.zeros(0, np.int64), *(part.values for part in parts)]), np.cumsum(lengths))
