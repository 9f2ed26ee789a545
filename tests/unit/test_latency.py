"""Latency percentiles: close to the exact ones for any duration, and limited to their window."""

from collections import Counter
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring import latency
from monitoring.latency import WINDOWS, LatencyRecorder

seconds = st.lists(st.floats(1e-6, 1e4), min_size=1, max_size=200)


@given(seconds, st.sampled_from([0.5, 0.95, 0.99]))
def test_a_percentile_is_within_the_relative_error_of_the_exact_one(values, q):
    buckets = Counter(map(latency.latency_bucket, values))
    exact = np.quantile(values, q, method="lower")
    assert latency.quantile(buckets, q) == pytest.approx(exact, rel=0.02002)


@given(seconds, seconds)
def test_buckets_of_processes_add_up_to_those_of_one_process(first, second):
    parts = [("task", Counter(map(latency.latency_bucket, values))) for values in (first, second)]
    both = [("task", Counter(map(latency.latency_bucket, first + second)))]
    assert latency.summarize_operations(parts) == latency.summarize_operations(both)


def test_a_window_contains_only_its_durations():
    recorder = LatencyRecorder()
    for moment, seconds_taken in ((0.0, 4.0), (3000.0, 2.0), (3590.0, 1.0)):
        recorder.observe("feed", seconds_taken, moment)
    counts = {name: recorder.summarize(window, 3599.0)["feed"].count for name, window in WINDOWS.items()}
    assert counts == {"1 min": 1, "5 min": 1, "1 h": 3}
    assert recorder.summarize(WINDOWS["1 min"], 3599.0)["feed"].p99 == pytest.approx(1.0, rel=0.02002)
    assert recorder.summarize(timedelta(minutes=1), 9000.0) == {}
    recorder.observe("feed", 1.0, 9000.0)
    assert len(recorder._periods) == 1, "periods outside every window take no memory"
    assert sum(count for _, _, count in recorder.iter_totals()) == 4


def test_an_observed_operation_is_counted_in_this_process():
    before = sum(count for name, _, count in latency.latency_recorder().iter_totals() if name == "task")
    latency.observe_operation("task", 0.5)
    assert sum(count for name, _, count in latency.latency_recorder().iter_totals() if name == "task") == before + 1
    assert latency.process_latencies(WINDOWS["1 min"])["task"].count >= 1
