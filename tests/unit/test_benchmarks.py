"""The comparison of a benchmark's results with those of the last run."""

import pytest

from benchmarks.compare import find_regressions


def results(*, fresh, bare=1.0, spread=0.05):
    """Return results in the form of `benchmarks.feed`: the time of a fresh feed, and of a bare view."""
    times = {"fresh": fresh, "bare view": bare}
    rows = {name: {"p50": p50, "p25": p50 - spread, "p75": p50 + spread} for name, p50 in times.items()}
    return {"10,000 posts": rows | {"SQL queries": {"p50": 10}}}


@pytest.mark.parametrize(
    ("current", "is_slower"),
    [
        (results(fresh=2.5), True),
        (results(fresh=2.15), False),
        (results(fresh=2.5, spread=0.6), False),
        (results(fresh=5.0, bare=2.5), False),
        (results(fresh=1.0), False),
    ],
    ids=["much slower", "within a tenth", "within the spread", "on a busier machine", "faster"],
)
def test_only_a_time_that_is_clearly_longer_is_reported(current, is_slower):
    lines = find_regressions(results(fresh=2.0), current)
    assert lines == (["10,000 posts / fresh: 2.00 → 2.50 (+25%)"] if is_slower else [])


def test_a_first_run_has_nothing_to_be_compared_with():
    assert find_regressions({}, results(fresh=9.0)) == []


def test_results_without_a_bare_view_are_compared_as_they_are():
    rows = [{"import": {"p50": p50, "p25": p50, "p75": p50}} for p50 in (1.0, 2.0)]
    assert find_regressions(*rows) == ["import: 1.00 → 2.00 (+100%)"]
