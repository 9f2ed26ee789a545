"""What the report of an experiment says in words."""

from datetime import UTC, datetime

import pytest

from flags.experiments import findings
from flags.experiments.findings import Tone
from flags.experiments.report import RESULT_NUMBERS, ComparisonRow, Report

ANALYZED_AT = datetime(2026, 3, 10, tzinfo=UTC)


def row(variant="bold", verdict="inconclusive", *, metric="likes", is_goal=True, higher=True, part="", **numbers):
    filled = dict.fromkeys(RESULT_NUMBERS, 0.0) | {"lift": None, "chance_better": 0.5} | numbers
    return ComparisonRow(metric, "", is_goal, not is_goal, higher, variant, part, verdict, filled)


def make_report(*rows, **values):
    plan = {
        "experiment": "e",
        "flag": "f",
        "hypothesis": "h",
        "state": "running",
        "decision": "",
        "decision_reason": "",
        "started_at": None,
        "finished_at": None,
        "goal": "likes",
        "minimum_effect": 0.05,
        "analyzed_at": ANALYZED_AT,
        "comparisons": list(rows),
        "window_days": 7,
    }
    return Report(**(plan | values))


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([], "The goal has no result yet."),
        ([row(difference=1, lift=0.04)], "bold is ahead by 4 % on likes; this is not yet conclusive."),
        ([row(difference=-1, lift=-0.004)], "bold is behind by 0.4 % on likes; this is not yet conclusive."),
        ([row(difference=-1, lift=-0.04, higher=False)], "bold is ahead by 4 % on likes; this is not yet conclusive."),
        ([row(difference=1)], "bold is ahead on likes; this is not yet conclusive."),
        ([row(difference=1, lift=450.0)], "bold is ahead on likes; this is not yet conclusive."),
        (
            [
                row("won", "better", difference=1, lift=0.02, chance_better=0.98),
                row("new", difference=1, lift=0.09, chance_better=0.99),
            ],
            "won is better than the control by 2 % on likes; this is conclusive.",
        ),
        ([row(difference=1, chance_better=None)], "bold is ahead on likes; this is not yet conclusive."),
        ([row()], "bold and the control are equal on likes so far; this is not yet conclusive."),
        (
            [row(verdict="better", difference=1, lift=0.125)],
            "bold is better than the control by 12.5 % on likes; this is conclusive.",
        ),
        (
            [row(verdict="worse", difference=-1, lift=-0.1)],
            "bold is worse than the control by 10 % on likes; this is conclusive.",
        ),
        (
            [
                row("shy", difference=1, lift=0.01, chance_better=0.6),
                row("bold", difference=1, lift=0.02, chance_better=0.7),
                row("slice", difference=1, lift=0.9, chance_better=0.99, part="language=en"),
            ],
            "bold is ahead by 2 % on likes; this is not yet conclusive.",
        ),
        (
            [row(difference=1, lift=0.04), row(verdict="worse", metric="hides", is_goal=False)],
            "bold is ahead by 4 % on likes; this is not yet conclusive. bold makes the guardrail hides worse.",
        ),
    ],
)
def test_the_sentence_names_the_variant_that_is_most_likely_better(rows, sentence):
    assert findings.summarize(make_report(*rows)) == sentence


def test_without_an_analysis_and_with_a_wrong_sample_ratio_the_sentence_names_no_variant():
    assert findings.summarize(make_report(analyzed_at=None)) == "There is no result yet."
    wrong = make_report(row(verdict="better", difference=1, lift=0.5), sample_ratio_p=0.0001)
    assert findings.summarize(wrong).startswith("These results must not be used")


def test_health_compares_the_units_with_the_weights():
    report = make_report(units={"control": 300, "bold": 100}, expected_shares={"control": 0.5, "bold": 0.5})
    line = findings.check_sample_ratio(report)
    assert line.tone == Tone.GOOD and "control 300 (75 %, expected 50 %); bold 100 (25 %, expected 50 %)" in line.text
    report = make_report(units={"control": 0}, sample_ratio_p=0.0001)
    assert findings.check_sample_ratio(report).tone == Tone.BAD
    assert [line.name for line in findings.check_health(report)] == [
        *("Sample ratio", "Exposure rate", "Open windows", "Late data")
    ]


