"""Data sets with their test cases: what an evaluation compares systems on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array

from recommendations.evaluation.folds import Fold
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
from recommendations.evaluation.slices import Slice, find_first_times, slice_by_history, slice_by_post_age
from recommendations.evaluation.splits import find_cuts, last_n_out, random_one_out, split_by_time
from recommendations.services.evaluating.data_files import (
    build_articles_platform,
    build_movielens_platform,
    build_plain_platform,
)
from recommendations.services.evaluating.platform import Platform

LAST_N = 5
"""Posts of each member that the split last-n holds out."""
SPLITS = {
    "last-one": ("last one out", "Each member's last liked post."),
    "last-n": (f"last {LAST_N} out", f"Each member's last {LAST_N} liked posts."),
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
    Return *data* with the test cases of *split*, of at most this number of *members* at random.

    Without times, last-one holds out a liked post at random. Raises `DataError` if the data has no test case, or if
    the split needs times.
    """
    interactions = data.interactions
    label, description = SPLITS[split]
    if split == "last-one" and not interactions.has_times:
        chosen = draw_members(interactions, members, seed)
        folds = random_one_out(interactions, seed=seed, members=chosen)
        label, description = UNTIMED
    elif not interactions.has_times:
        raise DataError(Path(data.name), None, f"The split {split} needs times.", "Use the split last-one.")
    elif split == "time":
        folds = split_by_time(interactions, np.unique(find_cuts(interactions)))
        folds = tuple(filter(len, (sample_cases(fold, draw_members(interactions, members, seed)) for fold in folds)))
    else:
        n = 1 if split == "last-one" else LAST_N
        folds = last_n_out(interactions, n, members=draw_members(interactions, members, seed))
    if not sum(map(len, folds)):
        raise DataError(Path(data.name), None, f"The split {split} gives no case.", "Give members more likes.")
    slices = slice_by_history(folds)
    if interactions.has_times:
        created_at = find_first_times(interactions.posts, interactions.times, len(interactions.post_ids))
        slices += slice_by_post_age(folds, created_at)
    return DataSet(f"{data.name}, {label}", description, folds, data.platform, data.tags, slices)


def draw_members(interactions: Interactions, count: int | None, seed: int) -> np.typing.NDArray[np.integer] | None:
    """Return *count* members with a like, at random and sorted; None for all."""
    if count is None:
        return None
    liked = np.unique(interactions.members[interactions.is_positive])
    return np.sort(np.random.default_rng(seed).permutation(liked)[:count])


def sample_cases(fold: Fold, members: np.typing.NDArray[np.integer] | None) -> Fold:
    """Return *fold* with the cases of *members*; None for all."""
    return fold if members is None else fold.take(np.flatnonzero(np.isin(fold.members, members)))
