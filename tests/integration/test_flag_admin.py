"""The admin of flags: forms, actions, roles, playground and YAML."""

import re
from datetime import timedelta

import pytest
from django.urls import reverse

from flags import snapshot
from flags.admin.flags import FlagAdmin
from flags.models import Experiment, Flag, FlagChange, PendingChange, RolloutPlan, Segment
from flags.services import transfer
from flags.services.change import apply_change
from flags.services.record import Actor
from monitoring.clock import now
from tests import factories
from tests.admin_forms import submit_page

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def fresh_snapshot():
    snapshot.flag_snapshot.invalidate()
    yield
    snapshot.flag_snapshot.invalidate()


def sign_in(client, role, name="ann"):
    client.force_login(factories.staff(role, name=name))
    return client


@pytest.fixture
def editor(client):
    return sign_in(client, "Editor", "ed")


@pytest.fixture
def releaser(client):
    return sign_in(client, "Releaser", "rob")


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
    response = submit_page(editor, page("flag_change", flag), flag_form(**fields))
    assert response.status_code == 200 and message in response.content.decode()
    assert FlagChange.objects.filter(key="f").count() == 1


def test_a_change_by_the_form_is_recorded_and_can_be_restored(editor):
    flag = factories.flag("f", at=now())
    submit_page(editor, page("flag_change", flag), flag_form(is_enabled="on", rollout_percentage="40"))
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
    same = submit_page(editor, page("flag_change", flag), flag_form(), follow=True)
    assert "the values are the same as before" in same.content.decode()


def rendered_form(context):
    """Return the data that a browser would submit for an admin form as it is displayed."""
    formsets = [inline.formset for inline in context["inline_admin_formsets"]]
    forms = [context["adminform"].form, *(form for formset in formsets for form in (formset.management_form, *formset))]
    values = {field.html_name: field.value() for form in forms for field in form}
    return {name: value for name, value in values.items() if value is not None and value is not False}


def create_all(**subjects):
    """Create one object per subject, and return the objects' change pages by subject."""
    for subject, patch in subjects.items():
        apply_change(subject=subject, key="x", patch=patch, actor=Actor(system="test"), why="x", now=now(), create=True)
    models = {"flag": Flag, "segment": Segment, "plan": RolloutPlan, "experiment": Experiment}
    rows = {subject: models[subject].objects.get(key="x") for subject in subjects}
    return {subject: page(f"{row._meta.model_name}_change", row) for subject, row in rows.items()}


ALL_SUBJECTS = {
    "segment": {
        "allowed_ids": ["7", "8"],
        "denied_ids": ["9"],
        "conditions": [
            {"attribute": "age", "operator": "at_least", "values": [18]},
            {"attribute": "region", "operator": "in", "values": ["DE", "AT"]},
        ],
    },
    "flag": {
        "kind": "string",
        "on_value": "",
        "default_value": "none",
        "off_value": " off ",
        "tags": ["web", "new"],
        "variants": [{"name": "red", "value": "#f00"}, {"name": "blue", "value": "#00f", "weight": 3}],
        "rules": [{"segment": "x", "percentage": 30, "serves": "red", "note": "first"}],
        "prerequisites": [{"flag": "experimental_features", "value": False}],
        "expires_at": "2030-01-31T12:00:00Z",
    },
    "plan": {
        "flag": "x",
        "phases": [{"percentage": 5, "hours": 24}, {"percentage": 50}],
        "guardrails": [{"gauge": "feed_error_ratio", "threshold": 0.01, "on_breach": "pause"}],
    },
    "experiment": {
        "flag": "x",
        "hypothesis": "Blue is better.",
        "goal": "engagements_per_member",
        "metrics": ["engagement_rate"],
        "variants": [
            {"key": "control", "is_control": True, "value": "#f00", "config": {"pace": 1}},
            {"key": "blue", "value": "#00f", "config": {"pace": 2}},
        ],
    },
}


