"""Experiments over REST and from the terminal: the same life, the same record, the same refusals."""

import io

import pytest
import yaml
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from access import keys
from access.scopes import Scope
from flags import snapshot
from flags.analysis import interim_analysis
from flags.models import ChangeSubject, Experiment, FlagChange
from monitoring.clock import now
from tests import factories
from tests.integration.test_interim_analysis import trial  # noqa: F401 -- a fixture

pytestmark = pytest.mark.django_db
FLAG, API = "wasm_recommendations", "/api/v1/experiments"
DRAFT = {
    "key": "pace",
    "flag": FLAG,
    "hypothesis": "Faster is better.",
    "goal": "engagements_per_member",
    "variants": [{"key": "control", "is_control": True, "value": False}, {"key": "fast", "value": True}],
}


@pytest.fixture(autouse=True)
def fresh_snapshot():
    factories.flag(FLAG, is_enabled=True)
    snapshot.flag_snapshot.invalidate()
    yield
    snapshot.flag_snapshot.invalidate()


@pytest.fixture
def ask(client):
    client.force_login(User.objects.create_superuser("rob", password="x" * 16))

    def ask(method, path="", status=200, **body):
        send = getattr(client, method)
        answer = send(API + path, body, content_type="application/json") if body else send(API + path)
        assert answer.status_code == status, answer.content
        return answer.json() if answer.content else None

    return ask


def test_a_life_over_rest(ask):
    made = ask("post", status=201, why="try", **DRAFT)
    assert (made["state"], made["phase"], made["variants"][1]["weight"]) == ("draft", 0, 50.0)
    assert ask("patch", "/pace", traffic_percentage=20, why="fewer")["traffic_percentage"] == 20
    for step, body, state, phase in (
        ("start", {}, "running", 1),
        ("pause", {}, "paused", 1),
        ("resume", {}, "running", 1),
        ("widen", {"traffic_percentage": 50}, "running", 1),
        ("phase", {"weights": {"control": 20, "fast": 80}}, "running", 2),
        ("finish", {"decision": "fast"}, "finished", 2),
    ):
        found = ask("post", f"/pace/{step}", why="a test", **body)
        assert (found["state"], found["phase"]) == (state, phase), step
    assert [row["action"] for row in ask("get", "/pace/changes")["changes"]] == [
        *("finished", "phase_started", "widened", "resumed", "paused", "started", "changed", "created")
    ]
    assert {row["key"] for row in ask("get", "?state=finished")["experiments"]} == {"pace"}
    assert ask("get", "/pace")["decision"] == "fast"


def test_what_is_wrong_is_said_by_field(ask):
    """Problems as everywhere in the API."""
    wrong = ask("post", status=400, why="x", **DRAFT | {"goal": "nothing", "colour": "red"})
    assert {error["pointer"] for error in wrong["errors"]} >= {"/colour"}
    ask("post", status=201, why="try", **DRAFT)
    ask("post", status=409, why="again", **DRAFT)
    assert "why" in str(ask("post", "/pace/start", status=400, reason="x"))
    ask("post", "/pace/start", why="go")
    assert ask("post", "/pace/widen", status=400, why="more")["errors"][0]["pointer"] == "/traffic_percentage"
    assert ask("post", "/pace/jump", status=404, why="x")["status"] == 404
    assert "cannot change" in ask("patch", "/pace", status=409, traffic_percentage=10, why="x")["detail"]
    ask("get", "/nothing", status=404)


def test_who_may_only_read_steers_nothing(client):
    """A key with the scope to read reads results, too."""
    factories.experiment(FLAG, started=False)
    _, secret = keys.create(name="reader", scopes=[Scope.FLAGS_READ], now=now())
    headers = {"Authorization": f"Bearer {secret}"}
    assert client.get(f"{API}/trial/results", headers=headers).status_code == 200
    assert client.post(f"{API}/trial/start", {"why": "x"}, "application/json", headers=headers).status_code == 403
    assert client.get(API).status_code == 401


def test_results_over_rest_and_in_the_terminal(ask, trial, monkeypatch):  # noqa: F811
    asked = []
    monkeypatch.setattr("flags.api.experiments.request_interim_analysis", asked.append)
    monkeypatch.setattr("flags.management.commands.experiment.request_interim_analysis", asked.append)
    assert ask("get", "/trial/results")["analyzed_at"] is None
    assert "Nobody has looked" in run_command("results", "trial")
    ask("post", "/trial/results", status=202)
    assert "Asked for" in run_command("analyze", "trial") and asked == ["trial", "trial"]
    interim_analysis.run_interim_analysis(key="trial", now=factories.NOW)
    found = ask("get", "/trial/results")
    assert found["units"] == {"control": 200, "treatment": 200} and found["lines"][0]["verdict"] == "better"
    assert "better" in run_command("results", "trial") and '"units"' in run_command("results", "trial", "--json")
    assert run_command("results", "trial", "--csv").startswith("experiment,analyzed_at,phase,metric")


def run_command(*words):
    output = io.StringIO()
    call_command("experiment", *words, stdout=output)
    return output.getvalue()


def test_a_life_in_the_terminal(tmp_path):
    file = tmp_path / "pace.yaml"
    file.write_text(yaml.safe_dump(DRAFT))
    assert run_command("save", str(file), "--why", "try") == "pace: draft, phase 0.\n"
    file.write_text(run_command("show", "pace").replace("Faster is better.", "Faster is much better."))
    run_command("save", str(file), "--why", "bolder")
    assert Experiment.objects.get(key="pace").hypothesis == "Faster is much better."
    assert run_command("start", "pace", "--why", "go") == "pace: running, phase 1.\n"
    assert run_command("pause", "pace", "--why", "wait") == "pace: paused, phase 1.\n"
    run_command("resume", "pace", "--why", "go on")
    assert run_command("phase", "pace", "control=20", "fast=80", "--why", "more") == "pace: running, phase 2.\n"
    assert "control 20, fast 80" in run_command("list")
    assert run_command("finish", "pace", "--decision", "fast", "--why", "it won") == "pace: finished, phase 2.\n"
    assert FlagChange.objects.filter(subject=ChangeSubject.EXPERIMENT, key="pace").count() == 7
    for words in (("start", "pace", "--why", "x"), ("widen", "pace", "many", "--why", "x"), ("show", "nothing")):
        with pytest.raises(CommandError):
            run_command(*words)
    with pytest.raises(CommandError, match="needs a key"):
        file.write_text("[]")
        run_command("save", str(file), "--why", "x")
