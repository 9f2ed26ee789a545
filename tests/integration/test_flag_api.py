"""Flags over REST, OFREP with a real client, and `manage.py flag`."""

import json
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.core.management import CommandError, call_command
from openfeature import api
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import ErrorCode
from openfeature.flag_evaluation import Reason
from rest_framework.test import APIClient

from access import tokens
from flags import snapshot
from flags.api import views
from flags.models import Flag, FlagChange, PendingChange, RolloutPlan
from flags.services import transfer
from flags.services.change import apply_change
from flags.services.record import Actor
from monitoring.clock import now
from tests import factories

pytestmark = pytest.mark.django_db
JSON = "application/json"


@pytest.fixture(autouse=True)
def fresh_snapshot():
    snapshot.flag_snapshot.invalidate()
    yield
    snapshot.flag_snapshot.invalidate()


@pytest.fixture
def editor(client):
    client.force_login(factories.staff("Editor", name="ed"))
    return client


@pytest.fixture
def releaser(client):
    client.force_login(factories.staff("Releaser", name="rob"))
    return client


def post(client, path, **body):
    return client.post(f"/api/v1/{path}", json.dumps(body), content_type=JSON)


def patch(client, path, headers=None, **body):
    return client.patch(f"/api/v1/{path}", json.dumps(body), content_type=JSON, headers=headers or {"If-Match": "*"})


def test_a_flag_is_created_read_changed_and_archived(editor):
    created = post(editor, "flags", key="dark", description="Dark pages", tags=["web"], why="asked for")
    assert (created.status_code, created.json()["version"], created.json()["is_enabled"]) == (201, 1, False)
    read = editor.get("/api/v1/flags/dark")
    assert read.headers["ETag"] == '"1"' and read.json() == created.json()
    changed = patch(editor, "flags/dark", {"If-Match": '"1"'}, rollout_percentage=30, is_enabled=True, why="go")
    assert (changed.json()["rollout_percentage"], changed.json()["version"]) == (30.0, 2)
    conflict = patch(editor, "flags/dark", {"If-Match": '"1"'}, rollout_percentage=40, why="go")
    assert (conflict.status_code, conflict.json()["code"]) == (412, "version-conflict")
    without_version = editor.patch(
        "/api/v1/flags/dark", json.dumps({"is_enabled": False, "why": "x"}), content_type=JSON
    )
    assert (without_version.status_code, without_version.json()["code"]) == (428, "precondition-required")
    invalid_version = patch(editor, "flags/dark", {"If-Match": "two"}, is_enabled=False, why="x")
    assert (invalid_version.status_code, invalid_version.json()["errors"][0]["code"]) == (400, "invalid")
    unchanged = editor.get("/api/v1/flags/dark", headers={"If-None-Match": 'W/"1", W/"2"'})
    assert (unchanged.status_code, unchanged.content, unchanged.headers["ETag"]) == (304, b"", '"2"')
    assert editor.get("/api/v1/flags/dark", headers={"If-None-Match": '"1"'}).status_code == 200
    assert [f["key"] for f in editor.get("/api/v1/flags?tag=web").json()["flags"]] == ["dark"]
    assert [f["key"] for f in editor.get("/api/v1/flags?q=DARK&is_enabled=true").json()["flags"]] == ["dark"]
    changes = editor.get("/api/v1/flags/dark/changes").json()["changes"]
    assert [(row["actor"], row["why"], row["action"]) for row in changes] == [
        ("ed", "go", "changed"),
        ("ed", "asked for", "created"),
    ]
    assert {"field": "rollout_percentage", "before": "0", "after": "30"} in changes[0]["differences"]
    restored = post(editor, "flags/dark/restore", change_id=changes[1]["id"], why="no")
    assert restored.json()["rollout_percentage"] == 0
    assert editor.delete("/api/v1/flags/dark?why=done").status_code == 204
    assert "dark" not in [f["key"] for f in editor.get("/api/v1/flags").json()["flags"]]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"rollout_percentage": 200, "why": "x"}, "/rollout_percentage"),
        ({"variants": [{"name": "a", "value": 3}], "why": "x"}, "/variants/0/value"),
        ({"color": 1, "why": "x"}, "/color"),
        ({"is_enabled": True}, "/why"),
    ],
)
def test_an_invalid_value_is_a_problem_with_a_pointer(editor, body, pointer):
    factories.flag("f")
    response = patch(editor, "flags/f", **body)
    assert (response.status_code, response.headers["Content-Type"]) == (400, "application/problem+json")
    assert [error["pointer"] for error in response.json()["errors"]] == [pointer]


