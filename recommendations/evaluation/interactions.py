"""The interactions of a platform as columns: the input of every split, system and peer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from recommendations.contracts import (
    BoolArray,
    Float32Array,
    Float64Array,
    Int8Array,
    Int32Array,
    InteractionKind,
    RowSelector,
    select_rows,
)

KINDS = tuple(InteractionKind)
"""The kinds of interaction. `Interactions.kinds` holds positions in this tuple."""

POSITIVE_KINDS = frozenset(
    {
        InteractionKind.LIKE,
        InteractionKind.COMMENT,
        InteractionKind.SHARE,
        InteractionKind.SAVE,
        InteractionKind.FOLLOW,
    }
)
"""The kinds that say that a member liked a post, unless the caller names others. Changes the answer."""


@dataclass(frozen=True)
class Interactions:
    """
    n interactions, in the order of their source. Of two interactions at the same time, the first row came first.

    Members and posts are indexes into `member_ids` and `post_ids`. `post_ids` is the full catalogue: it may contain
    posts without interactions. Selections share both, so an index means the same in every selection.
    """

    members: Int32Array  # (n,) index into member_ids
    posts: Int32Array  # (n,) index into post_ids
    kinds: Int8Array  # (n,) index into KINDS
    values: Float32Array  # (n,) the value of the event, such as stars; 1 where there is none
    is_positive: BoolArray  # (n,) whether the member liked the post
    times: Float64Array  # (n,) Unix seconds; all NaN if the source has no times
    member_ids: tuple[str, ...]
    post_ids: tuple[str, ...]

    def __post_init__(self) -> None:
        """Raise `ValueError` if columns differ in length, an index is out of range, or only some times are unknown."""
        n = len(self.members)
        columns = (self.posts, self.kinds, self.values, self.is_positive, self.times)
        if any(len(column) != n for column in columns):
            raise ValueError("Give columns of the same length.")
        limits = ((self.members, self.member_ids), (self.posts, self.post_ids), (self.kinds, KINDS))
        if n and any(column.min() < 0 or column.max() >= len(ids) for column, ids in limits):
            raise ValueError("An index of a member, post or kind is out of range.")
        if 0 < np.isnan(self.times).sum() < n:
            raise ValueError("Give a time for every interaction, or for none.")

    @classmethod
    def from_columns(
        cls,
        member_ids: Sequence[str],
        post_ids: Sequence[str],
        *,
        is_positive: ArrayLike,
        kinds: ArrayLike | None = None,
        values: ArrayLike | None = None,
        times: ArrayLike | None = None,
        catalogue: Iterable[str] = (),
    ) -> Interactions:
        """
        Return interactions from one id of a member and of a post for each (n,), and columns (n,) as in the class.

        Without *kinds*, a positive interaction is a like and any other a view. Without *values*, all are 1. Without
        *times*, all are unknown. *catalogue* names further posts that could be recommended. Raises `ValueError` for
        columns that do not fit together.
        """
        n = len(member_ids)
        all_members, members = index_ids(member_ids)
        all_posts, posts = index_ids(post_ids, catalogue)
        positive = np.asarray(is_positive, np.bool_)
        liked, viewed = KINDS.index(InteractionKind.LIKE), KINDS.index(InteractionKind.VIEW)
        return cls(
            members=members,
            posts=posts,
            kinds=np.asarray(np.where(positive, liked, viewed) if kinds is None else kinds, np.int8),
            values=np.asarray(np.ones(n) if values is None else values, np.float32),
            is_positive=positive,
            times=np.asarray(np.full(n, np.nan) if times is None else times, np.float64),
            member_ids=all_members,
            post_ids=all_posts,
        )

    def __len__(self) -> int:
        return len(self.members)

    @property
    def has_times(self) -> bool:
        """Whether the times of the interactions are known."""
        return not np.isnan(self.times).any()

    @property
    def pair_keys(self) -> NDArray[np.int64]:
        """A number (n,) that two rows share if they have the same member and the same post."""
        return self.members.astype(np.int64) * len(self.post_ids) + self.posts

    def take(self, selector: RowSelector) -> Interactions:
        """Return the selected rows. Vocabularies are shared."""
        return replace(
            self,
            members=select_rows(self.members, selector),
            posts=select_rows(self.posts, selector),
            kinds=select_rows(self.kinds, selector),
            values=select_rows(self.values, selector),
            is_positive=select_rows(self.is_positive, selector),
            times=select_rows(self.times, selector),
        )

    def sort_by_time(self) -> Interactions:
        """Return the rows, oldest first. Rows at the same time, or without times, keep their order."""
        return self.take(np.argsort(self.times, kind="stable"))

    def positive_matrix(self) -> csr_array:
        """Return a sparse matrix (members, posts): 1 where the member has a positive interaction with the post."""
        liked = self.take(self.is_positive)
        return build_matrix(liked.members, liked.posts, (len(self.member_ids), len(self.post_ids)))


def index_ids(ids: Sequence[str], more_ids: Iterable[str] = ()) -> tuple[tuple[str, ...], Int32Array]:
    """
    Return the distinct ids of *ids* and *more_ids*, sorted, and the position of each of *ids* (n,) in them.

    Ids that are whole numbers come first, by number. Ties of scores go to the lower index, so the order must not depend
    on the order of the rows.
    """
    vocabulary = sorted({*ids, *more_ids}, key=build_sort_key)
    position = {id: index for index, id in enumerate(vocabulary)}
    return tuple(vocabulary), np.fromiter((position[id] for id in ids), np.int32, len(ids))


def build_sort_key(id: str) -> tuple[bool, int, str]:
    """Return what *id* is sorted by: whole numbers by number, then all others as text."""
    is_number = id.isascii() and id.isdecimal()
    return not is_number, int(id) if is_number else 0, id


def build_matrix(rows: NDArray[np.integer], columns: NDArray[np.integer], shape: tuple[int, int]) -> csr_array:
    """Return a sparse matrix (float64) of *shape* with 1 at these positions. Repeated positions count once."""
    matrix = csr_array((np.ones(len(rows)), (rows, columns)), shape=shape)
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return matrix
