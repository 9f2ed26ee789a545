"""The admin of flags: forms, actions, roles, playground and YAML."""

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.urls import reverse

from flags import snapshot
from flags.models import Flag, FlagChange, PendingChange, RolloutPlan, Segment
from flags.roles import ROLES, create_roles
from flags.services import transfer
from flags.services.change import Actor, apply_change
from monitoring.clock import now
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def fresh_snapshot():
    snapshot.flag_snapshot.invalidate()
    create_roles()
    yield
    snapshot.flag_snapshot.invalidate()


def sign_in(client, role, name="ann"):
    user = get_user_model().objects.create_user(name, is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    client.force_login(user)
    return client


@pytest.fixture
def editor(client):
    return sign_in(client, "Flag editor", "ed")


@pytest.fixture
def releaser(client):
    return sign_in(client, "Flag releaser", "rob")


def inline_rows(prefix, *rows, initial=0):
    """Return the form data of an inline."""
    counts = {"TOTAL_FORMS": len(rows), "INITIAL_FORMS": initial}
    fields = {f"{number}-{name}": value for number, row in enumerate(rows) for name, value in row.items()}
    return {f"{prefix}-{name}": value for name, value in (counts | fields).items()}


def flag_form(*, variants=(), rules=(), prerequisites=(), **fields):
    """Return the form data of a flag."""
    defaults = {
        "kind": "bool",
        "rollout_percentage": "0",
        "on_value": "true",
        "default_value": "false",
        "off_value": "false",
        "why": "a test",
    }
    inlines = (
        inline_rows("variants", *variants) | inline_rows("rules", *rules) | inline_rows("prerequisites", *prerequisites)
    )
    return defaults | inlines | fields


def page(name, obj=None):
    return reverse(f"admin:flags_{name}", args=[obj.pk] if obj else None)


def test_the_form_creates_a_flag(editor):
    """It saves variants, rules in order, tags and typed values, and records the author and the reason."""
    segment = Segment.objects.get(pk=create_segment("beta").pk)
    form = flag_form(
        key="color",
        kind="string",
        is_enabled="on",
        rollout_percentage="30",
        on_value="",
        default_value="none",
        off_value="none",
        tags="web, new",
        variants=[
            {"name": "red", "value": "#f00", "weight": "1", "position": "1"},
            {"name": "blue", "value": "#00f", "weight": "3", "position": "0"},
        ],
        rules=[{"segment": segment.pk, "percentage": "100", "serves": "red", "position": "0"}],
    )
    response = editor.post(page("flag_add"), form)
    assert response.status_code == 302, response.context["errors"]
    flag = Flag.objects.get(key="color")
    assert [(v.name, v.value, v.weight) for v in flag.variants.all()] == [("blue", "#00f", 3), ("red", "#f00", 1)]
    assert (flag.rules.get().segment, flag.tags, flag.default_value) == (segment, ["web", "new"], "none")
    record = FlagChange.objects.get(key="color")
    assert (record.actor_name, record.why, record.action) == ("ed", "a test", "created")


def create_segment(key):
    apply_change(
        subject="segment",
        key=key,
        patch={"allowed_ids": ["1"]},
        actor=Actor(system="test"),
        why="x",
        now=now(),
        create=True,
    )
    return Segment.objects.get(key=key)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"on_value": "maybe"}, "Enter true or false, not"),
        ({"kind": "number", "on_value": "many"}, "Enter a number"),
        ({"kind": "json", "on_value": "{"}, "Enter valid JSON"),
        ({"rollout_percentage": "300"}, "less than or equal to 100"),
        ({"why": ""}, "This field is required"),
        ({"rules": [{"percentage": "5", "serves": "green", "position": "0"}]}, "There is no variant"),
        ({"variants": [{"name": "a", "value": "maybe", "weight": "1", "position": "0"}]}, "Enter true or false, not"),
        ({"variants": [{"name": "on", "value": "true", "weight": "1", "position": "0"}]}, "is a reserved name"),
    ],
)
def test_the_form_shows_errors_and_saves_nothing(editor, fields, message):
    flag = factories.flag("f", at=now())
    response = editor.post(page("flag_change", flag), flag_form(**fields))
    assert response.status_code == 200 and message in response.content.decode()
    assert FlagChange.objects.filter(key="f").count() == 1


