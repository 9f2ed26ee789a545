"""History, approval, explanation, YAML, stale flags and rollout plans."""

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from rest_framework.exceptions import ValidationError

from flags import attributes, gauges, snapshot
from flags.models import Flag, FlagChange, PendingChange, RolloutPlan, Segment
from flags.services import approve, erasure, rollouts, transfer
from flags.services.change import Actor, apply_change
from flags.services.errors import ForbiddenError, RefusedError, UnknownKeyError
from flags.services.evaluate import evaluate
from flags.services.explain import explain
from flags.services.history import find_differences, restore_change
from flags.services.kill import kill_flag
from flags.services.stale_flags import find_stale_flags
from tests import factories

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
TEST = Actor(system="test")


@pytest.fixture(autouse=True)
def fresh():
    snapshot.flag_snapshot.invalidate()
    yield
    snapshot.flag_snapshot.invalidate()


@pytest.fixture
def ann():
    return get_user_model().objects.create_user("ann")


@pytest.fixture
def releaser():
    user = get_user_model().objects.create_user("rob")
    user.user_permissions.add(Permission.objects.get(codename="release_flag"))
    return user


@pytest.fixture
def metric_values():
    """Return what guardrails read: name to (value, samples), set by the test."""
    values = {"errors": (0.0, 1000), "quality": (0.9, 1000)}
    asked = []

    def reader(name):
        def read(variant, since, until):
            asked.append((name, variant, since, until))
            return gauges.MetricValue(*values[name])

        return read

    for name in values:
        gauges.register_gauge(name, "of the test", reader(name))
    yield values, asked
    for name in values:
        gauges._gauges.pop(name)


def put(key="f", *, actor=TEST, **patch):
    return apply_change(key=key, patch=patch, actor=actor, why="a test", now=NOW)


def test_a_difference_is_of_one_value():
    """Rows of lists, too: what Flagsmith's users miss in its log."""
    before = {"rules": [{"segment": "a", "percentage": 5.0}], "tags": ["x"], "is_enabled": False}
    after = {"rules": [{"segment": "a", "percentage": 7.5}, {"segment": None}], "tags": ["x", "y"], "is_enabled": False}
    assert [(d.field, d.before, d.after) for d in find_differences(before, after)] == [
        ("rules 1 percentage", "5", "7.5"),
        ("tags", "x", "x, y"),
    ]


def test_any_version_is_restored(ann):
    factories.flag("f", kind="string", on_value="a", default_value="b", off_value="c")
    first = put(is_enabled=True, variants=[{"name": "v", "value": "V"}])
    put(variants=[], kind="number", on_value=1, default_value=2, off_value=3)
    record = restore_change(change_id=first.pk, actor=Actor(ann), why="better so", now=NOW)
    flag = Flag.objects.get(key="f")
    assert (flag.kind, flag.on_value, flag.variants.get().value) == ("string", "a", "V")
    assert (record.action, record.actor_name, record.after) == ("restored", "ann", first.after)


def test_a_second_person_approves(ann, releaser):
    factories.flag("f", needs_approval=True, rollout_percentage=10)
    waiting = put(actor=Actor(ann), rollout_percentage=50)
    with pytest.raises(ForbiddenError, match="yourself"):
        approve.approve(pending_id=waiting.pk, user=ann, now=NOW)
    other = get_user_model().objects.create_user("eve")
    with pytest.raises(ForbiddenError, match="releaser"):
        approve.approve(pending_id=waiting.pk, user=other, now=NOW)
    record = approve.approve(pending_id=waiting.pk, user=releaser, now=NOW)
    assert (record.actor_name, record.approved_by, Flag.objects.get(key="f").rollout_percentage) == (
        "ann",
        releaser,
        50,
    )
    with pytest.raises(RefusedError, match="approved already"):
        approve.reject(pending_id=waiting.pk, user=releaser, now=NOW)


def test_a_change_that_was_overtaken_is_not_approved(ann, releaser):
    factories.flag("f", needs_approval=True)
    old, new = (put(actor=Actor(ann), rollout_percentage=p) for p in (20, 30))
    approve.approve(pending_id=new.pk, user=releaser, now=NOW)
    with pytest.raises(RefusedError, match="changed since"):
        approve.approve(pending_id=old.pk, user=releaser, now=NOW)
    assert approve.reject(pending_id=old.pk, user=ann, now=NOW).state == "rejected", "one may take back one's own"


