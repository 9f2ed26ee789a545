"""Evaluation, changes, change history and snapshot of flags."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from django.db.models import ProtectedError
from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.flag_evaluation import Reason
from prometheus_client import REGISTRY

from flags import attributes, hooks, payload, provider, snapshot
from flags.attributes import Attribute, AttributeType
from flags.experiments.exposures import UnitExposure, record_exposures
from flags.experiments.openfeature_metadata import answer_from_details
from flags.models import (
    Condition,
    ExclusionGroup,
    Experiment,
    ExperimentPhase,
    ExperimentResult,
    ExperimentVariant,
    Exposure,
    Flag,
    FlagChange,
    FlagVariant,
    Guardrail,
    Holdout,
    InterimAnalysis,
    Metric,
    PayloadVersion,
    PendingChange,
    Prerequisite,
    RolloutPhase,
    RolloutPlan,
    Rule,
    Segment,
)
from flags.models.append_only import AppendOnlyError
from flags.models.guarded import GuardedModel, UnrecordedChangeError, allow_guarded_writes
from flags.services import experiments
from flags.services.change import apply_change
from flags.services.errors import AlreadyExistsError, InvalidChangeError, UnknownKeyError, VersionConflictError
from flags.services.evaluate import evaluate, evaluate_all_details
from flags.services.explain import explain
from flags.services.record import Actor
from flags.snapshot import FlagSnapshot
from recommendations.services.serving.query import assign_engine
from tests import factories

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
TEST = Actor(system="test")
SHOE_SIZE = Attribute(AttributeType.NUMBER, "EU")
UNITS = [f"unit-{n}" for n in range(2000)]


@pytest.fixture(autouse=True)
def fresh_snapshot():
    snapshot.flag_snapshot.invalidate()
    yield
    snapshot.flag_snapshot.invalidate()


@pytest.fixture
def ann():
    return get_user_model().objects.create_user("ann")


def create_flag(key="f", **fields):
    """Create a flag that is on for all units, with these fields."""
    patch = {"is_enabled": True, "rollout_percentage": 100} | fields
    return apply_change(key=key, patch=patch, actor=TEST, why="a test", now=NOW, create=True)


def change_flag(key="f", **patch):
    return apply_change(key=key, patch=patch, actor=TEST, why="a test", now=NOW)


def create_segment(key, **fields):
    return apply_change(subject="segment", key=key, patch=fields, actor=TEST, why="a test", now=NOW, create=True)


def flag_value(unit, key="f", **attributes):
    return evaluate(key=key, unit_id=unit, attributes=attributes).value


def units_with_flag(key="f"):
    return {unit for unit in UNITS if flag_value(unit, key) is True}


def test_raising_the_percentage_never_removes_a_unit():
    """The fraction of units with the flag is close to the percentage."""
    create_flag(rollout_percentage=0)
    assert units_with_flag() == set()
    before = set()
    for percentage in (5, 15, 35, 75, 100):
        change_flag(rollout_percentage=percentage)
        after = units_with_flag()
        assert before <= after
        assert abs(len(after) / len(UNITS) - percentage / 100) < 0.03
        before = after
    assert flag_value("") is True  # a rollout to all units needs no id


def test_two_flags_at_the_same_percentage_reach_different_units():
    create_flag("a", rollout_percentage=25)
    create_flag("b", rollout_percentage=25)
    both = len(units_with_flag("a") & units_with_flag("b")) / len(UNITS)
    assert 0.03 < both < 0.1


def test_variants_follow_weights_and_no_unit_changes_variant_when_the_rollout_grows():
    variants = [{"name": "red", "value": "#f00", "weight": 1}, {"name": "blue", "value": "#00f", "weight": 3}]
    values = {"on_value": "", "default_value": "none", "off_value": "off"}
    create_flag(kind="string", variants=variants, rollout_percentage=40, **values)
    before = {unit: flag_value(unit) for unit in UNITS}
    change_flag(rollout_percentage=90)
    after = {unit: flag_value(unit) for unit in UNITS}
    assert {unit for unit in UNITS if before[unit] not in ("none", after[unit])} == set()
    red, blue = (sum(value == color for value in after.values()) / len(UNITS) for color in ("#f00", "#00f"))
    assert abs(red - 0.225) < 0.03 and abs(blue - 0.675) < 0.03
    change_flag(is_enabled=False)
    assert flag_value("unit-1") == "off"


@pytest.mark.parametrize(
    ("fields", "inside", "outside"),
    [
        ({"conditions": [{"attribute": "region", "values": ["DE", "AT"]}]}, {"region": "DE"}, {"region": "FR"}),
        ({"conditions": [{"attribute": "region", "operator": "not_in", "values": ["DE"]}]}, {"region": "FR"}, {}),
        ({"conditions": [{"attribute": "age", "operator": "at_least", "values": [18]}]}, {"age": 18}, {"age": 17}),
        ({"conditions": [{"attribute": "age", "operator": "below", "values": [18]}]}, {"age": 17}, {}),
        ({"conditions": [{"attribute": "langs", "values": ["de"]}]}, {"langs": ["en", "de"]}, {"langs": ["en"]}),
        (
            {"conditions": [{"attribute": "mail", "operator": "contains", "values": ["a.b"]}]},
            {"mail": "xa.by"},
            {"mail": "aXb"},
        ),
        (
            {"conditions": [{"attribute": "path", "operator": "starts_with", "values": ["ab"]}]},
            {"path": "abc"},
            {"path": "cab"},
        ),
        (
            {"conditions": [{"attribute": "app", "operator": "version_at_least", "values": ["2.10"]}]},
            {"app": "2.10.1"},
            {"app": "2.9"},
        ),
        ({"conditions": [{"attribute": "beta", "operator": "unknown"}]}, {}, {"beta": True}),
        (
            {"match": "any", "conditions": [{"attribute": "a", "values": [1]}, {"attribute": "b", "values": [1]}]},
            {"b": 1},
            {"b": 2},
        ),
        (
            {"conditions": [{"attribute": "a", "values": [1]}, {"attribute": "b", "values": [1]}]},
            {"a": 1, "b": 1},
            {"b": 1},
        ),
        ({"allowed_ids": ["unit-1"]}, {}, None),
    ],
)
def test_a_rule_decides_for_its_segment(fields, inside, outside):
    """Units in the segment have the flag at any percentage. Units on the deny list do not get it by the rule."""
    create_segment("s", **fields)
    create_flag(rollout_percentage=0, rules=[{"segment": "s"}])
    assert flag_value("unit-1", **inside) is True
    if outside is not None:
        assert flag_value("unit-1", **outside) is False
    else:
        assert flag_value("unit-2") is False
    apply_change(subject="segment", key="s", patch={"denied_ids": ["unit-1"]}, actor=TEST, why="x", now=NOW)
    assert flag_value("unit-1", **inside) is False


def test_rules_are_evaluated_in_order_and_can_serve_the_default():
    create_segment("staff", allowed_ids=["unit-1", "unit-2"])
    create_segment("noisy", allowed_ids=["unit-2"])
    create_flag(rules=[{"segment": "noisy", "serves": "default"}, {"segment": "staff"}], rollout_percentage=0)
    assert [flag_value(f"unit-{n}") for n in (1, 2, 3)] == [True, False, False]


def test_a_rule_may_serve_one_variant_to_its_whole_segment():
    create_segment("staff", allowed_ids=UNITS[:20])
    variants = [{"name": "red", "value": "#f00", "weight": 1}, {"name": "blue", "value": "#00f", "weight": 1}]
    values = {"on_value": "", "default_value": "none", "off_value": "off"}
    create_flag(kind="string", variants=variants, rules=[{"segment": "staff", "serves": "blue"}], **values)
    assert {flag_value(unit) for unit in UNITS[:20]} == {"#00f"}
    assert {flag_value(unit) for unit in UNITS[20:60]} == {"#f00", "#00f"}


def test_a_rule_without_a_segment_decides_for_all_units():
    create_flag(rollout_percentage=0, rules=[{"percentage": 30, "serves": "default"}, {"percentage": 100}])
    assert 0.67 < len(units_with_flag()) / len(UNITS) < 0.73, "the first rule comes before the second"


def test_a_prerequisite_must_have_its_value():
    create_flag("base", rollout_percentage=50)
    create_flag("f", prerequisites=[{"flag": "base", "value": True}])
    assert units_with_flag("f") == units_with_flag("base")
    change_flag("base", is_enabled=False)
    assert units_with_flag("f") == set()
    with pytest.raises(InvalidChangeError, match="itself"):
        change_flag("base", prerequisites=[{"flag": "f"}])


def test_two_prerequisites_may_require_the_same_flag():
    """A rule of that flag reads its attribute, although the evaluated flag has no rule."""
    create_segment("adults", conditions=[{"attribute": "age", "operator": "at_least", "values": [18]}])
    create_flag("root", rollout_percentage=0, rules=[{"segment": "adults"}])
    for key in ("left", "right"):
        create_flag(key, prerequisites=[{"flag": "root"}])
    create_flag("f", prerequisites=[{"flag": "left"}, {"flag": "right"}])
    assert snapshot.flag_snapshot.current().flags["f"].attributes == {"age"}
    assert flag_value("unit-1", age=18) is True and flag_value("unit-1", age=17) is False
    with pytest.raises(InvalidChangeError, match="only once"):
        change_flag("f", prerequisites=[{"flag": "left"}, {"flag": "left"}])


def test_a_flag_whose_prerequisite_is_archived_has_its_default_value():
    create_flag("base")
    create_flag("f", prerequisites=[{"flag": "base"}])
    change_flag("base", is_archived=True)
    assert flag_value("unit-1") is False
    steps = explain(key="f", unit_id="unit-1", given_attributes={}, now=NOW).steps
    assert [(step.rule, step.is_decisive) for step in steps] == [("requires base", True)]
    assert "None, not True" in steps[0].outcome


def test_a_schedule_turns_a_flag_on_and_off(monkeypatch):
    create_flag(starts_at="2026-06-01T13:00:00Z", ends_at="2026-06-01T14:00:00Z")
    clock = [NOW]
    flag_snapshot = FlagSnapshot(lambda: clock[0])
    monkeypatch.setattr(snapshot, "REFRESH_SECONDS", -1.0)
    states = []
    for minutes in (0, 59, 60, 119, 120):
        clock[0] = NOW + timedelta(minutes=minutes)
        states.append(flag_snapshot.current().flags["f"].rollout.is_enabled)
    assert states == [False, False, True, True, False]


def test_attributes_of_a_unit_are_read_only_if_a_rule_needs_them():
    read_units = []
    attributes.register_attributes(
        "test", {"shoe_size": SHOE_SIZE}, lambda unit: read_units.append(unit) or {"shoe_size": 44}
    )
    try:
        create_flag("plain")
        create_segment("large", conditions=[{"attribute": "shoe_size", "operator": "above", "values": [43]}])
        create_flag(rollout_percentage=0, rules=[{"segment": "large"}])
        assert flag_value("unit-1", "plain") is True and read_units == []
        assert flag_value("unit-1") is True and read_units == ["unit-1"]
        assert flag_value("unit-1", shoe_size=30) is False and read_units == ["unit-1"]
    finally:
        attributes._readers.pop("test")


def test_a_segment_of_members_is_chosen_by_their_attributes():
    """An unknown member has no attributes, and a member without a region has no region."""
    factories.member("german", region="DE", languages=["de", "en"])
    factories.member("nowhere", languages=["de"])
    create_segment("germans", conditions=[{"attribute": "region", "values": ["DE"]}])
    create_segment("readers", conditions=[{"attribute": "languages", "values": ["de"]}])
    create_flag("regional", rollout_percentage=0, rules=[{"segment": "germans"}])
    create_flag("spoken", rollout_percentage=0, rules=[{"segment": "readers"}])
    assert [flag_value(unit, "regional") for unit in ("german", "nowhere", "unknown")] == [True, False, False]
    assert [flag_value(unit, "spoken") for unit in ("german", "nowhere", "unknown")] == [True, True, False]


def test_a_failed_reader_leaves_its_attributes_unknown(caplog):
    """The flag is still evaluated, with the attributes of the other readers."""

    def fail(unit_id):
        raise DatabaseError("unavailable")

    attributes.register_attributes("broken", {"height": Attribute(AttributeType.NUMBER, "in cm")}, fail)
    attributes.register_attributes("test", {"shoe_size": SHOE_SIZE}, lambda unit: {"shoe_size": 44})
    try:
        create_segment("tall", conditions=[{"attribute": "height", "operator": "above", "values": [180]}])
        create_segment("large", conditions=[{"attribute": "shoe_size", "operator": "above", "values": [43]}])
        create_flag("tall_only", rollout_percentage=0, rules=[{"segment": "tall"}])
        create_flag(rollout_percentage=0, rules=[{"segment": "tall"}, {"segment": "large"}])
        assert flag_value("unit-1", "tall_only") is False and flag_value("unit-1") is True
        assert [record.message for record in caplog.records] == ["attribute_reader_failed"] * 2
    finally:
        for name in ("broken", "test"):
            attributes._readers.pop(name)


@pytest.mark.parametrize("names", [{}, {"system": "x", "user": User(username="ann")}], ids=["neither", "both"])
def test_an_actor_is_either_a_user_or_a_system(names):
    with pytest.raises(ValueError, match="either a user or a system"):
        Actor(**names)


def test_a_change_is_recorded_with_actor_reason_before_and_after(ann):
    create_flag(rollout_percentage=5)
    record = apply_change(key="f", patch={"rollout_percentage": 10}, actor=Actor(ann), why=" faster ", now=NOW)
    assert (record.actor_name, record.why, record.changed_at, record.action) == ("ann", "faster", NOW, "changed")
    assert {k: (record.before[k], v) for k, v in record.after.items() if record.before[k] != v} == {
        "rollout_percentage": (5.0, 10.0)
    }
    assert change_flag(rollout_percentage=10) is None, "a patch without effect is not recorded"
    assert FlagChange.objects.filter(key="f").count() == 2


def test_a_change_without_a_reason_is_refused():
    create_flag()
    with pytest.raises(InvalidChangeError, match="Give a reason"):
        apply_change(key="f", patch={"is_enabled": False}, actor=TEST, why=" ", now=NOW)


@pytest.mark.parametrize(
    ("patch", "field"),
    [
        ({"rollout_percentage": 101}, "rollout_percentage"),
        ({"rollout_percent": 10}, "rollout_percent"),
        ({"on_value": 3}, "on_value"),
        ({"on_value": None}, "on_value"),
        ({"kind": "number"}, "on_value"),
        ({"variants": [{"name": "on", "value": True}]}, "variants"),
        ({"variants": [{"name": "a", "value": True}, {"name": "a", "value": True}]}, "variants"),
        ({"variants": [{"name": "a", "value": True, "weight": 0}]}, "variants"),
        ({"rules": [{"serves": "red"}]}, "rules"),
        ({"rules": [{"segment": "nobody"}]}, "rules"),
        ({"prerequisites": [{"flag": "none"}]}, "prerequisites"),
        ({"prerequisites": [{"flag": "f"}]}, "prerequisites"),
        ({"starts_at": "2026-06-02T00:00:00Z", "ends_at": "2026-06-01T00:00:00Z"}, "ends_at"),
        ({"starts_at": "soon"}, "starts_at"),
        ({"key": "other"}, "key"),
    ],
)
def test_an_invalid_value_is_refused_with_its_field_and_changes_nothing(patch, field):
    create_flag()
    before = payload.load_payload((), NOW).compiled.digest
    with pytest.raises(InvalidChangeError) as error:
        apply_change(key="f", patch=patch, actor=TEST, why="a test", now=NOW)
    assert field in error.value.detail
    assert payload.load_payload((), NOW).compiled.digest == before
    assert FlagChange.objects.filter(key="f").count() == 1


def test_a_change_from_an_older_version_is_refused():
    create_flag()
    change_flag(rollout_percentage=10)
    with pytest.raises(VersionConflictError, match="version 2"):
        apply_change(key="f", patch={"rollout_percentage": 20}, actor=TEST, why="x", now=NOW, version=1)
    with pytest.raises(AlreadyExistsError):
        create_flag()
    with pytest.raises(UnknownKeyError):
        change_flag("g", rollout_percentage=1)


@pytest.mark.parametrize("model", GuardedModel.__subclasses__(), ids=lambda model: model.__name__)
def test_guarded_rows_are_written_only_by_the_service(model):
    """Every way in which Django writes a row is refused."""
    row = model(pk=1)
    for write in (
        row.save,
        row.delete,
        lambda: model.objects.create(),
        lambda: model.objects.all().update(pk=1),
        lambda: model.objects.all().delete(),
        lambda: model.objects.bulk_create([row]),
        lambda: model.objects.bulk_update([row], ["id"]),
    ):
        # Deleting a row that other rows protect raises ProtectedError instead.
        with pytest.raises((UnrecordedChangeError, ProtectedError)):
            write()


def test_the_service_may_write_guarded_rows_in_bulk():
    create_flag()
    flag = Flag.objects.get(key="f")
    flag.description = "changed"
    with allow_guarded_writes():
        assert Flag.objects.bulk_update([flag], ["description"]) == 1
    assert Flag.objects.get(key="f").description == "changed"


NAMES = [
    (Flag(key="f"), "f"),
    (FlagVariant(name="red"), "red"),
    (Rule(percentage=5), "5 % of all members"),
    (Rule(percentage=5, segment=Segment(key="staff")), "5 % of staff"),
    (Prerequisite(required_flag=Flag(key="base"), value=True), "base is True"),
    (Segment(key="staff"), "staff"),
    (Condition(attribute="age", operator="at_least", values=[18]), "age is at least 18"),
    (Condition(attribute="region", values=["DE", "AT"]), "region is one of DE, AT"),
    (RolloutPlan(key="p"), "p"),
    (RolloutPhase(percentage=15), "15 %"),
    (Guardrail(gauge="errors", threshold=0.5), "errors at most 0.5"),
    (Guardrail(gauge="errors", variant="new", bound="at_least", threshold=0.5), "errors of new at least 0.5"),
    (FlagChange(key="f", action="killed"), "f killed"),
    (PendingChange(key="f", action="changed"), "f changed"),
    (PayloadVersion(token=UUID(int=7)), "00000000-0000-0000-0000-000000000007"),
    (ExclusionGroup(key="ranking"), "ranking"),
    (Holdout(key="year", percentage=2.5), "year (2.5 %)"),
    (Metric(key="saves"), "saves"),
    (Experiment(key="trial"), "trial"),
    (ExperimentVariant(key="control"), "control"),
    (ExperimentPhase(experiment_id=3, number=2), "3 phase 2"),
    (Exposure(unit_id="unit-1", variant="control"), "unit-1: control"),
    (InterimAnalysis(experiment_id=3, analyzed_at=NOW), "3 at 2026-06-01 12:00"),
    (ExperimentResult(metric_id=4, variant="control", slice_label="language=en"), "4 control language=en"),
]


def test_every_row_has_a_name_for_people():
    assert [str(row) for row, _ in NAMES] == [name for _, name in NAMES]
    assert {type(row) for row, _ in NAMES} == set(apps.get_app_config("flags").get_models())


def test_loaddata_is_refused(tmp_path):
    file = tmp_path / "flags.json"
    file.write_text('[{"model": "flags.flag", "pk": 99, "fields": {"key": "x", "changed_at": "2026-06-01T00:00:00Z"}}]')
    with pytest.raises(UnrecordedChangeError):
        call_command("loaddata", str(file))


def test_child_rows_of_a_flag_are_written_only_by_the_service():
    create_flag()
    with pytest.raises(UnrecordedChangeError):
        Flag.objects.get(key="f").rules.add(Rule(percentage=1), bulk=False)


def test_the_change_history_cannot_be_changed_or_deleted():
    create_flag()
    record = FlagChange.objects.filter(key="f").get()
    record.why = "another"
    for write in (
        record.save,
        record.delete,
        lambda: FlagChange.objects.update(why="another"),
        lambda: FlagChange.objects.all().delete(),
    ):
        with pytest.raises(AppendOnlyError):
            write()
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("UPDATE flags_flagchange SET why = 'another'")
    assert FlagChange.objects.filter(key="f").get().why == "a test"


def test_a_change_needs_approval_but_turning_off_in_an_emergency_does_not(ann):
    create_flag(needs_approval=True, rollout_percentage=10)
    pending = apply_change(key="f", patch={"rollout_percentage": 50}, actor=Actor(ann), why="more", now=NOW)
    assert isinstance(pending, PendingChange)
    assert Flag.objects.get(key="f").rollout_percentage == 10
    killed = apply_change(key="f", patch={"is_enabled": False}, actor=Actor(ann), why="fire", now=NOW, action="killed")
    assert isinstance(killed, FlagChange) and flag_value("unit-1") is False


purged_flags = []


def purge_flag():
    purged_flags.append("f")


def break_down():
    raise RuntimeError("the hook is broken")


def test_turning_a_flag_off_runs_its_hooks(django_capture_on_commit_callbacks):
    purged_flags.clear()
    for hook in (purge_flag, break_down):
        hooks.register_turn_off_hook("f", f"{__name__}.{hook.__name__}")
    try:
        create_flag()
        with django_capture_on_commit_callbacks(execute=True):
            change_flag(rollout_percentage=3)
        assert purged_flags == []
        with django_capture_on_commit_callbacks(execute=True):
            change_flag(is_enabled=False)
        assert purged_flags == ["f"]
    finally:
        hooks._turn_off_hooks.pop("f")


def test_a_process_polls_for_changes_and_reloads_only_after_one(monkeypatch, django_assert_num_queries):
    """A second snapshot stands for another process: it notices a change only by the token."""
    create_flag()
    other_process = FlagSnapshot(lambda: NOW)
    assert other_process.current().flags["f"].rollout.percentage == 100
    with django_assert_num_queries(0):
        other_process.current()
    monkeypatch.setattr(snapshot, "REFRESH_SECONDS", -1.0)
    with django_assert_num_queries(2):
        first = other_process.current()
    change_flag(rollout_percentage=7)
    assert other_process.current().flags["f"].rollout.percentage == 7
    assert other_process.current() is not first


def test_the_last_flags_stay_in_use_while_the_database_is_unavailable(monkeypatch):
    create_flag()
    flag_snapshot = FlagSnapshot(lambda: NOW)
    monkeypatch.setattr(snapshot, "REFRESH_SECONDS", -1.0)
    loaded = flag_snapshot.current()

    def fail(*_, **__):
        raise DatabaseError("unavailable")

    before = REGISTRY.get_sample_value("recsys_flag_errors_total", {"reason": "unreadable"}) or 0
    monkeypatch.setattr(snapshot.PayloadVersion.objects, "values_list", fail)
    assert flag_snapshot.current() is loaded
    assert FlagSnapshot(lambda: NOW).current().flags == {}
    after = REGISTRY.get_sample_value("recsys_flag_errors_total", {"reason": "unreadable"})
    assert after == before + 2


def test_a_thread_that_waited_for_the_first_load_does_not_load_again():
    loads = []
    flag_snapshot = FlagSnapshot(lambda: loads.append("a load") or NOW)

    class LockHeldByAnotherThread:
        """A lock whose first caller waits until another thread has loaded the flags."""

        is_free = False

        def acquire(self, *, blocking):
            assert blocking, "without flags there is nothing else to serve"
            if not self.is_free:
                self.is_free = True
                flag_snapshot.current()
            return True

        def release(self):
            pass

    create_flag()
    flag_snapshot._lock = LockHeldByAnotherThread()
    assert flag_snapshot.current().flags["f"].rollout.percentage == 100
    assert loads == ["a load"]


def test_the_last_flags_are_served_while_another_thread_loads_new_ones(monkeypatch):
    create_flag()
    flag_snapshot = FlagSnapshot(lambda: NOW)
    loaded = flag_snapshot.current()
    change_flag(rollout_percentage=7)
    monkeypatch.setattr(snapshot, "REFRESH_SECONDS", -1.0)
    with flag_snapshot._lock:
        assert flag_snapshot.current() is loaded
    assert flag_snapshot.current().flags["f"].rollout.percentage == 7


def test_flags_are_loaded_without_a_payload_token():
    PayloadVersion.objects.all().delete()
    create_flag()
    assert PayloadVersion.objects.count() == 1 and flag_value("unit-1") is True


def evaluate_by_openfeature(method, key, default, unit="unit-1", **attributes):
    return getattr(api.get_client(), f"get_{method}_details")(key, default, EvaluationContext(unit, attributes))


def test_openfeature_returns_typed_values_variants_and_reasons():
    create_flag("b", rollout_percentage=50)
    reasons = {evaluate_by_openfeature("boolean", "b", False, unit).reason for unit in UNITS[:50]}
    assert reasons == {Reason.SPLIT, Reason.DEFAULT}
    change_flag("b", rollout_percentage=100)
    assert (
        evaluate_by_openfeature("boolean", "b", False).reason,
        evaluate_by_openfeature("boolean", "b", False).variant,
    ) == (Reason.STATIC, "on")
    change_flag("b", is_enabled=False)
    assert (
        evaluate_by_openfeature("boolean", "b", True).reason,
        evaluate_by_openfeature("boolean", "b", True).value,
    ) == (Reason.DISABLED, False)
    create_flag("n", kind="number", on_value=3, default_value=1, off_value=0)
    assert evaluate_by_openfeature("integer", "n", 7).value == 3
    assert (
        evaluate_by_openfeature("float", "n", 7.0).value == 3.0
        and type(evaluate_by_openfeature("float", "n", 7.0).value) is float
    )
    create_flag("j", kind="json", on_value={"a": [1]}, default_value={}, off_value={})
    assert evaluate_by_openfeature("object", "j", {}).value == {"a": [1]}
    create_flag("s", kind="string", on_value="x", default_value="", off_value="")
    assert evaluate_by_openfeature("string", "s", "y").value == "x"


@pytest.mark.parametrize(
    ("method", "key", "default", "reason"),
    [("boolean", "nothing", True, "flag_not_found"), ("string", "f", "mine", "type_mismatch")],
)
def test_an_error_is_counted_and_gives_the_callers_default(method, key, default, reason):
    create_flag()
    before = REGISTRY.get_sample_value("recsys_flag_errors_total", {"reason": reason}) or 0
    assert evaluate_by_openfeature(method, key, default).value == default
    assert REGISTRY.get_sample_value("recsys_flag_errors_total", {"reason": reason}) == before + 1


def test_a_failed_evaluation_is_counted_and_does_not_fail_the_request(monkeypatch):
    def fail(*_):
        raise RuntimeError

    create_flag()
    before = REGISTRY.get_sample_value("recsys_flag_errors_total", {"reason": "general"}) or 0
    monkeypatch.setattr(provider, "evaluate_details", fail)
    assert evaluate_by_openfeature("boolean", "f", True).value is True
    assert REGISTRY.get_sample_value("recsys_flag_errors_total", {"reason": "general"}) == before + 1


def test_the_initial_flags_exist_and_are_recorded():
    rows = {flag.key: (flag.is_enabled, flag.rollout_percentage) for flag in Flag.objects.all()}
    assert rows["experimental_features"] == (True, 10.0)
    assert "wasm_recommendations" in rows
    assert {"wasm_recommendations", "experimental_features"} <= set(
        FlagChange.objects.filter(action="created").values_list("key", flat=True)
    )


def running_experiment(flag):
    """Start an experiment on half of the units, and return its phase."""
    rows = [
        ("control", 50, False, {"pace": 0}),
        ("wasm_conservative", 25, True, {"pace": 1}),
        ("wasm_aggressive", 25, True, {"pace": 2}),
    ]
    variants = [
        {"key": key, "weight": weight, "is_control": key == "control", "value": value, "config": config}
        for key, weight, value, config in rows
    ]
    return factories.experiment(flag.key, "rollout", at=NOW, traffic_percentage=50, variants=variants).phases.get()


def test_openfeature_carries_an_experiments_variant_to_the_recommendations():
    """The answer has the variant, its propensity and settings. Other members follow the rollout."""
    change_flag("wasm_recommendations", is_enabled=True, rollout_percentage=100)
    phase = running_experiment(Flag.objects.get(key="wasm_recommendations"))
    snapshot.flag_snapshot.invalidate()
    exposed_by_choice = {}
    for unit in UNITS[:200]:
        details = evaluate_by_openfeature("boolean", "wasm_recommendations", False, unit)
        answer = answer_from_details(details)
        assert answer == evaluate(key="wasm_recommendations", unit_id=unit)
        choice = assign_engine(unit)
        if answer.exposed_variant:
            assert (answer.exposed_variant.phase_id, answer.exposed_variant.variant) == (phase.pk, choice.variant)
        exposed_by_choice.setdefault((choice.engine, choice.variant), set()).add(bool(answer.exposed_variant))
    assert exposed_by_choice[("plain", "control")] == {True} and exposed_by_choice[
        ("wasm_simd", "wasm_aggressive")
    ] == {True}
    assert exposed_by_choice[("wasm_simd", "wasm_conservative")] == {True, False}


def test_openfeature_carries_the_variant_of_an_earlier_phase_without_an_exposure():
    """The exposure of the earlier phase exists already."""
    change_flag("wasm_recommendations", is_enabled=True, rollout_percentage=100)
    running_experiment(Flag.objects.get(key="wasm_recommendations"))
    snapshot.flag_snapshot.invalidate()
    exposed = {unit: evaluate(key="wasm_recommendations", unit_id=unit).exposed_variant for unit in UNITS[:50]}
    exposed = {unit: variant for unit, variant in exposed.items() if variant}
    record_exposures(UnitExposure(unit, variant, NOW) for unit, variant in exposed.items())
    weights = {"control": 10, "wasm_conservative": 10, "wasm_aggressive": 80}
    experiments.begin_phase(key="rollout", weights=weights, actor=TEST, why="a test", now=NOW)
    answers = {
        unit: answer_from_details(evaluate_by_openfeature("boolean", "wasm_recommendations", False, unit))
        for unit in exposed
    }
    assert {unit: answer.variant for unit, answer in answers.items()} == {
        unit: variant.variant for unit, variant in exposed.items()
    }
    assert {answer.exposed_variant for answer in answers.values()} == {None}


def test_all_flags_are_evaluated_with_one_read_of_the_attributes():
    read_units = []
    attributes.register_attributes("test", {"shoe_size": SHOE_SIZE}, lambda unit: read_units.append(unit) or {})
    try:
        create_segment("large", conditions=[{"attribute": "shoe_size", "operator": "above", "values": [43]}])
        for key in ("f", "g"):
            create_flag(key, rollout_percentage=0, rules=[{"segment": "large"}])
        evaluations = evaluate_all_details(snapshot.flag_snapshot.current(), "unit-1")
        assert evaluations["f"].reason == "DEFAULT" and read_units == ["unit-1"]
    finally:
        attributes._readers.pop("test")
