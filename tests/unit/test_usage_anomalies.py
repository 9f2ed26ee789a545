"""What counts as unusual use: told from counts by minute alone."""

import pytest

from access.usage import NOT_FOUND, REFUSED, REQUEST, find_anomalies

MINUTE = 30_000_000


def steady(per_minute, minutes=20):
    """Return the counts of a caller that sent so many requests a minute until now."""
    return {(MINUTE - back, REQUEST): per_minute for back in range(1, minutes + 1)}


def kinds(counts):
    return [str(finding.kind) for finding in find_anomalies(counts, MINUTE)]


@pytest.mark.parametrize(
    ("before", "now", "is_spike"),
    [
        (steady(100), 501, True),
        (steady(100), 500, False),
        (steady(1), 300, False),
        (steady(1), 301, True),
        (steady(1, minutes=4), 10_000, False),
        ({}, 10_000, False),
    ],
    ids=["over five times", "five times", "few", "many for one who sends few", "too young", "new"],
)
def test_a_spike_is_measured_by_the_callers_own_usual_rate(before, now, is_spike):
    assert kinds(before | {(MINUTE, REQUEST): now}) == ["spike"] * is_spike


def test_a_spike_says_what_is_usual():
    (finding,) = find_anomalies(steady(100) | {(MINUTE, REQUEST): 900}, MINUTE)
    assert (finding.count, finding.baseline) == (900, 100)


def test_what_is_older_than_an_hour_is_not_usual():
    old = {(MINUTE - back, REQUEST): 10_000 for back in range(61, 80)}
    assert kinds(old | steady(10) | {(MINUTE, REQUEST): 400}) == ["spike"]


@pytest.mark.parametrize(("missing", "requests", "found"), [(50, 100, 1), (50, 101, 0), (49, 50, 0)])
def test_missing_ids_are_tried_out_if_they_are_half_of_what_is_asked(missing, requests, found):
    spread = {(MINUTE - 4, NOT_FOUND): missing - 1, (MINUTE, NOT_FOUND): 1, (MINUTE, REQUEST): requests}
    assert kinds(spread) == ["enumeration"] * found
    assert kinds({(MINUTE - 5, NOT_FOUND): missing, (MINUTE, REQUEST): requests}) == []


def test_refusals_within_five_minutes():
    assert kinds({(MINUTE - 4, REFUSED): 19, (MINUTE, REFUSED): 1}) == ["refusals"]
    assert kinds({(MINUTE - 5, REFUSED): 20, (MINUTE, REFUSED): 1}) == []