def test_a_segment_of_a_flag_that_needs_approval_needs_it_too(ann):
    apply_change(subject="segment", key="s", patch={"allowed_ids": ["1"]}, actor=TEST, why="x", now=NOW, create=True)
    factories.flag("f", needs_approval=True, rules=[{"segment": "s"}])
    done = apply_change(subject="segment", key="s", patch={"allowed_ids": ["2"]}, actor=Actor(ann), why="x", now=NOW)
    assert isinstance(done, PendingChange) and Segment.objects.get(key="s").allowed_ids == ["1"]


def test_an_erased_member_is_on_no_list_and_in_no_record(ann):
    """Not in a change that waits either; and no approval is waited for."""
    lists = {"allowed_ids": ["member-7", "8"], "denied_ids": ["member-7"]}
    apply_change(subject="segment", key="s", patch=lists, actor=TEST, why="x", now=NOW, create=True)
    factories.flag("f", needs_approval=True, rules=[{"segment": "s"}])
    more = {"allowed_ids": ["member-7", "8", "9"]}
    waiting = apply_change(subject="segment", key="s", patch=more, actor=Actor(ann), why="x", now=NOW)
    erasure.erase_unit_from_segments(unit_id="member-7", now=NOW)
    segment = Segment.objects.get(key="s")
    assert (segment.allowed_ids, segment.denied_ids) == (["8"], [])
    assert PendingChange.objects.get(pk=waiting.pk).patch == {"allowed_ids": ["8", "9"]}
    records = FlagChange.objects.filter(subject="segment")
    assert records.first().system == "erasure"
    assert not any("member-7" in str((row.before, row.after)) for row in records)
    restore_change(change_id=records.last().pk, actor=TEST, why="x", now=NOW)
    assert Segment.objects.get(key="s").allowed_ids == ["8"], "a restored segment keeps its lists"


def test_an_explanation_says_what_became_of_each_rule():
    attributes.register_attributes("test", {"region": "where"}, lambda unit: {"region": "DE"})
    try:
        condition = {"attribute": "region", "values": ["FR"]}
        apply_change(
            subject="segment", key="fr", patch={"conditions": [condition]}, actor=TEST, why="x", now=NOW, create=True
        )
        factories.flag("f", is_enabled=True, rollout_percentage=0.01, rules=[{"segment": "fr", "percentage": 50}])
        found = explain(key="f", unit_id="unit-1", given_attributes={}, now=NOW)
        assert (found.value, found.variant, found.attributes) == (False, "default", {"region": "DE"})
        assert [step.rule for step in found.steps] == [
            "rule 1: 50 % of fr",
            "rollout: 0.01 % of the others",
            "default value",
        ]
        assert "not in its segment" in found.steps[0].outcome and "outside of 0 to 0.01 %" in found.steps[1].outcome
        put(rollout_percentage=100)
        assert explain(key="f", unit_id="unit-1", given_attributes={}, now=NOW).steps[-1].is_decisive
        assert explain(key="f", unit_id="u", given_attributes={"region": "FR"}, now=NOW).attributes == {"region": "FR"}
        put(is_enabled=False)
        assert "The flag is off" in explain(key="f", unit_id="unit-1", given_attributes={}, now=NOW).steps[0].outcome
        with pytest.raises(UnknownKeyError):
            explain(key="none", unit_id="u", given_attributes={}, now=NOW)
    finally:
        attributes._readers.pop("test")


