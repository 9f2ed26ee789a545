"""The admin of experiments: forms, steps, report and metrics."""

import csv
import io
import json
import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.core.exceptions import ValidationError
from django.urls import reverse

from flags import snapshot
from flags.analysis import interim_analysis
from flags.experiments import metric_sources, plots, report
from flags.models import ChangeSubject, Experiment, FlagChange, Metric
from flags.services import experiments
from flags.services.record import Actor
from monitoring.clock import now
from tests import factories
from tests.admin_forms import submit_page
from tests.integration.test_flag_admin import inline_rows, sign_in
from tests.integration.test_interim_analysis import make_exposures, make_members, trial  # noqa: F401 -- a fixture

pytestmark = pytest.mark.django_db
FLAG = "wasm_recommendations"
CHANGE_ARGUMENTS = {"actor": Actor(system="test"), "why": "a test"}
VARIANTS = (
    {"key": "control", "weight": "60", "is_control": "on", "value": "false", "config": '{"pace": 1}'},
    {"key": "fast", "weight": "40", "value": "true", "config": '{"pace": 2}'},
)


@pytest.fixture(autouse=True)
def fresh_snapshot():
    snapshot.flag_snapshot.invalidate()
    yield
    snapshot.flag_snapshot.invalidate()


@pytest.fixture
def editor(client):
    return sign_in(client, "Editor", "ed")


@pytest.fixture
def releaser(client):
    return sign_in(client, "Releaser", "rob")