@pytest.mark.parametrize("subject", list(ALL_SUBJECTS))
def test_a_form_that_is_submitted_as_it_is_displayed_changes_nothing(releaser, subject):
    url = create_all(**ALL_SUBJECTS)[subject]
    form = rendered_form(releaser.get(url).context)
    if subject == "flag":  # the browser submits the date and the time in two fields
        moment = form.pop("expires_at")
        form |= {"expires_at_0": f"{moment:%Y-%m-%d}", "expires_at_1": f"{moment:%H:%M:%S}"}
    before = FlagChange.objects.count()
    answer = releaser.post(url, form | {"why": "nothing"}, follow=True)
    assert "the values are the same as before" in answer.content.decode(), answer.context.get("errors")
    assert FlagChange.objects.count() == before


def test_a_viewer_reads_every_object(client):
    pages = create_all(**ALL_SUBJECTS)
    sign_in(client, "Viewer", "vi")
    texts = {subject: client.get(url).content.decode() for subject, url in pages.items()}
    assert "#f00" in texts["flag"] and "feed_error_ratio" in texts["plan"] and "Blue is better." in texts["experiment"]
    assert not any('name="_save"' in text for text in texts.values())
    segments = client.get(page("segment_changelist")).content.decode().split("result_list")[-1]
    assert page("segment_change", Segment.objects.get(key="x")) in segments
    assert re.search(r"field-used_by[^/]*>\s*x\s*<", segments)


def test_an_invalid_row_is_displayed_and_saves_nothing(editor):
    flag = factories.flag("f", at=now())
    rows = [{"name": "a", "value": "true", "weight": "many", "position": "0"}]
    answer = submit_page(editor, page("flag_change", flag), flag_form(variants=rows, is_enabled="on"))
    assert answer.status_code == 200 and "Enter a number." in answer.content.decode()
    assert FlagChange.objects.filter(key="f").count() == 1


def test_an_object_that_another_editor_creates_meanwhile_is_an_error_of_the_form(editor, monkeypatch):
    build_document = FlagAdmin.build_document

    def build_after_another_editor(*args):
        factories.flag("f", at=now(), description="theirs")
        return build_document(*args)

    monkeypatch.setattr(FlagAdmin, "build_document", build_after_another_editor)
    answer = editor.post(page("flag_add"), flag_form(key="f", description="mine"))
    assert answer.status_code == 200 and "exists already" in answer.content.decode()
    assert Flag.objects.get(key="f").description == "theirs"


def test_pages_of_what_does_not_exist_are_not_found(editor):
    flag, other = factories.flag("f", at=now()), factories.flag("other", at=now())
    change = FlagChange.objects.get(key="other")
    assert editor.get(reverse("admin:flags_flag_restore", args=[other.pk, change.pk])).status_code == 200
    for address in (
        reverse("admin:flags_flag_restore", args=[flag.pk, change.pk]),
        reverse("admin:flags_flag_restore", args=[flag.pk, 999_999]),
        reverse("admin:flags_flag_restore", args=[999_999, change.pk]),
        reverse("admin:flags_flag_history", args=[999_999]),
    ):
        assert editor.get(address).status_code == 404, address
    viewer = sign_in(editor, "Viewer", "vi")
    assert viewer.get(reverse("admin:flags_flag_restore", args=[other.pk, change.pk])).status_code == 404


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


def test_an_action_reports_what_it_changed(editor):
    """A change that waits for approval and a change without effect are no success."""
    flag = factories.flag("f", at=now(), needs_approval=True)
    for name, message in (
        ("turn_off", "Nothing changed: the values are the same as before."),
        ("archive", "A second person must approve this change. Nothing has changed yet."),
    ):
        url = dialog(editor, reverse(f"admin:flags_flag_{name}", args=[flag.pk])).headers["HX-Redirect"]
        content = editor.get(url).content.decode()
        assert message in content and "f is off." not in content and "f is archived." not in content
    assert not Flag.objects.get(key="f").is_archived


def test_a_rejected_change_is_not_applied(editor):
    factories.flag("f", at=now(), needs_approval=True)
    apply_change(key="f", patch={"is_enabled": True}, actor=Actor(system="test"), why="x", now=now())
    pending = PendingChange.objects.get()
    releaser = sign_in(editor, "Releaser", "rob")
    dialog(releaser, reverse("admin:flags_pendingchange_reject", args=[pending.pk]))
    pending.refresh_from_db()
    assert (pending.state, pending.decided_by.username) == ("rejected", "rob")
    assert not Flag.objects.get(key="f").is_enabled