def test_a_change_by_the_form_is_recorded_and_can_be_restored(editor):
    flag = factories.flag("f", at=now())
    editor.post(page("flag_change", flag), flag_form(is_enabled="on", rollout_percentage="40"))
    flag.refresh_from_db()
    assert (flag.is_enabled, flag.rollout_percentage) == (True, 40)
    history = editor.get(page("flag_history", flag)).content.decode()
    assert "rollout_percentage" in history and "by ed" in history
    creation = FlagChange.objects.filter(key="f").last()
    url = reverse("admin:flags_flag_restore", args=[flag.pk, creation.pk])
    assert "rollout_percentage" in editor.get(url).content.decode()
    assert editor.post(url, {"why": "no"}).status_code == 302
    flag.refresh_from_db()
    assert not flag.is_enabled and FlagChange.objects.filter(key="f").first().action == "restored"
    same = editor.post(page("flag_change", flag), flag_form(), follow=True)
    assert "the values are the same as before" in same.content.decode()


def dialog(client, url, **fields):
    """Submit the dialog of an action."""
    assert client.get(url).status_code == 200
    return client.post(url, {"_form_submitted": "on", "why": "a test"} | fields)


def test_a_flag_can_be_turned_off_from_the_list_and_from_its_page(editor):
    for name in ("turn_off", "turn_off_row"):
        flag = factories.flag(name, at=now(), is_enabled=True, rollout_percentage=100, needs_approval=True)
        url = reverse(f"admin:flags_flag_{name}", args=[flag.pk])
        assert not dialog(editor, url, why="").headers.get("HX-Redirect"), "a reason is required"
        assert dialog(editor, url).headers["HX-Redirect"]
        assert not Flag.objects.get(key=name).is_enabled
        assert FlagChange.objects.filter(key=name).first().action == "killed"


def test_a_change_that_needs_approval_is_applied_by_a_second_person(client):
    sign_in(client, "Flag editor", "ed")
    flag = factories.flag("f", at=now(), needs_approval=True)
    response = client.post(page("flag_change", flag), flag_form(is_enabled="on", needs_approval="on"), follow=True)
    assert "second person must approve" in response.content.decode()
    pending = PendingChange.objects.get()
    dialog(client, reverse("admin:flags_pendingchange_approve", args=[pending.pk]))
    assert not Flag.objects.get(key="f").is_enabled, "the author cannot approve the change"
    client.logout()
    sign_in(client, "Flag releaser", "rob")
    assert "is_enabled" in client.get(page("pendingchange_change", pending)).content.decode()
    dialog(client, reverse("admin:flags_pendingchange_approve", args=[pending.pk]))
    assert Flag.objects.get(key="f").is_enabled


def test_each_role_has_its_permissions(client):
    flag = factories.flag("f", at=now())
    sign_in(client, "Flag viewer", "vi")
    assert client.get(page("flag_changelist")).status_code == 200
    assert client.get(page("flag_change", flag)).status_code == 200
    assert client.post(page("flag_change", flag), flag_form(is_enabled="on")).status_code == 403
    assert client.get(page("flag_add")).status_code == 403
    assert client.get(reverse("admin:flags_flag_turn_off", args=[flag.pk])).status_code == 403
    assert client.get(reverse("admin:flags_flag_import_yaml")).status_code == 403
    plan = create_plan("f")
    client.logout()
    sign_in(client, "Flag editor", "ed")
    assert client.get(reverse("admin:flags_rolloutplan_start", args=[plan.pk])).status_code == 403
    assert client.get(page("flag_delete", flag)).status_code == 403, "flags are archived, not deleted"
    assert set(ROLES) <= set(Group.objects.values_list("name", flat=True))


def create_plan(flag):
    patch = {"flag": flag, "phases": [{"percentage": 5}, {"percentage": 50}]}
    apply_change(subject="plan", key="p", patch=patch, actor=Actor(system="test"), why="x", now=now(), create=True)
    return RolloutPlan.objects.get(key="p")


