"""Compares the product with its peers on the same cases."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from recommendations.evaluation.families import BUDGET, build_peers
from recommendations.evaluation.folds import System, count_cases
from recommendations.evaluation.intervals import DRAWS
from recommendations.evaluation.measure import FEED_SIZE, Measured, measure
from recommendations.evaluation.report import SetReport, build_report
from recommendations.evaluation.tuning import Family
from recommendations.services.evaluating.data_sets import DataSet
from recommendations.services.evaluating.scratch import (
    RANKED_FEEDS,
    ProductSystem,
    Progress,
    ScratchPlatform,
    scratch_folder,
)

SEED = 20_261_129
"""Draws members, bootstrap samples and what exploration shows. Changes the answer."""


def compare(
    data: DataSet,
    *,
    feeds: Sequence[str] = RANKED_FEEDS,
    has_peers: bool = True,
    more_peers: Sequence[Family] = (),
    budget: int = BUDGET,
    draws: int = DRAWS,
    progress: Progress = lambda line: None,
) -> SetReport:
    """
    Return the report of the product's *feeds* and the peers on *data*.

    *more_peers*, *budget*: see `build_peers`. *draws*: see `build_report`. Raises `ScratchError`.
    """
    measured = []
    with scratch_folder() as folder:
        scratch = ScratchPlatform(folder, data.platform, seed=SEED, feeds=feeds, progress=progress)
        for feed in feeds:
            product = measure_system(data, ProductSystem(feed, feed, scratch), is_peer=False, progress=progress)
            measured.append(add_note(product, describe_fallbacks(data, scratch, feed)))
    for peer, note in build_peers(data.folds, budget=budget, seed=SEED, more=more_peers) if has_peers else ():
        measured.append(measure_system(data, peer, is_peer=True, note=note, progress=progress))
    return build_report(data.name, data.description, data.folds, measured, data.slices, seed=SEED, draws=draws)


def describe_fallbacks(data: DataSet, scratch: ScratchPlatform, feed: str) -> str:
    """Return for how many cases another feed or engine ranked, because *feed* failed or was empty; "" for none."""
    count = sum(scratch.rank(fold, FEED_SIZE).fallbacks[feed] for fold in data.folds)
    return f"a fallback ranked {count:,} of {count_cases(data.folds):,} cases" if count else ""


def add_note(measured: Measured, note: str) -> Measured:
    """Return *measured* with one more note, unless it is empty."""
    return replace(measured, note="; ".join(filter(None, [measured.note, note])))


def measure_system(data: DataSet, system: System, *, is_peer: bool, progress: Progress, note: str = "") -> Measured:
    """Return the metrics of *system* on *data*, with the seconds that it took in its note."""
    start = time.perf_counter()
    measured = measure(system, data.folds, tags=data.tags, is_peer=is_peer)
    seconds = time.perf_counter() - start
    times = "once" if len(data.folds) == 1 else f"{len(data.folds)} times"
    progress(f"{system.name}: {seconds:.1f} s")
    return add_note(replace(measured, note=note), f"trained and ranked {times} in {seconds:.1f} s")
