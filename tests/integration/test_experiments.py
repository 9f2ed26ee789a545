"""Experiments: lifecycle, assignment, exposures, and what is frozen while they run."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth import get_user_model
from django.db import DatabaseError, connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from flags import rollout, snapshot
from flags.experiments.exposures import UnitExposure, record_exposures
from flags.experiments.rules import ExperimentArm, ExposedVariant, RunningExperiment
from flags.models import (
    ChangeSubject,
    ExclusionGroup,
    Experiment,
    Exposure,
    FlagChange,
    Holdout,
    Metric,
    PendingChange,
)
from flags.services import approve, experiments
from flags.services.change import apply_change
from flags.services.errors import InvalidChangeError, RefusedError, UnknownKeyError
from flags.services.evaluate import evaluate
from flags.services.record import Actor
from recommendations.services import wiring
from recommendations.services.serving import records
from recommendations.services.serving.query import WASM_ASSIGNMENT, assign_engine
from recommendations.services.serving.recommend import recommend
from tests import factories

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
CHANGE_ARGUMENTS = {"actor": Actor(system="test"), "why": "a test", "now": NOW}
UNITS = [f"unit-{n}" for n in range(2000)]
FLAG, FLOOR = "wasm_recommendations", "bandit_floor"


@pytest.fixture(autouse=True)
def fresh_state():
    factories.flag(FLAG, is_enabled=True, rollout_percentage=0)
    snapshot.flag_snapshot.invalidate()
    records.queued_exposures.clear()
    yield
    snapshot.flag_snapshot.invalidate()


def assigned_variants(units=UNITS, key=FLAG):
    """Return the variant of each unit in an experiment."""
    answers = {unit: evaluate(key=key, unit_id=unit) for unit in units}
    return {unit: answer.variant for unit, answer in answers.items() if answer.variant}


def save_experiment(key="trial", **patch):
    return apply_change(subject=ChangeSubject.EXPERIMENT, key=key, patch=patch, **CHANGE_ARGUMENTS)


def test_the_steps_of_an_experiment_are_recorded():
    """From the draft to the decision, with the assignment at each step."""
    factories.experiment(FLAG, started=False)
    assert not assigned_variants()
    row = experiments.start(key="trial", **CHANGE_ARGUMENTS)
    assert (row.state, row.started_at) == ("running", NOW)
    split = Counter(assigned_variants().values())
    assert set(split) == {"control", "treatment"} and abs(split["control"] - 1000) < 100
    before = assigned_variants()
    experiments.pause(key="trial", **CHANGE_ARGUMENTS)
    assert not assigned_variants()
    experiments.resume(key="trial", **CHANGE_ARGUMENTS)
    assert assigned_variants() == before
    row = experiments.finish(key="trial", decision="treatment", **CHANGE_ARGUMENTS)
    assert (row.state, row.decision, row.decision_reason, row.finished_at) == ("finished", "treatment", "a test", NOW)
    assert not assigned_variants() and row.phases.get().ended_at == NOW
    actions = FlagChange.objects.filter(subject=ChangeSubject.EXPERIMENT, key="trial").order_by("pk")
    assert [record.action for record in actions] == ["created", "started", "paused", "resumed", "finished"]
    assert actions.last().before["state"] == "running" and actions.last().after["decision"] == "treatment"


def test_the_assignment_is_frozen_while_an_experiment_runs():
    """Changes of variants, goal and traffic are refused with advice. The hypothesis can change."""
    factories.experiment(FLAG)
    Metric.objects.create(key="other", numerator=["like"])
    variants = [{"key": "a", "is_control": True, "value": False}, {"key": "b", "value": True}]
    for patch in ({"variants": variants}, {"goal": "other"}, {"traffic_percentage": 10}, {"is_sticky": False}):
        with pytest.raises(RefusedError, match=rf"cannot change: {next(iter(patch))}\. Begin a new phase"):
            save_experiment(**patch)
    assert save_experiment(hypothesis="It matters.", metrics=["other"]).action == "changed"
    with pytest.raises(RefusedError, match=r"cannot be set\. Use the steps: start, pause, resume, phase, finish"):
        save_experiment(state="finished")
    experiments.finish(key="trial", decision="", **CHANGE_ARGUMENTS)
    with pytest.raises(RefusedError, match="is finished and cannot change"):
        save_experiment(hypothesis="I knew it.")


@pytest.mark.parametrize(
    "patch, field",
    [
        ({"goal": None}, "goal"),
        ({"variants": []}, "variants"),
        ({"variants": [{"key": "a", "value": True}, {"key": "b", "value": True}]}, "variants"),
        (
            {"variants": [{"key": "a", "value": True, "is_control": True}, {"key": "b", "value": True, "weight": 0}]},
            "variants",
        ),
    ],
)
def test_an_incomplete_draft_does_not_start(patch, field):
    factories.experiment(FLAG, started=False, **patch)
    with pytest.raises(InvalidChangeError) as error:
        experiments.start(key="trial", **CHANGE_ARGUMENTS)
    assert field in error.value.detail
    assert Experiment.objects.get(key="trial").state == "draft"


@pytest.mark.parametrize(
    "patch, field",
    [
        ({"flag": "nothing"}, "flag"),
        ({"group": "nothing"}, "group"),
        ({"holdout": "nothing"}, "holdout"),
        ({"goal": "nothing"}, "goal"),
        ({"metrics": ["nothing"]}, "metrics"),
        ({"slot_from": 60, "slot_to": 50}, "slot_to"),
        (
            {"is_bandit": True, "bandit_floor": 0.5, "variants": [{"key": k, "value": True} for k in "abc"]},
            "bandit_floor",
        ),
        ({"variants": [{"key": "a", "value": "a text"}]}, "variants"),
        ({"variants": [{"key": "a", "value": True}, {"key": "a", "value": True}]}, "variants"),
        ({"variants": [{"key": k, "value": True, "is_control": True} for k in "ab"]}, "variants"),
        (
            {"variants": [{"key": k, "value": True, "config": {"pace": pace}} for k, pace in (("a", 1), ("b", "x"))]},
            "variants",
        ),
        ({"variants": [{"key": "a", "value": True, "config": {"x": 1}}, {"key": "b", "value": True}]}, "variants"),
        ({"color": "red"}, "color"),
    ],
)
def test_an_invalid_draft_is_refused_with_its_field(patch, field):
    with pytest.raises(InvalidChangeError) as error:
        factories.experiment(FLAG, started=False, **patch)
    assert set(error.value.detail) == {field}


def test_an_experiment_on_an_archived_flag_does_not_start():
    factories.experiment(FLAG, started=False)
    factories.flag(FLAG, is_archived=True)
    with pytest.raises(InvalidChangeError, match=f"{FLAG} is archived"):
        experiments.start(key="trial", **CHANGE_ARGUMENTS)
    assert Experiment.objects.get(key="trial").state == "draft"


def test_only_one_experiment_runs_on_a_flag_unless_they_share_a_group():
    """The slots of a group do not overlap, so a unit is in at most one of its experiments."""
    ExclusionGroup.objects.create(key="ranking")
    factories.experiment(FLAG)
    factories.experiment(FLAG, "second", started=False, group="ranking", slot_to=40)
    with pytest.raises(InvalidChangeError, match="trial runs on"):
        experiments.start(key="second", **CHANGE_ARGUMENTS)
    experiments.finish(key="trial", decision="", **CHANGE_ARGUMENTS)
    experiments.start(key="second", **CHANGE_ARGUMENTS)
    factories.experiment(FLAG, "third", started=False, group="ranking", slot_from=30)
    with pytest.raises(InvalidChangeError, match="overlaps with second, which has 0 to 40 % of the group"):
        experiments.start(key="third", **CHANGE_ARGUMENTS)
    save_experiment("third", slot_from=40)
    experiments.start(key="third", **CHANGE_ARGUMENTS)
    by_rule = Counter(evaluate(key=FLAG, unit_id=unit).rule for unit in UNITS)
    assert abs(by_rule["experiment:second"] / 2000 - 0.4) < 0.05
    assert abs(by_rule["experiment:third"] / 2000 - 0.6) < 0.05


def test_held_out_units_are_in_no_experiment():
    Holdout.objects.create(key="year", percentage=20)
    factories.experiment(FLAG, holdout="year")
    rules = Counter(evaluate(key=FLAG, unit_id=unit).rule for unit in UNITS)
    assert abs(rules["holdout:year"] / 2000 - 0.2) < 0.04


def test_more_traffic_removes_no_unit():
    factories.experiment(FLAG, traffic_percentage=20)
    few = assigned_variants()
    experiments.widen(key="trial", traffic_percentage=60, **CHANGE_ARGUMENTS)
    many = assigned_variants()
    assert len(many) > 2 * len(few) and few.items() <= many.items()
    with pytest.raises(RefusedError, match="would remove units"):
        experiments.widen(key="trial", traffic_percentage=30, **CHANGE_ARGUMENTS)
    assert Experiment.objects.get(key="trial").phases.get().traffic == 0.6


variant_weights = st.lists(st.floats(0.05, 1), min_size=2, max_size=5)


@settings(max_examples=50)
@given(
    weights=variant_weights, low=st.floats(0.01, 0.99), more=st.floats(0.01, 0.5), seed=st.text(min_size=1, max_size=8)
)
def test_widening_never_moves_a_unit(weights, low, more, seed):
    """For any variants and seed."""
    shares = [weight / sum(weights) for weight in weights]
    row = RunningExperiment(
        1, 1, "e", "f", seed, low, tuple(ExperimentArm(str(i), share, i, {}) for i, share in enumerate(shares))
    )
    wider = RunningExperiment(1, 1, "e", "f", seed, min(low + more, 1), row.arms)
    flag = rollout.Rollout("f", True, 0, on_value=1, default_value=-1, off_value=-2)
    small, large = (rollout.compile_rollouts([flag], [experiment]) for experiment in (row, wider))
    for unit in UNITS[:100]:
        first = rollout.evaluate_with_engine(small, "f", unit)
        if first.variant:
            assert rollout.evaluate_with_engine(large, "f", unit).variant == first.variant


def test_exposed_units_keep_their_variant_in_a_new_phase():
    """Other units are reassigned by the new weights and seed. Units that keep their variant are not exposed again."""
    factories.experiment(FLAG)
    first = assigned_variants()
    record_exposures(UnitExposure(unit, evaluate(key=FLAG, unit_id=unit).exposed_variant, NOW) for unit in UNITS[:300])
    row = experiments.begin_phase(key="trial", weights={"control": 10, "treatment": 90}, **CHANGE_ARGUMENTS)
    assert [phase.number for phase in row.phases.all()] == [1, 2] and row.phases.get(number=1).ended_at == NOW
    second = assigned_variants()
    assert {unit: second[unit] for unit in UNITS[:300]} == {unit: first[unit] for unit in UNITS[:300]}
    reassigned = Counter(second[unit] for unit in UNITS[300:])
    assert abs(reassigned["treatment"] / 1700 - 0.9) < 0.04
    answer = evaluate(key=FLAG, unit_id=UNITS[0])
    assert answer.variant == first[UNITS[0]] and answer.exposed_variant is None
    with pytest.raises(InvalidChangeError, match="control, treatment"):
        experiments.begin_phase(key="trial", weights={"control": 1}, **CHANGE_ARGUMENTS)


def test_units_are_assigned_by_the_new_weights_if_earlier_assignments_cannot_be_read(caplog, monkeypatch):
    monkeypatch.setattr(snapshot, "REFRESH_SECONDS", 1e9)
    factories.experiment(FLAG)
    record_exposures(UnitExposure(unit, evaluate(key=FLAG, unit_id=unit).exposed_variant, NOW) for unit in UNITS[:300])
    experiments.begin_phase(key="trial", weights={"control": 10, "treatment": 90}, **CHANGE_ARGUMENTS)
    snapshot.flag_snapshot.current()

    def fail(execute, sql, params, many, context):
        raise DatabaseError("unavailable")

    with connection.execute_wrapper(fail):
        answers = [evaluate(key=FLAG, unit_id=unit) for unit in UNITS[:300]]
    assert abs(sum(answer.variant == "treatment" for answer in answers) / 300 - 0.9) < 0.06
    assert all(answer.exposed_variant for answer in answers)
    assert {record.message for record in caplog.records} == {"earlier_assignments_not_loaded"}


def test_exposures_are_written_once_and_counted():
    """Repeated exposures in any order give one row; exposures of a missing phase are ignored."""
    factories.experiment(FLAG)
    phase = Experiment.objects.get(key="trial").phases.get()
    exposed_variant = ExposedVariant(phase.experiment_id, phase.pk, "treatment", 0.5)
    labels = {"experiment": "trial", "variant": "treatment"}
    before = REGISTRY.get_sample_value("recsys_flag_exposures_total", labels) or 0
    later = UnitExposure("ann", exposed_variant, NOW + timedelta(hours=1))
    assert (
        record_exposures([later, UnitExposure("ann", exposed_variant, NOW), UnitExposure("bob", exposed_variant, NOW)])
        == 2
    )
    assert record_exposures([later, UnitExposure("ann", ExposedVariant(1, 999_999, "treatment", 0.5), NOW)]) == 0
    assert Exposure.objects.get(unit_id="ann").exposed_at == NOW
    assert REGISTRY.get_sample_value("recsys_flag_exposures_total", labels) == before + 2


def test_experiments_of_a_flag_that_needs_approval_need_approval():
    """A second person must approve the start; a draft needs no approval."""
    factories.flag(FLAG, needs_approval=True)
    factories.experiment(FLAG, started=False)
    pending = experiments.start(key="trial", **CHANGE_ARGUMENTS)
    assert isinstance(pending, PendingChange) and not assigned_variants()
    second = get_user_model().objects.create_superuser("second", password="x" * 16)
    approve.approve(pending_id=pending.pk, user=second, now=NOW)
    assert Experiment.objects.get(key="trial").state == "running" and len(assigned_variants()) == 2000


def test_steps_that_the_state_does_not_allow_are_refused():
    factories.experiment(FLAG)
    with pytest.raises(RefusedError, match=r"trial is running\. This step needs an experiment that is draft"):
        experiments.start(key="trial", **CHANGE_ARGUMENTS)
    with pytest.raises(InvalidChangeError, match="no variant"):
        experiments.finish(key="trial", decision="nobody", **CHANGE_ARGUMENTS)
    with pytest.raises(UnknownKeyError):
        experiments.pause(key="nothing", **CHANGE_ARGUMENTS)


def test_the_initial_experiment_is_a_draft():
    row = Experiment.objects.get(key="wasm_recommendation_rollout")
    assert (row.state, row.flag.key, row.traffic_percentage) == ("draft", FLAG, 30.0)
    assert {variant.key: variant.weight for variant in row.variants.all()} == {
        "control": 50.0,
        "wasm_conservative": 25.0,
        "wasm_aggressive": 25.0,
    }
    assert FlagChange.objects.filter(subject=ChangeSubject.EXPERIMENT, key=row.key, action="created").exists()
    experiments.start(key=row.key, **CHANGE_ARGUMENTS)
    counts = Counter((choice.engine, choice.variant) for choice in map(assign_engine, UNITS))
    assert counts[("wasm_simd", "wasm_aggressive")] > 100 and counts[("plain", "control")] > 1500


@pytest.fixture
def ann(fresh_wiring):
    author = factories.member("author")
    factories.posts(author, 30)
    viewer = factories.member("ann")
    factories.embed_all_posts()
    return viewer


def record_and_list_exposures():
    records.record_served(now=NOW)
    return list(Exposure.objects.values_list("unit_id", "variant"))


def test_a_member_is_exposed_when_served(ann):
    """Fresh, cached and next pages give one row. A cached feed needs no additional query for the exposure."""
    recommend(member_id="ann", now=NOW)
    with CaptureQueriesContext(connection) as queries_without:
        recommend(member_id="ann", now=NOW)
    factories.experiment(FLAG)
    snapshot.flag_snapshot.current()
    page = recommend(member_id="ann", now=NOW)
    recommend(member_id="ann", cursor=page.next_cursor, now=NOW)
    with CaptureQueriesContext(connection) as queries_with:
        recommend(member_id="ann", now=NOW)
    assert record_and_list_exposures() == [("ann", assign_engine("ann").variant)]
    assert len(queries_with) == len(queries_without)


def test_a_process_queues_an_exposure_once(ann):
    """A process does not queue an exposure again. Another process may; there is still one row."""
    factories.experiment(FLAG)
    recommend(member_id="ann", now=NOW)
    assert record_and_list_exposures() == [("ann", assign_engine("ann").variant)]
    recommend(member_id="ann", now=NOW)
    queued = wiring.record_queue().take(100)
    assert queued and not any(record[:1] == records.EXPOSURE for record in queued.records)


def test_members_who_were_not_served_a_variant_are_not_exposed(ann):
    """A non-personalized feed, an engine that the caller chose, and a member who was erased before the write."""
    factories.experiment(FLAG)
    recommend(member_id="ann", feed="non_personalized", now=NOW)
    recommend(member_id="ann", assignment=WASM_ASSIGNMENT, now=NOW)
    assert record_and_list_exposures() == []
    recommend(member_id="ann", now=NOW)
    ann.delete()
    assert record_and_list_exposures() == []
