"""The pages of experiments as their people use them: forms in, rows and records out; and the report of what came."""

import csv
import io
import json
from datetime import timedelta

import pytest
from django.urls import reverse

from flags import snapshot
from flags.analysis import interim_analysis
from flags.experiments import plots, report
from flags.models import ChangeSubject, Experiment, FlagChange, Metric
from flags.roles import create_roles
from flags.services import experiments
from flags.services.change import Actor
from monitoring.clock import now
from tests import factories
from tests.integration.test_flag_admin import inline_rows, sign_in
from tests.integration.test_interim_analysis import make_exposures, make_members, trial  # noqa: F401 -- a fixture

pytestmark = pytest.mark.django_db
FLAG = "wasm_recommendations"
DO = {"actor": Actor(system="test"), "why": "a test"}
ARMS = (
    {"key": "control", "weight": "60", "is_control": "on", "value": "false", "config": '{"pace": 1}'},
    {"key": "fast", "weight": "40", "value": "true", "config": '{"pace": 2}'},
)


@pytest.fixture(autouse=True)
def fresh():
    snapshot.flag_snapshot.invalidate()
    create_roles()
    yield
    snapshot.flag_snapshot.invalidate()


@pytest.fixture
def editor(client):
    return sign_in(client, "Flag editor", "ed")


@pytest.fixture
def releaser(client):
    return sign_in(client, "Flag releaser", "rob")


def form(flag, *, variants=ARMS, **fields):
    plain = {
        "key": "pace",
        "flag": flag.pk,
        "hypothesis": "Faster is better.",
        "goal": Metric.objects.get(key="engagements_per_member").pk,
        "minimum_effect": "0.05",
        "unit": "member",
        "traffic_percentage": "50",
        "is_sticky": "on",
        "slot_from": "0",
        "slot_to": "100",
        "bandit_floor": "0.05",
        "why": "a test",
    }
    return plain | inline_rows("variants", *variants) | fields


def page(name, obj=None):
    return reverse(f"admin:flags_experiment_{name}", args=[obj.pk] if obj else None)


def dialog(client, step, row, **fields):
    """Do what a button's dialog does."""
    return client.post(
        reverse(f"admin:flags_experiment_{step}", args=[row.pk]), {"_form_submitted": "on", "why": "a test"} | fields
    )


def test_a_draft_is_made_by_the_form(editor):
    flag = factories.flag(FLAG, is_enabled=True)
    answer = editor.post(page("add"), form(flag))
    assert answer.status_code == 302, answer.context["errors"]
    row = Experiment.objects.get(key="pace")
    arms = [(arm.key, arm.weight, arm.is_control, arm.value, arm.config) for arm in row.variants.all()]
    assert arms == [("control", 60.0, True, False, {"pace": 1}), ("fast", 40.0, False, True, {"pace": 2})]
    record = FlagChange.objects.get(subject=ChangeSubject.EXPERIMENT, key="pace")
    assert (record.action, record.actor_name, record.why) == ("created", "ed", "a test")
    wrong = editor.post(page("add"), form(flag, variants=(ARMS[0], ARMS[1] | {"value": "blue"}), key="other"))
    assert b"Write true or false." in wrong.content and not Experiment.objects.filter(key="other").exists()


def test_an_editor_drafts_and_a_releaser_steers(editor):
    row = factories.experiment(FLAG, started=False, at=now())
    dialog(editor, "start", row)
    assert Experiment.objects.get(pk=row.pk).state == "draft"
    releaser = sign_in(editor, "Flag releaser", "rob")
    for step, fields, state in (
        ("start", {}, "running"),
        ("pause", {}, "paused"),
        ("resume", {}, "running"),
        ("begin_phase", {"weights": "control=20, treatment=80"}, "running"),
        ("finish", {"decision": "treatment"}, "finished"),
    ):
        dialog(releaser, step, row, **fields)
        row.refresh_from_db()
        assert row.state == state, step
    assert [phase.variants[1]["share"] for phase in row.phases.all()] == [0.5, 0.8] and row.decision == "treatment"
    history = releaser.get(reverse("admin:flags_experiment_history", args=[row.pk])).content.decode()
    assert "Phased</span> by rob" in history and "Finished</span> by rob" in history


