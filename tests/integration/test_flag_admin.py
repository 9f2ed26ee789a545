"""The admin of flags as its people use it: forms in, rows and records out."""

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
def fresh():
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
    """Return an inline's part of a form."""
    counts = {"TOTAL_FORMS": len(rows), "INITIAL_FORMS": initial}
    fields = {f"{number}-{name}": value for number, row in enumerate(rows) for name, value in row.items()}
    return {f"{prefix}-{name}": value for name, value in (counts | fields).items()}


def flag_form(*, variants=(), rules=(), prerequisites=(), **fields):
    """Return what the editor's form sends."""
    plain = {
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
    return plain | inlines | fields


def page(name, obj=None):
    return reverse(f"admin:flags_{name}", args=[obj.pk] if obj else None)


def test_a_flag_is_made_by_the_form(editor):
    """With variants, rules in their order and tags; typed values, no JSON; one record with a name and a reason."""
    segment = Segment.objects.get(pk=segment_form("beta").pk)
    form = flag_form(
        key="colour",
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
    answer = editor.post(page("flag_add"), form)
    assert answer.status_code == 302, answer.context["errors"]
    flag = Flag.objects.get(key="colour")
    assert [(v.name, v.value, v.weight) for v in flag.variants.all()] == [("blue", "#00f", 3), ("red", "#f00", 1)]
    assert (flag.rules.get().segment, flag.tags, flag.default_value) == (segment, ["web", "new"], "none")
    record = FlagChange.objects.get(key="colour")
    assert (record.actor_name, record.why, record.action) == ("ed", "a test", "created")


def segment_form(key):
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
        ({"on_value": "maybe"}, "Write true or false."),
        ({"kind": "number", "on_value": "many"}, "Write a number"),
        ({"kind": "json", "on_value": "{"}, "Write JSON"),
        ({"rollout_percentage": "300"}, "less than or equal to 100"),
        ({"why": ""}, "This field is required"),
        ({"rules": [{"percentage": "5", "serves": "green", "position": "0"}]}, "There is no variant"),
        ({"variants": [{"name": "a", "value": "maybe", "weight": "1", "position": "0"}]}, "Write true or false."),
        ({"variants": [{"name": "on", "value": "true", "weight": "1", "position": "0"}]}, "has a meaning of its own"),
    ],
)
def test_what_is_wrong_is_said_in_the_form_and_nothing_is_saved(editor, fields, message):
    flag = factories.flag("f", at=now())
    answer = editor.post(page("flag_change", flag), flag_form(**fields))
    assert answer.status_code == 200 and message in answer.content.decode()
    assert FlagChange.objects.filter(key="f").count() == 1


def test_a_change_by_the_form_is_recorded_and_its_history_leads_back(editor):
    flag = factories.flag("f", at=now())
    editor.post(page("flag_change", flag), flag_form(is_enabled="on", rollout_percentage="40"))
    flag.refresh_from_db()
    assert (flag.is_enabled, flag.rollout_percentage) == (True, 40)
    history = editor.get(page("flag_history", flag)).content.decode()
    assert "rollout_percentage" in history and "by ed" in history
    made = FlagChange.objects.filter(key="f").last()
    address = reverse("admin:flags_flag_restore", args=[flag.pk, made.pk])
    assert "rollout_percentage" in editor.get(address).content.decode()
    assert editor.post(address, {"why": "no"}).status_code == 302
    flag.refresh_from_db()
    assert not flag.is_enabled and FlagChange.objects.filter(key="f").first().action == "restored"
    same = editor.post(page("flag_change", flag), flag_form(), follow=True)
    assert "it is so already" in same.content.decode()


def dialog(client, address, **fields):
    """Answer the question that stands before an action."""
    assert client.get(address).status_code == 200
    return client.post(address, {"_form_submitted": "on", "why": "a test"} | fields)