def test_a_plan_is_created_by_the_form_and_run_by_actions(releaser):
    flag = factories.flag("f", at=now())
    form = {"key": "mine", "flag": flag.pk, "why": "a test"}
    phases = [{"percentage": p, "hours": "24", "position": n} for n, p in enumerate(("5", "50"))]
    guardrail = {
        "gauge": "feed_error_ratio",
        "bound": "at_most",
        "threshold": "0.01",
        "window_minutes": "60",
        "min_samples": "100",
        "on_breach": "pause",
        "position": "0",
    }
    response = releaser.post(
        page("rolloutplan_add"), form | inline_rows("phases", *phases) | inline_rows("guardrails", guardrail)
    )
    assert response.status_code == 302, response.context["errors"]
    plan = RolloutPlan.objects.get(key="mine")
    assert plan.guardrails.get().on_breach == "pause"
    states = []
    for step in ("start", "pause", "resume", "stop"):
        dialog(releaser, reverse(f"admin:flags_rolloutplan_{step}", args=[plan.pk]))
        states.append(RolloutPlan.objects.get(key="mine").state)
    assert states == ["running", "paused", "running", "finished"]
    assert Flag.objects.get(key="f").rollout_percentage == 5
    template = RolloutPlan.objects.get(key="gradual")
    dialog(releaser, reverse("admin:flags_rolloutplan_copy", args=[template.pk]), flag="f")
    copied = RolloutPlan.objects.filter(flag=flag).exclude(key="mine").get()
    copy_page = releaser.get(page("rolloutplan_change", copied)).content.decode()
    assert "Start" in copy_page and "Step back" not in copy_page, "only allowed actions are offered"
    assert "advance" not in releaser.get(page("rolloutplan_history", plan)).content.decode()


def test_the_form_creates_a_segment(editor):
    condition = {"attribute": "age", "operator": "at_least", "values": "18", "position": "0"}
    form = {"key": "adults", "match": "all", "allowed_ids": "7\n 8 \n", "denied_ids": "", "why": "a test"}
    response = editor.post(page("segment_add"), form | inline_rows("conditions", condition))
    assert response.status_code == 302, response.context["errors"]
    segment = Segment.objects.get(key="adults")
    assert (segment.allowed_ids, segment.conditions.get().values) == (["7", "8"], [18])
    assert "Put ids on the segment&#x27;s lists" in (
        editor.post(
            page("segment_add"),
            {"key": "ids", "match": "all", "why": "x"}
            | inline_rows("conditions", condition | {"attribute": "id", "operator": "in"}),
        ).content.decode()
    )


def test_the_playground_explains_a_members_value(client):
    sign_in(client, "Flag viewer")
    factories.flag("f", at=now(), is_enabled=True, rollout_percentage=100)
    url = reverse("admin:flags_flag_playground")
    assert client.get(url).status_code == 200
    content = client.get(url, {"flag": "f", "unit_id": "7", "assumed_attributes": "region=DE"}).content.decode()
    assert "true <span" in content and "This rule decides." in content
    invalid = client.get(url, {"flag": "f", "unit_id": "7", "assumed_attributes": "DE"})
    assert "Write each line as name=value" in invalid.content.decode()
    assert "There is no flag" in client.get(url, {"flag": "gone", "unit_id": "7"}).content.decode()


def test_yaml_can_be_exported_and_imported(editor):
    factories.flag("f", at=now())
    text = editor.get(reverse("admin:flags_flag_export_yaml")).content.decode()
    assert text == transfer.export_yaml()
    url = reverse("admin:flags_flag_import_yaml")
    changed = text.replace("key: f\n", "key: g\n")
    dry = editor.post(url, {"text": changed, "dry_run": "on", "why": "x"}).content.decode()
    assert "flag g: created" in dry and not Flag.objects.filter(key="g").exists()
    assert editor.post(url, {"text": changed, "why": "x"}).status_code == 302
    assert Flag.objects.filter(key="g").exists()
    assert "Invalid YAML" in editor.post(url, {"text": "flags: {", "why": "x"}).content.decode()


def test_an_archived_flag_is_hidden_from_the_list(editor):
    flag = factories.flag("gone", at=now())
    dialog(editor, reverse("admin:flags_flag_archive", args=[flag.pk]))
    assert "gone" not in editor.get(page("flag_changelist")).content.decode().split("result_list")[-1]
    assert "gone" in editor.get(page("flag_changelist") + "?archived=yes").content.decode()


def test_the_change_history_is_read_only(releaser):
    record = FlagChange.objects.get(key=factories.flag("f", at=now()).key)
    assert releaser.get(page("flagchange_changelist")).status_code == 200
    assert releaser.get(page("flagchange_change", record)).status_code == 200
    assert releaser.post(page("flagchange_change", record), {"why": "other"}).status_code == 403
    assert releaser.get(page("flagchange_delete", record)).status_code == 403
    assert releaser.get(page("flagchange_add")).status_code == 403