def test_what_is_frozen_is_not_offered(releaser):
    """While it runs the form has the hypothesis, the metrics and the effect; the list shows it at a glance."""
    row = factories.experiment(FLAG, at=now(), traffic_percentage=40)
    content = releaser.get(page("change", row)).content.decode()
    assert 'name="hypothesis"' in content and 'name="traffic_percentage"' not in content
    assert 'name="variants-0-weight"' not in content
    management = {"variants-TOTAL_FORMS": "0", "variants-INITIAL_FORMS": "0"}
    fields = management | {"hypothesis": "Mended.", "minimum_effect": "0.1", "why": "clearer"}
    answer = releaser.post(page("change", row), fields)
    assert answer.status_code == 302, answer.context["errors"]
    row.refresh_from_db()
    assert (row.hypothesis, row.minimum_effect, row.variants.count()) == ("Mended.", 0.1, 2)
    listed = releaser.get(page("changelist")).content.decode()
    assert "control 50, treatment 50" in listed and "40 %" in listed and "Report" in listed


def test_the_report_of_a_draft_and_of_one_that_nobody_looked_at(releaser, monkeypatch):
    row = factories.experiment(FLAG, started=False, at=now())
    assert b"Start it first" in releaser.get(page("results", row)).content
    experiments.start(key="trial", now=now(), **DO)
    asked = []
    monkeypatch.setattr("flags.admin.experiments.request_interim_analysis", asked.append)
    waiting = releaser.post(page("results", row), follow=True)
    assert asked == ["trial"] and b"A look was asked for" in waiting.content
    assert b"A look was asked for" not in releaser.get(page("results", row), {"asked": "nonsense"}).content


def test_the_report_says_what_the_look_found(releaser, trial):  # noqa: F811
    """In words, pictures and files, which agree."""
    for day in range(3):
        interim_analysis.run_interim_analysis(key="trial", now=factories.NOW - timedelta(days=2 - day))
    content = releaser.get(page("results", trial)).content.decode()
    for said in ("engagements_per_member (goal)", "negative_feedback_per_member (guardrail)", "better", "By language", "<svg", "look by look"):
        assert said in content, said
    found = releaser.get(page("results", trial), {"format": "json"}).json()
    assert found["units"] == {"control": 200, "treatment": 200} and len(found["looks"]) == 3
    table = list(csv.DictReader(io.StringIO(releaser.get(page("results", trial), {"format": "csv"}).content.decode())))
    assert len(table) == len(found["lines"]) == 6
    goal = next(row for row in table if row["metric"] == "engagements_per_member" and not row["slice_label"])
    assert float(goal["lift"]) == found["lines"][0]["numbers"]["lift"] and goal["verdict"] == "better"


def test_a_wrong_split_is_said_first(releaser, db):
    members, _ = make_members(400)
    row = factories.experiment(FLAG, at=factories.NOW - timedelta(days=1))
    phase = row.phases.get()
    at = factories.NOW - timedelta(hours=1)
    for some, variant in ((members[:300], "control"), (members[300:], "treatment")):
        phase.exposures.bulk_create(make_exposures(phase, some, variant, at=at))
    interim_analysis.run_interim_analysis(key="trial", now=factories.NOW)
    content = releaser.get(page("results", row)).content.decode()
    assert "The split is wrong." in content and 'role="alert"' in content


def test_pictures_hold_what_does_not_fit():
    """Wide intervals end at the picture's edge; nothing to show is no picture."""
    numbers = dict.fromkeys(report.RESULT_NUMBERS, 0.0) | {"lift": 0.1, "lift_low": -9.0, "lift_high": 9.0}
    line = report.ComparisonRow("m", "", True, False, True, "treatment", "", "open", numbers)
    picture = plots.build_forest_plot([line])
    assert picture.bars[0].low == plots.MARGIN_LEFT and picture.bars[0].high == plots.WIDTH - plots.MARGIN_RIGHT
    assert (
        plots.build_forest_plot([]) is None and plots.build_lift_plot([]) is None and plots.build_units_plot({}) is None
    )


def test_a_metric_is_edited_in_words(editor):
    row = Metric.objects.get(key="click_through_rate")
    content = editor.get(reverse("admin:flags_metric_change", args=[row.pk])).content.decode()
    assert 'value="click"' in content and 'value="view"' in content
    fields = {"key": "saves", "kind": "mean", "source": "interactions", "numerator": "save, share", "window_days": "7"}
    fields |= {"prior_days": "14", "higher_is_better": "on", "tolerance": "0.01"}
    assert editor.post(reverse("admin:flags_metric_add"), fields).status_code == 302
    assert Metric.objects.get(key="saves").numerator == ["save", "share"]
    assert json.dumps(Metric.objects.get(key="saves").denominator) == "[]"
