"""The checker finds each kind of violation, in histories written by hand."""

from dataclasses import replace

import pytest

from tests.faults.checker import RECOVERY_SECONDS, check_history
from tests.faults.history import (
    Answer,
    Final,
    FinishedJob,
    History,
    InjectedFault,
    Mark,
    Outcome,
    Page,
    Read,
    SentEvent,
    SentJob,
    Write,
)

CONSENT, BLOCK, HIDDEN = ("consent", "m1"), ("block", "m1", "a1"), ("visibility", "p1")


def valid_history():
    """Return a history without a violation: each part has something that a test breaks."""
    return History(
        answers=[
            Answer("feed", 1, 2, Outcome.RIGHT),
            Answer("feed", 11, 12, Outcome.UNAVAILABLE, "503"),
            Answer("feed", 12 + RECOVERY_SECONDS, 13 + RECOVERY_SECONDS, Outcome.REFUSED),
        ],
        writes=[
            Write(CONSENT, True, 0, 1, True),
            Write(CONSENT, False, 2, 3, True),
            Write(BLOCK, False, 0, 1, True),
            Write(BLOCK, True, 5, 7, True),
            Write(HIDDEN, "public", 0, 1, True),
            Write(HIDDEN, "private", 20, 21, False),
        ],
        reads=[Read(CONSENT, True, 2.5, 2.6), Read(CONSENT, False, 2.5, 2.6), Read(CONSENT, False, 4, 5)],
        pages=[Page("m1", (("p1", "a1"),), 6, 8), Page("m2", (("p1", "a1"),), 8, 9)],
        events=[SentEvent("e1", True), SentEvent("e2", False), SentEvent("e3", False)],
        jobs=[SentJob("j1", ("m1", "m2")), SentJob("j2", ("m1", "m2"), is_cancelled=True, cancelled_at=20)],
        marks=[
            Mark("j1", 0, "queued>running", 10),
            Mark("j1", 0, "running>running", 30),
            Mark("j1", 0, "running>done", 31),
            Mark("j2", 0, "queued>running", 19),
            Mark("j2", 1, "queued>cancelled", 20),
            Mark("j2", 0, "running>running", 30),
            Mark("j2", 0, "running>done", 31),
        ],
        faults=[InjectedFault("kill", "web-1", 10, 12)],
        final=Final(
            values={CONSENT: False, BLOCK: True, HIDDEN: "public"},
            events={"e1": 1, "e2": 1},
            unlearned=0,
            interactions={"p1": (2, 2)},
            served={"p1": (1, 1)},
            jobs={
                "j1": FinishedJob("done", 2, 0, ("m1", "m2")),
                "j2": FinishedJob("cancelled", 1, 0, ("m1",)),
            },
        ),
    )


def test_a_history_without_a_violation_passes():
    assert check_history(valid_history()) == []


def final(**changes):
    return lambda history: setattr(history, "final", replace(history.final, **changes))


def add(name, *entries):
    return lambda history: getattr(history, name).extend(entries)


def job(*values):
    return lambda history: history.final.jobs.update(j1=FinishedJob(*values))


@pytest.mark.parametrize(
    ("break_it", "guarantee"),
    [
        (add("answers", Answer("feed", 11, 12, Outcome.WRONG, "500")), "every answer is right or a clean 503"),
        (add("answers", Answer("feed", 1, 2, Outcome.UNAVAILABLE)), "only a fault makes the service unavailable"),
        (add("answers", Answer("feed", 99, 999, Outcome.HUNG)), "only a fault makes the service unavailable"),
        (add("reads", Read(CONSENT, True, 4, 5)), "an acknowledged change is read"),
        (add("reads", Read(HIDDEN, "private", 18, 19)), "an acknowledged change is read"),
        (final(values={CONSENT: True, BLOCK: True, HIDDEN: "public"}), "no acknowledged change is undone"),
        (final(values={CONSENT: False, HIDDEN: "public"}), "no acknowledged change is undone"),
        (add("pages", Page("m1", (("p1", "a1"),), 8, 9)), "no page shows a hidden post"),
        (final(events={"e2": 1}), "each acknowledged event is stored once"),
        (final(events={"e1": 2}), "each acknowledged event is stored once"),
        (final(events={"e1": 1, "e3": 2}), "each acknowledged event is stored once"),
        (final(events={"e1": 1, "e9": 1}), "each acknowledged event is stored once"),
        (final(unlearned=1), "each stored event is learned"),
        (final(interactions={"p1": (2, 3)}), "each stored event is counted once"),
        (final(served={"p1": (2, 1)}), "each stored page is counted once"),
        (final(jobs={}), "no job is lost"),
        (job("running", 1, 0, ("m1",)), "no job is lost"),
        (job("done", 1, 0, ("m1",)), "no item is lost"),
        (job("done", 2, 0, ("m1",)), "no item is lost"),
        (job("failed", 1, 1, ("m1",)), "no item is lost"),
        (job("done", 2, 0, ("m1", "m2", "m2")), "each item has its effect once"),
        (job("done", 3, 0, ("m1", "m2")), "each item has its effect once"),
        (job("done", 2, 0, ("m1", "m2", "m3")), "each item has its effect once"),
        (add("marks", Mark("j1", 0, "running>done")), "a chunk is settled once"),
        (add("marks", Mark("j1", 0, "done>queued")), "a chunk is settled once"),
        (add("marks", Mark("j2", 2, "queued>running", 21)), "nothing is claimed after a cancellation"),
    ],
)
def test_each_violation_is_found(break_it, guarantee):
    history = valid_history()
    break_it(history)
    assert guarantee in {violation.guarantee for violation in check_history(history)}


@pytest.mark.parametrize(
    "key",
    [("block", "m1", "a1"), ("mute", "m1", "a1"), ("visibility", "p1"), ("removed", "p1")],
    ids=lambda key: key[0],
)
def test_each_reason_to_hide_a_post_is_checked(key):
    value = "private" if key[0] == "visibility" else True
    history = History(
        writes=[Write(key, value, 1, 2, True)],
        pages=[Page("m1", (("p1", "a1"),), 3, 4)],
        final=Final({key: value}, {}, 0, {}, {}, {}),
    )
    assert [violation.guarantee for violation in check_history(history)] == ["no page shows a hidden post"]
    history.writes.append(Write(key, False, 3.5, 9, False))
    assert check_history(history) == [], "the post may have been visible again"
