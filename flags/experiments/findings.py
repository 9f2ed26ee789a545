"""What a report says in words: one sentence, the health of the data, the power, and the guardrails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from math import sqrt

from django.utils.translation import gettext, ngettext

from flags.experiments.plots import MAX_SHOWN_LIFT, format_lift
from flags.experiments.report import ComparisonRow, Report
from monitoring.number_texts import decimals, grouped, percent, with_count
from values.translation import translatable

LATE_LIMIT = 0.05
"""Above this share of late events, the figures of recent days are likely to change."""


class Tone(StrEnum):
    """Whether somebody should act. Each tone has a word, so that color is not needed to tell them apart."""

    GOOD = translatable("OK")
    WATCH = translatable("Watch")
    BAD = translatable("Problem")

    @property
    def label(self) -> str:
        """Return the word in the language of the page."""
        return gettext(self.value)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line about the experiment."""

    name: str
    tone: Tone
    text: str


def summarize(report: Report) -> str:
    """Return what the latest analysis says about the goal, in one or two sentences."""
    if report.analyzed_at is None:
        return gettext("There is no result yet.")
    if report.has_sample_ratio_mismatch:
        return gettext("These results must not be used: the units per variant do not match the weights.")
    goals = [row for row in report.comparisons if row.is_goal and not row.slice_label]
    if not goals:
        return gettext("The goal has no result yet.")
    harmed = [row for row in report.comparisons if row.is_guardrail and not row.slice_label and row.verdict == "worse"]
    leader = max(goals, key=rank_goal)
    sentences = [describe_leader(leader)]
    sentences += [
        gettext("{variant} makes the guardrail {metric} worse.").format(variant=row.variant, metric=row.metric)
        for row in harmed
    ]
    return " ".join(sentences)


def rank_goal(row: ComparisonRow) -> tuple[bool, float]:
    """Return the key by which variants are compared: a better one first, then by the chance of being better."""
    chance = row.numbers["chance_better"]
    return row.verdict == "better", -1.0 if chance is None else chance


def describe_leader(row: ComparisonRow) -> str:
    """Return the sentence about a variant. A lift beyond `MAX_SHOWN_LIFT` is left out."""
    lift = row.numbers["lift"]
    has_lift = lift is not None and abs(lift) <= MAX_SHOWN_LIFT
    if row.verdict in ("better", "worse"):
        outcome = row.verdict
    elif not row.numbers["difference"]:
        outcome, has_lift = "equal", False
    else:
        outcome = "ahead" if (row.numbers["difference"] > 0) == row.higher_is_better else "behind"
    sentence = gettext(LEADER_SENTENCES[outcome, has_lift])
    return sentence.format(variant=row.variant, metric=row.metric, lift=percent(None if lift is None else abs(lift)))


LEADER_SENTENCES = {
    ("better", True): translatable("{variant} is better than the control by {lift} on {metric}; this is conclusive."),
    ("better", False): translatable("{variant} is better than the control on {metric}; this is conclusive."),
    ("worse", True): translatable("{variant} is worse than the control by {lift} on {metric}; this is conclusive."),
    ("worse", False): translatable("{variant} is worse than the control on {metric}; this is conclusive."),
    ("ahead", True): translatable("{variant} is ahead by {lift} on {metric}; this is not yet conclusive."),
    ("ahead", False): translatable("{variant} is ahead on {metric}; this is not yet conclusive."),
    ("behind", True): translatable("{variant} is behind by {lift} on {metric}; this is not yet conclusive."),
    ("behind", False): translatable("{variant} is behind on {metric}; this is not yet conclusive."),
    ("equal", False): translatable(
        "{variant} and the control are equal on {metric} so far; this is not yet conclusive."
    ),
}
"""By how the leading variant compares with the control, and by whether the lift is known and shown."""


def check_health(report: Report) -> list[Finding]:
    """Return whether the data behind the results can be trusted: sample ratio, exposure, and late data."""
    findings = [check_sample_ratio(report), check_exposure(report), check_open_windows(report)]
    return [*findings, check_late_events(report)]


def check_sample_ratio(report: Report) -> Finding:
    """Return whether the units per variant match the weights."""
    total = sum(report.units.values())
    counts = "; ".join(
        gettext("{variant} {count} ({share}, expected {expected})").format(
            variant=variant,
            count=grouped(count),
            share=percent(count / total if total else None),
            expected=percent(report.expected_shares.get(variant)),
        )
        for variant, count in report.units.items()
    )
    tone = Tone.BAD if report.has_sample_ratio_mismatch else Tone.GOOD
    return Finding(gettext("Sample ratio"), tone, f"{counts}. p {decimals(report.sample_ratio_p, 3)}.")