def test_a_flag_is_turned_off_from_the_list_and_from_its_page(editor):
    for name in ("turn_off", "turn_off_row"):
        flag = factories.flag(name, at=now(), is_enabled=True, rollout_percentage=100, needs_approval=True)
        address = reverse(f"admin:flags_flag_{name}", args=[flag.pk])
        assert not dialog(editor, address, why="").headers.get("HX-Redirect"), "without a reason it asks again"
        assert dialog(editor, address).headers["HX-Redirect"]
        assert not Flag.objects.get(key=name).is_enabled
        assert FlagChange.objects.filter(key=name).first().action == "killed"


def test_a_change_that_needs_approval_waits_for_a_second_person(client):
    sign_in(client, "Flag editor", "ed")
    flag = factories.flag("f", at=now(), needs_approval=True)
    answer = client.post(page("flag_change", flag), flag_form(is_enabled="on", needs_approval="on"), follow=True)
    assert "second person must approve" in answer.content.decode()
    waiting = PendingChange.objects.get()
    dialog(client, reverse("admin:flags_pendingchange_approve", args=[waiting.pk]))
    assert not Flag.objects.get(key="f").is_enabled, "one does not approve one's own change"
    client.logout()
    sign_in(client, "Flag releaser", "rob")
    assert "is_enabled" in client.get(page("pendingchange_change", waiting)).content.decode()
    dialog(client, reverse("admin:flags_pendingchange_approve", args=[waiting.pk]))
    assert Flag.objects.get(key="f").is_enabled


def test_roles_see_and_do_what_is_theirs(client):
    flag = factories.flag("f", at=now())
    sign_in(client, "Flag viewer", "vi")
    assert client.get(page("flag_changelist")).status_code == 200
    assert client.get(page("flag_change", flag)).status_code == 200
    assert client.post(page("flag_change", flag), flag_form(is_enabled="on")).status_code == 403
    assert client.get(page("flag_add")).status_code == 403
    assert client.get(reverse("admin:flags_flag_turn_off", args=[flag.pk])).status_code == 403
    assert client.get(reverse("admin:flags_flag_import_yaml")).status_code == 403
    plan = plan_for("f")
    client.logout()
    sign_in(client, "Flag editor", "ed")
    assert client.get(reverse("admin:flags_rolloutplan_start", args=[plan.pk])).status_code == 403
    assert client.get(page("flag_delete", flag)).status_code == 403, "flags are archived, not deleted"
    assert set(ROLES) <= set(Group.objects.values_list("name", flat=True))


def plan_for(flag):
    patch = {"flag": flag, "phases": [{"percentage": 5}, {"percentage": 50}]}
    apply_change(subject="plan", key="p", patch=patch, actor=Actor(system="test"), why="x", now=now(), create=True)
    return RolloutPlan.objects.get(key="p")


def test_a_plan_is_written_by_the_form_and_steered_by_buttons(releaser):
    flag = factories.flag("f", at=now())
    form = {"key": "mine", "flag": flag.pk, "why": "a test"}
    phases = [{"percentage": p, "hours": "24", "position": n} for n, p in enumerate(("5", "50"))]
    guard = {
        "gauge": "feed_error_ratio",
        "bound": "at_most",
        "threshold": "0.01",
        "window_minutes": "60",
        "min_samples": "100",
        "on_breach": "pause",
        "position": "0",
    }
    answer = releaser.post(
        page("rolloutplan_add"), form | inline_rows("phases", *phases) | inline_rows("guardrails", guard)
    )
    assert answer.status_code == 302, answer.context["errors"]
    plan = RolloutPlan.objects.get(key="mine")
    assert plan.guardrails.get().on_breach == "pause"
    seen = []
    for step in ("start", "pause", "resume", "stop"):
        dialog(releaser, reverse(f"admin:flags_rolloutplan_{step}", args=[plan.pk]))
        seen.append(RolloutPlan.objects.get(key="mine").state)
    assert seen == ["running", "paused", "running", "finished"]
    assert Flag.objects.get(key="f").rollout_percentage == 5
    template = RolloutPlan.objects.get(key="gradual")
    dialog(releaser, reverse("admin:flags_rolloutplan_copy", args=[template.pk]), flag="f")
    copied = RolloutPlan.objects.filter(flag=flag).exclude(key="mine").get()
    page_of_copy = releaser.get(page("rolloutplan_change", copied)).content.decode()
    assert "Start" in page_of_copy and "Step back" not in page_of_copy, "what can be done is offered"
    assert "advance" not in releaser.get(page("rolloutplan_history", plan)).content.decode()