def test_a_change_that_needs_approval_is_applied_by_a_second_person(client):
    sign_in(client, "Editor", "ed")
    flag = factories.flag("f", at=now(), needs_approval=True)
    response = submit_page(
        client, page("flag_change", flag), flag_form(is_enabled="on", needs_approval="on"), follow=True
    )
    assert "second person must approve" in response.content.decode()
    pending = PendingChange.objects.get()
    dialog(client, reverse("admin:flags_pendingchange_approve", args=[pending.pk]))
    assert not Flag.objects.get(key="f").is_enabled, "the author cannot approve the change"
    client.logout()
    sign_in(client, "Releaser", "rob")
    assert "is_enabled" in client.get(page("pendingchange_change", pending)).content.decode()
    dialog(client, reverse("admin:flags_pendingchange_approve", args=[pending.pk]))
    assert Flag.objects.get(key="f").is_enabled


def test_each_role_has_its_permissions(client):
    flag = factories.flag("f", at=now())
    sign_in(client, "Viewer", "vi")
    assert client.get(page("flag_changelist")).status_code == 200
    assert client.get(page("flag_change", flag)).status_code == 200
    assert client.post(page("flag_change", flag), flag_form(is_enabled="on")).status_code == 403
    assert client.get(page("flag_add")).status_code == 403
    assert client.get(reverse("admin:flags_flag_turn_off", args=[flag.pk])).status_code == 403
    assert client.get(reverse("admin:flags_flag_import_yaml")).status_code == 403
    plan = create_plan("f")
    client.logout()
    sign_in(client, "Editor", "ed")
    assert client.get(reverse("admin:flags_rolloutplan_start", args=[plan.pk])).status_code == 403
    assert client.get(page("flag_delete", flag)).status_code == 403, "flags are archived, not deleted"


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


def test_a_plan_steps_back_to_the_percentage_of_the_previous_phase(releaser):
    factories.flag("f", at=now())
    plan = create_plan("f")
    dialog(releaser, reverse("admin:flags_rolloutplan_start", args=[plan.pk]))
    advance = {"actor": Actor(system="test"), "why": "x", "now": now()}
    apply_change(subject="plan", key="p", patch={"phase": 2}, **advance)
    apply_change(key="f", patch={"rollout_percentage": 50}, **advance)
    dialog(releaser, reverse("admin:flags_rolloutplan_step_back", args=[plan.pk]))
    assert (RolloutPlan.objects.get(key="p").phase, Flag.objects.get(key="f").rollout_percentage) == (1, 5)


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


@pytest.mark.parametrize(
    ("attribute", "line", "values"),
    [
        ("app", "1.10", "1.1 for the number"),
        ("app", "True", "true for the boolean"),
        ("app", '"1.10"', ["1.10"]),
        ("app", "1.1", [1.1]),
        ("region", "276", ["276"]),
        ("region", "True", ["True"]),
        ("is_active", "true", [True]),
    ],
)
def test_a_condition_is_read_by_the_type_of_its_attribute(editor, attribute, line, values):
    condition = {"attribute": attribute, "operator": "in", "values": line, "position": "0"}
    form = {"key": "s", "match": "all", "allowed_ids": "", "denied_ids": "", "why": "a test"}
    response = editor.post(page("segment_add"), form | inline_rows("conditions", condition))
    if isinstance(values, str):
        assert response.status_code == 200 and values in response.content.decode()
        assert not Segment.objects.exists()
    else:
        assert Segment.objects.get().conditions.get().values == values


def test_the_playground_explains_a_members_value(client):
    sign_in(client, "Viewer")
    factories.flag("f", at=now(), is_enabled=True, rollout_percentage=100)
    url = reverse("admin:flags_flag_playground")
    assert client.get(url).status_code == 200
    content = client.get(url, {"flag": "f", "unit_id": "7", "assumed_attributes": "region=DE"}).content.decode()
    assert "true <span" in content and "This rule decides." in content
    several = client.get(url, {"flag": "f", "unit_id": "7", "assumed_attributes": "region=DE\n\n langs=de,en \n"})
    assert several.context["form"].cleaned_data["assumed_attributes"] == {"region": "DE", "langs": ["de", "en"]}
    ambiguous = client.get(url, {"flag": "f", "unit_id": "7", "assumed_attributes": "app=1.10"})
    assert "has two meanings" in ambiguous.content.decode()
    invalid = client.get(url, {"flag": "f", "unit_id": "7", "assumed_attributes": "DE"})
    assert "Write each line as name=value" in invalid.content.decode()
    assert "There is no flag" in client.get(url, {"flag": "gone", "unit_id": "7"}).content.decode()


