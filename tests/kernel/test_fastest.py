"""The build that the server uses is the one that is faster on this machine."""

import pytest

from wasm import fastest, fastest_build


@pytest.mark.parametrize("slow", fastest.CANDIDATES)
def test_the_faster_build_is_chosen(monkeypatch, slow):
    times = {"relaxed": [0.3, 0.2], "baseline": [0.3, 0.2], slow: [0.9, 0.25]}
    monkeypatch.setattr(fastest, "ROUNDS", 2)
    monkeypatch.setattr(fastest, "_time_scan", lambda space, query: times[space.statistics().shards[0].build].pop())
    assert fastest_build.__wrapped__() == next(build for build in fastest.CANDIDATES if build != slow)


def test_the_choice_is_made_once_by_measured_scans():
    assert fastest_build() in fastest.CANDIDATES
    assert fastest_build.cache_info().currsize == 1
