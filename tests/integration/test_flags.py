"""Flags: what each unit gets, how they change, what is recorded, and how soon everybody knows."""

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from django.db.models import ProtectedError
from openfeature import api
from openfeature.evaluation_context import EvaluationContext
from openfeature.flag_evaluation import Reason
from prometheus_client import REGISTRY
from rest_framework.exceptions import ValidationError

from flags import attributes, hooks, payload, provider, snapshot
from flags.experiments.openfeature_metadata import answer_from_details
from flags.models import Flag, FlagChange, PayloadVersion, PendingChange, Rule
from flags.models.append_only import AppendOnlyError
from flags.models.guarded import GuardedModel, UnrecordedChangeError
from flags.services.change import Actor, apply_change
from flags.services.errors import AlreadyExistsError, UnknownKeyError, VersionConflictError
from flags.services.evaluate import evaluate, evaluate_all_details
from flags.snapshot import FlagSnapshot
from recommendations.services.serving.query import assign_engine
from tests import factories

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
TEST = Actor(system="test")
UNITS = [f"unit-{n}" for n in range(2000)]


@pytest.fixture(autouse=True)
def fresh():
    snapshot.flag_snapshot.invalidate()
    yield
    snapshot.flag_snapshot.invalidate()


@pytest.fixture
def ann():
    return get_user_model().objects.create_user("ann")


def make(key="f", **fields):
    """Make a flag that is on for everybody, and of these fields."""
    patch = {"is_enabled": True, "rollout_percentage": 100} | fields
    return apply_change(key=key, patch=patch, actor=TEST, why="a test", now=NOW, create=True)


def put(key="f", **patch):
    return apply_change(key=key, patch=patch, actor=TEST, why="a test", now=NOW)


def segment(key, **fields):
    return apply_change(subject="segment", key=key, patch=fields, actor=TEST, why="a test", now=NOW, create=True)


def flag_value(unit, key="f", **known):
    return evaluate(key=key, unit_id=unit, attributes=known).value


def who(key="f"):
    return {unit for unit in UNITS if flag_value(unit, key) is True}


def test_raising_the_percentage_loses_nobody():
    """And it is about the share that it says."""
    make(rollout_percentage=0)
    assert who() == set()
    before = set()
    for percentage in (5, 15, 35, 75, 100):
        put(rollout_percentage=percentage)
        after = who()
        assert before <= after
        assert abs(len(after) / len(UNITS) - percentage / 100) < 0.03
        before = after
    assert flag_value("") is True  # everybody needs no id


def test_two_flags_at_a_quarter_meet_different_units():
    make("a", rollout_percentage=25)
    make("b", rollout_percentage=25)
    both = len(who("a") & who("b")) / len(UNITS)
    assert 0.03 < both < 0.1


def test_variants_share_by_weight_and_nobody_changes_variant_when_the_rollout_grows():
    variants = [{"name": "red", "value": "#f00", "weight": 1}, {"name": "blue", "value": "#00f", "weight": 3}]
    values = {"on_value": "", "default_value": "none", "off_value": "off"}
    make(kind="string", variants=variants, rollout_percentage=40, **values)
    before = {unit: flag_value(unit) for unit in UNITS}
    put(rollout_percentage=90)
    after = {unit: flag_value(unit) for unit in UNITS}
    assert {unit for unit in UNITS if before[unit] not in ("none", after[unit])} == set()
    red, blue = (sum(value == colour for value in after.values()) / len(UNITS) for colour in ("#f00", "#00f"))
    assert abs(red - 0.225) < 0.03 and abs(blue - 0.675) < 0.03
    put(is_enabled=False)
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
    """Those in it have the flag whatever the rollout; those on its deny list never by it."""
    segment("s", **fields)
    make(rollout_percentage=0, rules=[{"segment": "s"}])
    assert flag_value("unit-1", **inside) is True
    if outside is not None:
        assert flag_value("unit-1", **outside) is False
    else:
        assert flag_value("unit-2") is False
    apply_change(subject="segment", key="s", patch={"denied_ids": ["unit-1"]}, actor=TEST, why="x", now=NOW)
    assert flag_value("unit-1", **inside) is False


