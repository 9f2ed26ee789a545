"""The deployment checklist on good and on broken configurations."""

import json
from datetime import timedelta
from types import SimpleNamespace
from uuid import UUID

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from pydantic import SecretStr
from qdrant_client import QdrantClient
from qdrant_client.http.models import VersionInfo

from flags.models import Experiment, ExperimentPhase, Flag
from flags.models.guarded import allow_guarded_writes
from monitoring import doctor, workers
from monitoring.doctor import Verdict
from monitoring.health import Finding
from monitoring.models import AlertRule
from recommendations.models import ChangeLogTruncation, EmbeddingModel, FeedRequest, PostEmbedding, TrainedModel
from recommendations.services import wiring
from recommendations.services.extensions import doctor as service_checks
from recommendations.services.vectors.embedding_models import embed_due_posts, update_model_progress
from recommendations.services.vectors.reindexing import reindex
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]

SERVER = {"run_id": "a", "policy": "noeviction", "maxmemory": 0, "appendonly": True, "cluster": False}
CACHE = SERVER | {"run_id": "b", "policy": "allkeys-lru", "maxmemory": 2**29}


def set_env(monkeypatch, **values):
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update=values))


def set_servers(monkeypatch, broker, cache):
    facts = {settings.ENV.redis_url: broker, settings.ENV.cache_redis_url: cache}
    monkeypatch.setattr(doctor, "read_redis_facts", facts.__getitem__)


def create_feeds(count, *, duration_ms=20.0, fallback=""):
    member = factories.member()
    FeedRequest.objects.bulk_create(
        FeedRequest(
            id=UUID(int=n),
            member=member,
            feed="discovery",
            engine="wasm_simd",
            variant="treatment",
            policy_version=1,
            fallback=fallback,
            duration_ms=duration_ms,
            post_ids=b"",
            parts=b"",
            origins=b"",
            created_at=NOW - timedelta(hours=1),
        )
        for n in range(count)
    )


@pytest.fixture
def good_configuration(monkeypatch, django_user_model):
    """A good configuration, except for the database server and experiments, which are choices."""
    set_env(
        monkeypatch,
        metrics_token=SecretStr("tok"),
        cache_encryption_keys=SecretStr("k" * 32),
        wasm_memory_limit=2**28,
        api_open=False,
        https=True,
        second_factor=True,
        alert_emails=["operators@recsys.example"],
    )
    monkeypatch.setattr(settings, "ALLOWED_HOSTS", ["recsys.example"])
    monkeypatch.setattr(workers, "check_worker_health", lambda now: [])
    set_servers(monkeypatch, SERVER, CACHE)
    django_user_model.objects.create_superuser("root", password="correct horse battery")
    create_feeds(service_checks.MIN_LOAD_FEEDS)
    TrainedModel.objects.create(kind="item_weights", state=TrainedModel.State.ACTIVE, created_at=NOW)


def lines_by_title():
    return {line.title: line for line in doctor.run_checks(NOW)}


def test_a_good_configuration_has_no_failing_line(good_configuration):
    lines = lines_by_title()
    assert doctor.failed_lines(lines.values()) == []
    choices = {"A/B test variants configured", "Database connections use least privilege"}
    machine = {"Memory and cores"}  # depends on the machine
    warned = {title for title, line in lines.items() if line.verdict is Verdict.WARN}
    assert warned - machine <= choices | {"Memory does not grow"}
    assert all(line.fix for line in lines.values() if line.verdict is not Verdict.PASS)


@pytest.mark.parametrize(
    ("title", "values", "word"),
    [
        ("Performance monitoring dashboard deployed", {"metrics_token": SecretStr("")}, "METRICS_TOKEN"),
        ("Performance monitoring dashboard deployed", {"prometheus_metrics_enabled": False}, "PROMETHEUS"),
        ("Admin endpoints require authentication", {"api_open": True}, "API_OPEN"),
        ("Admin endpoints require authentication", {"https": False}, "HTTPS"),
        ("Admin endpoints require authentication", {"second_factor": False}, "SECOND_FACTOR"),
        ("Cache data is encrypted at rest", {"redis_url": "redis://db.example:6379/0"}, "requirepass"),
        ("Vector database (Qdrant) configured and populated", {"catalogue_max_posts": 1}, "QDRANT_URL"),
    ],
)
def test_a_broken_setting_fails_its_line_with_a_fix(good_configuration, monkeypatch, title, values, word):
    author = factories.member()
    factories.posts(author, 2)
    EmbeddingModel.objects.create(
        space="content", name="tiny", embedder="tiny", dimension=8, state="active", created_at=NOW, changed_at=NOW
    )
    set_env(monkeypatch, **values)
    line = doctor.run_check(title, doctor._checks[title], NOW)
    assert line.verdict is Verdict.FAIL
    assert word in line.fix