def test_the_playground_and_refusals_are_german_for_a_german_browser(editor):
    german = {"headers": {"Accept-Language": "de"}}
    factories.flag("f", at=now(), is_enabled=True, rollout_percentage=12.5)
    playground = reverse("admin:flags_flag_playground")
    page_text = editor.get(playground, {"flag": "f", "unit_id": "7"}, **german).content.decode()
    assert "Einführung: 12,5 % der übrigen Einheiten" in page_text
    assert "Diese Regel entscheidet." in page_text or "Keine Regel trifft zu." in page_text
    page_text = editor.get(playground, {"flag": "gone", "unit_id": "7"}, **german).content.decode()
    assert "Schalter &#x27;gone&#x27; gibt es nicht." in page_text
    form = flag_form(key="g", kind="number", on_value="many", default_value="1", off_value="0")
    page_text = editor.post(page("flag_add"), form, **german).content.decode()
    assert "Geben Sie eine Zahl ein, etwa 12.5, nicht &#x27;many&#x27;." in page_text
    assert "Nichts wurde gespeichert. Berichtigen Sie die Fehler im Formular." in page_text
    answer = editor.post(reverse("api-flag-explain", args=["gone"]), {"unit_id": "7"}, "application/json", **german)
    assert answer.json()["detail"] == "There is no flag 'gone'.", "programs read English"


def test_yaml_can_be_exported_and_imported(editor):
    factories.flag("f", at=now())
    text = editor.get(reverse("admin:flags_flag_export_yaml")).content.decode()
    assert text == transfer.export_yaml()
    url = reverse("admin:flags_flag_import_yaml")
    empty = editor.get(url)
    assert empty.status_code == 200 and empty.context["form"]["dry_run"].value() is True
    changed = text.replace("key: f\n", "key: g\n")
    dry = editor.post(url, {"text": changed, "dry_run": "on", "why": "x"}).content.decode()
    assert "flag g: created" in dry and not Flag.objects.filter(key="g").exists()
    assert editor.post(url, {"text": changed, "why": "x"}).status_code == 302
    assert Flag.objects.filter(key="g").exists()
    assert "Invalid YAML" in editor.post(url, {"text": "flags: {", "why": "x"}).content.decode()
    plan = text.replace("key: gradual\n", "key: abrupt\n")
    assert "flags.add_rolloutplan" in editor.post(url, {"text": plan, "why": "x"}).content.decode()
    assert not RolloutPlan.objects.filter(key="abrupt").exists()


def test_an_archived_flag_is_hidden_from_the_list(editor):
    flag = factories.flag("gone", at=now())
    dialog(editor, reverse("admin:flags_flag_archive", args=[flag.pk]))
    assert "gone" not in editor.get(page("flag_changelist")).content.decode().split("result_list")[-1]
    assert "gone" in editor.get(page("flag_changelist") + "?archived=yes").content.decode()


def test_the_list_is_filtered_by_stale_flags(editor):
    factories.flag("expired", at=now(), expires_at=(now() - timedelta(days=1)).isoformat())
    factories.flag("fresh", at=now())

    def listed(query):
        return {flag.key for flag in editor.get(page("flag_changelist") + query).context["cl"].result_list}

    assert listed("") >= {"expired", "fresh"}
    assert "expired" in listed("?stale=yes") and "fresh" not in listed("?stale=yes")


def test_the_change_history_is_read_only(releaser):
    record = FlagChange.objects.get(key=factories.flag("f", at=now()).key)
    assert releaser.get(page("flagchange_changelist")).status_code == 200
    assert releaser.get(page("flagchange_change", record)).status_code == 200
    assert releaser.post(page("flagchange_change", record), {"why": "other"}).status_code == 403
    assert releaser.get(page("flagchange_delete", record)).status_code == 403
    assert releaser.get(page("flagchange_add")).status_code == 403
