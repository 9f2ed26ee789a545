"""
Find the default policies: one configuration for all public sets.

    python -m benchmarks.tune_defaults [--citeulike DIR] [--movielens DIR]

Runs `tune` (recommendations/services/evaluating/tune.py) on the validation members of MovieLens small, by their last
five likes and by global time, and of citeulike-a if its folder is given. The search begins at `START`, the weights of
the release before, which nothing had been measured for, so no test member has decided any of them. The result is
written by hand into the defaults of `Policy`, and reaches platforms by a migration.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from benchmarks.quality import CITEULIKE_CASES, SAMPLE, show_progress
from recommendations.contracts import Policy
from recommendations.services.evaluating.compare import SEED
from recommendations.services.evaluating.data_sets import read_articles_data, read_movielens_data, split_data
from recommendations.services.evaluating.tune import format_tuning, tune

START = replace(
    Policy(),
    taste=1.0,
    popularity=0.25,
    year_popularity=0.03,
    co_liked=0.2,
    liked_next=0.1,
    diversity=0.3,
)
SPLITS = ("last-n", "time")


def main() -> None:
    parser = argparse.ArgumentParser(description="Find the default policies.")
    parser.add_argument("--citeulike", type=Path, metavar="DIR", help="a folder with citeulike-a")
    parser.add_argument("--movielens", type=Path, metavar="DIR", default=SAMPLE, help="a MovieLens folder")
    options = parser.parse_args()
    films = read_movielens_data(options.movielens)
    sets = [split_data(films, split, seed=SEED) for split in SPLITS]
    if options.citeulike:
        articles = read_articles_data(options.citeulike)
        sets.append(split_data(articles, "last-one", seed=SEED, members=CITEULIKE_CASES))
    print(format_tuning(tune(sets, START, seed=SEED, progress=show_progress)))


if __name__ == "__main__":
    main()