def test_yaml_goes_out_and_comes_back():
    apply_change(subject="segment", key="s", patch={"allowed_ids": ["1"]}, actor=TEST, why="x", now=NOW, create=True)
    factories.flag("a_base")
    factories.flag("a", rules=[{"segment": "s"}], prerequisites=[{"flag": "a_base", "value": True}], tags=["x"])
    text = transfer.export_yaml()
    assert {one.outcome for one in transfer.import_yaml(text=text, actor=TEST, why="again", now=NOW)} == {"unchanged"}
    changed = text.replace("allowed_ids:\n  - '1'", "allowed_ids:\n  - '2'").replace("key: a_base", "key: a_root")
    changed = changed.replace("flag: a_base", "flag: a_root")
    outcomes = {
        o.key: o.outcome for o in transfer.import_yaml(text=changed, actor=TEST, why="x", now=NOW, dry_run=True)
    }
    assert (outcomes["s"], outcomes["a_root"], outcomes["a"]) == ("changed", "created", "changed")
    assert not Flag.objects.filter(key="a_root").exists(), "a dry run changes nothing"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("flags: [{key: x, rollout_percentage: 900}]", "flags/x"),
        ("flags: [{rollout_percentage: 9}]", "flags/0"),
        ("flags: [{key: ok}, {key: y, kind: colour}]", "flags/y"),
        ("flags: {", "text"),
        ("colours: []", "text"),
    ],
)
def test_yaml_that_is_wrong_anywhere_changes_nothing(text, place):
    with pytest.raises(ValidationError) as caught:
        transfer.import_yaml(text=text, actor=TEST, why="x", now=NOW)
    assert place in caught.value.detail
    assert not Flag.objects.filter(key__in=["x", "y", "ok"]).exists()


def test_flags_that_should_go_are_reported():
    factories.flag("old", is_enabled=True, rollout_percentage=100)
    factories.flag("expired", expires_at=(NOW - timedelta(days=1)).isoformat(), is_enabled=True, rollout_percentage=5)
    factories.flag("young", is_enabled=True, rollout_percentage=5)
    assert {flag.key for flag, _ in find_stale_flags(now=NOW)} & {"old", "expired", "young"} == {"expired"}
    assert {flag.key for flag, _ in find_stale_flags(now=NOW + timedelta(days=61))} & {"old", "expired", "young"} == {
        "expired",
        "old",
    }


def plan_of(measured, *, on_breach="roll_back", hours=24, phases=(5, 50, 100)):
    factories.flag("f")
    patch = {
        "flag": "f",
        "phases": [{"percentage": p, "hours": hours} for p in phases],
        "guardrails": [
            {"gauge": "errors", "variant": "new", "threshold": 0.01, "on_breach": on_breach},
            {"gauge": "quality", "bound": "at_least", "threshold": 0.7, "on_breach": "pause"},
        ],
    }
    apply_change(subject="plan", key="p", patch=patch, actor=TEST, why="x", now=NOW, create=True)
    rollouts.start(key="p", actor=TEST, why="go", now=NOW)


def at(hours):
    moment = NOW + timedelta(hours=hours)
    done = rollouts.advance(now=moment)
    flag, plan = Flag.objects.get(key="f"), RolloutPlan.objects.get(key="p")
    return (flag.is_enabled, flag.rollout_percentage, plan.state, plan.phase), done


def test_a_plan_goes_up_when_its_time_is_over_and_its_guardrails_hold(metric_values):
    values, asked = metric_values
    plan_of(metric_values)
    assert at(0) == ((True, 5, "running", 1), [])
    assert at(23.9) == ((True, 5, "running", 1), [])
    values["errors"] = (0.0, 99)
    assert at(24) == ((True, 5, "running", 1), []), "too few samples say nothing"
    values["errors"] = (0.01, 1000)
    state, done = at(25)
    assert state == (True, 50, "running", 2)
    assert [(look["verdict"], look["samples"]) for look in done[0].evidence] == [("holds", 1000), ("holds", 1000)]
    assert done[0].actor_name == "system: rollout:p"
    assert at(49)[0] == (True, 100, "running", 3)
    assert at(73)[0] == (True, 100, "finished", 3)
    assert asked[-1][2] >= NOW + timedelta(hours=49), "a phase is not judged by the one before"


def test_a_breach_turns_the_flag_off_and_keeps_what_was_read(metric_values):
    values, _ = metric_values
    plan_of(metric_values)
    values["errors"] = (0.2, 1000)
    state, done = at(0.5)
    assert state == (False, 5, "rolled_back", 1)
    assert "errors of new at most 0.01" in done[0].why and done[0].evidence[0]["value"] == 0.2
    last = FlagChange.objects.filter(subject="flag", key="f").first()
    assert (last.action, last.system) == ("killed", "rollout:p")
    assert at(48)[0] == state, "it stays so"
    rollouts.start(key="p", actor=TEST, why="fixed", now=NOW)
    assert Flag.objects.get(key="f").is_enabled


