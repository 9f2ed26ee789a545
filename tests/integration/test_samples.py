"""Samples of processes: stored once per interval, added up correctly, and without effect on requests."""

import time
from datetime import UTC, datetime, timedelta

import pytest
import redis
from django.conf import settings

from monitoring import doctor, metrics, sample_gauges, samples
from monitoring.dependencies import reset_dependencies
from monitoring.doctor import Verdict
from monitoring.samples import Sample, Sampler

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
AT = NOW.timestamp()
HOUR = timedelta(hours=1)


@pytest.fixture
def stream(redis_url):
    with redis.Redis.from_url(settings.ENV.cache_redis_url) as client:
        client.delete(samples.STREAM)
        yield
        client.delete(samples.STREAM)


def test_a_sample_has_the_increments_since_the_previous_one():
    sampler = Sampler()
    sampler.take_sample("web", AT - 20)
    metrics.CACHE_REQUESTS.labels("sampled", "hit").inc(3)
    metrics.CACHE_BYTES.labels("sampled").set(77)
    first = sampler.take_sample("web", AT - 10)
    metrics.CACHE_REQUESTS.labels("sampled", "hit").inc(2)
    second = sampler.take_sample("web", AT)
    hits = samples.sum_increments([first, second], "recsys_cache_requests_total", "cache", "outcome")
    assert hits["sampled", "hit"] == 5
    assert samples.sum_increments([second], "recsys_cache_requests_total", "cache")["sampled",] == 2
    assert second.gauges["recsys_cache_bytes", (("cache", "sampled"),)] == 77
    assert second.rss_bytes > 2**20
    assert second.process.startswith("web ")


def test_hit_rates_are_computed_for_each_cache_with_enough_requests_and_for_all():
    def count(cache, outcome, requests):
        return {("recsys_cache_requests_total", (("cache", cache), ("outcome", outcome))): float(requests)}

    increments = count("slates", "hit", 180) | count("slates", "stale", 45) | count("slates", "miss", 75)
    increments |= count("neighbors", "miss", 300) | count("rare", "hit", 3)
    ratios = sample_gauges.hit_ratios([Sample("web h:1", AT, 100, increments, {})])
    assert ratios == {("slates",): 0.75, ("neighbors",): 0.0, ("all",): pytest.approx(228 / 603)}


def test_stored_samples_are_loaded_unchanged(stream):
    stored = [
        Sample("web h:1", AT - age, 100, {("n_total", (("a", "x"), ("b", "y"))): 2.0}, {("g", ()): 1.0})
        for age in (7_200, 10, 0)
    ]
    for sample in stored:
        samples.store_sample(sample)
    assert samples.load_samples(NOW, HOUR) == stored[1:]


def test_samples_are_loaded_in_parts_and_hold_each_metric_once(stream, monkeypatch):
    """Also beside a process whose clock is wrong. Loading ends at a part that is too old."""
    monkeypatch.setattr(samples, "SAMPLES_PER_CALL", 2)
    ages = (4000, 3000, 2000, 1000, 7200, 0)
    for age in ages:
        increments = {("recsys_feeds_total", (("feed", "discovery"),)): float(age)}
        samples.store_sample(samples.Sample("web host:1", NOW.timestamp() - age, 1, increments))
    loaded = samples.load_samples(NOW, HOUR)
    assert [NOW.timestamp() - sample.at for sample in loaded] == [3000, 2000, 1000, 0]
    assert len({id(key) for sample in loaded for key in sample.increments}) == 1
    assert [NOW.timestamp() - sample.at for sample in samples.load_samples(NOW, HOUR / 12)] == [0]
    monkeypatch.setattr(samples, "MAX_LOADED_SAMPLES", 4)
    assert [NOW.timestamp() - sample.at for sample in samples.load_samples(NOW, HOUR)] == [2000, 1000, 0]


def test_a_process_samples_once_per_interval_and_survives_a_missing_redis(stream, monkeypatch, caplog):
    sampler = Sampler()
    for _ in range(3):
        sampler.sample_if_due("web")
    now = datetime.now(UTC)
    assert len(samples.load_samples(now, HOUR)) == 1
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update={"cache_redis_url": "redis://127.0.0.1:1/1"}))
    Sampler().sample_if_due("web")
    assert "sample_not_stored" in caplog.text


def test_a_shorter_interval_applies_at_once(stream, monkeypatch):
    sampler = Sampler()
    sampler.sample_if_due("web")
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update={"performance_monitoring_interval": 1}))
    time.sleep(0.002)
    sampler.sample_if_due("web")
    assert len(samples.load_samples(datetime.now(UTC), HOUR)) == 2


