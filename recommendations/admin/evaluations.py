"""Evaluations of the product: the quality score over time, and the figures of each evaluation. Read-only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from django.contrib import admin
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, gettext_lazy

from monitoring.admin_columns import rounded
from monitoring.admin_lists import ServiceRowsAdmin
from monitoring.number_texts import UNKNOWN, decimals, significant
from recommendations.admin.formatting import html_table
from recommendations.models import Evaluation
from recommendations.services.measuring.evaluations import EVALUATED_FEED, EVALUATED_METRIC, TARGET_SCORE

SHOWN_METRICS = ("hit_rate", "ndcg", "recall", "coverage", "known")
"""The metrics of the table, by key."""
TREND_EVALUATIONS = 60
"""The newest evaluations in the picture."""
WIDTH, HEIGHT, LEFT, TOP = 640, 160, 40, 10
"""Units of the picture, and the width and height of its margins."""


SCORE = rounded("quality_score", 3)


@admin.register(Evaluation)
class EvaluationAdmin(ServiceRowsAdmin):
    list_display = ("created_at", "split", "case_count", SCORE, "feed_ndcg", "best_peer", "release")
    list_filter = ("split",)
    fields = (
        "created_at",
        "split",
        "case_count",
        "member_count",
        SCORE,
        "trend",
        "figures",
        "best_peer",
        "differences",
        "policies",
        "release",
        "seconds",
    )

    @admin.display(description=gettext_lazy("NDCG of discovery"))
    def feed_ndcg(self, evaluation: Evaluation) -> str:
        """Return the NDCG of the discovery feed with its interval."""
        systems = {system["name"]: system["figures"] for system in evaluation.report["systems"]}
        return format_interval(systems[EVALUATED_FEED][EVALUATED_METRIC]) if EVALUATED_FEED in systems else ""

    @admin.display(description=gettext_lazy("Quality score up to this evaluation"))
    def trend(self, evaluation: Evaluation) -> SafeString | str:
        """Return a picture of the quality scores of this and earlier evaluations with the same split."""
        earlier = Evaluation.objects.filter(split=evaluation.split, created_at__lte=evaluation.created_at)
        scored = earlier.filter(quality_score__isnull=False).values_list("created_at", "quality_score")
        newest = reversed(scored[:TREND_EVALUATIONS])
        points = [(f"{at:%Y-%m-%d}", score) for at, score in newest if score is not None]
        return draw_trend(points) if points else gettext("There is no score yet.")

    @admin.display(description=gettext_lazy("Figures"))
    def figures(self, evaluation: Evaluation) -> SafeString:
        """Return a table of the systems by metrics, with 95 % intervals."""
        rows = (
            [system["name"], *(format_interval(system["figures"].get(key)) for key in SHOWN_METRICS)]
            for system in evaluation.report["systems"]
        )
        return html_table(["", *SHOWN_METRICS], rows)

    @admin.display(description=gettext_lazy("Minus the best peer"))
    def differences(self, evaluation: Evaluation) -> SafeString:
        """Return a table of each system's differences to the best peer, with 95 % intervals."""
        rows = (
            [system["name"], *(format_interval(difference) for difference in system["differences"].values())]
            for system in evaluation.report["systems"]
            if system["differences"]
        )
        return html_table(["", "hit_rate", "ndcg"], rows)


def format_interval(figure: dict[str, float | None] | None) -> str:
    """Return a figure with its limits, or a dash if it is unknown."""
    if figure is None or figure["value"] is None:
        return UNKNOWN
    low, high = figure["low"], figure.get("high")
    limits = "" if low is None or high is None else f" [{decimals(low, 3)}; {decimals(high, 3)}]"
    return decimals(figure["value"], 3) + limits


def draw_trend(points: Sequence[tuple[str, float]]) -> SafeString:
    """Return an SVG of scores from 0 to 1, each a label and a value, oldest first, with a line at the target."""
    placed = list(place_points(points))
    return format_html(
        '<svg viewBox="0 0 {} {}" class="w-full max-w-2xl" role="img" fill="none" stroke="currentColor">'
        '<title>{}</title><line x1="{}" x2="{}" y1="{}" y2="{}" stroke-dasharray="4 4"/>'
        '<text x="0" y="{}" fill="currentColor" stroke="none" font-size="12">{}</text>'
        '<polyline points="{}" stroke-width="2"/>{}</svg>',
        WIDTH,
        HEIGHT,
        gettext("Quality score, {first} to {last}").format(first=points[0][0], last=points[-1][0]),
        LEFT,
        WIDTH,
        place_score(TARGET_SCORE),
        place_score(TARGET_SCORE),
        place_score(TARGET_SCORE) + 4,
        significant(TARGET_SCORE),
        " ".join(f"{x},{y}" for x, y, _ in placed),
        format_html_join("", '<circle cx="{}" cy="{}" r="3"><title>{}</title></circle>', placed),
    )


def place_points(points: Sequence[tuple[str, float]]) -> Iterator[tuple[float, float, str]]:
    """Yield the place of each point, and its text."""
    step = (WIDTH - LEFT - TOP) / max(len(points) - 1, 1)
    for position, (label, score) in enumerate(points):
        yield round(LEFT + position * step, 1), place_score(score), f"{label}: {decimals(score, 2)}"


def place_score(score: float) -> float:
    """Return the height of a score from 0 to 1."""
    return round(HEIGHT - TOP - score * (HEIGHT - 2 * TOP), 1)
