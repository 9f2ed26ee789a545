"""Interim analyses: results from exposures and interactions, the bandit, the weekly digest and the analysis worker."""

import sys
import time
from datetime import timedelta
from math import isclose
from pathlib import Path

import numpy as np
import pytest
from django.core import mail
from django.core.management import call_command

from flags.analysis import bandit, interim_analysis, tasks
from flags.analysis.moments import compute_moments
from flags.analysis.statistics import fixed_interval, mean_difference
from flags.experiments import metric_sources
from flags.experiments.report import build_report
from flags.experiments.request_analysis import QUEUE, request_interim_analysis
from flags.models import Experiment, ExperimentResult, Exposure, InterimAnalysis, Metric
from flags.models.append_only import AppendOnlyError
from flags.services import experiments
from flags.services.record import Actor
from flags.services.weekly_digest import build_weekly_digest
from monitoring.models import MaintenanceRun
from recommendations.models import Interaction, Member, Post
from recommendations.services.extensions import maintenance
from recommendations.services.extensions.experiments import count_interactions
from recsys_project.stack.commands import ANALYSIS_TASKS
from tests import factories
from tests.servers import is_ready_in_log, run_process, shared_database_url, wait_until

NOW = factories.NOW
START = NOW - timedelta(days=10)
CHANGE_ARGUMENTS = {"actor": Actor(system="test"), "why": "a test", "now": NOW}
FLAG = "wasm_recommendations"


def make_members(count, *, languages=("en",)):
    """Create members m0, m1, … and a post."""
    Member.objects.bulk_create(
        Member(
            external_id=f"m{n}",
            created_at=START,
            changed_at=START,
            languages=[languages[n % len(languages)]],
        )
        for n in range(count)
    )
    author = factories.member("author")
    return list(Member.objects.filter(external_id__startswith="m").order_by("pk")), factories.post(author, "p")


def make_interactions(member, post, kind, at, times=1, **fields):
    return [
        Interaction(
            event_id=f"{member.pk}-{kind}-{at.timestamp()}-{n}",
            member=member,
            post=post,
            kind=kind,
            occurred_at=at,
            received_at=at,
            **fields,
        )
        for n in range(times)
    ]


def make_exposures(phase, members, variant, *, at=START, propensity=0.5):
    return [
        Exposure(
            phase=phase,
            experiment=phase.experiment,
            unit_id=member.external_id,
            variant=variant,
            propensity=propensity,
            exposed_at=at,
        )
        for member in members
    ]


@pytest.fixture
def trial(db, fresh_wiring):
    """An experiment of 400 members. Treated members click 60 % more; nobody gives negative feedback."""
    members, post = make_members(400, languages=("en", "de"))
    metrics = ["engagement_rate", "click_through_rate", "negative_feedback_per_member"]
    experiment = factories.experiment(FLAG, at=START, goal="engagements_per_member", metrics=metrics)
    phase, rng, interactions = experiment.phases.get(), np.random.default_rng(5), []
    halves = members[:200], members[200:]
    for half, variant, rate in zip(halves, ("control", "treatment"), (3.0, 4.8), strict=True):
        Exposure.objects.bulk_create(make_exposures(phase, half, variant))
        for member in half:
            activity = rng.gamma(2.0, 0.5)
            interactions += make_interactions(
                member, post, "click", START - timedelta(days=2), int(rng.poisson(3 * activity))
            )
            interactions += make_interactions(
                member, post, "click", START + timedelta(days=2), int(rng.poisson(rate * activity))
            )
            interactions += make_interactions(member, post, "view", START + timedelta(days=1), 5)
    Interaction.objects.bulk_create(interactions)
    return experiment


def result(analysis, metric="engagements_per_member", slice_label=""):
    return analysis.results.get(metric__key=metric, slice_label=slice_label)