def test_rules_are_asked_in_order_and_may_serve_the_default():
    segment("staff", allowed_ids=["unit-1", "unit-2"])
    segment("noisy", allowed_ids=["unit-2"])
    make(rules=[{"segment": "noisy", "serves": "default"}, {"segment": "staff"}], rollout_percentage=0)
    assert [flag_value(f"unit-{n}") for n in (1, 2, 3)] == [True, False, False]


def test_a_prerequisite_must_have_its_value():
    make("base", rollout_percentage=50)
    make("f", prerequisites=[{"flag": "base", "value": True}])
    assert who("f") == who("base")
    put("base", is_enabled=False)
    assert who("f") == set()
    with pytest.raises(ValidationError, match="itself"):
        put("base", prerequisites=[{"flag": "f"}])


def test_a_schedule_turns_a_flag_on_and_off(monkeypatch):
    make(starts_at="2026-06-01T13:00:00Z", ends_at="2026-06-01T14:00:00Z")
    clock = [NOW]
    held = FlagSnapshot(lambda: clock[0])
    monkeypatch.setattr(snapshot, "REFRESH_SECONDS", -1.0)
    seen = []
    for minutes in (0, 59, 60, 119, 120):
        clock[0] = NOW + timedelta(minutes=minutes)
        seen.append(held.current().flags["f"].rollout.is_enabled)
    assert seen == [False, False, True, True, False]


def test_what_is_known_of_a_unit_is_read_only_if_a_rule_needs_it():
    asked = []
    attributes.register_attributes("test", {"shoe_size": "EU"}, lambda unit: asked.append(unit) or {"shoe_size": 44})
    try:
        make("plain")
        segment("large", conditions=[{"attribute": "shoe_size", "operator": "above", "values": [43]}])
        make(rollout_percentage=0, rules=[{"segment": "large"}])
        assert flag_value("unit-1", "plain") is True and asked == []
        assert flag_value("unit-1") is True and asked == ["unit-1"]
        assert flag_value("unit-1", shoe_size=30) is False and asked == ["unit-1"]
    finally:
        attributes._readers.pop("test")


def test_a_change_is_recorded_with_who_why_before_and_after(ann):
    make(rollout_percentage=5)
    record = apply_change(key="f", patch={"rollout_percentage": 10}, actor=Actor(ann), why=" faster ", now=NOW)
    assert (record.actor_name, record.why, record.changed_at, record.action) == ("ann", "faster", NOW, "changed")
    assert {k: (record.before[k], v) for k, v in record.after.items() if record.before[k] != v} == {
        "rollout_percentage": (5.0, 10.0)
    }
    assert put(rollout_percentage=10) is None, "what changes nothing is not recorded"
    assert FlagChange.objects.filter(key="f").count() == 2


def test_a_change_without_a_reason_is_refused():
    make()
    with pytest.raises(ValidationError, match="Say why"):
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
def test_a_wrong_value_is_refused_by_its_field_and_changes_nothing(patch, field):
    make()
    before = payload.load_payload((), NOW).compiled.digest
    with pytest.raises(ValidationError) as caught:
        apply_change(key="f", patch=patch, actor=TEST, why="a test", now=NOW)
    assert field in caught.value.detail
    assert payload.load_payload((), NOW).compiled.digest == before
    assert FlagChange.objects.filter(key="f").count() == 1


def test_a_change_from_an_older_version_is_refused():
    make()
    put(rollout_percentage=10)
    with pytest.raises(VersionConflictError, match="version 2"):
        apply_change(key="f", patch={"rollout_percentage": 20}, actor=TEST, why="x", now=NOW, version=1)
    with pytest.raises(AlreadyExistsError):
        make()
    with pytest.raises(UnknownKeyError):
        put("g", rollout_percentage=1)


@pytest.mark.parametrize("model", GuardedModel.__subclasses__(), ids=lambda model: model.__name__)
def test_nothing_but_the_service_writes(model):
    """Whatever way Django has of writing a row."""
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
        # A row that another one holds on to is not deleted in any case.
        with pytest.raises((UnrecordedChangeError, ProtectedError)):
            write()


