"""Flags with real servers: a rollout run by beat and a worker, and an emergency that reaches every process."""

import sys
import time
from uuid import uuid4

import pytest
import requests
from django.core.management import call_command

from flags.models import Flag, FlagChange, RolloutPlan
from flags.services import rollouts
from flags.services.change import apply_change
from flags.services.record import Actor
from monitoring.clock import now
from recommendations.models import FeedRequest
from recommendations.services import policies, wiring, work
from recsys_project.stack import commands
from tests import factories
from tests.integration.test_worker import job_condition, wait_for
from tests.servers import free_port, run_process, shared_database_url, wait_until

FLAG = "wasm_recommendations"
TEST = Actor(system="test")

pytestmark = [pytest.mark.usefixtures("fresh_wiring")]
CELERY = (sys.executable, "-m", "celery", "-A", "recsys_project")


@pytest.fixture
def beat(worker, tmp_path, redis_url):
    """Run a real beat, as the embedded stack does, and yield the worker."""
    command = [*CELERY, "beat", "-S", "recsys_project.beat.Scheduler", "-l", "INFO"]
    with run_process(command, tmp_path, DATABASE_URL=shared_database_url(), REDIS_URL=redis_url) as (process, log):
        wait_until(lambda: "beat: Starting" in log.read_text(errors="replace"), process, log)
        yield worker


def make_feed_requests(member, *, fallback="", count=40):
    """Create rows of feed requests as the worker writes them."""
    at = now()
    FeedRequest.objects.bulk_create(
        FeedRequest(
            id=uuid4(),
            member=member,
            feed="discovery",
            engine="plain" if fallback else "wasm_simd",
            variant="wasm_conservative",
            policy_version=1,
            fallback=fallback,
            duration_ms=5.0,
            post_ids=b"",
            parts=b"",
            origins=b"",
            created_at=at,
        )
        for _ in range(count)
    )


@pytest.mark.one_database("postgresql")
def test_a_rollout_advances_and_rolls_back_automatically(beat):
    """After a phase with healthy feeds and a breach, the flag is off, and the evidence is saved."""
    factories.flag(FLAG, at=now(), is_enabled=False)
    ann = factories.member("ann", at=now())
    policies.create_policy_version(variant="wasm_conservative", settings={}, note="")
    patch = {
        "flag": FLAG,
        "phases": [{"percentage": 5, "hours": 0}, {"percentage": 35, "hours": 24}, {"percentage": 100, "hours": 24}],
        "guardrails": [
            {"gauge": "feed_fallback_ratio", "variant": "wasm_conservative", "threshold": 0.05, "min_samples": 20},
            {"gauge": "feed_latency_p95_ms", "variant": "wasm_conservative", "threshold": 500, "min_samples": 20},
        ],
    }
    apply_change(subject="plan", key="live", patch=patch, actor=TEST, why="rehearsal", now=now(), create=True)
    rollouts.start(key="live", actor=TEST, why="rehearsal", now=now())
    assert Flag.objects.get(key=FLAG).rollout_percentage == 5
    make_feed_requests(ann)
    wait_for(lambda: Flag.objects.get(key=FLAG).rollout_percentage == 35, beat.log)
    make_feed_requests(ann, fallback="plain")
    wait_for(lambda: not Flag.objects.get(key=FLAG).is_enabled, beat.log)
    assert RolloutPlan.objects.get(key="live").state == "rolled_back"
    record = FlagChange.objects.filter(subject="plan", key="live").first()
    assert (record.action, record.system) == ("rolled back", "rollout:live")
    assert [check["verdict"] for check in record.evidence] == ["breached", "holds"]


@pytest.fixture
def web(tmp_path, redis_url, transactional_db):
    """Run a real web server on the test's database, and yield its URL."""
    port = free_port()
    env = {"DATABASE_URL": shared_database_url(), "REDIS_URL": redis_url, "API_OPEN": "1"}
    with run_process(commands.web_command(port), tmp_path, **env) as (process, log):
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: is_up(url), process, log)
        yield url


def is_up(url):
    try:
        return requests.get(f"{url}/livez", timeout=1).ok
    except requests.RequestException:
        return False


@pytest.mark.one_database("sqlite")
def test_a_kill_reaches_every_process(web, worker, capsys):
    """After the command, the web server and the worker use the control engine. Prints how long that took."""
    at = now()
    factories.flag(FLAG, at=at, is_enabled=True, rollout_percentage=100)
    author = factories.member("author", at=at)
    ann = factories.member("ann", at=at)
    for n in range(20):
        factories.post(author, f"p{n}", text=f"bread {n}", at=at)
    factories.embed_all_posts(at=at)

    def web_engine():
        feed = requests.get(f"{web}/api/v1/members/ann/feed?limit=5", timeout=30).json()
        return feed["engine"], feed["variant"]

    def worker_engine():
        wiring.slate_cache().purge([ann.pk])
        job = work.submit_job(kind="member_feed", params={"member_ids": ["ann"]}, now=now())
        assert wait_for(job_condition(job), worker.log).state == "done"
        slate = wiring.slate_cache().get(ann.pk, "discovery")
        return slate.engine if slate else None

    wait_for(lambda: web_engine() == ("wasm_simd", "wasm_conservative"), worker.log)
    wait_for(lambda: worker_engine() == "wasm_simd", worker.log)
    start = time.perf_counter()
    call_command("flag", "kill", FLAG, "--why", "errors since 12:00")
    command_seconds = time.perf_counter() - start
    assert wiring.slate_cache().get(ann.pk, "discovery") is None, "the engine's slates are purged"
    wait_for(lambda: web_engine() == ("plain", "control"), worker.log)
    web_seconds = time.perf_counter() - start
    wait_for(lambda: worker_engine() == "plain", worker.log)
    worker_seconds = time.perf_counter() - start
    with capsys.disabled():
        print(
            f"\nkill: command {command_seconds:.2f} s, web {web_seconds:.2f} s, worker {worker_seconds:.2f} s",
            file=sys.stderr,
        )
    wait_for(FeedRequest.objects.exists, worker.log)