def test_an_analysis_agrees_with_the_rows(trial):
    """It has the units, means, fixed intervals after CUPED, verdicts and slices."""
    analysis = interim_analysis.run_interim_analysis(key="trial", now=NOW)
    assert analysis.units == {"control": 200, "treatment": 200} and analysis.sample_ratio_p == 1.0
    assert analysis.daily_units == {variant: {"2026-05-22": 200} for variant in ("control", "treatment")}
    after = Interaction.objects.filter(kind="click", occurred_at__gte=START).values_list(
        "member__external_id", flat=True
    )
    counts = {f"m{n}": 0.0 for n in range(400)}
    for member in after:
        counts[member] += 1
    control, treatment = (np.array([counts[f"m{n}"] for n in part]) for part in (range(200), range(200, 400)))
    goal = result(analysis)
    assert isclose(goal.control_mean, control.mean()) and isclose(goal.mean, treatment.mean())
    without_cuped = fixed_interval(mean_difference(compute_moments(control), compute_moments(treatment)))
    assert goal.fixed_low < goal.difference < goal.fixed_high
    assert goal.fixed_high - goal.fixed_low < without_cuped.high - without_cuped.low
    assert goal.remaining_variance_ratio < 0.9
    assert goal.verdict == ExperimentResult.Verdict.BETTER and goal.chance_better > 0.99 and goal.expected_loss < 0.01
    assert goal.anytime_low < goal.fixed_low and goal.lift_low < 0.6 < goal.lift_high
    assert result(analysis, "click_through_rate").mean == pytest.approx(treatment.sum() / 1000)
    assert result(analysis, "negative_feedback_per_member").difference == 0.0
    assert {row.slice_label for row in analysis.results.exclude(slice_label="")} == {"language=en", "language=de"}
    assert analysis.needed_units > 400 and analysis.days_left is None, "no exposure this week: the pace is unknown"


def test_a_slice_with_few_units_of_a_variant_is_omitted(trial):
    """So that the results reveal no individual member."""
    few = [f"m{n}" for n in (*range(60), *range(200, 249))]
    Member.objects.filter(external_id__in=few).update(languages=["fr"])
    analysis = interim_analysis.run_interim_analysis(key="trial", now=NOW)
    labels = set(analysis.results.values_list("slice_label", flat=True))
    assert labels == {"", "language=en", "language=de"}
    Member.objects.filter(external_id="m249").update(languages=["fr"])
    analysis = interim_analysis.run_interim_analysis(key="trial", now=NOW)
    assert (
        result(analysis, slice_label="language=fr").control_units,
        result(analysis, slice_label="language=fr").units,
    ) == (60, 50)


def test_a_metric_without_prior_days_is_not_adjusted(trial):
    adjusted = result(interim_analysis.run_interim_analysis(key="trial", now=NOW))
    Metric.objects.filter(key="engagements_per_member").update(prior_days=0)
    raw = result(interim_analysis.run_interim_analysis(key="trial", now=NOW))
    assert raw.remaining_variance_ratio == 1.0 > adjusted.remaining_variance_ratio
    assert raw.difference == pytest.approx(raw.mean - raw.control_mean)
    assert raw.fixed_high - raw.fixed_low > adjusted.fixed_high - adjusted.fixed_low


def test_events_outside_of_the_window_and_undone_events_do_not_count(trial):
    before = interim_analysis.run_interim_analysis(key="trial", now=NOW)
    post, treated = Post.objects.get(external_id="p"), Member.objects.get(external_id="m300")
    window_end = START + timedelta(days=trial.goal.window_days)
    rows = [
        *make_interactions(treated, post, "like", window_end, 50),
        *make_interactions(treated, post, "share", START, 50, undone_at=NOW),
    ]
    Interaction.objects.bulk_create(rows)
    assert result(interim_analysis.run_interim_analysis(key="trial", now=NOW)).mean == result(before).mean
    Interaction.objects.bulk_create(make_interactions(treated, post, "save", window_end - timedelta(seconds=1), 20))
    assert result(interim_analysis.run_interim_analysis(key="trial", now=NOW)).mean == pytest.approx(
        result(before).mean + 0.1
    )


def test_a_sample_ratio_mismatch_is_found(trial):
    phase = trial.phases.get()
    extra = [factories.member(f"x{n}") for n in range(150)]
    Exposure.objects.bulk_create(make_exposures(phase, extra, "treatment"))
    analysis = interim_analysis.run_interim_analysis(key="trial", now=NOW)
    assert analysis.sample_ratio_p < 1e-6
    assert "SAMPLE RATIO MISMATCH" in build_weekly_digest(now=NOW)[0]