def test_a_fixture_is_refused_as_well(tmp_path):
    file = tmp_path / "flags.json"
    file.write_text('[{"model": "flags.flag", "pk": 99, "fields": {"key": "x", "changed_at": "2026-06-01T00:00:00Z"}}]')
    with pytest.raises(UnrecordedChangeError):
        call_command("loaddata", str(file))


def test_nothing_hanging_on_a_flag_is_written_past_the_service():
    make()
    with pytest.raises(UnrecordedChangeError):
        Flag.objects.get(key="f").rules.add(Rule(percentage=1), bulk=False)


def test_the_record_cannot_be_changed_or_deleted():
    make()
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


def test_a_change_waits_for_approval_and_turning_off_in_an_emergency_does_not(ann):
    make(needs_approval=True, rollout_percentage=10)
    waiting = apply_change(key="f", patch={"rollout_percentage": 50}, actor=Actor(ann), why="more", now=NOW)
    assert isinstance(waiting, PendingChange)
    assert Flag.objects.get(key="f").rollout_percentage == 10
    done = apply_change(key="f", patch={"is_enabled": False}, actor=Actor(ann), why="fire", now=NOW, action="killed")
    assert isinstance(done, FlagChange) and flag_value("unit-1") is False


def test_what_is_kept_of_a_flag_that_is_turned_off_is_forgotten(django_capture_on_commit_callbacks):
    forgotten = []
    hooks.register_turn_off_hook("f", lambda: forgotten.append("f"))
    hooks.register_turn_off_hook("f", lambda: 1 / 0)
    try:
        make()
        with django_capture_on_commit_callbacks(execute=True):
            put(rollout_percentage=3)
        assert forgotten == []
        with django_capture_on_commit_callbacks(execute=True):
            put(is_enabled=False)
        assert forgotten == ["f"]
    finally:
        hooks._turn_off_hooks.pop("f")


def test_every_process_looks_for_changes_and_reads_only_then(monkeypatch, django_assert_num_queries):
    """Another process is another snapshot: it sees the token of a change, not the change's own word."""
    make()
    other = FlagSnapshot(lambda: NOW)
    assert other.current().flags["f"].rollout.percentage == 100
    with django_assert_num_queries(0):
        other.current()
    monkeypatch.setattr(snapshot, "REFRESH_SECONDS", -1.0)
    with django_assert_num_queries(2):
        first = other.current()
    put(rollout_percentage=7)
    assert other.current().flags["f"].rollout.percentage == 7
    assert other.current() is not first


def test_the_last_flags_hold_while_the_database_is_away(monkeypatch):
    make()
    held = FlagSnapshot(lambda: NOW)
    monkeypatch.setattr(snapshot, "REFRESH_SECONDS", -1.0)
    known = held.current()

    def gone(*_, **__):
        raise DatabaseError("gone")

    before = REGISTRY.get_sample_value("recsys_flag_errors_total", {"reason": "unreadable"}) or 0
    monkeypatch.setattr(snapshot.PayloadVersion.objects, "values_list", gone)
    assert held.current() is known
    assert FlagSnapshot(lambda: NOW).current().flags == {}
    after = REGISTRY.get_sample_value("recsys_flag_errors_total", {"reason": "unreadable"})
    assert after == before + 2


def test_a_flags_tables_without_a_token_are_read_all_the_same():
    PayloadVersion.objects.all().delete()
    make()
    assert PayloadVersion.objects.count() == 1 and flag_value("unit-1") is True


def ask(method, key, default, unit="unit-1", **known):
    return getattr(api.get_client(), f"get_{method}_details")(key, default, EvaluationContext(unit, known))


def test_openfeature_gives_typed_values_variants_and_reasons():
    make("b", rollout_percentage=50)
    found = {ask("boolean", "b", False, unit).reason for unit in UNITS[:50]}
    assert found == {Reason.SPLIT, Reason.DEFAULT}
    put("b", rollout_percentage=100)
    assert (ask("boolean", "b", False).reason, ask("boolean", "b", False).variant) == (Reason.STATIC, "on")
    put("b", is_enabled=False)
    assert (ask("boolean", "b", True).reason, ask("boolean", "b", True).value) == (Reason.DISABLED, False)
    make("n", kind="number", on_value=3, default_value=1, off_value=0)
    assert ask("integer", "n", 7).value == 3
    assert ask("float", "n", 7.0).value == 3.0 and type(ask("float", "n", 7.0).value) is float
    make("j", kind="json", on_value={"a": [1]}, default_value={}, off_value={})
    assert ask("object", "j", {}).value == {"a": [1]}
    make("s", kind="string", on_value="x", default_value="", off_value="")
    assert ask("string", "s", "y").value == "x"