def experiment_form(flag, *, variants=VARIANTS, **fields):
    defaults = {
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
    return defaults | inline_rows("variants", *variants) | fields


def page(name, obj=None):
    return reverse(f"admin:flags_experiment_{name}", args=[obj.pk] if obj else None)


def dialog(client, step, row, **fields):
    """Submit the dialog of a step."""
    return client.post(
        reverse(f"admin:flags_experiment_{step}", args=[row.pk]), {"_form_submitted": "on", "why": "a test"} | fields
    )


def test_the_form_creates_a_draft(editor):
    flag = factories.flag(FLAG, is_enabled=True)
    response = editor.post(page("add"), experiment_form(flag))
    assert response.status_code == 302, response.context["errors"]
    row = Experiment.objects.get(key="pace")
    variants = [
        (variant.key, variant.weight, variant.is_control, variant.value, variant.config)
        for variant in row.variants.all()
    ]
    assert variants == [("control", 60.0, True, False, {"pace": 1}), ("fast", 40.0, False, True, {"pace": 2})]
    record = FlagChange.objects.get(subject=ChangeSubject.EXPERIMENT, key="pace")
    assert (record.action, record.actor_name, record.why) == ("created", "ed", "a test")
    invalid = editor.post(
        page("add"), experiment_form(flag, variants=(VARIANTS[0], VARIANTS[1] | {"value": "blue"}), key="other")
    )
    assert b"Enter true or false, not" in invalid.content and not Experiment.objects.filter(key="other").exists()


def test_an_editor_creates_drafts_and_a_releaser_runs_the_steps(editor):
    row = factories.experiment(FLAG, started=False, at=now(), traffic_percentage=40)
    dialog(editor, "start", row)
    assert Experiment.objects.get(pk=row.pk).state == "draft"
    releaser = sign_in(editor, "Releaser", "rob")
    for step, fields, state in (
        ("start", {}, "running"),
        ("pause", {}, "paused"),
        ("resume", {}, "running"),
        ("widen", {"traffic_percentage": "80"}, "running"),
        ("begin_phase", {"weights": "control=20, treatment=80"}, "running"),
        ("finish", {"decision": "treatment"}, "finished"),
    ):
        dialog(releaser, step, row, **fields)
        row.refresh_from_db()
        assert row.state == state, step
    assert [phase.variants[1]["share"] for phase in row.phases.all()] == [0.5, 0.8] and row.decision == "treatment"
    assert row.traffic_percentage == 80
    history = releaser.get(reverse("admin:flags_experiment_history", args=[row.pk])).content.decode()
    assert "Phase started</span> by rob" in history and "Finished</span> by rob" in history


def test_an_invalid_step_is_reported_and_changes_nothing(releaser):
    row = factories.experiment(FLAG, started=False, goal=None, at=now())
    url = dialog(releaser, "start", row).headers["HX-Redirect"]
    assert "Name the goal metric before the start" in releaser.get(url).content.decode()
    assert Experiment.objects.get(pk=row.pk).state == "draft"
    running = factories.experiment("experimental_features", "other", at=now())
    answer = dialog(releaser, "begin_phase", running, weights="control, treatment=80")
    assert "Write the weights as control=20, treatment=80." in answer.content.decode()
    answer = dialog(releaser, "begin_phase", running, weights="control=20, treatment=many")
    assert "Write the weights as control=20, treatment=80." in answer.content.decode()
    assert running.phases.count() == 1


def test_a_finished_experiment_is_displayed_and_cannot_change(releaser):
    row = factories.experiment(FLAG, at=now())
    experiments.finish(key="trial", decision="treatment", now=now(), **CHANGE_ARGUMENTS)
    assert "It does not matter." in releaser.get(page("change", row)).content.decode()
    management = {"variants-TOTAL_FORMS": "0", "variants-INITIAL_FORMS": "0"}
    fields = {"why": "x", "hypothesis": "I knew it.", "minimum_effect": "0.2", "traffic_percentage": "5"}
    answer = submit_page(releaser, page("change", row), management | fields, follow=True)
    assert "the values are the same as before" in answer.content.decode()
    row.refresh_from_db()
    assert (row.hypothesis, row.traffic_percentage, row.metrics.count()) == ("It does not matter.", 100, 0)


def test_frozen_fields_are_not_in_the_form(releaser):
    """While the experiment runs, the form has only the hypothesis, the metrics and the minimum effect."""
    row = factories.experiment(FLAG, at=now(), traffic_percentage=40)
    content = releaser.get(page("change", row)).content.decode()
    assert 'name="hypothesis"' in content and 'name="traffic_percentage"' not in content
    assert 'name="variants-0-weight"' not in content
    management = {"variants-TOTAL_FORMS": "0", "variants-INITIAL_FORMS": "0"}
    fields = management | {"hypothesis": "Mended.", "minimum_effect": "0.1", "why": "clearer"}
    response = submit_page(releaser, page("change", row), fields)
    assert response.status_code == 302, response.context["errors"]
    row.refresh_from_db()
    assert (row.hypothesis, row.minimum_effect, row.variants.count()) == ("Mended.", 0.1, 2)
    changelist = releaser.get(page("changelist")).content.decode()
    assert "control 50, treatment 50" in changelist and "40 %" in changelist and "Report" in changelist


def test_the_report_before_the_first_analysis(releaser, monkeypatch):
    row = factories.experiment(FLAG, started=False, at=now())
    assert b"Start the experiment first" in releaser.get(page("results", row)).content
    experiments.start(key="trial", now=now(), **CHANGE_ARGUMENTS)
    requested = []
    monkeypatch.setattr("flags.admin.experiments.request_interim_analysis", requested.append)
    pending = releaser.post(page("results", row), follow=True)
    assert requested == ["trial"] and b"An analysis was requested" in pending.content
    invalid = releaser.get(page("results", row), {"requested_at": "nonsense"})
    assert b"An analysis was requested" not in invalid.content


def test_the_report_shows_the_results(releaser, trial):  # noqa: F811
    """The page, the plots and the files agree."""
    for day in range(3):
        interim_analysis.run_interim_analysis(key="trial", now=factories.NOW - timedelta(days=2 - day))
    content = releaser.get(page("results", trial)).content.decode()
    for text in (
        *("engagements_per_member (goal)", "negative_feedback_per_member (guardrail)", "better", "By language"),
        *("<svg", "Cumulative lift of the goal", "time to significance", "80 % power", "Sample ratio"),
        *("treatment is better than the control", "this is conclusive", "Guardrails", "not decided yet", "Late data"),
        *("Decision and record", "No decision yet.", "a test"),
    ):
        assert text in content, text
    results = releaser.get(page("results", trial), {"format": "json"}).json()
    assert results["units"] == {"control": 200, "treatment": 200} and len(results["lift_history"]) == 3
    table = list(csv.DictReader(io.StringIO(releaser.get(page("results", trial), {"format": "csv"}).content.decode())))
    assert len(table) == len(results["comparisons"]) == 6
    goal = next(row for row in table if row["metric"] == "engagements_per_member" and not row["slice_label"])
    assert float(goal["lift"]) == results["comparisons"][0]["numbers"]["lift"] and goal["verdict"] == "better"


def test_the_report_is_in_the_readers_language_and_the_api_in_english(releaser, trial):  # noqa: F811
    interim_analysis.run_interim_analysis(key="trial", now=factories.NOW)
    german = {"Accept-Language": "de"}
    content = releaser.get(page("results", trial), headers=german).content.decode()
    assert "als die Kontrolle; das ist eindeutig." in content and "conclusive" not in content
    results = releaser.get("/api/v1/experiments/trial/results", headers=german).json()
    assert results["sentence"].endswith("this is conclusive.")


def test_the_record_of_the_report_is_for_those_who_may_read_changes(client, trial):  # noqa: F811
    interim_analysis.run_interim_analysis(key="trial", now=factories.NOW)
    user = factories.staff()
    user.user_permissions.add(Permission.objects.get(codename="view_experiment"))
    client.force_login(user)
    content = client.get(page("results", trial)).content.decode()
    assert "this is conclusive" in content and "Decision and record" not in content


def test_the_record_of_a_finished_experiment_has_the_decision(releaser, trial):  # noqa: F811
    interim_analysis.run_interim_analysis(key="trial", now=factories.NOW)
    experiments.finish(key="trial", decision="treatment", now=factories.NOW, **CHANGE_ARGUMENTS | {"why": "It won."})
    content = releaser.get(page("results", trial)).content.decode()
    assert re.search(r"Decided for <strong>treatment</strong> on [\d-]+: It won\.", content)
    assert "style=" not in content[content.index('id="report"') : content.index("</main>")]


def test_lateness_is_measured_on_what_arrived_since_the_start(db):
    assert report.measure_lateness(factories.experiment(FLAG, started=False, at=now())) is None
    author = factories.member(at=factories.NOW)
    post = factories.post(author)
    assert metric_sources.measure_lateness("interactions", factories.NOW) is None
    assert metric_sources.measure_lateness("nothing", factories.NOW) is None
    for days in (0, 0.5, 2, 3):
        occurred = factories.NOW - timedelta(days=days)
        factories.interaction(author, post, occurred_at=occurred, received_at=factories.NOW)
    factories.interaction(author, post, occurred_at=factories.NOW, received_at=factories.NOW - timedelta(days=9))
    assert metric_sources.measure_lateness("interactions", factories.NOW - timedelta(days=1)) == 0.5


def test_the_report_warns_of_a_sample_ratio_mismatch(releaser, db):
    members, _ = make_members(400)
    row = factories.experiment(FLAG, at=factories.NOW - timedelta(days=1))
    phase = row.phases.get()
    at = factories.NOW - timedelta(hours=1)
    for group, variant in ((members[:300], "control"), (members[300:], "treatment")):
        phase.exposures.bulk_create(make_exposures(phase, group, variant, at=at))
    interim_analysis.run_interim_analysis(key="trial", now=factories.NOW)
    content = releaser.get(page("results", row)).content.decode()
    assert "Sample ratio mismatch." in content and 'role="alert"' in content


def test_plots_cut_wide_intervals():
    """An interval beyond the limit ends at the plot's edge. Without data there is no plot."""
    numbers = dict.fromkeys(report.RESULT_NUMBERS, 0.0) | {"lift": 0.1, "lift_low": -9.0, "lift_high": 9.0}
    row = report.ComparisonRow("m", "", True, False, True, "treatment", "", "inconclusive", numbers)
    plot = plots.build_forest_plot([row])
    assert plot.bars[0].low == plots.MARGIN_LEFT and plot.bars[0].high == plots.FOREST_WIDTH - plots.MARGIN_RIGHT
    assert [plots.format_lift(lift) for lift in (0.041, -10, 10.1, -450)] == [
        "+4.1%",
        "-1,000.0%",
        "> +1,000%",
        "< -1,000%",
    ]
    assert (
        plots.build_forest_plot([]) is None and plots.build_lift_plot([]) is None and plots.build_units_plot({}) is None
    )


def test_the_plot_of_units_adds_up_the_days():
    """A variant without units on a day keeps its total. The highest total is at the top."""
    daily_units = {"control": {"2026-06-01": 30, "2026-06-03": 10}, "treatment": {"2026-06-02": 20}}
    plot = plots.build_units_plot(daily_units)
    bottom, top = plots.HEIGHT - plots.MARGIN_BOTTOM, plots.MARGIN_TOP
    middle = (bottom + top) / 2
    assert [(curve.label, curve.points) for curve in plot.curves] == [
        (
            "control",
            f"60.0,{bottom - 0.75 * (bottom - top):.1f} 340.0,{bottom - 0.75 * (bottom - top):.1f} 620.0,{top:.1f}",
        ),
        ("treatment", f"60.0,{bottom:.1f} 340.0,{middle:.1f} 620.0,{middle:.1f}"),
    ]
    assert plot.curves[0].dash_pattern != plot.curves[1].dash_pattern
    assert plot.ticks == [(top, "40"), (bottom, "0")]
    assert (plot.first_label, plot.last_label) == ("2026-06-01", "2026-06-03")
    assert plots.build_units_plot({"control": {"2026-06-01": 30}}) is None, "one day is no line"


def test_a_metric_form_takes_comma_separated_kinds(editor):
    row = Metric.objects.get(key="click_through_rate")
    content = editor.get(reverse("admin:flags_metric_change", args=[row.pk])).content.decode()
    assert 'value="click"' in content and 'value="view"' in content
    fields = {"key": "saves", "kind": "mean", "source": "interactions", "numerator": "save, share", "window_days": "7"}
    fields |= {"prior_days": "14", "higher_is_better": "on", "tolerance": "0.01"}
    assert editor.post(reverse("admin:flags_metric_add"), fields).status_code == 302
    assert Metric.objects.get(key="saves").numerator == ["save", "share"]
    assert json.dumps(Metric.objects.get(key="saves").denominator) == "[]"


@pytest.mark.parametrize(
    ("fields", "name", "message"),
    [
        ({"numerator": " , "}, "numerator", "Name at least one kind of event."),
        ({"kind": "ratio"}, "denominator", "A ratio needs kinds of events in the denominator"),
        ({"denominator": "view"}, "denominator", "other metrics have none"),
    ],
)
def test_an_incomplete_metric_is_refused(editor, fields, name, message):
    form = {"key": "saves", "kind": "mean", "source": "interactions", "numerator": "save", "window_days": "7"}
    answer = editor.post(reverse("admin:flags_metric_add"), form | {"prior_days": "14", "tolerance": "0.01"} | fields)
    assert message in str(answer.context["adminform"].form.errors[name])
    assert not Metric.objects.filter(key="saves").exists()


@pytest.mark.parametrize("kinds", ["like", {"like": 1}, ["like", 1]])
def test_a_metric_takes_lists_of_kinds_of_events_only(kinds):
    for name in ("numerator", "denominator"):
        fields = {"numerator": ["like"], "denominator": ["view"], "kind": "ratio"} | {name: kinds}
        with pytest.raises(ValidationError, match="Give a list of kinds of events") as refused:
            Metric(key="x", **fields).full_clean()
        assert set(refused.value.message_dict) == {name}
