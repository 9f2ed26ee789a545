"""Results: from what members did to a snapshot; the bandit that follows it; the worker that has the statistics."""

import sys
import time
from datetime import timedelta
from math import isclose
from pathlib import Path

import numpy as np
import pytest
from django.core import mail
from django.core.management import call_command

from flags.analysis import bandit, interim_analysis
from flags.analysis.moments import compute_moments
from flags.analysis.statistics import fixed_interval, mean_difference
from flags.experiments import metric_sources
from flags.experiments.request_analysis import QUEUE, request_interim_analysis
from flags.models import Experiment, ExperimentResult, Exposure, InterimAnalysis, Metric
from flags.models.append_only import AppendOnlyError
from flags.services import experiments
from flags.services.change import Actor
from flags.services.weekly_digest import build_weekly_digest
from monitoring.models import MaintenanceRun
from recommendations.models import Interaction, Member, Post
from recsys_project.stack.commands import ANALYSIS_TASKS
from tests import factories
from tests.servers import is_ready_in_log, run_process, shared_database_url, wait_until

NOW = factories.NOW
START = NOW - timedelta(days=10)
DO = {"actor": Actor(system="test"), "why": "a test", "now": NOW}
FLAG = "wasm_recommendations"


def make_members(count, *, languages=("en",)):
    """Make members m0, m1, … and a post to act on."""
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
    """An experiment of 400 members: those treated click 60 % more, and turn down as much as the others."""
    members, post = make_members(400, languages=("en", "de"))
    metrics = ["engagement_rate", "click_through_rate", "negative_feedback_per_member"]
    experiment = factories.experiment(FLAG, at=START, goal="engagements_per_member", metrics=metrics)
    phase, rng, acts = experiment.phases.get(), np.random.default_rng(5), []
    halves = members[:200], members[200:]
    for half, variant, rate in zip(halves, ("control", "treatment"), (3.0, 4.8), strict=True):
        Exposure.objects.bulk_create(make_exposures(phase, half, variant))
        for member in half:
            habit = rng.gamma(2.0, 0.5)
            acts += make_interactions(member, post, "click", START - timedelta(days=2), int(rng.poisson(3 * habit)))
            acts += make_interactions(member, post, "click", START + timedelta(days=2), int(rng.poisson(rate * habit)))
            acts += make_interactions(member, post, "view", START + timedelta(days=1), 5)
    Interaction.objects.bulk_create(acts)
    return experiment


def result(snapshot, metric="engagements_per_member", slice_label=""):
    return snapshot.results.get(metric__key=metric, slice_label=slice_label)


def test_a_look_says_what_the_rows_say(trial):
    """Means, the fixed interval with what was before taken out, verdicts, and who is in."""
    snapshot = interim_analysis.run_interim_analysis(key="trial", now=NOW)
    assert snapshot.units == {"control": 200, "treatment": 200} and snapshot.sample_ratio_p == 1.0
    assert snapshot.daily_units == {variant: {"2026-05-22": 200} for variant in ("control", "treatment")}
    after = Interaction.objects.filter(kind="click", occurred_at__gte=START).values_list(
        "member__external_id", flat=True
    )
    counts = {f"m{n}": 0.0 for n in range(400)}
    for member in after:
        counts[member] += 1
    control, treatment = (np.array([counts[f"m{n}"] for n in part]) for part in (range(200), range(200, 400)))
    found = result(snapshot)
    assert isclose(found.control_mean, control.mean()) and isclose(found.mean, treatment.mean())
    plain = fixed_interval(mean_difference(compute_moments(control), compute_moments(treatment)))
    assert found.fixed_low < found.difference < found.fixed_high and found.fixed_high - found.fixed_low < plain.fixed_high - plain.fixed_low
    assert found.remaining_variance_ratio < 0.9
    assert (
        found.verdict == ExperimentResult.Verdict.BETTER and found.chance_better > 0.99 and found.expected_loss < 0.01
    )
    assert found.anytime_low < found.fixed_low and found.lift_low < 0.6 < found.lift_high
    assert result(snapshot, "click_through_rate").mean == pytest.approx(treatment.sum() / 1000)
    assert result(snapshot, "negative_feedback_per_member").difference == 0.0
    assert {row.slice_label for row in snapshot.results.exclude(slice_label="")} == {"language=en", "language=de"}
    assert snapshot.needed_units > 400 and snapshot.days_left is None, "nobody came this week: no pace"


