"""What a report says in words: one sentence, the health of the data, the power, and the guardrails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from math import sqrt

from flags.experiments.plots import MAX_SHOWN_LIFT, format_lift
from flags.experiments.report import ComparisonRow, Report

LATE_LIMIT = 0.05
"""Above this share of late events, the figures of recent days are likely to change."""


class Tone(StrEnum):
    """Whether somebody should act. Each tone has a word, so that color is not needed to tell them apart."""

    GOOD = "OK"
    WATCH = "Watch"
    BAD = "Problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line about the experiment."""

    name: str
    tone: Tone
    text: str


def percent(share: float) -> str:
    """Return a fraction as a percentage with at most one decimal, such as "4 %" or "0.5 %"."""
    return f"{100 * share:.1f}".removesuffix(".0") + " %"


def summarize(report: Report) -> str:
    """Return what the latest analysis says about the goal, in one or two sentences."""
    if report.analyzed_at is None:
        return "There is no result yet."
    if report.has_sample_ratio_mismatch:
        return "These results must not be used: the units per variant do not match the weights."
    goals = [row for row in report.comparisons if row.is_goal and not row.slice_label]
    if not goals:
        return "The goal has no result yet."
    harmed = [row for row in report.comparisons if row.is_guardrail and not row.slice_label and row.verdict == "worse"]
    leader = max(goals, key=lambda row: (row.verdict == "better", row.numbers["chance_better"] or 0.0))
    sentences = [describe_leader(leader)]
    sentences += [f"{row.variant} makes the guardrail {row.metric} worse." for row in harmed]
    return " ".join(sentences)


def describe_leader(row: ComparisonRow) -> str:
    """Return the sentence about a variant. A lift beyond `MAX_SHOWN_LIFT` is left out."""
    lift = row.numbers["lift"]
    by = f" by {percent(abs(lift))}" if lift is not None and abs(lift) <= MAX_SHOWN_LIFT else ""
    if row.verdict in ("better", "worse"):
        return f"{row.variant} is {row.verdict} than the control{by} on {row.metric}; this is conclusive."
    if not row.numbers["difference"]:
        return f"{row.variant} and the control are equal on {row.metric} so far; this is not yet conclusive."
    is_ahead = (row.numbers["difference"] > 0) == row.higher_is_better
    return f"{row.variant} is {'ahead' if is_ahead else 'behind'}{by} on {row.metric}; this is not yet conclusive."


def check_health(report: Report) -> list[Finding]:
    """Return whether the data behind the results can be trusted: sample ratio, exposure, and late data."""
    findings = [check_sample_ratio(report), check_exposure(report), check_open_windows(report)]
    return [*findings, check_late_events(report)]


def check_sample_ratio(report: Report) -> Finding:
    """Return whether the units per variant match the weights."""
    total = sum(report.units.values())
    counts = "; ".join(
        f"{variant} {count:,} ({percent(count / total) if total else '–'}, "
        f"expected {percent(report.expected_shares.get(variant, 0.0))})"
        for variant, count in report.units.items()
    )
    tone = Tone.BAD if report.has_sample_ratio_mismatch else Tone.GOOD
    return Finding("Sample ratio", tone, f"{counts}. p {report.sample_ratio_p:.3f}.")


def check_exposure(report: Report) -> Finding:
    """Return how many of the units that can be exposed were exposed."""
    total = sum(report.units.values())
    if not total:
        return Finding("Exposure rate", Tone.BAD, "No unit was exposed. Check that the feeds evaluate the flag.")
    if not report.reachable_units:
        return Finding("Exposure rate", Tone.GOOD, f"{total:,} units were exposed.")
    if total >= report.reachable_units:
        return Finding("Exposure rate", Tone.GOOD, f"{total:,} units were exposed, which is all that can be.")
    share = percent(total / report.reachable_units)
    text = f"{total:,} of about {report.reachable_units:,.0f} units that can be exposed were ({share})."
    return Finding("Exposure rate", Tone.GOOD, text)


def check_open_windows(report: Report) -> Finding:
    """Return how many units are still within the goal's window, so that their figures may change."""
    total = sum(report.units.values())
    first = report.analyzed_at.date() - timedelta(days=report.window_days) if report.analyzed_at else date.max
    recent = sum(
        count for days in report.daily_units.values() for day, count in days.items() if date.fromisoformat(day) > first
    )
    share = recent / total if total else 0.0
    text = f"{percent(share)} of the units were exposed within the {report.window_days} days of the goal's window."
    tone = Tone.WATCH if share > 0.5 else Tone.GOOD
    return Finding("Open windows", tone, f"{text} Their figures may still change.")


def check_late_events(report: Report) -> Finding:
    """Return how many events arrive more than a day after they occurred."""
    if report.late_event_share is None:
        return Finding("Late data", Tone.GOOD, "No event has arrived since the start.")
    tone = Tone.WATCH if report.late_event_share > LATE_LIMIT else Tone.GOOD
    share = percent(report.late_event_share)
    return Finding("Late data", tone, f"{share} of the newest events arrived more than a day after they occurred.")


def estimate_power(report: Report) -> str:
    """
    Return in plain words what effect the experiment can detect, and when.

    The needed units grow with 1 / effect², so the effect that the present units detect with the same power is the
    minimum effect times the root of needed / present units.
    """
    total = sum(report.units.values())
    if not report.needed_units or not total:
        return "The power is not known yet: no unit was exposed, or the goal does not vary."
    effect = percent(report.minimum_effect)
    needed = f"{report.needed_units:,.0f} units are needed to detect a lift of {effect} with 80 % power"
    if total >= report.needed_units:
        return f"{needed}; {total:,} were exposed, which is enough."
    detectable = percent(report.minimum_effect * sqrt(report.needed_units / total))
    progress = f"{needed}; {total:,} were exposed ({percent(total / report.needed_units)})."
    return f"{progress} With these, a lift of about {detectable} or more is likely to be detected. {time_left(report)}"


def time_left(report: Report) -> str:
    """Return when enough units will have been exposed."""
    if report.is_out_of_reach:
        return (
            f"The platform has too few members: {report.reachable_units:,.0f} can be exposed. "
            "Choose a larger minimum effect."
        )
    if report.days_left is None:
        return "When that will be is not known yet."
    return f"At this week's pace that takes about {max(1, round(report.days_left))} more days."


GUARDRAIL_FINDINGS = {
    "better": (Tone.GOOD, "improved"),
    "safe": (Tone.GOOD, "safe: no relevant harm"),
    "inconclusive": (Tone.WATCH, "not decided yet: harm beyond the tolerance is still possible"),
    "worse": (Tone.BAD, "got worse"),
}


def check_guardrails(comparisons: Sequence[ComparisonRow]) -> list[Finding]:
    """Return a finding for each guardrail and variant, over all units."""
    findings = []
    for row in comparisons:
        if row.is_guardrail and not row.slice_label:
            tone, text = GUARDRAIL_FINDINGS[row.verdict]
            lift = row.numbers["lift"]
            change = f" ({format_lift(lift)})" if lift is not None else ""
            findings.append(Finding(f"{row.metric}, {row.variant}", tone, f"{text}{change}"))
    return findings