def test_health_says_how_many_units_were_exposed():
    assert findings.check_exposure(make_report(units={"control": 0})).tone == Tone.BAD
    assert findings.check_exposure(make_report(units={"control": 5})).text == "5 units were exposed."
    known = make_report(units={"control": 250, "bold": 250}, reachable_units=2_000.0)
    assert "500 of about 2,000 units" in findings.check_exposure(known).text
    assert "(25 %)" in findings.check_exposure(known).text
    full = make_report(units={"control": 250}, reachable_units=250.0)
    assert findings.check_exposure(full).text == "250 units were exposed, which is all that can be."


def test_what_is_unknown_is_not_shown_as_0():
    report = make_report(units={"control": 0, "bold": 0}, expected_shares={"control": 0.5})
    assert findings.check_sample_ratio(report).text.startswith("control 0 (–, expected 50 %); bold 0 (–, expected –)")
    assert findings.check_open_windows(report).text == "No unit was exposed."


def test_health_says_how_many_units_are_within_the_window():
    days = {"control": {"2026-03-03": 30, "2026-03-04": 10}, "bold": {"2026-03-10": 60}}
    line = findings.check_open_windows(make_report(units={"control": 40, "bold": 60}, daily_units=days))
    assert line.text.startswith("70 % of the units") and line.tone == Tone.WATCH
    line = findings.check_open_windows(make_report(units={"control": 30}, daily_units={"control": {"2026-03-03": 30}}))
    assert line.text.startswith("0 % of the units") and line.tone == Tone.GOOD
    assert findings.check_open_windows(make_report(analyzed_at=None)).tone == Tone.GOOD


@pytest.mark.parametrize(
    ("share", "tone", "text"), [(None, Tone.GOOD, "No event"), (0.05, Tone.GOOD, "5 %"), (0.06, Tone.WATCH, "6 %")]
)
def test_health_says_how_many_events_arrive_late(share, tone, text):
    line = findings.check_late_events(make_report(late_event_share=share))
    assert (line.tone, line.text[: len(text)]) == (tone, text)


def test_the_power_says_what_can_be_detected_and_when():
    def power(**values):
        return findings.estimate_power(make_report(**({"units": {"a": 500, "b": 500}} | values)))

    assert "not known yet" in power() and "not known yet" in power(units={}, needed_units=9.0)
    enough = power(needed_units=900.0)
    assert (
        enough == "900 units are needed to detect a lift of 5 % with 80 % power; 1,000 were exposed, which is enough."
    )
    waiting = power(needed_units=4_000.0, days_left=6.4)
    assert "1,000 were exposed (25 %)." in waiting and "a lift of about 10 % or more" in waiting
    assert waiting.endswith("At this week's pace that takes about 6 more days.")
    assert power(needed_units=4_000.0).endswith("When that will be is not known yet.")
    assert "too few members: 2,000 can be exposed" in power(needed_units=4_000.0, reachable_units=2_000.0)


def test_guardrails_have_a_tone_and_words_for_each_verdict():
    rows = [row(verdict=verdict, metric="hides", is_goal=False, lift=lift) for verdict, lift in (
        ("better", -0.02), ("safe", 0.01), ("inconclusive", None), ("worse", 0.5)
    )]  # fmt: skip
    found = findings.check_guardrails([row(), *rows, row(metric="hides", is_goal=False, part="language=en")])
    assert [line.tone for line in found] == [Tone.GOOD, Tone.GOOD, Tone.WATCH, Tone.BAD]
    assert [line.text.split(":")[0] for line in found] == [
        *("improved (-2.0%)", "safe", "not decided yet", "got worse (+50.0%)")
    ]