def test_a_segment_is_written_by_the_form(editor):
    condition = {"attribute": "age", "operator": "at_least", "values": "18", "position": "0"}
    form = {"key": "adults", "match": "all", "allowed_ids": "7\n 8 \n", "denied_ids": "", "why": "a test"}
    answer = editor.post(page("segment_add"), form | inline_rows("conditions", condition))
    assert answer.status_code == 302, answer.context["errors"]
    segment = Segment.objects.get(key="adults")
    assert (segment.allowed_ids, segment.conditions.get().values) == (["7", "8"], [18])
    assert "Put ids on the lists" in (
        editor.post(
            page("segment_add"),
            {"key": "ids", "match": "all", "why": "x"}
            | inline_rows("conditions", condition | {"attribute": "id", "operator": "in"}),
        ).content.decode()
    )


def test_the_playground_says_what_a_member_gets_and_why(client):
    sign_in(client, "Flag viewer")
    factories.flag("f", at=now(), is_enabled=True, rollout_percentage=100)
    address = reverse("admin:flags_flag_playground")
    assert client.get(address).status_code == 200
    answer = client.get(address, {"flag": "f", "unit_id": "7", "assumed_attributes": "region=DE"}).content.decode()
    assert "true <span" in answer and "It decides." in answer
    assert "is not name=value" in client.get(address, {"flag": "f", "unit_id": "7", "assumed_attributes": "DE"}).content.decode()
    assert "There is no flag" in client.get(address, {"flag": "gone", "unit_id": "7"}).content.decode()


def test_yaml_goes_out_and_comes_in(editor):
    factories.flag("f", at=now())
    text = editor.get(reverse("admin:flags_flag_export_yaml")).content.decode()
    assert text == transfer.export_yaml()
    address = reverse("admin:flags_flag_import_yaml")
    changed = text.replace("key: f\n", "key: g\n")
    dry = editor.post(address, {"text": changed, "dry_run": "on", "why": "x"}).content.decode()
    assert "flag g: made" in dry and not Flag.objects.filter(key="g").exists()
    assert editor.post(address, {"text": changed, "why": "x"}).status_code == 302
    assert Flag.objects.filter(key="g").exists()
    assert "This is no YAML" in editor.post(address, {"text": "flags: {", "why": "x"}).content.decode()


def test_an_archived_flag_is_gone_from_the_list(editor):
    flag = factories.flag("gone", at=now())
    dialog(editor, reverse("admin:flags_flag_archive", args=[flag.pk]))
    assert "gone" not in editor.get(page("flag_changelist")).content.decode().split("result_list")[-1]
    assert "gone" in editor.get(page("flag_changelist") + "?archived=yes").content.decode()


def test_the_record_is_read_only(releaser):
    record = FlagChange.objects.get(key=factories.flag("f", at=now()).key)
    assert releaser.get(page("flagchange_changelist")).status_code == 200
    assert releaser.get(page("flagchange_change", record)).status_code == 200
    assert releaser.post(page("flagchange_change", record), {"why": "other"}).status_code == 403
    assert releaser.get(page("flagchange_delete", record)).status_code == 403
    assert releaser.get(page("flagchange_add")).status_code == 403
