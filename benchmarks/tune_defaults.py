"""
Find the default policies: one configuration for all public sets.

    python -m benchmarks.tune_defaults --citeulike DIR [--movielens DIR]

Runs `tune` (recommendations/services/evaluating/tune.py) on the validation members of MovieLens small by two splits and
of citeulike-a, beginning at the defaults of this release, and prints the figures on the test members. The result is
written by hand into the defaults of `Policy`, and reaches platforms by a migration.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.quality import CITEULIKE_CASES, SAMPLE, TUNED_SPLITS, show_progress
from recommendations.contracts import Policy
from recommendations.services.evaluating.compare import SEED
from recommendations.services.evaluating.data_sets import read_articles_data, read_movielens_data, split_data
from recommendations.services.evaluating.tune import format_tuning, tune


def main() -> None:
    parser = argparse.ArgumentParser(description="Find the default policies.")
    parser.add_argument("--citeulike", type=Path, metavar="DIR", required=True, help="a folder with citeulike-a")
    parser.add_argument("--movielens", type=Path, metavar="DIR", default=SAMPLE, help="a MovieLens folder")
    options = parser.parse_args()
    films, articles = read_movielens_data(options.movielens), read_articles_data(options.citeulike)
    sets = [split_data(films, split, seed=SEED) for split in TUNED_SPLITS]
    sets.append(split_data(articles, "last-one", seed=SEED, members=CITEULIKE_CASES))
    print(format_tuning(tune(sets, Policy(), seed=SEED, progress=show_progress)))


if __name__ == "__main__":
    main()