@pytest.mark.parametrize(
    ("method", "key", "default", "reason"),
    [("boolean", "nothing", True, "flag_not_found"), ("string", "f", "mine", "type_mismatch")],
)
def test_an_error_is_counted_and_gives_the_askers_default(method, key, default, reason):
    make()
    before = REGISTRY.get_sample_value("recsys_flag_errors_total", {"reason": reason}) or 0
    assert ask(method, key, default).value == default
    assert REGISTRY.get_sample_value("recsys_flag_errors_total", {"reason": reason}) == before + 1


def test_a_broken_rule_is_counted_and_the_request_goes_on(monkeypatch):
    def broken(*_):
        raise RuntimeError

    make()
    before = REGISTRY.get_sample_value("recsys_flag_errors_total", {"reason": "general"}) or 0
    monkeypatch.setattr(provider, "evaluate_details", broken)
    assert ask("boolean", "f", True).value is True
    assert REGISTRY.get_sample_value("recsys_flag_errors_total", {"reason": "general"}) == before + 1


def test_the_flags_of_the_specification_ship():
    """And the road asks the first of them."""
    rows = {flag.key: (flag.is_enabled, flag.rollout_percentage) for flag in Flag.objects.all()}
    assert rows["experimental_features"] == (True, 10.0)
    assert "wasm_recommendations" in rows
    assert {"wasm_recommendations", "experimental_features"} <= set(
        FlagChange.objects.filter(action="created").values_list("key", flat=True)
    )


def running_experiment(flag):
    """Start an experiment on half of the units, and return its phase."""
    arms = [("control", 50, False, {"pace": 0}), ("wasm_conservative", 25, True, {"pace": 1})]
    arms.append(("wasm_aggressive", 25, True, {"pace": 2}))
    variants = [
        {"key": key, "weight": weight, "is_control": key == "control", "value": value, "config": config}
        for key, weight, value, config in arms
    ]
    return factories.experiment(flag.key, "rollout", at=NOW, traffic_percentage=50, variants=variants).phases.get()


def test_an_experiment_is_carried_through_openfeature_to_the_road():
    """Which variant, by which chance, with which settings; the rest of the members follow the rollout."""
    put("wasm_recommendations", is_enabled=True, rollout_percentage=100)
    phase = running_experiment(Flag.objects.get(key="wasm_recommendations"))
    snapshot.flag_snapshot.invalidate()
    seen = {}
    for unit in UNITS[:200]:
        details = ask("boolean", "wasm_recommendations", False, unit)
        answer = answer_from_details(details)
        assert answer == evaluate(key="wasm_recommendations", unit_id=unit)
        choice = assign_engine(unit)
        if answer.exposed_variant:
            assert (answer.exposed_variant.phase_id, answer.exposed_variant.variant) == (phase.pk, choice.variant)
        seen.setdefault((choice.engine, choice.variant), set()).add(bool(answer.exposed_variant))
    assert seen[("plain", "control")] == {True} and seen[("wasm_simd", "wasm_aggressive")] == {True}
    assert seen[("wasm_simd", "wasm_conservative")] == {True, False}


def test_all_flags_are_evaluated_with_one_reading_of_the_unit():
    asked = []
    attributes.register_attributes("test", {"shoe_size": "EU"}, lambda unit: asked.append(unit) or {})
    try:
        segment("large", conditions=[{"attribute": "shoe_size", "operator": "above", "values": [43]}])
        for key in ("f", "g"):
            make(key, rollout_percentage=0, rules=[{"segment": "large"}])
        found = evaluate_all_details(snapshot.flag_snapshot.current(), "unit-1")
        assert found["f"].reason == "DEFAULT" and asked == ["unit-1"]
    finally:
        attributes._readers.pop("test")
