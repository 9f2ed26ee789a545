"""Runs a system on folds and computes every metric of every case."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from recommendations.contracts import BoolArray, Float64Array, Int32Array
from recommendations.evaluation import metrics
from recommendations.evaluation.folds import Fold, System, hide_targets
from recommendations.evaluation.ragged import Ragged, join_ragged
from recommendations.evaluation.slices import Slice

K = 10
"""Places that accuracy is measured in."""
FEED_SIZE = 20
"""Places that a system is asked for, and that coverage and concentration are measured in."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric as reports show it."""

    key: str
    label: str
    help: str
    is_lower_better: bool = False


METRICS = (
    Metric("hit_rate", f"HR@{K}", f"fraction of cases with a target in the first {K} places"),
    Metric("ndcg", f"NDCG@{K}", "as hit rate, where an earlier place counts more"),
    Metric("recall", f"Recall@{K}", f"fraction of the targets in the first {K} places"),
    Metric("precision", f"Precision@{K}", f"fraction of the first {K} places with a target"),
    Metric("average_precision", f"MAP@{K}", "mean precision at the places with a target"),
    Metric("reciprocal_rank", f"MRR@{K}", "1 / place of the first target"),
    Metric("coverage", f"Coverage@{FEED_SIZE}", "fraction of the catalogue that is in at least one list"),
    Metric("gini", f"Gini@{FEED_SIZE}", "concentration of the lists on few posts, 0 to 1", is_lower_better=True),
    Metric("novelty", f"Novelty@{K}", "mean self-information of the posts, in bits: how few members liked them"),
    Metric(
        "similarity", f"Similarity@{K}", "mean cosine between the tags of two posts of a list", is_lower_better=True
    ),
    Metric(
        "miscalibration",
        f"Miscalibration@{K}",
        "divergence between the tags of the list and of the likes, in nats",
        is_lower_better=True,
    ),
    Metric(
        "known",
        f"Known@{K}",
        f"fraction of cases with an already known post in the first {K} places",
        is_lower_better=True,
    ),
)
"""The metrics, in the order of reports."""


@dataclass(frozen=True)
class Measured:
    """A system's lists for the n cases of all folds, one fold after the other, and its metrics."""

    name: str
    is_peer: bool
    """Whether the system is one of those that the others are compared with."""
    note: str
    """What a reader should know about the system, such as its hyperparameters."""
    lists: Int32Array  # (n, FEED_SIZE)
    by_case: dict[str, Float64Array]
    """By key of the metric: a number per case (n,), NaN where the metric is undefined."""
    overall: dict[str, float]
    """By key: the metrics of all lists together."""


def measure(
    system: System, folds: Sequence[Fold], *, tags: csr_array | None = None, is_peer: bool = True, note: str = ""
) -> Measured:
    """
    Return the metrics of *system* on all cases of *folds*, of which there must be at least one.

    *tags* (posts, tags) is 1 where a post has a tag; without it, similarity and calibration are not measured. Raises
    `ValueError` if the system returns lists of the wrong shape, an unknown post, or a post twice in a list.
    """
    parts = [check_lists(system, system.rank(hide_targets(fold), FEED_SIZE), fold) for fold in folds]
    lists = np.concatenate(parts)
    targets = join_ragged([fold.targets for fold in folds])
    known = join_ragged([fold.known for fold in folds])
    posts = len(folds[0].train.post_ids)
    by_case = measure_accuracy(metrics.find_hits(lists[:, :K], targets), targets)
    by_case["known"] = metrics.compute_hit_rate(metrics.find_hits(lists[:, :K], known))
    by_case["novelty"] = join_folds(folds, parts, measure_novelty)
    if tags is not None:
        by_case["similarity"] = metrics.compute_intra_list_similarity(lists[:, :K], tags)
        by_case["miscalibration"] = join_folds(
            folds, parts, lambda fold, part: metrics.compute_miscalibration(part, fold.likes, tags)
        )
    overall = {"coverage": metrics.compute_coverage(lists, posts), "gini": metrics.compute_gini(lists, posts)}
    return Measured(system.name, is_peer, note, lists, by_case, overall)


def check_lists(system: System, lists: Int32Array, fold: Fold) -> Int32Array:
    """Return *lists*. Raises `ValueError` unless they are `FEED_SIZE` different posts for each case of *fold*."""
    if lists.shape != (len(fold), FEED_SIZE):
        raise ValueError(f"{system.name} returned {lists.shape}, not {(len(fold), FEED_SIZE)}.")
    if lists.size and (lists.min() < -1 or lists.max() >= len(fold.train.post_ids)):
        raise ValueError(f"{system.name} returned a post that is not in the catalogue.")
    ordered = np.sort(lists, axis=1)
    if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any():
        raise ValueError(f"{system.name} returned a post twice in a list.")
    return lists


def join_folds(
    folds: Sequence[Fold], parts: Sequence[Int32Array], compute: Callable[[Fold, Int32Array], Float64Array]
) -> Float64Array:
    """Return what *compute* returns for each fold and its lists (cases, K), one after the other (n,)."""
    return np.concatenate([compute(fold, part[:, :K]) for fold, part in zip(folds, parts, strict=True)])


def measure_novelty(fold: Fold, lists: Int32Array) -> Float64Array:
    """Return the novelty (n,) of *lists* by the likes in the training set of *fold*, among members with a like."""
    likes = fold.train.positive_matrix()
    members = int(np.count_nonzero(np.diff(likes.indptr)))
    return metrics.compute_novelty(lists, likes.sum(axis=0).astype(np.int64), members)


def measure_accuracy(hits: BoolArray, targets: Ragged) -> dict[str, Float64Array]:
    """Return the metrics of accuracy, by key, as a number per case (n,)."""
    counts = targets.lengths
    return {
        "hit_rate": metrics.compute_hit_rate(hits),
        "ndcg": metrics.compute_ndcg(hits, counts),
        "recall": metrics.compute_recall(hits, counts),
        "precision": metrics.compute_precision(hits),
        "average_precision": metrics.compute_average_precision(hits, counts),
        "reciprocal_rank": metrics.compute_reciprocal_rank(hits),
    }


def measure_slice(measured: Measured, part: Slice) -> dict[str, Float64Array]:
    """Return the metrics of accuracy of a slice, by key, as a number per case of the slice (c,)."""
    return measure_accuracy(metrics.find_hits(measured.lists[part.cases, :K], part.targets), part.targets)
