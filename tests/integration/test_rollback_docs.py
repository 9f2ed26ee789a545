"""Runs every procedure of docs/rollback.md with the commands on that page."""

import re
import shlex
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from django.core.management import call_command

from flags import snapshot
from flags.models import Flag, FlagChange, RolloutPlan
from flags.services import rollouts
from flags.services.change import apply_change
from flags.services.record import Actor
from monitoring.clock import now
from recommendations.models import FeedRequest
from recommendations.services import wiring
from recommendations.services.serving.query import assign_engine
from recommendations.services.serving.recommend import recommend
from tests import factories

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("fresh_wiring")]

PAGE = (Path(__file__).parents[2] / "docs/rollback.md").read_text()
FLAG = "wasm_recommendations"
TEST = Actor(system="test")


def commands(title):
    """Return the commands of one procedure, in order."""
    section = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL).group(1)
    lines = [
        line.strip() for block in re.findall(r"```sh\n(.*?)```", section, re.DOTALL) for line in block.splitlines()
    ]
    commands_of_section = [shlex.split(line) for line in lines if line]
    assert {words[0] for words in commands_of_section} == {"./manage.py"}
    return [words[1:] for words in commands_of_section]


def run(capsys, words):
    call_command(*words)
    snapshot.flag_snapshot.invalidate()
    return capsys.readouterr().out


@pytest.fixture
def platform():
    """
    Create members served by the WebAssembly engine; member 42 has a cached slate. Return the other members' ids.

    All of it is a day old. Another test's worker may still run and write the feed of member 42 at any moment, so that
    feed is older than the minutes that the gauges cover.
    """
    at = now() - timedelta(days=1)
    factories.flag(FLAG, at=at, is_enabled=True, rollout_percentage=100)
    author = factories.member("author", at=at)
    for name in ("42", *(f"m{n}" for n in range(100))):
        factories.member(name, at=at)
    for n in range(12):
        factories.post(author, f"p{n}", text=f"bread {n}", at=at)
    factories.embed_all_posts(at=at)
    assert recommend(member_id="42", now=at).engine == "wasm_simd"
    return [f"m{n}" for n in range(100)]


def cached_slate(name):
    member = factories.Member.objects.get(external_id=name)
    return wiring.slate_cache().get(member.pk, "discovery")


def members_on_kernel(members):
    return {name for name in members if assign_engine(name).engine == "wasm_simd"}


def test_emergency_rollback(platform, capsys):
    kill, purge, gauges, explain, show = commands("Emergency rollback")
    patch = {"flag": FLAG, "phases": [{"percentage": 100, "hours": 0}, {"percentage": 100}]}
    apply_change(subject="plan", key="p", patch=patch, actor=TEST, why="x", now=now(), create=True)
    rollouts.start(key="p", actor=TEST, why="x", now=now())
    assert cached_slate("42") is not None
    assert "killed" in run(capsys, kill)
    assert not Flag.objects.get(key=FLAG).is_enabled and members_on_kernel(platform) == set()
    assert cached_slate("42") is None, "the engine's slates are purged"
    rollouts.advance(now=now() + timedelta(days=99))
    assert RolloutPlan.objects.get(key="p").state == "paused" and members_on_kernel(platform) == set()
    page = recommend(member_id="42", now=now())
    assert (page.engine, page.variant, len(page.picks)) == ("plain", "control", 12)
    run(capsys, purge)
    assert cached_slate("42") is None
    create_feed_request(page.variant)
    assert "feed_error_ratio" in run(capsys, gauges)
    assert "The flag is off" in run(capsys, explain)
    history = run(capsys, show)
    before = FlagChange.objects.filter(subject="flag", key=FLAG).exclude(action="killed").first()
    assert f"#{before.pk} " in history
    call_command("flag", "restore", FLAG, str(before.pk), "--why", "fixed")
    assert Flag.objects.get(key=FLAG).is_enabled


def create_feed_request(variant):
    """Create a feed request row as the worker writes it."""
    FeedRequest.objects.create(
        id=uuid4(),
        member=factories.Member.objects.get(external_id="42"),
        feed="discovery",
        engine="plain",
        variant=variant,
        policy_version=1,
        duration_ms=5.0,
        post_ids=b"",
        parts=b"",
        origins=b"",
        created_at=now() - timedelta(seconds=1),
    )


def test_gradual_rollback(platform, capsys):
    fewer, wasm, control, more, kill = commands("Gradual rollback")
    factories.flag(FLAG, at=now(), rollout_percentage=60)
    members_before = members_on_kernel(platform)
    run(capsys, fewer)
    members_after = members_on_kernel(platform)
    assert members_after < members_before and 0 < len(members_after) < 30
    create_feed_request("wasm_conservative")
    assert re.search(r"feed_latency_p95_ms[^\n]* 5 [^\n]* 1 ", run(capsys, wasm))
    assert "feed_latency_p95_ms" in run(capsys, control)
    run(capsys, more)
    assert members_after < members_on_kernel(platform)
    run(capsys, kill)
    assert members_on_kernel(platform) == set()


def test_ab_test_adjustment(platform, capsys):
    pause, aggressive, control, resume = commands("A/B test adjustment")
    factories.flag(FLAG, at=now(), rollout_percentage=50)
    before = members_on_kernel(platform)
    run(capsys, pause)
    assert members_on_kernel(platform) == set()
    create_feed_request("wasm_aggressive")
    assert re.search(r"feed_error_ratio[^\n]* 0 [^\n]* 1 ", run(capsys, aggressive))
    run(capsys, control)
    run(capsys, resume)
    assert members_on_kernel(platform) == before, "every member has the same variant as before"