def check_exposure(report: Report) -> Finding:
    """Return how many of the units that can be exposed were exposed."""
    total = sum(report.units.values())
    if not total:
        return Finding(
            gettext("Exposure rate"), Tone.BAD, gettext("No unit was exposed. Check that the feeds evaluate the flag.")
        )
    if not report.reachable_units:
        return Finding(gettext("Exposure rate"), Tone.GOOD, with_count(gettext("{n} units were exposed."), total))
    if total >= report.reachable_units:
        return Finding(
            gettext("Exposure rate"),
            Tone.GOOD,
            with_count(gettext("{n} units were exposed, which is all that can be."), total),
        )
    share = percent(total / report.reachable_units)
    text = gettext("{count} of about {reachable} units that can be exposed were ({share}).").format(
        count=grouped(total), reachable=grouped(round(report.reachable_units)), share=share
    )
    return Finding(gettext("Exposure rate"), Tone.GOOD, text)


def check_open_windows(report: Report) -> Finding:
    """Return how many units are still within the goal's window, so that their figures may change."""
    total = sum(report.units.values())
    if not total:
        return Finding(gettext("Open windows"), Tone.GOOD, gettext("No unit was exposed."))
    first = report.analyzed_at.date() - timedelta(days=report.window_days) if report.analyzed_at else date.max
    recent = sum(
        count for days in report.daily_units.values() for day, count in days.items() if date.fromisoformat(day) > first
    )
    share = recent / total
    text = gettext(
        "{share} of the units were exposed within the {days} days of the goal's window. Their figures may still change."
    ).format(share=percent(share), days=report.window_days)
    return Finding(gettext("Open windows"), Tone.WATCH if share > 0.5 else Tone.GOOD, text)


def check_late_events(report: Report) -> Finding:
    """Return how many events arrive more than a day after they occurred."""
    if report.late_event_share is None:
        return Finding(gettext("Late data"), Tone.GOOD, gettext("No event has arrived since the start."))
    tone = Tone.WATCH if report.late_event_share > LATE_LIMIT else Tone.GOOD
    text = gettext("{share} of the newest events arrived more than a day after they occurred.")
    return Finding(gettext("Late data"), tone, text.format(share=percent(report.late_event_share)))


def estimate_power(report: Report) -> str:
    """
    Return in plain words what effect the experiment can detect, and when.

    The needed units grow with 1 / effect², so the effect that the present units detect with the same power is the
    minimum effect times the root of needed / present units.
    """
    total = sum(report.units.values())
    if not report.needed_units or not total:
        return gettext("The power is not known yet: no unit was exposed, or the goal does not vary.")
    text = gettext(
        "{needed} units are needed to detect a lift of {effect} with 80 % power; {count} were exposed ({share}). "
        "With these, a lift of about {detectable} or more is likely to be detected."
    )
    if total >= report.needed_units:
        text = gettext(
            "{needed} units are needed to detect a lift of {effect} with 80 % power; {count} were exposed, which is "
            "enough."
        )
    sentence = text.format(
        needed=grouped(round(report.needed_units)),
        effect=percent(report.minimum_effect),
        count=grouped(total),
        share=percent(total / report.needed_units),
        detectable=percent(report.minimum_effect * sqrt(report.needed_units / total)),
    )
    return sentence if total >= report.needed_units else f"{sentence} {time_left(report)}"


def time_left(report: Report) -> str:
    """Return when enough units will have been exposed."""
    if report.is_out_of_reach and report.reachable_units is not None:
        text = gettext("The platform has too few members: {n} can be exposed. Choose a larger minimum effect.")
        return with_count(text, round(report.reachable_units))
    if report.days_left is None:
        return gettext("When that will be is not known yet.")
    days = max(1, round(report.days_left))
    text = ngettext(
        "At this week's pace that takes about {n} more day.",
        "At this week's pace that takes about {n} more days.",
        days,
    )
    return with_count(text, days)


GUARDRAIL_FINDINGS = {
    "better": (Tone.GOOD, translatable("improved")),
    "safe": (Tone.GOOD, translatable("safe: no relevant harm")),
    "inconclusive": (Tone.WATCH, translatable("not decided yet: harm beyond the tolerance is still possible")),
    "worse": (Tone.BAD, translatable("got worse")),
}


def check_guardrails(comparisons: Sequence[ComparisonRow]) -> list[Finding]:
    """Return a finding for each guardrail and variant, over all units."""
    findings = []
    for row in comparisons:
        if row.is_guardrail and not row.slice_label:
            tone, text = GUARDRAIL_FINDINGS[row.verdict]
            lift = row.numbers["lift"]
            change = f" ({format_lift(lift)})" if lift is not None else ""
            findings.append(Finding(f"{row.metric}, {row.variant}", tone, f"{gettext(text)}{change}"))
    return findings