@pytest.mark.parametrize(
    ("broker", "cache", "verdict", "word"),
    [
        (SERVER | {"policy": "allkeys-lru"}, CACHE, Verdict.FAIL, "noeviction"),
        (SERVER | {"appendonly": False}, CACHE, Verdict.WARN, "appendonly"),
        (SERVER, SERVER, Verdict.WARN, "of its own"),
        (SERVER, CACHE | {"maxmemory": 0}, Verdict.WARN, "maxmemory"),
    ],
)
def test_redis_servers_are_checked_for_eviction_and_persistence(monkeypatch, broker, cache, verdict, word):
    set_servers(monkeypatch, broker, cache)
    result = doctor.check_redis_servers(NOW)
    assert result.verdict is verdict
    assert word in result.fix


@pytest.mark.parametrize(
    ("gibibytes", "cores", "limit", "verdict", "word"),
    [
        (1, 4, 2**28, Verdict.FAIL, "at least 2 GiB"),
        (4, 4, 4 * 2**30, Verdict.WARN, "WASM_MEMORY_LIMIT"),
        (4, 1, 2**28, Verdict.WARN, "two cores"),
        (4, 2, 2**28, Verdict.PASS, ""),
    ],
)
def test_the_memory_and_the_cores_of_the_machine_are_checked(monkeypatch, gibibytes, cores, limit, verdict, word):
    monkeypatch.setattr(doctor.psutil, "virtual_memory", lambda: SimpleNamespace(total=gibibytes * 2**30))
    monkeypatch.setattr(doctor.os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    set_env(monkeypatch, wasm_memory_limit=limit)
    result = doctor.check_machine(NOW)
    assert result.verdict is verdict
    assert word in result.fix


def test_a_migration_that_is_not_applied_fails():
    MigrationRecorder.Migration.objects.filter(app="sessions").delete()
    result = doctor.check_migrations(NOW)
    assert result.verdict is Verdict.FAIL
    assert "migrations not applied: sessions.0001_initial. Run manage.py migrate." in result.message


def test_missing_files_users_keys_and_workers_are_reported(good_configuration, monkeypatch, tmp_path):
    monkeypatch.setattr(settings, "BASE_DIR", tmp_path)
    assert doctor.check_dashboards(NOW).fix == "Deploy monitoring/grafana with the code."
    get_user_model().objects.update(is_active=False)
    assert "ensure_admin" in doctor.check_api_and_admin_access(NOW).fix
    set_env(monkeypatch, cache_encryption_keys=SecretStr(""))
    assert "CACHE_ENCRYPTION_KEYS" in doctor.check_secrets(NOW).fix
    findings = [Finding("queue_one", "No worker takes tasks."), Finding("beat", "")]
    monkeypatch.setattr(workers, "check_worker_health", lambda now: findings)
    result = doctor.check_workers(NOW)
    assert (result.verdict, result.message) == (Verdict.FAIL, "queue_one: No worker takes tasks.")


def test_the_privileges_of_the_database_user_are_checked():
    if connection.vendor == "sqlite":
        assert doctor.check_database_server(NOW).verdict is Verdict.WARN
        return
    with connection.cursor() as cursor:
        assert "is a superuser" in doctor.check_database_server(NOW).message
        cursor.execute("CREATE ROLE service")
        cursor.execute("SET LOCAL ROLE service")
        result = doctor.check_database_server(NOW)
        cursor.execute("RESET ROLE")
    assert (result.verdict, result.message) == (Verdict.PASS, "postgresql; the user service is not a superuser")


def test_the_facts_of_a_real_redis_are_read(redis_url):
    facts = doctor.read_redis_facts(redis_url)
    assert set(facts) == set(SERVER)
    assert facts["policy"] == "noeviction"


def test_a_missing_index_is_reported():
    with connection.cursor() as cursor:
        cursor.execute("DROP INDEX posts_by_age")
    result = service_checks.check_indexes(NOW)
    assert result.verdict is Verdict.FAIL
    assert "recommendations_post.posts_by_age" in result.message


def test_missing_triggers_of_the_change_log_are_reported():
    assert service_checks.check_change_log(NOW).verdict is Verdict.PASS
    ChangeLogTruncation.objects.all().delete()
    assert service_checks.check_change_log(NOW).verdict is Verdict.FAIL


def test_posts_without_an_active_embedding_model_fail_and_missing_vectors_warn():
    posts = factories.posts(factories.member(), 3)
    result = service_checks.check_vectors(NOW)
    assert (result.verdict, result.message) == (Verdict.FAIL, "No embedding model is active.")
    embed_due_posts(now=NOW)
    assert service_checks.check_vectors(NOW).verdict is Verdict.PASS
    PostEmbedding.objects.filter(post=posts[0]).delete()
    update_model_progress(EmbeddingModel.objects.get(), NOW)
    result = service_checks.check_vectors(NOW)
    assert (result.verdict, result.message) == (Verdict.WARN, "2 of 3 posts have a vector.")


@pytest.mark.filterwarnings("ignore:Payload indexes have no effect")
def test_an_index_that_lacks_posts_fails_until_it_is_rebuilt(monkeypatch):
    client = QdrantClient(":memory:")
    monkeypatch.setattr(wiring, "qdrant_client", lambda: client)
    factories.posts(factories.member(), 3)
    embed_due_posts(now=NOW)
    wiring.sync_embedding_models(NOW, must_be_current=True)
    wiring.vector_index().create_collection()
    result = service_checks.check_vectors(NOW)
    assert (result.verdict, result.message) == (Verdict.FAIL, "Qdrant has 0 of 3 posts.")
    reindex(now=NOW)
    result = service_checks.check_vectors(NOW)
    assert (result.verdict, result.message) == (Verdict.PASS, "Qdrant has 3 of 3 posts")
    monkeypatch.setattr(client, "info", lambda: VersionInfo(title="qdrant", version="1.15.5"))
    result = service_checks.check_vectors(NOW)
    assert result.verdict is Verdict.WARN and "version is 1.15.5" in result.message
    client.close()


def test_a_missing_runbook_fails(monkeypatch, tmp_path):
    assert service_checks.check_rollback(NOW).verdict is Verdict.PASS
    monkeypatch.setattr(settings, "BASE_DIR", tmp_path)
    result = service_checks.check_rollback(NOW)
    assert (result.verdict, result.message) == (Verdict.FAIL, "docs/rollback.md is not deployed.")


def test_the_shares_of_running_experiments_are_checked():
    assert service_checks.check_variants(NOW).verdict is Verdict.WARN
    factories.flag("f", is_enabled=True)
    factories.experiment("f", "trial")
    result = service_checks.check_variants(NOW)
    assert (result.verdict, result.message) == (Verdict.PASS, "1 running: trial")
    with allow_guarded_writes():
        phase = ExperimentPhase.objects.get()
        phase.variants[0]["share"] /= 2
        phase.save()
    result = service_checks.check_variants(NOW)
    assert (result.verdict, result.message) == (Verdict.FAIL, "The shares of the variants do not add up: trial.")


def test_a_missing_flag_slow_feeds_and_fallbacks_fail():
    with allow_guarded_writes():
        Experiment.objects.all().delete()
        Flag.objects.all().delete()
    assert service_checks.check_engine_flag(NOW).verdict is Verdict.FAIL
    assert service_checks.check_load(NOW).verdict is Verdict.WARN
    create_feeds(service_checks.MIN_LOAD_FEEDS, duration_ms=900.0)
    assert "p95 900 ms" in service_checks.check_load(NOW).message
    assert service_checks.check_load(NOW).verdict is Verdict.FAIL
    FeedRequest.objects.update(duration_ms=5.0, fallback="plain")
    assert service_checks.check_load(NOW).verdict is Verdict.FAIL


def test_alert_rules_must_be_enabled_computable_and_notified(good_configuration, monkeypatch):
    assert service_checks.check_alert_thresholds(NOW).verdict is Verdict.PASS
    set_env(monkeypatch, alert_emails=[])
    assert "ALERT_EMAILS" in service_checks.check_alert_thresholds(NOW).fix
    AlertRule.objects.filter(name="heap_used").update(metric="recsys_nothing")
    assert (
        service_checks.check_alert_thresholds(NOW).message
        == "The metric of these alert rules does not exist: heap_used."
    )
    AlertRule.objects.filter(name="heap_used").update(is_enabled=False)
    assert service_checks.check_alert_thresholds(NOW).message == "Required alert rules are not enabled: heap_used."


def test_shares_must_add_up_to_a_whole():
    assert service_checks.is_whole([0.5, 0.25, 0.25])
    assert service_checks.is_whole([50, 25, 25])
    assert not service_checks.is_whole([1.0])
    assert not service_checks.is_whole([0.5, 0.4])


def test_a_check_that_raises_fails_its_line():
    def check(now):
        raise OSError("no route")

    line = doctor.run_check("x", check, NOW)
    assert (line.verdict, line.message) == (Verdict.FAIL, "The check raised OSError: no route")


def test_the_command_exits_with_1_if_a_line_fails(good_configuration, monkeypatch, capsys):
    call_command("doctor")
    output = capsys.readouterr().out
    assert "0 fail." in output
    assert "→" in output
    set_env(monkeypatch, api_open=True)
    with pytest.raises(SystemExit, match="1"):
        call_command("doctor", "--json")
    lines = json.loads(capsys.readouterr().out)
    assert [line["title"] for line in lines if line["verdict"] == "fail"] == ["Admin endpoints require authentication"]
