"""The peers that need hyperparameters, with the configurations to try, and all peers as systems."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from recommendations.evaluation.folds import Fold, System
from recommendations.evaluation.peers import (
    DecayedPopularity,
    Ease,
    ItemNeighbors,
    PeerSystem,
    Popularity,
    Random,
    RecentPopularity,
)
from recommendations.evaluation.tuning import Family, tune

BUDGET, QUICK_BUDGET = 8, 1
"""Configurations that each peer with hyperparameters may try."""

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


def build_peers(
    folds: Sequence[Fold], *, budget: int, seed: int, more: Sequence[Family] = ()
) -> Iterator[tuple[System, str]]:
    """
    Yield each peer for *folds* and a note, tuned with a *budget* of configurations for each family.

    *more* are families that need a library of their own. Peers that need times are left out where there are none.
    """
    has_times = folds[0].train.has_times
    yield PeerSystem("random", Random(seed)), ""
    yield PeerSystem("popularity", Popularity()), ""
    if has_times:
        yield PeerSystem("popularity, last week", RecentPopularity()), ""
    for family in [*(TIMED_FAMILIES if has_times else ()), *FAMILIES, *more]:
        start = time.perf_counter()
        system = tune(family, folds, budget=budget, seed=seed)
        seconds = time.perf_counter() - start
        tuned = f"; {min(budget, len(family.configurations))} tried in {seconds:.1f} s" if budget > 1 else ""
        yield system, f"{system.description}{tuned}"
