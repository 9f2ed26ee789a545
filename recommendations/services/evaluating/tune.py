"""
Finds the policy with which the discovery feed finds the most of what members like next.

Members are assigned to two halves by a hash of their ids, which never changes. The search reads the targets of the
first half only, the validation members; figures are reported on the others, the test members. The candidates of every
case are captured once from the pipeline that serves (`captures.py`), and ranked again with each policy that is tried.

The search has two steps. The weights are searched without the rerankers (`evaluation/weights.py`). Then every
combination of `DIVERSITIES`, `EXPLORATION_SHARES` and `POPULARITY_SHARES` is ranked with the rerankers, and the one
whose lists cover the most posts is selected among those that cost at most `VARIETY_COST` of the NDCG: variety is
wanted for itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from itertools import product
from typing import Any

import numpy as np

from recommendations.contracts import BoolArray, Float64Array, Int32Array, Int64Array, Policy
from recommendations.evaluation.folds import Fold, join_members
from recommendations.evaluation.intervals import Comparison, Interval, compare_paired, compute_interval
from recommendations.evaluation.measure import FEED_SIZE, K
from recommendations.evaluation.metrics import compute_coverage, compute_hit_rate, compute_ndcg, find_hits
from recommendations.evaluation.ragged import join_ragged
from recommendations.evaluation.report import align
from recommendations.evaluation.weights import PartCases, search_weights
from recommendations.pipeline.sources.collaborative import PARTS
from recommendations.services.errors import TooFewCases
from recommendations.services.evaluating.captures import CapturedFold, weigh
from recommendations.services.evaluating.data_sets import DataSet
from recommendations.services.evaluating.scratch import RANKED_VARIANT, Progress, ScratchPlatform, scratch_folder

SEARCHED = (
    "taste",
    "recency",
    "popularity",
    "year_popularity",
    "trend",
    "item_weights",
    "co_liked",
    "liked_next",
    "author",
    "quality",
)
"""
The weights that are searched. The others are what the product promises, such as fatigue and negative feedback, or are
about facts that held-out likes say nothing about: follows, the interests that members state (`topic`), and members who
have liked little (`few_likes_popularity`).
"""
REFERENCES = ("item_weights", "taste")
"""
The first of these with a weight that tells candidates apart keeps its weight: only ratios of weights change an order.
"""
DIVERSITIES = (0.0, 0.1, 0.2, 0.3, 0.4)
EXPLORATION_SHARES = (0.05, 0.1)
POPULARITY_SHARES = (1.0, 0.5)
"""
What the weights of popularity are multiplied by: popular posts are the same for everyone. Not by 0, because members who
have done nothing yet are ranked by popularity.
"""
VARIETY_COST = 0.02
"""How much NDCG variety may cost, as a fraction. Changes the answer."""
MAX_NOTE = 200
"""Characters of the note of a policy."""
MIN_CASES = 30
"""The fewest cases of either half that a policy is tuned on."""


@dataclass(frozen=True)
class Figures:
    """The figures of a policy on the test members of a set."""

    hit_rate: Interval
    ndcg: Interval
    coverage: float


@dataclass(frozen=True)
class TunedSet:
    """The figures of a set: with the policy that the search began at, and with the one that it found."""

    name: str
    case_count: int
    before: Figures
    after: Figures
    gain: Comparison
    """Of the NDCG."""


@dataclass(frozen=True)
class Tuning:
    """What a search found."""

    start: Policy
    policy: Policy
    sets: tuple[TunedSet, ...]

    @property
    def changes(self) -> dict[str, tuple[float, float]]:
        """The settings that differ, with the value before and after."""
        before, after = asdict(self.start), asdict(self.policy)
        return {name: (before[name], after[name]) for name in before if before[name] != after[name]}


@dataclass(frozen=True)
class CapturedSet:
    """A set whose candidates are captured."""

    name: str
    folds: tuple[CapturedFold, ...]
    groups: Int64Array
    """The member of each case of all folds."""
    is_validation: BoolArray
    """Whether each case of all folds is of a validation member."""
    posts: int

    def select(self, *, validation: bool) -> list[tuple[CapturedFold, Int64Array]]:
        """Return the folds with the cases of the validation members, or of the test members."""
        ends = np.cumsum([len(fold.fold) for fold in self.folds])
        parts = np.split(self.is_validation == validation, ends[:-1])
        return [(fold, np.flatnonzero(part)) for fold, part in zip(self.folds, parts, strict=True)]

    def search_cases(self) -> PartCases:
        """Return the cases of the validation members for a search."""
        return PartCases.join([fold.select_cases(cases) for fold, cases in self.select(validation=True)])


@dataclass(frozen=True)
class Measured:
    """The metrics of the cases of a set with one policy."""

    hit_rate: Float64Array  # (n,)
    ndcg: Float64Array  # (n,)
    coverage: float


def tune(data: Sequence[DataSet], start: Policy, *, seed: int, progress: Progress = lambda line: None) -> Tuning:
    """
    Return the policy that the search finds on the validation members of all *data*, beginning at *start*.

    Each case counts the same. Raises `ScratchError`, and `TooFewCases` if a half of a set has fewer than `MIN_CASES`.
    """
    for one in data:
        check_cases(one)
    sets = [capture_set(one, start, seed, progress) for one in data]
    weighted = tune_weights(sets, start, progress)
    policy = tune_variety(sets, weighted, progress)
    return Tuning(start, policy, tuple(report_set(one, start, policy, seed) for one in sets))


def is_validation_member(id: str) -> bool:
    """Return whether the member with this *id* is a validation member. Half of all ids are."""
    return blake2b(id.encode(), digest_size=1).digest()[0] % 2 == 0


def find_validation_members(member_ids: Sequence[str]) -> BoolArray:
    """Return which members (m,) are validation members."""
    return np.array([is_validation_member(id) for id in member_ids], np.bool_)


def find_validation_cases(folds: Sequence[Fold]) -> BoolArray:
    """Return which cases of all *folds* (n,) are of a validation member."""
    return find_validation_members(folds[0].train.member_ids)[join_members(folds)]


def check_cases(data: DataSet) -> None:
    """Raise `TooFewCases` if a half of the members of *data* has too few cases."""
    is_validation = find_validation_cases(data.folds)
    fewest = min(np.count_nonzero(is_validation), np.count_nonzero(~is_validation))
    if fewest < MIN_CASES:
        raise TooFewCases(data.name, int(fewest), MIN_CASES)


def capture_set(data: DataSet, start: Policy, seed: int, progress: Progress) -> CapturedSet:
    """Return *data* with the candidates of all cases. Raises `ScratchError`."""
    progress(f"{data.name}: {sum(map(len, data.folds)):,} cases")
    policies = {RANKED_VARIANT: asdict(with_all_sources(start))}
    with scratch_folder() as folder:
        scratch = ScratchPlatform(folder, replace(data.platform, policies=policies), seed=seed, progress=progress)
        folds = tuple(scratch.capture(fold) for fold in data.folds)
    return CapturedSet(
        name=data.name,
        folds=folds,
        groups=join_members(data.folds),
        is_validation=find_validation_cases(data.folds),
        posts=len(data.folds[0].train.post_ids),
    )


def with_all_sources(policy: Policy) -> Policy:
    """Return *policy* with a weight for each part whose source finds nothing without one."""
    settings = asdict(policy)
    return Policy.from_stored(settings | {name: settings[name] or 1.0 for name in PARTS.values()})


def tune_weights(sets: Sequence[CapturedSet], start: Policy, progress: Progress) -> Policy:
    """Return *start* with the weights that the search finds on the validation members."""
    cases = [one.search_cases() for one in sets]
    names = sets[0].folds[0].capture.part_names
    varies = np.any([np.ptp(of_set.parts, axis=0) > 0 for of_set in cases], axis=0)
    weights = weigh(names, start)
    is_reference = varies & (weights > 0)
    reference = next((name for name in REFERENCES if is_reference[names == name].any()), "")
    is_free = varies & np.isin(names, SEARCHED) & (names != reference)
    found = search_weights(cases, names.tolist(), weights, is_free, progress)
    changed = zip(names[is_free].tolist(), found[is_free].tolist(), strict=True)
    return Policy.from_stored(asdict(start) | dict(changed))


def tune_variety(sets: Sequence[CapturedSet], policy: Policy, progress: Progress) -> Policy:
    """Return *policy* with the most various lists that cost at most `VARIETY_COST`, on the validation members."""
    tried = [
        replace(
            policy,
            diversity=diversity,
            exploration_share=exploration,
            popularity=share * policy.popularity,
            year_popularity=share * policy.year_popularity,
        )
        for diversity, exploration, share in product(DIVERSITIES, EXPLORATION_SHARES, POPULARITY_SHARES)
    ]
    measured = [[measure(of_set, one, validation=True) for of_set in sets] for one in tried]
    means = [max(of_set.ndcg.mean(), 1e-9) for of_set in measured[0]]
    ndcg = [np.concatenate([m.ndcg / mean for m, mean in zip(row, means, strict=True)]).mean() for row in measured]
    coverage = np.array([[of_set.coverage for of_set in row] for row in measured])  # (policies, sets)
    spread = (coverage / coverage[0]).mean(axis=1)
    for one, relative, covered in zip(tried, ndcg, spread, strict=True):
        progress(
            f"diversity {one.diversity:g}, exploration_share {one.exploration_share:g}, popularity {one.popularity:g}: "
            f"{relative:.3f} times the NDCG of the first, {covered:.3f} times its coverage"
        )
    allowed = np.flatnonzero(np.array(ndcg) >= (1 - VARIETY_COST) * max(ndcg))
    return tried[allowed[spread[allowed].argmax()]]


def measure(one: CapturedSet, policy: Policy, *, validation: bool) -> Measured:
    """Return the metrics of *policy* on the validation members of a set, or on its test members."""
    lists: list[Int32Array] = []
    targets = []
    for fold, cases in one.select(validation=validation):
        lists.append(fold.rank(policy, cases, FEED_SIZE))
        targets.append(fold.fold.targets.take(cases))
    joined, every = np.concatenate(lists), join_ragged(targets)
    hits = find_hits(joined[:, :K], every)
    return Measured(compute_hit_rate(hits), compute_ndcg(hits, every.lengths), compute_coverage(joined, one.posts))


def report_set(one: CapturedSet, start: Policy, policy: Policy, seed: int) -> TunedSet:
    """Return the figures of both policies on the test members of a set."""
    before, after = (measure(one, settings, validation=False) for settings in (start, policy))
    groups = one.groups[~one.is_validation]

    def report(measured: Measured) -> Figures:
        hit_rate, ndcg = (
            compute_interval(values, seed=seed, groups=groups) for values in (measured.hit_rate, measured.ndcg)
        )
        return Figures(hit_rate, ndcg, measured.coverage)

    gain = compare_paired(after.ndcg, before.ndcg, seed=seed, groups=groups)
    return TunedSet(one.name, len(groups), report(before), report(after), gain)


def format_tuning(tuning: Tuning) -> str:
    """Return the figures and the changed settings as plain text."""
    rows = [["test members", "cases", "HR@10", "NDCG@10", "coverage", "change of the NDCG"]]
    for one in tuning.sets:
        for label, figures in (("before", one.before), ("after", one.after)):
            gain = f"{one.gain.difference:+.4f} [{one.gain.low:+.4f}, {one.gain.high:+.4f}]"
            ndcg = f"{figures.ndcg.mean:.3f} [{figures.ndcg.low:.3f}, {figures.ndcg.high:.3f}]"
            cells = [f"{one.case_count:,}", f"{figures.hit_rate.mean:.3f}", ndcg, f"{figures.coverage:.3f}"]
            rows.append([f"{one.name}, {label}", *cells, gain if label == "after" else ""])
    changes = [["setting", "before", "after"]]
    changes += [[name, f"{before:g}", f"{after:g}"] for name, (before, after) in tuning.changes.items()]
    return f"{align(rows)}\n\n{align(changes)}\n"


def build_document(tuning: Tuning) -> dict[str, Any]:
    """Return the policy as `PUT /api/v1/policies/{variant}` takes it, with the gain of each set in its note."""
    gains = "; ".join(f"{one.name}: NDCG@10 {one.gain.difference:+.4f}" for one in tuning.sets)
    return {"settings": asdict(tuning.policy), "note": f"Tuned. {gains}"[:MAX_NOTE]}
