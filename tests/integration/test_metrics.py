"""Metrics as Prometheus reads them, summed over several web workers and a real Celery worker."""

import threading
import time
import urllib.error
import urllib.request
from datetime import timedelta
from types import SimpleNamespace
from uuid import UUID

import numpy as np
import psutil
import pytest
from billiard.exceptions import WorkerLostError
from celery import signals
from django.conf import settings
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families
from qdrant_client import QdrantClient

from monitoring import clock, gauges, health, metrics, metrics_endpoint, processes, system_memory, workers
from monitoring.metrics import ComputedGauge
from recommendations.models import EmbeddingModel, FeedRequest, ServedPage
from recommendations.services import wiring
from recommendations.services.errors import FactsUnavailable, InvalidRequest
from recommendations.services.extensions import gauges as service_gauges
from recommendations.services.extensions import health as service_health
from recommendations.services.measuring import quality
from recommendations.services.serving.recommend import recommend
from recommendations.services.vectors.embedding_models import embed_due_posts
from recsys_project.celery import app
from recsys_project.stack import commands
from tests import factories
from tests.factories import NOW
from tests.servers import celery_worker, free_port, redis_server, run_process, shared_database_url, wait_until

TOKEN = "token-of-the-metrics-tests"


def value(name, **labels):
    """Return the sum of a metric's samples in this process that have these labels."""
    samples = (sample for family in REGISTRY.collect() for sample in family.samples if sample.name == name)
    return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())


def scrape(port, token=TOKEN):
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=10) as response:
        text = response.read().decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def total(scraped, name, **labels):
    return sum(value for (key, own), value in scraped.items() if key == name and labels.items() <= dict(own).items())