def test_a_guardrail_is_safe_worse_or_inconclusive(trial):
    """It is safe once its interval excludes harm beyond the tolerance."""
    analysis = interim_analysis.run_interim_analysis(key="trial", now=NOW)
    assert (
        result(analysis, "negative_feedback_per_member").verdict == ExperimentResult.Verdict.INCONCLUSIVE
    )  # without negative feedback there is no variance
    post = Post.objects.get(external_id="p")
    for member in Member.objects.filter(external_id__in=[f"m{n}" for n in range(200, 400)]):
        Interaction.objects.bulk_create(
            make_interactions(member, post, "hide", START + timedelta(days=1), member.pk % 3)
        )
    analysis = interim_analysis.run_interim_analysis(key="trial", now=NOW)
    assert result(analysis, "negative_feedback_per_member").verdict == ExperimentResult.Verdict.WORSE
    assert "WORSE on negative_feedback_per_member: treatment" in build_weekly_digest(now=NOW)[0]
    Metric.objects.filter(key="negative_feedback_per_member").update(numerator=["view"])
    equal = Interaction.objects.filter(kind="view", member__external_id="m0")
    equal.first().delete()
    assert (
        result(interim_analysis.run_interim_analysis(key="trial", now=NOW), "negative_feedback_per_member").verdict
        == ExperimentResult.Verdict.SAFE
    )


def test_analyses_are_append_only(trial):
    first = interim_analysis.run_interim_analysis(key="trial", now=NOW)
    second = interim_analysis.run_interim_analysis(key="trial", now=NOW + timedelta(days=1))
    assert list(InterimAnalysis.objects.filter(experiment=trial)) == [second, first]
    with pytest.raises(AppendOnlyError):
        first.save()


def test_an_experiment_that_never_ran_is_not_analyzed(db):
    factories.experiment(FLAG, started=False)
    with pytest.raises(interim_analysis.NothingToAnalyzeError, match="has not started"):
        interim_analysis.run_interim_analysis(key="trial", now=NOW)


def test_an_experiment_without_units_is_inconclusive(db):
    factories.experiment(FLAG)
    analysis = interim_analysis.run_interim_analysis(key="trial", now=NOW)
    only_result = analysis.results.get()
    assert analysis.units == {"control": 0, "treatment": 0} and analysis.days_left is None
    assert (only_result.verdict, only_result.fixed_low, only_result.lift, only_result.chance_better) == (
        ExperimentResult.Verdict.INCONCLUSIVE,
        None,
        None,
        0.5,
    )


def test_an_unknown_metric_source_is_named_in_the_error(trial):
    Metric.objects.filter(key="engagement_rate").update(source="weather")
    with pytest.raises(KeyError, match="weather"):
        interim_analysis.run_interim_analysis(key="trial", now=NOW)
    assert metric_sources.metric_source_names() == ["interactions"]


def test_units_that_are_not_members_have_no_interactions(trial):
    since, until = np.full(2, START.timestamp()), np.full(2, NOW.timestamp())
    assert count_interactions(["a visitor", "another"], since, until, ["view"]).tolist() == [0, 0]
    assert count_interactions(["a visitor", "m0"], since, until, ["view"]).tolist() == [0, 5]


def test_the_bandit_moves_weights_to_the_better_variant(trial):
    """It needs enough units, keeps the floor and starts a new phase."""
    experiments.finish(key="trial", decision="", **CHANGE_ARGUMENTS)
    factories.experiment(FLAG, "greedy", at=START, is_bandit=True, bandit_floor=0.1)
    phase = Experiment.objects.get(key="greedy").phases.get()
    assert bandit.update_weights(key="greedy", now=NOW) is None
    members = list(Member.objects.filter(external_id__startswith="m").order_by("pk"))
    Exposure.objects.bulk_create(make_exposures(phase, members[:200], "control"))
    Exposure.objects.bulk_create(make_exposures(phase, members[200:], "treatment"))
    shares = bandit.update_weights(key="greedy", now=NOW)
    assert shares["treatment"] == pytest.approx(1 - shares["control"]) and 0.8 < shares["treatment"] <= 0.9
    row = Experiment.objects.get(key="greedy")
    assert [p.number for p in row.phases.all()] == [1, 2]
    assert row.phases.get(number=2).variants[1]["share"] == pytest.approx(shares["treatment"])
    assert bandit.update_weights(key="greedy", now=NOW) is None, "the same data change nothing"
    assert interim_analysis.run_interim_analysis(key="greedy", now=NOW).units == {"control": 200, "treatment": 200}


def test_only_the_weights_of_a_bandit_follow_the_results(trial):
    assert bandit.update_weights(key="trial", now=NOW) is None
    assert trial.phases.count() == 1


