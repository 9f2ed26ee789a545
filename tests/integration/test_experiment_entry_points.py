"""Experiments over REST and from the command line: the same steps, change history and errors."""

import io

import pytest
import yaml
from celery import current_app
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from kombu.exceptions import OperationalError

from access import keys
from access.scopes import Scope
from flags import snapshot
from flags.analysis import interim_analysis
from flags.experiments.request_analysis import ANALYZE_TASK
from flags.models import ChangeSubject, Experiment, Exposure, FlagChange, PendingChange
from monitoring.clock import now
from tests import factories
from tests.integration.test_interim_analysis import make_exposures, trial  # noqa: F401 -- a fixture

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
def call_api(client):
    client.force_login(User.objects.create_superuser("rob", password="x" * 16))

    def call(method, path="", status=200, **body):
        send = getattr(client, method)
        response = send(API + path) if method == "get" else send(API + path, body, content_type="application/json")
        assert response.status_code == status, response.content
        return response.json() if response.content else None

    return call


def test_the_lifecycle_over_rest(call_api):
    created = call_api("post", status=201, why="try", **DRAFT)
    assert (created["state"], created["phase"], created["variants"][1]["weight"]) == ("draft", 0, 50.0)
    assert call_api("patch", "/pace", traffic_percentage=20, why="fewer")["traffic_percentage"] == 20
    for step, body, state, phase in (
        ("start", {}, "running", 1),
        ("pause", {}, "paused", 1),
        ("resume", {}, "running", 1),
        ("widen", {"traffic_percentage": 50}, "running", 1),
        ("phase", {"weights": {"control": 20, "fast": 80}}, "running", 2),
        ("finish", {"decision": "fast"}, "finished", 2),
    ):
        experiment = call_api("post", f"/pace/{step}", why="a test", **body)
        assert (experiment["state"], experiment["phase"]) == (state, phase), step
    assert [row["action"] for row in call_api("get", "/pace/changes")["changes"]] == [
        *("finished", "phase_started", "widened", "resumed", "paused", "started", "changed", "created")
    ]
    assert {row["key"] for row in call_api("get", "?state=finished")["experiments"]} == {"pace"}
    assert call_api("get", "/pace")["decision"] == "fast"


def test_errors_are_problems_with_pointers(call_api):
    problem = call_api("post", status=400, why="x", **DRAFT | {"goal": "nothing", "color": "red"})
    assert {error["pointer"] for error in problem["errors"]} >= {"/color"}
    call_api("post", status=201, why="try", **DRAFT)
    call_api("post", status=409, why="again", **DRAFT)
    assert "why" in str(call_api("post", "/pace/start", status=400, reason="x"))
    call_api("post", "/pace/start", why="go")
    assert call_api("post", "/pace/widen", status=400, why="more")["errors"][0]["pointer"] == "/traffic_percentage"
    assert call_api("post", "/pace/jump", status=404, why="x")["status"] == 404
    assert "cannot change" in call_api("patch", "/pace", status=409, traffic_percentage=10, why="x")["detail"]
    call_api("get", "/nothing", status=404)


def test_a_read_only_key_cannot_run_steps(client):
    """The key can read results."""
    factories.experiment(FLAG, started=False)
    _, secret = keys.create(name="reader", scopes=[Scope.FLAGS_READ], now=now())
    headers = {"Authorization": f"Bearer {secret}"}
    assert client.get(f"{API}/trial/results", headers=headers).status_code == 200
    assert client.post(f"{API}/trial/start", {"why": "x"}, "application/json", headers=headers).status_code == 403
    assert client.get(API).status_code == 401


def test_a_step_that_needs_approval_is_reported_as_pending(call_api):
    factories.flag(FLAG, needs_approval=True)
    factories.experiment(FLAG, started=False)
    output = run_command("start", "trial", "--why", "go")
    pending = PendingChange.objects.get()
    assert output == f"trial is pending approval: change {pending.pk}.\n"
    assert call_api("post", "/trial/start", status=202, why="go")["id"] != pending.pk
    assert Experiment.objects.get(key="trial").state == "draft"


def test_an_analysis_that_cannot_be_requested_does_not_fail_the_request(
    call_api, caplog, monkeypatch, django_capture_on_commit_callbacks
):
    """The nightly analysis still runs."""

    def fail(*_, **__):
        raise OperationalError("connection refused")

    factories.experiment(FLAG)
    monkeypatch.setattr(current_app, "send_task", fail)
    with django_capture_on_commit_callbacks(execute=True) as callbacks:
        call_api("post", "/trial/results", status=202)
    assert len(callbacks) == 1
    assert [record.task for record in caplog.records if record.message == "task_not_published"] == [ANALYZE_TASK]


def test_the_command_line_warns_of_a_sample_ratio_mismatch(trial):  # noqa: F811
    members = [factories.member(f"x{n}") for n in range(150)]
    Exposure.objects.bulk_create(make_exposures(trial.phases.get(), members, "treatment"))
    interim_analysis.run_interim_analysis(key="trial", now=factories.NOW)
    assert "SAMPLE RATIO MISMATCH (p " in run_command("results", "trial")


def test_results_over_rest_and_from_the_command_line(call_api, client, trial, monkeypatch):  # noqa: F811
    requested = []
    monkeypatch.setattr("flags.api.experiments.request_interim_analysis", requested.append)
    monkeypatch.setattr("flags.management.commands.experiment.request_interim_analysis", requested.append)
    assert call_api("get", "/trial/results")["analyzed_at"] is None
    assert "No analysis yet" in run_command("results", "trial")
    call_api("post", "/trial/results", status=202)
    assert "Analysis requested" in run_command("analyze", "trial") and requested == ["trial", "trial"]
    interim_analysis.run_interim_analysis(key="trial", now=factories.NOW)
    results = call_api("get", "/trial/results")
    assert results["units"] == {"control": 200, "treatment": 200} and results["comparisons"][0]["verdict"] == "better"
    assert "better" in run_command("results", "trial") and '"units"' in run_command("results", "trial", "--json")
    table = run_command("results", "trial", "--csv")
    assert table.startswith("experiment,analyzed_at,phase,metric")
    answer = client.get(f"{API}/trial/results?format=csv")
    assert (answer["Content-Type"], answer.content.decode()) == ("text/csv", table)
    assert call_api("get", "/trial/results?format=json") == results


def run_command(*words):
    output = io.StringIO()
    call_command("experiment", *words, stdout=output)
    return output.getvalue()


def test_the_lifecycle_from_the_command_line(tmp_path):
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
    for content, message in (
        ("{", "cannot be read"),
        ("{key: pace, color: red}", "color: 'color' is not known"),
        ("{key: other}", "flag: This field is required"),
    ):
        file.write_text(content)
        with pytest.raises(CommandError, match=message):
            run_command("save", str(file), "--why", "x")
    with pytest.raises(CommandError, match="cannot be read"):
        run_command("save", str(tmp_path / "nothing.yaml"), "--why", "x")
    assert not Experiment.objects.filter(key="other").exists()
    with pytest.raises(CommandError, match="needs a key"):
        file.write_text("[]")
        run_command("save", str(file), "--why", "x")
