"""
Measure the quality of recommendations on real data, beside the peers that every system must be compared with.

    python -m benchmarks.quality [--quick] [--json FILE] [--html FILE] [--movielens DIR]
        [--citeulike DIR] [--no-peers]

Sets: MovieLens small (or another MovieLens folder with --movielens) by three splits, last one out, global
time and first likes; with --citeulike, the lists of citeulike-a (users.dat, and item-tag.dat if it is there), of which
one article of each of 1,000 members is held out; and a generated platform with a known truth, whose ceiling is the peer
`truth` (benchmarks/generated_platform.py). Every list ranks the full catalogue without the posts that the member knows.

The default policies were tuned on the validation members of the first two sets and of citeulike-a
(benchmarks/tune_defaults.py). Slices show the figures of these and of the test members, which no search has seen.

The product ranks on a scratch platform (recommendations/services/evaluating/scratch.py), with the default policies.

Peers with hyperparameters try the same number of configurations, on members that they are not tested on
(recommendations/evaluation/tuning.py). --quick takes the first configuration of each instead, and fewer draws. Without
`implicit` (benchmarks/requirements.txt), ALS and BPR are left out.

Seconds in the notes are those of this machine: of tuning, and of training and ranking together.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.generated_platform import generate_platform
from recommendations.evaluation.families import BUDGET, QUICK_BUDGET
from recommendations.evaluation.intervals import DRAWS
from recommendations.evaluation.read_files import DataError
from recommendations.evaluation.report import build_json, format_table
from recommendations.evaluation.report_page import build_page
from recommendations.evaluation.slices import slice_by_segment
from recommendations.evaluation.tuning import Family
from recommendations.services.evaluating.compare import SEED, compare
from recommendations.services.evaluating.data_sets import (
    DataSet,
    read_articles_data,
    read_movielens_data,
    split_data,
)
from recommendations.services.evaluating.scratch import ScratchError
from recommendations.services.evaluating.tune import find_validation_members

try:
    from benchmarks.implicit_peers import Als, Bpr
except ImportError:
    Als = Bpr = None

SAMPLE = Path(__file__).parents[1] / "recommendations" / "sample" / "movielens"
CITEULIKE_CASES = 1000
QUICK_DRAWS = 200
TUNED_SPLITS = ("last-one", "time")

IMPLICIT_FAMILIES: list[Family] = []
if Als:
    IMPLICIT_FAMILIES = [
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


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the quality of recommendations.")
    parser.add_argument("--quick", action="store_true", help="do not tune, and draw fewer bootstrap samples")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write a page with plots to this file")
    parser.add_argument("--movielens", type=Path, metavar="DIR", default=SAMPLE, help="a MovieLens folder")
    parser.add_argument("--citeulike", type=Path, metavar="DIR", help="a folder with citeulike-a")
    parser.add_argument("--peers", action=argparse.BooleanOptionalAction, default=True, help="measure the peers, too")
    options = parser.parse_args()
    reports = []
    try:
        for data, peers in read_sets(options.movielens, options.citeulike):
            reports.append(
                compare(
                    data,
                    has_peers=options.peers,
                    more_peers=[*IMPLICIT_FAMILIES, *peers],
                    budget=QUICK_BUDGET if options.quick else BUDGET,
                    draws=QUICK_DRAWS if options.quick else DRAWS,
                    progress=show_progress,
                )
            )
            print(format_table(reports[-1]), flush=True)
    except (DataError, ScratchError) as error:
        raise SystemExit(str(error)) from error
    if options.json:
        options.json.write_text(json.dumps(build_json(reports), indent=2) + "\n")
    if options.html:
        options.html.write_text(build_page("Quality of recommendations", reports))


def show_progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def read_sets(movielens: Path, citeulike: Path | None) -> Iterator[tuple[DataSet, Sequence[Family]]]:
    """Yield the data sets, each with its cases, and peers of its own."""
    films = read_movielens_data(movielens)
    for split in TUNED_SPLITS:
        yield slice_by_half(split_data(films, split, seed=SEED)), ()
    yield split_data(films, "first-likes", seed=SEED), ()
    if citeulike:
        articles = read_articles_data(citeulike)
        yield slice_by_half(split_data(articles, "last-one", seed=SEED, members=CITEULIKE_CASES)), ()
    generated, truth = generate_platform(SEED)
    yield split_data(generated, "last-one", seed=SEED), [Family("truth", (truth,))]


def slice_by_half(data: DataSet) -> DataSet:
    """Return *data* with slices for the members that the default policies were tuned on, and for the others."""
    halves = np.where(find_validation_members(data.folds[0].train.member_ids), "validation", "test")
    return replace(data, slices=[*data.slices, *slice_by_segment(data.folds, "half of the members", halves.tolist())])


if __name__ == "__main__":
    main()