def test_the_nightly_analysis_covers_every_running_experiment(trial, caplog):
    """A failed experiment does not stop the others, and the weights of bandits follow the results."""
    factories.flag("f")
    factories.flag("g")
    greedy = factories.experiment("f", "greedy", at=START, is_bandit=True)
    members = list(Member.objects.filter(external_id__startswith="m").order_by("pk"))
    for half, variant in ((members[:200], "control"), (members[200:], "treatment")):
        Exposure.objects.bulk_create(make_exposures(greedy.phases.get(), half, variant))
    Metric.objects.create(key="rain", source="weather", numerator=["rain"])
    factories.experiment("g", "broken", at=START, goal="rain")
    factories.experiment("g", "draft", started=False)
    tasks.analyze_experiments()
    analyses = InterimAnalysis.objects.order_by("experiment__key")
    assert [row.experiment.key for row in analyses] == ["greedy", "trial"]
    assert (greedy.phases.count(), trial.phases.count()) == (2, 1)
    failed = [record.experiment for record in caplog.records if record.message == "experiment_not_analyzed"]
    assert failed == ["broken"]


def test_the_weekly_digest_has_decisions_and_the_days_left(trial, monkeypatch):
    """Experiments that were finished more than a week ago are omitted."""
    for variant in ("control", "treatment"):
        newest = [factories.member(f"{variant}{n}") for n in range(35)]
        Exposure.objects.bulk_create(make_exposures(trial.phases.get(), newest, variant, at=NOW - timedelta(days=1)))
    assert interim_analysis.run_interim_analysis(key="trial", now=NOW).days_left is None, "there are too few members"
    assert build_report(trial).is_out_of_reach
    monkeypatch.setitem(metric_sources._unit_counters, "member", lambda: 1_000_000)
    analysis = interim_analysis.run_interim_analysis(key="trial", now=NOW)
    assert analysis.days_left == pytest.approx((analysis.needed_units - 470) / 10), "70 units a week"
    assert not build_report(trial).is_out_of_reach
    assert f"about {analysis.days_left:.0f} days left" in build_weekly_digest(now=NOW)[0]
    experiments.finish(key="trial", decision="treatment", **CHANGE_ARGUMENTS)
    assert build_weekly_digest(now=NOW) == ["trial: finished, decision: treatment."]
    factories.experiment(FLAG, "other", at=NOW)
    experiments.finish(key="other", decision="", **CHANGE_ARGUMENTS)
    assert build_weekly_digest(now=NOW) == [
        "other: finished, without a decision.",
        "trial: finished, decision: treatment.",
    ]
    assert build_weekly_digest(now=NOW + timedelta(days=8)) == []


def test_the_weekly_digest_is_saved_and_mailed_by_a_maintenance_task(trial, monkeypatch):
    """It is mailed if ALERT_EMAILS is set, and saved in any case."""
    interim_analysis.run_interim_analysis(key="trial", now=NOW)
    assert maintenance.send_experiment_digest(NOW).note.startswith("trial: running for")
    assert mail.outbox == []
    settings = sys.modules["recsys_project.settings"]
    monkeypatch.setattr(
        "django.conf.settings.ENV", settings.ENV.model_copy(update={"alert_emails": ["ops@example.org"]})
    )
    call_command("maintain", "send_experiment_digest")
    note = MaintenanceRun.objects.latest("pk").note
    assert note.startswith("trial: running for") and "400 units" in note and "treatment +" in note
    (sent,) = mail.outbox
    assert sent.to == ["ops@example.org"] and "trial: running" in sent.body


@pytest.mark.django_db(transaction=True)
def test_only_the_analysis_worker_loads_scipy(worker, fresh_wiring, tmp_path):
    """It analyzes on request. The check uses the libraries that each process has mapped."""
    factories.flag(FLAG, is_enabled=True)
    factories.experiment(FLAG, at=START)
    command = [sys.executable, "-m", "celery", "-A", "recsys_project", "worker", "-I", ANALYSIS_TASKS, "-Q", QUEUE]
    with run_process([*command, "-c", "1", "-l", "INFO"], tmp_path, DATABASE_URL=shared_database_url()) as (
        process,
        log,
    ):
        wait_until(is_ready_in_log(log), process, log)
        request_interim_analysis("trial")
        deadline = time.monotonic() + 60
        while not InterimAnalysis.objects.exists():
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        assert "site-packages/scipy/" in Path(f"/proc/{process.pid}/maps").read_text()
    assert "site-packages/scipy/" not in Path(f"/proc/{worker.process.pid}/maps").read_text()
