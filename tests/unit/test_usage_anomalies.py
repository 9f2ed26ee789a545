"""Detection of unusual usage in counts per minute."""

import pytest

from access.usage import NOT_FOUND, REFUSED, REQUEST, find_anomalies

MINUTE = 30_000_000


def steady_counts(per_minute, minutes=20):
    """Return the counts of a caller with *per_minute* requests in each of the last *minutes*."""
    return {(MINUTE - back, REQUEST): per_minute for back in range(1, minutes + 1)}


def anomaly_kinds(counts):
    return [str(anomaly.kind) for anomaly in find_anomalies(counts, MINUTE)]


@pytest.mark.parametrize(
    ("before", "now", "is_spike"),
    [
        (steady_counts(100), 501, True),
        (steady_counts(100), 500, False),
        (steady_counts(1), 300, False),
        (steady_counts(1), 301, True),
        (steady_counts(1, minutes=4), 10_000, False),
        ({}, 10_000, False),
    ],
    ids=["over five times", "five times", "few", "many for a caller with few requests", "too little history", "new"],
)
def test_a_spike_is_relative_to_the_usual_rate_of_the_caller(before, now, is_spike):
    assert anomaly_kinds(before | {(MINUTE, REQUEST): now}) == ["spike"] * is_spike


def test_a_spike_has_the_usual_rate_as_baseline():
    (anomaly,) = find_anomalies(steady_counts(100) | {(MINUTE, REQUEST): 900}, MINUTE)
    assert (anomaly.count, anomaly.baseline) == (900, 100)


def test_the_usual_rate_ignores_counts_older_than_an_hour():
    old = {(MINUTE - back, REQUEST): 10_000 for back in range(61, 80)}
    assert anomaly_kinds(old | steady_counts(10) | {(MINUTE, REQUEST): 400}) == ["spike"]


@pytest.mark.parametrize(
    ("not_found", "requests", "anomaly_count"),
    [(50, 100, 1), (50, 101, 0), (49, 50, 0)],
)
def test_unknown_ids_in_half_of_the_requests_are_an_enumeration(not_found, requests, anomaly_count):
    counts = {(MINUTE - 4, NOT_FOUND): not_found - 1, (MINUTE, NOT_FOUND): 1, (MINUTE, REQUEST): requests}
    assert anomaly_kinds(counts) == ["enumeration"] * anomaly_count
    assert anomaly_kinds({(MINUTE - 5, NOT_FOUND): not_found, (MINUTE, REQUEST): requests}) == []


def test_rejected_requests_within_five_minutes_are_an_anomaly():
    assert anomaly_kinds({(MINUTE - 4, REFUSED): 19, (MINUTE, REFUSED): 1}) == ["refusals"]
    assert anomaly_kinds({(MINUTE - 5, REFUSED): 20, (MINUTE, REFUSED): 1}) == []