def test_the_increments_of_a_sample_that_redis_did_not_store_are_in_the_next_one(stream, monkeypatch):
    sampler = Sampler()
    sampler.sample_if_due("web")
    metrics.CACHE_REQUESTS.labels("unstored", "hit").inc(3)
    working = settings.ENV.model_copy(update={"performance_monitoring_interval": 1})
    for url in ("redis://127.0.0.1:1/1", working.cache_redis_url):
        monkeypatch.setattr(settings, "ENV", working.model_copy(update={"cache_redis_url": url}))
        time.sleep(0.002)
        sampler.sample_if_due("web")
    reset_dependencies()
    loaded = samples.load_samples(datetime.now(UTC), HOUR)
    assert samples.sum_increments(loaded, "recsys_cache_requests_total", "cache")["unstored",] == 3


def test_a_sample_that_cannot_be_taken_is_logged_and_the_next_one_is_stored(stream, monkeypatch, caplog):
    """A bug in the sampling must not fail the request."""
    sampler = Sampler()
    with monkeypatch.context() as patch:
        patch.setattr(samples, "_observers", [lambda: 1 // 0])
        sampler.sample_if_due("web")
    assert "sample_failed" in caplog.text
    sampler._tried_at = float("-inf")
    sampler.sample_if_due("web")
    assert len(samples.load_samples(datetime.now(UTC), HOUR)) == 1


def test_the_burn_rate_counts_failed_and_slow_feeds():
    """1 means that as many feeds fail or are slow as the target allows."""

    def window(*, served, fast, failed):
        increments = {
            ("recsys_feeds_total", (("feed", "discovery"),)): float(served),
            ("recsys_feed_failures_total", (("feed", "discovery"),)): float(failed),
            ("recsys_feed_seconds_count", ()): float(served),
            ("recsys_feed_seconds_bucket", (("le", "0.5"),)): float(fast),
            ("recsys_feed_seconds_bucket", (("le", "+Inf"),)): float(served),
        }
        return [Sample("p", AT, 0, increments)]

    assert sample_gauges.burn_rate(window(served=1_000, fast=1_000, failed=0)) == 0
    assert sample_gauges.burn_rate(window(served=999, fast=997, failed=1)) == pytest.approx(3)
    assert sample_gauges.burn_rate(window(served=29, fast=28, failed=1)) == 0
    assert sample_gauges.burn_rate(window(served=19, fast=0, failed=0)) is None


def test_quantiles_are_interpolated_from_buckets():
    def sample(**counts):
        increments = {("t_bucket", (("le", le),)): float(count) for le, count in counts.items()}
        return Sample("p", AT, 0, increments)

    buckets = sample(**{"0.1": 50, "0.2": 90, "+Inf": 100})
    assert samples.histogram_quantile([buckets], "t", 0.5) == pytest.approx(0.1)
    assert samples.histogram_quantile([buckets], "t", 0.7) == pytest.approx(0.15)
    assert samples.histogram_quantile([buckets], "t", 0.99) == 0.2
    assert samples.histogram_quantile([buckets, buckets], "t", 0.5) == pytest.approx(0.1)
    assert samples.histogram_quantile([], "t", 0.5) is None


@pytest.mark.parametrize(
    ("minutes", "last", "verdict"),
    [(40, 300, Verdict.PASS), (40, 900, Verdict.FAIL), (10, 900, Verdict.WARN), (40, 350, Verdict.PASS)],
)
def test_doctor_reports_a_process_whose_memory_keeps_growing(stream, minutes, last, verdict):
    for minute in range(minutes + 1):
        size = int((300 + (last - 300) * minute / minutes) * 2**20)
        samples.store_sample(Sample("batch h:1", AT - (minutes - minute) * 60, size))
    result = doctor.check_memory_growth(NOW)
    assert result.verdict is verdict


@pytest.mark.parametrize(("requested", "failed", "ratio"), [(19, 19, None), (20, 2, 0), (20, 3, 0.15), (20, 20, 1)])
def test_the_error_ratio_needs_several_failures(requested, failed, ratio):
    """One failure among few feeds is no rate, and raises no alert."""
    increments = {
        ("recsys_feeds_total", (("feed", "discovery"),)): float(requested - failed),
        ("recsys_feed_failures_total", (("feed", "discovery"),)): float(failed),
    }
    assert sample_gauges.error_ratio([Sample("p", AT, 0, increments)]) == ratio
