"""
Stored evaluations, the quality score, and whether the newest evaluation is worse than the one before.

The score relates the product to the best peer on the same cases. The peers' own figures rise and fall with the data, so
an NDCG alone does not tell a worse product from a harder week. This module reads reports as JSON and computes nothing
from lists: processes that serve must not load SciPy.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.conf import settings

from recommendations.models import Evaluation

NOTHING_TO_EVALUATE = 3
"""Exit code of `manage.py evaluate` if the platform has no test case yet."""
TARGET_SCORE = 0.7
"""The quality score that the service must stay above."""
EVALUATED_FEED, EVALUATED_METRIC = "discovery", "ndcg"
"""The system and the metric that the quality score is computed from."""

Report = Mapping[str, Any]
"""A `SetReport` as JSON (`recommendations/evaluation/report.py`)."""


def store_evaluation(
    *, split: str, report: Report, policies: Mapping[str, int], seconds: float, now: datetime
) -> Evaluation:
    """Store the *report* of an evaluation of *policies* (version by variant)."""
    return Evaluation.objects.create(
        split=split,
        case_count=report["case_count"],
        member_count=report["member_count"],
        best_peer=report["best_peer"],
        quality_score=compute_score(report),
        report=dict(report),
        policies=dict(policies),
        release=settings.ENV.release,
        seconds=seconds,
        created_at=now,
    )


def compute_score(report: Report) -> float | None:
    """
    Return the NDCG of the discovery feed divided by that of the best peer, at most 1.

    None if one of the two is missing; 1 if the best peer has 0.
    """
    figures = {system["name"]: system["figures"][EVALUATED_METRIC]["value"] for system in report["systems"]}
    product, peer = figures.get(EVALUATED_FEED), figures.get(report["best_peer"])
    if product is None or peer is None:
        return None
    return min(1.0, product / peer) if peer else 1.0


def quality_score(*, now: datetime) -> float | None:
    """Return the score of the newest evaluation before *now*, or None if there is none with peers."""
    scored = Evaluation.objects.filter(quality_score__isnull=False, created_at__lte=now)
    return scored.values_list("quality_score", flat=True).first()


def quality_regression(*, now: datetime) -> float | None:
    """
    Return by how much the newest evaluation before *now* is worse than the one before, beyond chance; 0 if it is not.

    Compares the 95 % intervals of the difference between the discovery feed and the best peer in NDCG, of the two
    newest evaluations with the same split. The value is the gap between the intervals. None without two of them.
    """
    evaluations = Evaluation.objects.filter(created_at__lte=now)
    newest = evaluations.first()
    if newest is None:
        return None
    earlier = evaluations.filter(split=newest.split).exclude(pk=newest.pk).first()
    differences = [read_difference(row.report) for row in (newest, earlier) if row is not None]
    if len(differences) < 2 or None in differences:
        return None
    (_, newest_high), (earlier_low, _) = differences  # type: ignore[misc]  # None was returned above
    return max(0.0, earlier_low - newest_high)


def read_difference(report: Report) -> tuple[float, float] | None:
    """Return the limits of the discovery feed's difference to the best peer in NDCG, or None without peers."""
    for system in report["systems"]:
        if system["name"] == EVALUATED_FEED and EVALUATED_METRIC in system["differences"]:
            difference = system["differences"][EVALUATED_METRIC]
            return difference["low"], difference["high"]
    return None