def test_a_patch_that_is_no_object_is_refused(editor):
    factories.flag("f")
    answer = editor.patch("/api/v1/flags/f", "[1]", content_type=JSON, headers={"If-Match": "*"})
    assert (answer.status_code, answer.json()["errors"][0]["detail"]) == (400, "Give a JSON object.")


def test_the_changes_of_a_flag_are_read_page_by_page(editor, monkeypatch):
    monkeypatch.setattr(views, "PAGE_SIZE", 2)
    for percentage in range(1, 6):
        factories.flag("f", rollout_percentage=percentage)
    ids = list(FlagChange.objects.filter(key="f").order_by("-pk").values_list("pk", flat=True))
    pages, before = [], ""
    while before is not None:
        page = editor.get(f"/api/v1/flags/f/changes?before={before}").json()
        pages.append([row["id"] for row in page["changes"]])
        before = page["next_before"]
    assert pages == [ids[:2], ids[2:4], ids[4:]]


def test_unknown_keys_are_not_found(editor):
    responses = [
        editor.get("/api/v1/flags/none"),
        patch(editor, "flags/none", why="x"),
        post(editor, "flags/none/kill", why="x"),
        post(editor, "flags/none/explain", unit_id="u"),
        editor.get("/api/v1/flags/none/changes"),
        editor.get("/api/v1/segments/none"),
    ]
    assert {(response.status_code, response.json()["code"]) for response in responses} == {(404, "not-found")}
    factories.flag("f")
    assert post(editor, "flags", key="f", why="x").status_code == 409


def test_only_existing_changes_are_approved_or_rejected(releaser):
    assert post(releaser, "approvals/999999/approve").status_code == 404
    factories.flag("f", needs_approval=True)
    pending = apply_change(key="f", patch={"is_enabled": True}, actor=Actor(system="test"), why="x", now=now())
    assert post(releaser, f"approvals/{pending.pk}/postpone").status_code == 404
    assert PendingChange.objects.get().state == "pending"
    assert post(releaser, f"approvals/{pending.pk}/reject").status_code == 204
    assert PendingChange.objects.get().state == "rejected" and not Flag.objects.get(key="f").is_enabled


def test_each_role_has_its_permissions(client, monkeypatch):
    """Anonymous requests cannot write, even with an open API. Viewers read; releasers roll out."""
    factories.flag("f")
    assert client.get("/api/v1/flags").status_code == 401
    monkeypatch.setattr(settings.ENV, "api_open", True)
    assert client.get("/api/v1/flags").status_code == 200
    assert patch(client, "flags/f", is_enabled=True, why="x").status_code in (401, 403)
    client.force_login(factories.staff("Viewer", name="vi"))
    assert client.get("/api/v1/flags/f").status_code == 200
    assert post(client, "flags/f/explain", unit_id="u").status_code == 200
    assert patch(client, "flags/f", is_enabled=True, why="x").status_code == 403
    client.force_login(factories.staff("Editor", name="ed"))
    assert post(client, "rollouts", template="gradual", flag="f", why="x").status_code == 403
    assert not Flag.objects.get(key="f").is_enabled