def test_only_the_days_of_the_window_count_and_nothing_that_was_taken_back(trial):
    before = interim_analysis.run_interim_analysis(key="trial", now=NOW)
    post, treated = Post.objects.get(external_id="p"), Member.objects.get(external_id="m300")
    late = START + timedelta(days=trial.goal.window_days)
    rows = [
        *make_interactions(treated, post, "like", late, 50),
        *make_interactions(treated, post, "share", START, 50, undone_at=NOW),
    ]
    Interaction.objects.bulk_create(rows)
    assert result(interim_analysis.run_interim_analysis(key="trial", now=NOW)).mean == result(before).mean
    Interaction.objects.bulk_create(make_interactions(treated, post, "save", late - timedelta(seconds=1), 20))
    assert result(interim_analysis.run_interim_analysis(key="trial", now=NOW)).mean == pytest.approx(
        result(before).mean + 0.1
    )


def test_a_wrong_split_is_seen(trial):
    phase = trial.phases.get()
    more = [factories.member(f"x{n}") for n in range(150)]
    Exposure.objects.bulk_create(make_exposures(phase, more, "treatment"))
    snapshot = interim_analysis.run_interim_analysis(key="trial", now=NOW)
    assert snapshot.sample_ratio_p < 1e-6
    assert "WRONG SPLIT" in build_weekly_digest(now=NOW)[0]


def test_a_guardrail_is_safe_worse_or_open(trial):
    """Safe once no harm beyond the tolerance is left possible."""
    snapshot = interim_analysis.run_interim_analysis(key="trial", now=NOW)
    assert (
        result(snapshot, "negative_feedback_per_member").verdict == ExperimentResult.Verdict.INCONCLUSIVE
    )  # nobody turned anything down: no spread
    post = Post.objects.get(external_id="p")
    for member in Member.objects.filter(external_id__in=[f"m{n}" for n in range(200, 400)]):
        Interaction.objects.bulk_create(
            make_interactions(member, post, "hide", START + timedelta(days=1), member.pk % 3)
        )
    snapshot = interim_analysis.run_interim_analysis(key="trial", now=NOW)
    assert result(snapshot, "negative_feedback_per_member").verdict == ExperimentResult.Verdict.WORSE
    assert "WORSE on negative_feedback_per_member: treatment" in build_weekly_digest(now=NOW)[0]
    Metric.objects.filter(key="negative_feedback_per_member").update(numerator=["view"])
    equal = Interaction.objects.filter(kind="view", member__external_id="m0")
    equal.first().delete()
    assert (
        result(interim_analysis.run_interim_analysis(key="trial", now=NOW), "negative_feedback_per_member").verdict
        == ExperimentResult.Verdict.SAFE
    )


def test_looks_are_kept_as_they_were(trial):
    first = interim_analysis.run_interim_analysis(key="trial", now=NOW)
    second = interim_analysis.run_interim_analysis(key="trial", now=NOW + timedelta(days=1))
    assert list(InterimAnalysis.objects.filter(experiment=trial)) == [second, first]
    with pytest.raises(AppendOnlyError):
        first.save()


def test_what_never_ran_is_not_looked_at(db):
    factories.experiment(FLAG, started=False)
    with pytest.raises(interim_analysis.NothingToAnalyzeError, match="has not begun"):
        interim_analysis.run_interim_analysis(key="trial", now=NOW)


def test_an_experiment_without_units_has_a_look_that_says_so(db):
    factories.experiment(FLAG)
    snapshot = interim_analysis.run_interim_analysis(key="trial", now=NOW)
    found = snapshot.results.get()
    assert snapshot.units == {"control": 0, "treatment": 0} and snapshot.days_left is None
    assert (found.verdict, found.fixed_low, found.lift, found.chance_better) == (
        ExperimentResult.Verdict.INCONCLUSIVE,
        None,
        None,
        0.5,
    )


def test_a_metric_of_nobody_s_is_named(trial):
    Metric.objects.filter(key="engagement_rate").update(source="weather")
    with pytest.raises(KeyError, match="weather"):
        interim_analysis.run_interim_analysis(key="trial", now=NOW)
    assert metric_sources.metric_source_names() == ["interactions"]


def test_the_bandit_moves_weights_to_what_is_better(trial):
    """It waits for enough units, keeps the floor, is recorded as a rule, and begins a phase of its own."""
    experiments.finish(key="trial", decision="", **DO)
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
    assert bandit.update_weights(key="greedy", now=NOW) is None, "the same knowledge moves nothing"
    assert interim_analysis.run_interim_analysis(key="greedy", now=NOW).units == {"control": 200, "treatment": 200}


def test_the_digest_is_a_duty_that_is_kept_and_mailed(trial, monkeypatch):
    interim_analysis.run_interim_analysis(key="trial", now=NOW)
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
def test_the_analysis_worker_looks_on_demand_and_it_alone_has_the_statistics(worker, fresh_wiring, tmp_path):
    """Seen in the libraries that each process has mapped."""
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
