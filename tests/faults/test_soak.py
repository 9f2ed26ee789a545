"""
Nothing grows under mixed traffic: memory and descriptors of each process, Redis, and the database per row.

The short form notices what grows by a twentieth within minutes, such as a descriptor that every request leaves open.
`python -m benchmarks.soak` takes an hour (`make nightly`) and also compares the latency, which no test does.
"""

import shutil

import pytest

from benchmarks import soak

SECONDS = 300
SLOWNESS = 24.0
"""A sixth of the benchmark's traffic, which leaves the processors to the tests that run beside this one."""


@pytest.mark.timeout(600)
def test_nothing_grows_under_mixed_traffic(folder):
    samples, failed = soak.measure(SECONDS, "postgresql", folder, slowness=SLOWNESS)
    report = soak.compare(samples)
    growing = {name for name, row in report.items() if not row["is_flat"]}
    assert growing <= {"p99 of feeds, ms", "memory of postgres"}, report  # PostgreSQL still fills its buffers
    assert failed == 0
    assert {"redis", "database", "memory of web-1", "descriptors of worker-batch"} <= report.keys()
    shutil.rmtree(folder)


@pytest.mark.parametrize("name", ["memory of web-1", "descriptors of beat", "redis", "database"])
def test_growth_is_noticed(name):
    """By a tenth from the first to the last quarter, in every figure. What shrinks is flat."""
    size = 1e8 if name != "descriptors of beat" else 100.0
    samples = [{name: size * (1 + 0.1 * number / 30)} for number in range(40)]
    assert not soak.compare(samples)[name]["is_flat"]
    assert soak.compare(samples[::-1])[name]["is_flat"]