def test_a_key_with_the_write_scope_changes_flags_under_its_own_name(monkeypatch):
    """A key cannot approve changes."""
    monkeypatch.setattr(settings.ENV, "api_open", True)
    factories.flag("f", needs_approval=True)
    factories.flag("g")
    keyed = APIClient()
    keyed.force_authenticate(AnonymousUser(), token=SimpleNamespace(id="k1", scopes=frozenset({"flags:write"})))
    body = {"is_enabled": True, "why": "deployed"}
    assert keyed.patch("/api/v1/flags/g", body, format="json", headers={"If-Match": "*"}).status_code == 200
    assert FlagChange.objects.filter(key="g").first().actor_name == "system: key k1"
    pending_id = keyed.patch("/api/v1/flags/f", body, format="json", headers={"If-Match": "*"}).json()["id"]
    assert keyed.post(f"/api/v1/approvals/{pending_id}/approve").status_code in (401, 403)
    keyed.force_authenticate(AnonymousUser(), token=SimpleNamespace(id="k2", scopes=frozenset({"flags:read"})))
    assert keyed.patch("/api/v1/flags/g", body, format="json", headers={"If-Match": "*"}).status_code in (401, 403)
    assert keyed.post("/api/v1/flags/g/explain", {"unit_id": "u"}, format="json").status_code == 200


def test_a_rollout_is_run_by_actions(releaser):
    factories.flag("f")
    key = post(releaser, "rollouts", template="gradual", flag="f", why="x").json()["key"]
    assert post(releaser, f"rollouts/{key}/start", why="go").json()["phase"] == 1
    assert Flag.objects.get(key="f").rollout_percentage == 5
    assert post(releaser, f"rollouts/{key}/pause", why="wait").json()["state"] == "paused"
    assert post(releaser, f"rollouts/{key}/pause", why="wait").status_code == 409
    assert post(releaser, f"rollouts/{key}/jump", why="wait").status_code == 404
    assert key in [plan["key"] for plan in releaser.get("/api/v1/rollouts").json()["rollouts"]]


def test_approval_over_rest(client):
    factories.flag("f", needs_approval=True)
    client.force_login(factories.staff("Editor", name="ed"))
    pending = patch(client, "flags/f", is_enabled=True, why="please")
    assert pending.status_code == 202 and pending.json()["differences"] == [
        {"field": "is_enabled", "before": "false", "after": "true"}
    ]
    assert post(client, f"approvals/{pending.json()['id']}/approve").status_code == 403
    client.force_login(factories.staff("Releaser", name="rob"))
    assert [row["requested_by"] for row in client.get("/api/v1/approvals").json()["approvals"]] == ["ed"]
    assert post(client, f"approvals/{pending.json()['id']}/approve").status_code == 204
    assert Flag.objects.get(key="f").is_enabled


def test_a_segment_over_rest(editor):
    created = post(editor, "segments", key="de", conditions=[{"attribute": "region", "values": ["DE"]}], why="x")
    assert created.status_code == 201
    changed = patch(editor, "segments/de", denied_ids=["7"], why="x")
    assert changed.json()["denied_ids"] == ["7"]
    assert [row["key"] for row in editor.get("/api/v1/segments").json()["segments"]] == ["de"]


def ofrep(client, path="", headers=None, **body):
    url = f"/ofrep/v1/evaluate/flags{path}"
    return client.post(url, json.dumps(body), content_type=JSON, headers=headers or {"If-Match": "*"})


