"""
Measure the quality of recommendations on real data, beside the peers that every system must be compared with.

    python -m benchmarks.quality [--quick] [--json FILE] [--html FILE] [--movielens DIR] [--citeulike DIR]

Sets: the films of the sample (or of another MovieLens folder with --movielens) by two splits, last one out and global
time; with --citeulike, the lists of citeulike-a (users.dat, and item-tag.dat if it is there), of which one article of
each of 1,000 members is held out. Every list ranks the full catalogue without the posts that the member knows.

Peers with hyperparameters try the same number of configurations, on members that they are not tested on
(recommendations/evaluation/tuning.py). --quick takes the first configuration of each instead, and fewer draws. Without
`implicit` (benchmarks/requirements.txt), ALS and BPR are left out.

Seconds in the notes are those of this machine: of tuning, and of training and ranking together.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array

from recommendations.evaluation.folds import Fold, System
from recommendations.evaluation.intervals import DRAWS
from recommendations.evaluation.measure import Measured, measure
from recommendations.evaluation.peers import (
    DecayedPopularity,
    Ease,
    ItemNeighbors,
    PeerSystem,
    Popularity,
    Random,
    RecentPopularity,
)
from recommendations.evaluation.read_files import (
    DataError,
    read_lists,
    read_movielens,
    read_movielens_genres,
    read_tag_lists,
)
from recommendations.evaluation.report import SetReport, build_json, build_report, format_table
from recommendations.evaluation.report_page import build_page
from recommendations.evaluation.slices import Slice, find_first_times, slice_by_history, slice_by_post_age
from recommendations.evaluation.splits import find_cuts, last_one_out, random_one_out, split_by_time
from recommendations.evaluation.tuning import Family, tune

try:
    from benchmarks.implicit_peers import Als, Bpr
except ImportError:
    Als = Bpr = None

SAMPLE = Path(__file__).parents[1] / "recommendations" / "sample" / "movielens"
SEED = 20_261_129
CITEULIKE_CASES = 1000
BUDGET, QUICK_BUDGET = 8, 1
"""Configurations that each peer with hyperparameters may try."""
QUICK_DRAWS = 200

HALF_LIVES = (90.0, 365.0, 30.0, 180.0, 14.0, 730.0, 7.0, 1460.0)
"""Days."""
TIMED_FAMILIES = [Family("popularity, decayed", tuple(DecayedPopularity(days) for days in HALF_LIVES))]
FAMILIES = [
    Family(
        "item neighbors",
        tuple(
            ItemNeighbors(neighbors, shrinkage)
            for neighbors, shrinkage in (
                (100, 10.0),
                (100, 0.0),
                (300, 10.0),
                (50, 10.0),
                (100, 50.0),
                (300, 50.0),
                (50, 0.0),
                (100, 2.0),
            )
        ),
    ),
    Family("EASE", tuple(Ease(ridge) for ridge in (100.0, 200.0, 50.0, 500.0, 20.0, 1000.0, 10.0, 2000.0))),
]
if Als:
    FAMILIES += [
        Family(
            "ALS (implicit)",
            tuple(
                Als(factors, regularization, alpha)
                for factors, regularization, alpha in (
                    (64, 1.0, 1.0),
                    (64, 10.0, 10.0),
                    (64, 1.0, 10.0),
                    (64, 10.0, 1.0),
                    (128, 10.0, 10.0),
                    (32, 1.0, 10.0),
                    (64, 50.0, 40.0),
                    (128, 1.0, 1.0),
                )
            ),
        ),
        Family(
            "BPR (implicit)",
            tuple(
                Bpr(factors, rate, regularization)
                for factors, rate, regularization in (
                    (64, 0.05, 0.01),
                    (64, 0.02, 0.01),
                    (64, 0.05, 0.05),
                    (32, 0.05, 0.01),
                    (128, 0.05, 0.01),
                    (64, 0.1, 0.01),
                    (64, 0.02, 0.002),
                    (128, 0.02, 0.01),
                )
            ),
        ),
    ]


@dataclass(frozen=True)
class DataSet:
    """A data set with its test cases."""

    name: str
    description: str
    folds: tuple[Fold, ...]
    tags: csr_array | None
    slices: list[Slice]

    @property
    def has_times(self) -> bool:
        return self.folds[0].train.has_times


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the quality of recommendations.")
    parser.add_argument("--quick", action="store_true", help="do not tune, and draw fewer bootstrap samples")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write a page with plots to this file")
    parser.add_argument("--movielens", type=Path, metavar="DIR", default=SAMPLE, help="a MovieLens folder")
    parser.add_argument("--citeulike", type=Path, metavar="DIR", help="a folder with citeulike-a")
    options = parser.parse_args()
    reports = []
    try:
        for data in read_sets(options.movielens, options.citeulike):
            reports.append(run_set(data, quick=options.quick))
            print(format_table(reports[-1]), flush=True)
    except DataError as error:
        raise SystemExit(str(error)) from error
    if options.json:
        options.json.write_text(json.dumps(build_json(reports), indent=2) + "\n")
    if options.html:
        options.html.write_text(build_page("Quality of recommendations", reports))


def read_sets(movielens: Path, citeulike: Path | None) -> Iterator[DataSet]:
    """Yield the data sets, each with its cases."""
    films = read_movielens(movielens)
    genres = read_movielens_genres(movielens, films.post_ids)
    first_rated = find_first_times(films.posts, films.times, len(films.post_ids))
    for name, description, folds in (
        ("MovieLens, last one out", "Each member's last film with 4 stars or more.", last_one_out(films)),
        (
            "MovieLens, global time",
            "Films with 4 stars or more in the 365 days after eleven cuts, 45 % to 95 % of all ratings being before.",
            split_by_time(films, find_cuts(films)),
        ),
    ):
        slices = [*slice_by_history(folds), *slice_by_post_age(folds, first_rated)]
        yield DataSet(name, description, folds, genres, slices)
    if citeulike:
        yield read_citeulike(citeulike)


def read_citeulike(folder: Path) -> DataSet:
    """Return citeulike-a: one article of each of 1,000 members, both at random."""
    articles = read_lists(folder / "users.dat")
    tag_file = folder / "item-tag.dat"
    tags = read_tag_lists(tag_file, articles.post_ids) if tag_file.is_file() else None
    tested = np.random.default_rng(SEED).permutation(len(articles.member_ids))[:CITEULIKE_CASES]
    folds = random_one_out(articles, seed=SEED, members=np.sort(tested))
    description = f"One article of each of {CITEULIKE_CASES:,} members, at random. There are no times."
    return DataSet("citeulike-a, random one out", description, folds, tags, slice_by_history(folds))


def run_set(data: DataSet, *, quick: bool) -> SetReport:
    """Return the report of all systems on a data set."""
    measured: list[Measured] = []
    for system, is_peer, note in build_systems(data, QUICK_BUDGET if quick else BUDGET):
        start = time.perf_counter()
        result = measure(system, data.folds, tags=data.tags, is_peer=is_peer)
        seconds = time.perf_counter() - start
        times = "once" if len(data.folds) == 1 else f"{len(data.folds)} times"
        parts = [note, f"trained and ranked {times} in {seconds:.1f} s"]
        measured.append(replace(result, note="; ".join(filter(None, parts))))
    draws = QUICK_DRAWS if quick else DRAWS
    return build_report(data.name, data.description, data.folds, measured, data.slices, seed=SEED, draws=draws)


def build_systems(data: DataSet, budget: int) -> Iterator[tuple[System, bool, str]]:
    """Yield each system, whether it is a peer, and a note. Peers with hyperparameters try *budget* configurations."""
    yield PeerSystem("random", Random(SEED)), True, ""
    yield PeerSystem("popularity", Popularity()), True, ""
    if data.has_times:
        yield PeerSystem("popularity, last week", RecentPopularity()), True, ""
    for family in [*(TIMED_FAMILIES if data.has_times else []), *FAMILIES]:
        start = time.perf_counter()
        system = tune(family, data.folds, budget=budget, seed=SEED)
        seconds = time.perf_counter() - start
        tuned = f"; {min(budget, len(family.configurations))} tried in {seconds:.1f} s" if budget > 1 else ""
        yield system, True, f"{system.description}{tuned}"


if __name__ == "__main__":
    main()
