"""Data sets with their test cases: what an evaluation compares systems on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recommendations.evaluation.folds import Fold, join_members
from recommendations.evaluation.interactions import Interactions
from recommendations.evaluation.read_files import (
    DataError,
    read_csv,
    read_lists,
    read_movielens,
    read_movielens_genres,
    read_parquet,
    read_tag_lists,
)
from recommendations.evaluation.slices import (
    Slice,
    find_first_times,
    slice_by_history,
    slice_by_likes,
    slice_by_post_age,
)
from recommendations.evaluation.splits import cut_to_first_likes, find_cuts, last_n_out, random_one_out, split_by_time
from recommendations.services.evaluating.data_files import (
    build_articles_platform,
    build_movielens_platform,
    build_plain_platform,
)
from recommendations.services.evaluating.platform import Platform

Members = NDArray[np.integer]
LAST_N = 5
"""Posts of each member that the split last-n holds out."""
FIRST_LIKES = (0, 1, 3, 5)
"""Likes that the split first-likes leaves to its members."""
FIRST_LIKES_SHARE = 0.25
"""The share of all members whose histories it cuts. The others are what is learned from."""
SPLITS = {
    "last-one": ("last one out", "Each member's last liked post."),
    "last-n": (f"last {LAST_N} out", f"Each member's last {LAST_N} liked posts."),
    "first-likes": (
        "first likes",
        f"The next post that members like after their first {', '.join(map(str, FIRST_LIKES))} likes.",
    ),
    "time": (
        "global time",
        "Posts liked in the 365 days after eleven cuts, 45 % to 95 % of all interactions being before.",
    ),
}
"""The label of each split, and what is held out."""
UNTIMED = ("random one out", "One liked post of each member, at random. There are no times.")
"""The same for the split last-one of data without times."""


@dataclass(frozen=True)
class Data:
    """The interactions of a platform, and what is known of its members and posts."""

    name: str
    interactions: Interactions
    platform: Platform
    tags: csr_array | None = None
    """See `measure`."""


@dataclass(frozen=True)
class DataSet:
    """A platform with test cases."""

    name: str
    description: str
    folds: tuple[Fold, ...]
    platform: Platform
    tags: csr_array | None
    slices: list[Slice]


def read_movielens_data(folder: Path) -> Data:
    """Return a MovieLens folder, or that of the sample. Raises `DataError`."""
    films = read_movielens(folder)
    tags = read_movielens_genres(folder, films.post_ids)
    return Data("MovieLens", films, build_movielens_platform(folder, films), tags)


def read_articles_data(folder: Path) -> Data:
    """Return citeulike-a: users.dat, and item-tag.dat with tags.dat if they are there. Raises `DataError`."""
    articles = read_lists(folder / "users.dat")
    tag_file = folder / "item-tag.dat"
    tags = read_tag_lists(tag_file, articles.post_ids) if tag_file.is_file() else None
    return Data("citeulike-a", articles, build_articles_platform(folder, articles), tags)


def read_interactions_data(file: Path) -> Data:
    """Return a CSV or Parquet file of interactions. Its posts have ids only. Raises `DataError`."""
    interactions = (read_parquet if file.suffix == ".parquet" else read_csv)(file)
    return Data(file.name, interactions, build_plain_platform(interactions))


READERS = {"movielens": read_movielens_data, "interactions": read_interactions_data, "lists": read_articles_data}
"""The reader of each format of files."""


def split_data(data: Data, split: str, *, seed: int, members: int | None = None) -> DataSet:
    """
    Return *data* with the test cases of *split*, of at most this number of *members*, drawn from those with a case.

    Without times, last-one holds out a liked post at random. Raises `DataError` if the data has no test case, or if
    the split needs times.
    """
    interactions = data.interactions
    label, description = SPLITS[split]
    if not interactions.has_times:
        if split != "last-one":
            raise DataError(Path(data.name), None, f"The split {split} needs times.", "Use the split last-one.")
        label, description = UNTIMED
    folds = build_folds(interactions, split, seed, None)
    tested = join_members(folds) if folds else np.zeros(0, np.int64)
    if not len(tested):
        raise DataError(Path(data.name), None, f"The split {split} gives no case.", "Give members more likes.")
    if members is not None and members < len(np.unique(tested)):
        chosen = np.random.default_rng(seed).permutation(np.unique(tested))[:members]
        folds = build_folds(interactions, split, seed, np.sort(chosen))
    slices = slice_by_likes(folds, FIRST_LIKES) if split == "first-likes" else slice_by_history(folds)
    if interactions.has_times:
        created_at = find_first_times(interactions.posts, interactions.times, len(interactions.post_ids))
        slices += slice_by_post_age(folds, created_at)
    return DataSet(f"{data.name}, {label}", description, folds, data.platform, data.tags, slices)


def build_folds(interactions: Interactions, split: str, seed: int, members: Members | None) -> tuple[Fold, ...]:
    """Return the folds of *split* with the cases of these *members* (m,); None for all."""
    if split == "time":
        folds = split_by_time(interactions, np.unique(find_cuts(interactions)))
        return folds if members is None else tuple(filter(len, (select_cases(fold, members) for fold in folds)))
    if split == "first-likes":
        everyone = np.random.default_rng(seed).permutation(len(interactions.member_ids))
        cut = everyone[: round(FIRST_LIKES_SHARE * len(everyone))]
        return cut_to_first_likes(interactions, FIRST_LIKES, members=cut if members is None else members)
    if not interactions.has_times:
        return random_one_out(interactions, seed=seed, members=members)
    return last_n_out(interactions, 1 if split == "last-one" else LAST_N, members=members)


def select_cases(fold: Fold, members: Members) -> Fold:
    """Return *fold* with the cases of *members* (m,) only."""
    return fold.take(np.flatnonzero(np.isin(fold.members, members)))