def test_the_etag_of_all_flags_covers_the_flags_and_the_context(editor):
    factories.flag("f", is_enabled=True, rollout_percentage=100)
    context = {"targetingKey": "u", "app": "1.2"}
    first = ofrep(editor, context=context)
    flag = next(row for row in first.json()["flags"] if row["key"] == "f")
    assert (flag["value"], flag["variant"], flag["reason"]) == (True, "on", "STATIC")
    tag = {"If-None-Match": first.headers["ETag"]}
    assert ofrep(editor, headers=tag, context=context).status_code == 304
    assert ofrep(editor, headers=tag, context=context | {"app": "1.3"}).status_code == 200
    assert ofrep(editor, headers=tag, context=context | {"targetingKey": "v"}).status_code == 200
    factories.flag("f", is_enabled=False)
    assert ofrep(editor, headers=tag, context=context).status_code == 200


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "INVALID_CONTEXT"),
        ({"context": {}}, "TARGETING_KEY_MISSING"),
        ({"context": {"targetingKey": 3}}, "TARGETING_KEY_MISSING"),
    ],
)
def test_an_invalid_context_is_an_error_of_the_protocol(editor, body, code):
    factories.flag("f")
    for path in ("", "/f"):
        response = ofrep(editor, path, **body)
        assert (response.status_code, response.json()["errorCode"]) == (400, code)
    broken = editor.post("/ofrep/v1/evaluate/flags/f", "{", content_type=JSON)
    assert (broken.status_code, broken.json()["errorCode"]) == (400, "PARSE_ERROR")


def test_a_members_token_evaluates_flags_for_that_member_only(client, fresh_wiring):
    factories.flag("f", is_enabled=True, rollout_percentage=100)
    token = tokens.mint_token(member_id="ann", scopes=["flags:read"], ttl_seconds=60, now=now())
    headers = {"Authorization": f"Bearer {token}"}
    for path in ("", "/f"):
        own = ofrep(client, path, headers, context={"targetingKey": "ann"})
        assert own.status_code == 200, own.content
        other = ofrep(client, path, headers, context={"targetingKey": "bob"})
        assert (other.status_code, other.json()["code"]) == (403, "different-member")
        none = ofrep(client, path, headers, context={})
        assert (none.status_code, none.json()["errorCode"]) == (400, "TARGETING_KEY_MISSING")


@pytest.mark.django_db(transaction=True)
def test_a_remote_ofrep_client_gets_the_same_as_the_local_provider(live_server, monkeypatch):
    """Booleans, strings, floats, variants, and a flag that does not exist."""
    monkeypatch.setattr(settings.ENV, "api_open", True)
    factories.flag("half", is_enabled=True, rollout_percentage=50)
    factories.flag(
        "speed", kind="number", is_enabled=True, rollout_percentage=100, on_value=1.5, default_value=0.5, off_value=0.5
    )
    variants = [{"name": "red", "value": "#f00"}, {"name": "blue", "value": "#00f"}]
    texts = {"on_value": "", "default_value": "", "off_value": ""}
    factories.flag("color", kind="string", is_enabled=True, rollout_percentage=100, variants=variants, **texts)
    provider = OFREPProvider(live_server.url)
    api.set_provider(provider, "remote")
    remote, local = api.get_client("remote"), api.get_client()
    for n in range(20):
        context = EvaluationContext(f"unit-{n}")
        for kind, key, default in (("boolean", "half", False), ("float", "speed", 0.0), ("string", "color", "")):
            remote_details = getattr(remote, f"get_{kind}_details")(key, default, context)
            local_details = getattr(local, f"get_{kind}_details")(key, default, context)
            assert (remote_details.value, remote_details.variant, remote_details.reason) == (
                local_details.value,
                local_details.variant,
                local_details.reason,
            )
            assert remote_details.error_code is None
    missing = remote.get_boolean_details("none", True, EvaluationContext("u"))
    assert (missing.value, missing.reason, missing.error_code) == (True, Reason.ERROR, ErrorCode.FLAG_NOT_FOUND)
    provider.session.close()  # or the server's thread keeps its connection to the database


def run(capsys, *words):
    call_command("flag", *words)
    return capsys.readouterr().out