def wait_until_true(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return result


@pytest.mark.usefixtures("fresh_wiring")
def test_metrics_of_two_web_workers_and_a_celery_worker_add_up(transactional_db, tmp_path):
    """Requests to both web workers and tasks of two children give one sum each; memory and dead processes are exact."""
    factories.member("m1", at=clock.now())
    folder, web_port, worker_port = tmp_path / "metrics", free_port(), free_port()
    env = {"PROMETHEUS_MULTIPROC_DIR": str(folder), "METRICS_TOKEN": TOKEN, "API_OPEN": "1"}
    (tmp_path / "redis").mkdir()
    web = [*commands.web_command(web_port), "--workers", "2"]
    url = f"http://127.0.0.1:{web_port}"

    def get(path):
        with urllib.request.urlopen(url + path, timeout=10) as response:
            return response.status

    def is_up():
        try:
            return get("/livez") == 200
        except OSError:
            return False

    # A separate Redis: otherwise the session's worker would take some of the tasks.
    with (
        redis_server(tmp_path / "redis", port=free_port()) as broker,
        run_process(
            web, tmp_path, DATABASE_URL=shared_database_url(), REDIS_URL=broker, CACHE_REDIS_URL=broker, **env
        ) as (
            process,
            log,
        ),
        celery_worker(tmp_path, concurrency=2, broker=broker, METRICS_PORT=str(worker_port), **env) as worker,
        app.connection_for_write(broker) as connection,
    ):
        wait_until(is_up, process, log)
        before = scrape(web_port)
        for _ in range(30):
            get("/api/v1/members/m1/feed?feed=trending")
        for _ in range(20):
            app.tasks[workers.CANARY].apply_async(
                kwargs={"queue": "maintenance"}, queue="maintenance", connection=connection
            )
        canary_labels = {"task": workers.CANARY, "outcome": "succeeded"}
        wait_until_true(lambda: total(scrape(web_port), "recsys_tasks_total", **canary_labels) >= 20)
        after = scrape(web_port)
        assert total(after, "recsys_feeds_total", feed="trending") == 30
        assert total(after, "recsys_incomplete_pages_total", feed="trending", kind="empty") == 30
        assert total(after, "recsys_tasks_total", **canary_labels) == 20, worker.log()[-2000:]
        assert total(after, "recsys_task_seconds_count", task=workers.CANARY) == 20
        assert total(after, "recsys_task_wait_seconds_count", queue="maintenance") >= 20
        assert total(after, "recsys_query_seconds_count", verb="select") > total(before, "recsys_query_seconds_count")
        # Every process has its memory, which prometheus_client does not export in multiprocess mode.
        kinds = [dict(labels)["process"] for (name, labels) in after if name == metrics.PROCESS_BYTES.name]
        assert kinds.count("web") >= 2 and kinds.count("worker") >= 3
        assert min(n for (name, _), n in after.items() if name == metrics.PROCESS_BYTES.name) > 2**20
        assert total(after, "recsys_queue_workers", queue="maintenance") == 1
        assert total(after, "recsys_database_up") == total(after, "recsys_redis_up", server="broker") == 1
        # The worker exports its own metrics, with the token only, and no gauges of the whole service.
        worker_metrics = scrape(worker_port)
        assert total(worker_metrics, "recsys_tasks_total", **canary_labels) == 20
        assert not [name for name, _ in worker_metrics if name == "recsys_queue_tasks"]
        for port in (web_port, worker_port):
            with pytest.raises(urllib.error.HTTPError, match="401"):
                scrape(port, token="wrong")
    # Ended processes keep their counters and lose their gauges.
    pids = processes.known_pids(folder)
    assert len(pids) >= 4 and not [pid for pid in pids if psutil.pid_exists(pid)]
    assert processes.remove_dead_processes(folder) == set()
    assert not list(folder.glob("gauge_live*"))
    assert list(folder.glob("counter_*"))


@pytest.mark.django_db
@pytest.mark.usefixtures("fresh_wiring")
def test_a_feed_is_counted_with_its_stages(redis_url):
    author = factories.member("author")
    factories.member("m")
    factories.posts(author, 7)
    names = {
        "pages": ("recsys_feeds_total", {"feed": "trending", "engine": "none", "fallback": ""}),
        "short_pages": ("recsys_incomplete_pages_total", {"feed": "trending", "kind": "short"}),
        "filter_in": ("recsys_stage_candidates_total", {"stage": "filter", "direction": "in"}),
        "filter_out": ("recsys_stage_candidates_total", {"stage": "filter", "direction": "out"}),
        "source_out": ("recsys_stage_candidates_total", {"stage": "source", "direction": "out"}),
    }
    before = {key: value(name, **labels) for key, (name, labels) in names.items()}
    page = recommend(member_id="m", feed="trending", now=NOW)
    increases = {key: value(name, **labels) - before[key] for key, (name, labels) in names.items()}
    assert len(page.picks) == 7
    assert increases["pages"] == increases["short_pages"] == 1
    assert increases["source_out"] >= 7 and increases["filter_in"] == increases["filter_out"] == 7


def raise_always(error):
    def failing(*_):
        raise error

    return failing


@pytest.mark.django_db
@pytest.mark.usefixtures("fresh_wiring")
def test_service_failures_are_counted_and_caller_errors_are_not(redis_url, monkeypatch):
    factories.member("m")
    labels = {"feed": "following", "code": FactsUnavailable.code}
    before = value("recsys_feed_failures_total", **labels)
    with pytest.raises(InvalidRequest):
        recommend(member_id="m", feed="following", limit=0, now=NOW)
    assert value("recsys_feed_failures_total", **labels) == before

    for error, code in ((FactsUnavailable("for the test"), FactsUnavailable.code), (RuntimeError("x"), "unexpected")):
        labels = {"feed": "following", "code": code}
        before = value("recsys_feed_failures_total", **labels)
        monkeypatch.setattr("recommendations.services.serving.recommend.find_slate", raise_always(error))
        with pytest.raises(type(error)):
            recommend(member_id="m", feed="following", now=NOW)
        assert value("recsys_feed_failures_total", **labels) == before + 1


@pytest.mark.django_db
@pytest.mark.usefixtures("fresh_wiring")
def test_every_computed_gauge_can_be_computed(redis_url, monkeypatch):
    """With real servers, each registered gauge is exported once; a failing gauge does not affect the others."""
    factories.post(factories.member("m"))
    families = {family.name: family for family in metrics_endpoint.build_registry(with_gauges=True).collect()}
    up = {sample.labels["gauge"]: sample.value for sample in families["recsys_gauge_up"].samples}
    assert set(up.values()) == {1.0}, up
    assert set(gauges.gauge_names()) <= set(families)
    assert families["recsys_unembedded_posts"].samples == [] or up

    def broken(_now):
        raise RuntimeError("no response")

    monkeypatch.setattr(gauges, "_sources", dict(gauges._sources))
    gauges.register_gauges(ComputedGauge("recsys_of_a_test", "A figure."), compute=broken)
    found = {family.name: family for family in metrics_endpoint.build_registry(with_gauges=True).collect()}
    up = {sample.labels["gauge"]: sample.value for sample in found["recsys_gauge_up"].samples}
    assert up.pop("recsys_of_a_test") == 0.0 and set(up.values()) == {1.0}
    assert "recsys_of_a_test" not in found
    with pytest.raises(gauges.UnknownGaugeError, match="recsys_nowhere"):
        gauges.gauge_values("recsys_nowhere", {}, clock.now())


def test_gauge_values_are_reused_for_max_age_and_by_concurrent_callers():
    computed_at = []

    def slow(now):
        computed_at.append(now)
        time.sleep(0.05)
        return {gauge: {("a",): 2.0, ("b",): 3.0}}

    gauge = ComputedGauge("recsys_of_a_test", "A figure.", ("label",))
    source = gauges.GaugeSource(slow, (gauge,), timedelta(seconds=10))
    threads = [threading.Thread(target=source.current_values, args=(NOW,)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert source.current_values(NOW + timedelta(seconds=9)) == {gauge: {("a",): 2.0, ("b",): 3.0}}
    assert len(computed_at) == 1
    source.current_values(NOW + timedelta(seconds=10))
    assert len(computed_at) == 2


def test_lost_and_revoked_tasks_are_counted():
    task = app.tasks[workers.CANARY]
    before = {outcome: value("recsys_tasks_total", task=task.name, outcome=outcome) for outcome in ("lost", "revoked")}
    signals.task_failure.send(sender=task, exception=WorkerLostError("signal 9"))
    signals.task_failure.send(sender=task, exception=ValueError("counted at the end of the task"))
    signals.task_revoked.send(sender=task)
    for outcome, count in before.items():
        assert value("recsys_tasks_total", task=task.name, outcome=outcome) == count + 1


def test_the_metrics_server_of_a_worker_has_one_page(monkeypatch):
    started = []
    body = metrics_endpoint.metrics_app({"PATH_INFO": "/"}, lambda status, headers: started.append(status))
    assert (started, body) == (["404 Not Found"], [b"The metrics are at /metrics.\n"])


def test_a_c_library_that_cannot_trim_its_heap_is_no_error(monkeypatch):
    monkeypatch.setattr(system_memory.ctypes, "CDLL", lambda name: SimpleNamespace())
    system_memory.trim_heap()


def test_ndcg_is_one_if_the_engaged_posts_are_first():
    ranked = quality.np.arange(10)
    assert quality.ndcg(ranked, {0, 1}) == pytest.approx(1.0)
    assert quality.ndcg(ranked, {9}) == pytest.approx(1 / quality.np.log2(11))
    assert quality.ndcg(ranked, {77}) is None


@pytest.mark.django_db
def test_the_served_ndcg_is_the_mean_ndcg_of_the_slates_with_an_engaged_post():
    viewer = factories.member("viewer")
    posts = factories.posts(factories.member(), 4)
    assert quality.served_ndcg(now=NOW) is None
    for number, engaged_posts in enumerate(([posts[0], posts[1]], [posts[3]], [])):
        FeedRequest.objects.create(
            id=UUID(int=number),
            member=viewer,
            feed="discovery",
            engine="plain",
            variant="control",
            policy_version=1,
            post_ids=np.array([post.pk for post in posts], "<i8").tobytes(),
            parts=b"",
            origins=b"",
            created_at=NOW,
        )
        factories.interaction(viewer, posts[2], "view", request_id=UUID(int=number))
        for post in engaged_posts:
            factories.interaction(viewer, post, "like", request_id=UUID(int=number))
    factories.interaction(viewer, posts[2], "like")
    factories.interaction(viewer, posts[2], "like", request_id=UUID(int=1), undone_at=NOW)
    factories.interaction(viewer, posts[2], "like", request_id=UUID(int=2), at=NOW - timedelta(days=2))
    factories.interaction(factories.member(), posts[3], "like", request_id=UUID(int=0))  # the request of another member
    assert quality.served_ndcg(now=NOW) == pytest.approx((1 + 1 / np.log2(5)) / 2)


@pytest.mark.django_db
def test_coverage_is_the_share_of_all_posts_on_the_pages_of_the_last_hour():
    viewer, posts = factories.member("viewer"), factories.posts(factories.member(), 5)
    for number, (ids, minutes) in enumerate((([0, 1], 10), ([1, 2], 59), ([3], 60))):
        ServedPage.objects.create(
            member=viewer,
            request_id=UUID(int=number),
            offset=0,
            post_ids=np.array([posts[i].pk for i in ids], "<i8").tobytes(),
            created_at=NOW - timedelta(minutes=minutes),
        )
    assert quality.catalogue_coverage(now=NOW) == 3 / 5


@pytest.mark.django_db
def test_the_backlog_of_embedding_and_the_age_of_each_active_model_are_gauges(fresh_wiring):
    author = factories.member()
    factories.posts(author, 2)
    embed_due_posts(now=NOW)
    EmbeddingModel.objects.create(
        space="image", name="m", embedder="", dimension=8, state="active", created_at=NOW, changed_at=NOW
    )
    factories.post(author, at=NOW)
    values = service_gauges.backlog_gauges(NOW + timedelta(minutes=2))
    assert values[metrics.EMBEDDING_MODEL_AGE_SECONDS] == {("content",): 120}
    assert values[metrics.UNEMBEDDED_POSTS] == {("content",): 1}
    assert values[metrics.EMBEDDING_LAG_SECONDS] == {("content",): 120}


@pytest.mark.django_db
@pytest.mark.filterwarnings("ignore:Payload indexes have no effect")
def test_with_qdrant_url_a_gauge_and_a_health_check_tell_whether_qdrant_responds(fresh_wiring, monkeypatch):
    """Both pass while no embedding model is active: the index does not exist yet."""
    monkeypatch.setattr(gauges, "_sources", {})
    monkeypatch.setattr(health, "_checks", {})
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update={"qdrant_url": "http://127.0.0.1:9"}))
    down = wiring.qdrant_client()
    running = QdrantClient(":memory:")
    monkeypatch.setattr(wiring, "qdrant_client", lambda: running)
    service_gauges.register()
    service_health.register()

    def state(minute):
        # Readiness requests run each check in a thread of its own, which does not see this test's uncommitted rows.
        reason = health.failure_reason("vector_index", service_health.check_vector_index, NOW)
        return gauges.gauge_values(metrics.QDRANT_UP.name, {}, NOW + timedelta(minutes=minute)), reason

    assert "vector_index" in health._checks
    assert state(0) == ([], "")
    embed_due_posts(now=NOW)
    wiring.sync_embedding_models(NOW, must_be_current=True)
    assert state(1) == ([1.0], "")
    monkeypatch.setattr(wiring, "qdrant_client", lambda: down)
    wiring.known_vector_indexes().clear()
    values, reason = state(2)
    assert values == [0.0] and reason.startswith("VectorIndexError")
    running.close()
    down.close()


@pytest.mark.django_db
def test_kernel_metrics_are_updated(fresh_wiring):
    factories.member("m")
    author = factories.member("author")
    factories.posts(author, 5)
    factories.embed_all_posts()
    recommend(member_id="m", now=NOW)
    service_gauges.observe_process()
    before = value("recsys_kernel_calls_total", space="content")
    assert value("recsys_kernel_rows", space="content") == 5
    allocated = value("recsys_kernel_bytes", space="content", kind="allocated")
    assert 0 < value("recsys_kernel_bytes", space="content", kind="rows") < allocated
    assert allocated < value("recsys_kernel_bytes", space="content", kind="limit") == settings.ENV.wasm_memory_limit
    assert value("recsys_catalogue_posts") == 5
    wiring.engines()["wasm_simd"].cosine(factories.np.ones(wiring.embedder().dimension, "f4"), factories.np.arange(5))
    service_gauges.observe_process()
    assert value("recsys_kernel_calls_total", space="content") > before
    assert value("recsys_catalogue_lag_seconds") >= 0
