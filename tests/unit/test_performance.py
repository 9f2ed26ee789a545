"""Percentiles of durations: close to the true ones whatever their size, and forgotten in time."""

from collections import Counter
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring import performance
from monitoring.performance import WINDOWS, Timings

seconds = st.lists(st.floats(1e-6, 1e4), min_size=1, max_size=200)


@given(seconds, st.sampled_from([0.5, 0.95, 0.99]))
def test_a_percentile_is_within_its_error_of_the_true_one(values, q):
    buckets = Counter(map(performance.bucket_of, values))
    true = np.quantile(values, q, method="lower")
    assert performance.quantile(buckets, q) == pytest.approx(true, rel=performance.ERROR * 1.001)


@given(seconds, seconds)
def test_processes_are_added_up_as_if_they_were_one(first, second):
    parts = [("task", Counter(map(performance.bucket_of, values))) for values in (first, second)]
    both = [("task", Counter(map(performance.bucket_of, first + second)))]
    assert performance.timings_of(parts) == performance.timings_of(both)


def test_a_window_holds_what_is_in_it():
    timings = Timings()
    for moment, took in ((0.0, 4.0), (3000.0, 2.0), (3590.0, 1.0)):
        timings.observe("feed", took, moment)
    counts = {name: timings.within(window, 3599.0)["feed"].count for name, window in WINDOWS.items()}
    assert counts == {"1 min": 1, "5 min": 1, "1 h": 3}
    assert timings.within(WINDOWS["1 min"], 3599.0)["feed"].p99 == pytest.approx(1.0, rel=performance.ERROR * 1.001)
    assert timings.within(timedelta(minutes=1), 9000.0) == {}
    timings.observe("feed", 1.0, 9000.0)
    assert len(timings._periods) == 1, "what no window holds takes no memory"
    assert sum(count for _, _, count in timings.ever()) == 4


def test_an_observed_operation_counts_in_this_process():
    before = sum(count for name, _, count in performance.timings().ever() if name == "task")
    performance.observe("task", 0.5)
    assert sum(count for name, _, count in performance.timings().ever() if name == "task") == before + 1
    assert performance.own(WINDOWS["1 min"])["task"].count >= 1