def test_flags_from_the_command_line(capsys, tmp_path):
    run(capsys, "set", "cli", "--create", "is_enabled=true", "tags=[web, new]", "--why", "made")
    User.objects.create_user("ann")
    out = run(capsys, "rollout", "cli", "12.5%", "--why", "more", "--user", "ann")
    assert "cli rollout_percentage: 0 -> 12.5" in out
    assert "12.5 %" in run(capsys, "list")
    listed = json.loads(run(capsys, "list", "--json"))
    assert [f["tags"] for f in listed if f["key"] == "cli"] == [["web", "new"]]
    shown = run(capsys, "show", "cli")
    assert "ann, changed: more rollout_percentage: 0 -> 12.5" in shown
    assert json.loads(run(capsys, "show", "cli", "--json"))["rollout_percentage"] == 12.5
    assert "Nothing changed" in run(capsys, "rollout", "cli", "12.5", "--why", "more")
    out = run(capsys, "explain", "cli", "unit-1", "region=DE")
    assert out.startswith("cli for unit-1: ") and "> " in out
    assert "killed" in run(capsys, "kill", "cli", "--why", "fire")
    assert not Flag.objects.get(key="cli").is_enabled
    record = FlagChange.objects.filter(key="cli", action="changed").get()
    run(capsys, "restore", "cli", f"#{record.pk}", "--why", "out")
    assert Flag.objects.get(key="cli").is_enabled
    file = tmp_path / "flags.yaml"
    run(capsys, "export", "--output", str(file))
    assert "flag cli: unchanged (dry run)" in run(capsys, "import", str(file), "--dry-run", "--why", "x")
    assert "unchanged" in run(capsys, "import", str(file), "--why", "x")
    assert run(capsys, "export") == file.read_text() == transfer.export_yaml()


def test_a_plan_from_the_command_line(capsys):
    factories.flag("f")
    key = run(capsys, "plan", "create", "gradual", "f", "--why", "x").split(":")[0]
    assert "running, phase 1 of 5" in run(capsys, "plan", "start", key, "--why", "x")
    assert key in run(capsys, "plans")
    for step in ("pause", "resume", "stop"):
        run(capsys, "plan", step, key, "--why", "x")
    assert RolloutPlan.objects.get(key=key).state == "finished"


def test_a_stale_flag_is_listed(capsys):
    apply_change(key="old", patch={}, actor=Actor(system="test"), why="x", now=now() - timedelta(days=90), create=True)
    out = run(capsys, "list", "--stale")
    assert "old" in out and "60 days" in out


def test_the_command_line_requests_approval(capsys):
    factories.flag("f", needs_approval=True)
    assert "pending approval by a second person" in run(capsys, "set", "f", "is_enabled=true", "--why", "x")
    assert PendingChange.objects.count() == 1
    key = run(capsys, "plan", "create", "gradual", "f", "--why", "x").split(":")[0]
    assert f"{key} is pending approval by a second person" in run(capsys, "plan", "start", key, "--why", "x")
    assert RolloutPlan.objects.get(key=key).state == "draft"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["set", "f", "rollout_percentage=200", "--why", "x"], "rollout_percentage: 200 cannot be used"),
        (["set", "f", "color=1", "--why", "x"], "color: 'color' is not known"),
        (["set", "f", "is_enabled", "--why", "x"], "Give NAME=VALUE, not 'is_enabled'"),
        (["set", "f", "a={", "--why", "x"], "is not valid YAML"),
        (["set", "none", "is_enabled=true", "--why", "x"], "There is no flag 'none'"),
        (["kill", "f", "--why", " "], "Give a reason"),
        (["kill", "f", "--why", "x", "--user", "nobody"], "There is no user 'nobody'"),
        (["restore", "f", "99999", "--why", "x"], "has no change"),
        (["import", "nowhere.yaml", "--why", "x"], "cannot be read"),
        (["plan", "create", "gradual", "--why", "x"], "Give the template and the flag"),
        (["explain", "none", "u"], "There is no flag"),
    ],
)
def test_the_command_line_reports_errors(words, message):
    factories.flag("f")
    with pytest.raises(CommandError, match=message):
        call_command("flag", *words)