def test_a_breach_may_only_pause(metric_values):
    values, _ = metric_values
    plan_of(metric_values)
    values["quality"] = (0.2, 1000)
    assert at(30)[0] == (True, 5, "paused", 1)
    rollouts.resume(key="p", actor=TEST, why="looked at", now=NOW + timedelta(hours=31))
    values["quality"] = (0.9, 1000)
    assert at(54)[0] == (True, 5, "running", 1), "the phase's time began anew"
    assert at(55)[0] == (True, 50, "running", 2)


def test_a_reading_that_fails_neither_breaches_nor_advances(metric_values):
    plan_of(metric_values)
    gauges.register_gauge("errors", "broken", lambda *_: {}["nothing"])
    assert at(30) == ((True, 5, "running", 1), [])


def test_a_plan_is_paused_stepped_back_and_stopped(metric_values):
    plan_of(metric_values)
    with pytest.raises(RefusedError, match="first phase"):
        rollouts.step_back(key="p", actor=TEST, why="x", now=NOW)
    at(24)
    rollouts.pause(key="p", actor=TEST, why="holiday", now=NOW)
    assert at(99)[0] == (True, 50, "paused", 2)
    rollouts.resume(key="p", actor=TEST, why="back", now=NOW)
    rollouts.step_back(key="p", actor=TEST, why="slow", now=NOW)
    assert at(0)[0] == (True, 5, "running", 1)
    with pytest.raises(RefusedError, match="running already"):
        rollouts.start(key="p", actor=TEST, why="x", now=NOW)
    rollouts.stop(key="p", actor=TEST, why="enough", now=NOW)
    assert at(99)[0] == (True, 5, "finished", 1)


def test_the_template_of_the_specification_is_copied_for_a_flag():
    factories.flag("f")
    plan = rollouts.copy_template(template="gradual", flag="f", actor=TEST, why="x", now=NOW)
    assert [(p.percentage, p.hours) for p in plan.phases.all()] == [
        (5, 336),
        (15, 336),
        (35, 336),
        (75, 336),
        (100, 336),
    ]
    assert plan.guardrails.count() == 3 and plan.state == "draft"
    with pytest.raises(RefusedError, match="template"):
        rollouts.start(key="gradual", actor=TEST, why="x", now=NOW)
    rollouts.start(key=plan.key, actor=TEST, why="go", now=NOW)
    other = rollouts.copy_template(template="gradual", flag="f", actor=TEST, why="x", now=NOW)
    with pytest.raises(RefusedError, match="stop that first"):
        rollouts.start(key=other.key, actor=TEST, why="x", now=NOW)


def test_a_plan_of_a_flag_that_needs_approval_starts_once_approved(metric_values, ann, releaser):
    factories.flag("f", needs_approval=True)
    plan = rollouts.copy_template(template="gradual", flag="f", actor=Actor(ann), why="x", now=NOW)
    waiting = rollouts.start(key=plan.key, actor=Actor(ann), why="go", now=NOW)
    assert isinstance(waiting, PendingChange) and not Flag.objects.get(key="f").is_enabled
    approve.approve(pending_id=waiting.pk, user=releaser, now=NOW)
    flag = Flag.objects.get(key="f")
    assert (flag.is_enabled, flag.rollout_percentage) == (True, 5)


def test_an_emergency_stops_the_plan_that_would_turn_it_up_again(metric_values, ann):
    plan_of(metric_values)
    assert kill_flag(key="f", actor=Actor(ann), why="fire", now=NOW).action == "killed"
    assert at(99)[0] == (False, 5, "paused", 1)
    assert evaluate(key="f", unit_id="u").value is False
    assert kill_flag(key="f", actor=Actor(ann), why="fire", now=NOW) is None
    rollouts.resume(key="p", actor=Actor(ann), why="out", now=NOW)
    assert Flag.objects.get(key="f").is_enabled
