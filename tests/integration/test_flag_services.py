"""Change history, approval, explanation, YAML, stale flags and rollout plans."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import DatabaseError, connection
from django.utils.translation import override

from flags import attributes, gauges, snapshot
from flags.attributes import Attribute, AttributeType
from flags.differences import find_differences
from flags.models import Flag, FlagChange, PendingChange, RolloutPlan, Segment
from flags.services import approve, erasure, rollouts, transfer
from flags.services.change import apply_change
from flags.services.errors import ForbiddenError, InvalidChangeError, RefusedError, UnknownKeyError
from flags.services.evaluate import evaluate
from flags.services.explain import explain
from flags.services.history import restore_change
from flags.services.kill import kill_flag
from flags.services.record import Actor
from flags.services.stale_flags import find_stale_flags
from recommendations.contracts import ENGINE_FLAG
from tests import factories

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
TEST = Actor(system="test")


@pytest.fixture(autouse=True)
def fresh_snapshot():
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
    """Register two gauges. Yields their (value, samples) by name, which a test may change, and a list of the reads."""
    values = {"errors": (0.0, 1000), "quality": (0.9, 1000)}
    reads = []

    def create_reader(name):
        def read(variant, since, until):
            reads.append((name, variant, since, until))
            return gauges.MetricValue(*values[name])

        return read

    for name in values:
        gauges.register_gauge(name, "of the test", create_reader(name))
    yield values, reads
    for name in values:
        gauges._gauges.pop(name)


def change_flag(key="f", *, actor=TEST, **patch):
    return apply_change(key=key, patch=patch, actor=actor, why="a test", now=NOW)


def test_differences_are_listed_per_value():
    """Rows of lists are compared value by value, too."""
    before = {"rules": [{"segment": "a", "percentage": 5.0}], "tags": ["x"], "is_enabled": False}
    after = {"rules": [{"segment": "a", "percentage": 7.5}, {"segment": None}], "tags": ["x", "y"], "is_enabled": False}
    assert [(d.field, d.before, d.after) for d in find_differences(before, after)] == [
        ("rules 1 percentage", "5", "7.5"),
        ("tags", "x", "x, y"),
    ]


def test_an_earlier_state_can_be_restored(ann):
    factories.flag("f", kind="string", on_value="a", default_value="b", off_value="c")
    first = change_flag(is_enabled=True, variants=[{"name": "v", "value": "V"}])
    change_flag(variants=[], kind="number", on_value=1, default_value=2, off_value=3)
    record = restore_change(change_id=first.pk, actor=Actor(ann), why="better so", now=NOW)
    flag = Flag.objects.get(key="f")
    assert (flag.kind, flag.on_value, flag.variants.get().value) == ("string", "a", "V")
    assert (record.action, record.actor_name, record.after) == ("restored", "ann", first.after)


def test_a_change_that_cannot_be_restored_is_refused():
    with pytest.raises(UnknownKeyError, match="999999"):
        restore_change(change_id=999_999, actor=TEST, why="x", now=NOW)
    plan = FlagChange.objects.filter(subject="plan", key="gradual").get()
    with pytest.raises(RefusedError, match="A rollout plan cannot be restored"):
        restore_change(change_id=plan.pk, actor=TEST, why="x", now=NOW)


def test_a_second_person_must_approve(ann, releaser):
    factories.flag("f", needs_approval=True, rollout_percentage=10)
    pending = change_flag(actor=Actor(ann), rollout_percentage=50)
    with pytest.raises(ForbiddenError, match="yourself"):
        approve.approve(pending_id=pending.pk, user=ann, now=NOW)
    editor = get_user_model().objects.create_user("eve")
    with pytest.raises(ForbiddenError, match="releaser"):
        approve.approve(pending_id=pending.pk, user=editor, now=NOW)
    record = approve.approve(pending_id=pending.pk, user=releaser, now=NOW)
    assert (record.actor_name, record.approved_by, Flag.objects.get(key="f").rollout_percentage) == (
        "ann",
        releaser,
        50,
    )
    with pytest.raises(RefusedError, match="already approved"):
        approve.reject(pending_id=pending.pk, user=releaser, now=NOW)


def test_a_change_of_an_older_version_cannot_be_approved(ann, releaser):
    factories.flag("f", needs_approval=True)
    old, new = (change_flag(actor=Actor(ann), rollout_percentage=p) for p in (20, 30))
    approve.approve(pending_id=new.pk, user=releaser, now=NOW)
    with pytest.raises(RefusedError, match="changed since"):
        approve.approve(pending_id=old.pk, user=releaser, now=NOW)
    assert approve.reject(pending_id=old.pk, user=ann, now=NOW).state == "rejected", (
        "the author may withdraw the change"
    )


def test_a_segment_of_a_flag_that_needs_approval_needs_approval(ann):
    apply_change(subject="segment", key="s", patch={"allowed_ids": ["1"]}, actor=TEST, why="x", now=NOW, create=True)
    factories.flag("f", needs_approval=True, rules=[{"segment": "s"}])
    pending = apply_change(subject="segment", key="s", patch={"allowed_ids": ["2"]}, actor=Actor(ann), why="x", now=NOW)
    assert isinstance(pending, PendingChange) and Segment.objects.get(key="s").allowed_ids == ["1"]


def test_an_erased_member_is_removed_from_lists_and_pending_changes(ann):
    """The erasure needs no approval, and the change history has no ids."""
    lists = {"allowed_ids": ["member-7", "8"], "denied_ids": ["member-7"]}
    apply_change(subject="segment", key="s", patch=lists, actor=TEST, why="x", now=NOW, create=True)
    factories.flag("f", needs_approval=True, rules=[{"segment": "s"}])
    more = {"allowed_ids": ["member-7", "8", "9"]}
    pending = apply_change(subject="segment", key="s", patch=more, actor=Actor(ann), why="x", now=NOW)
    others = {"denied_ids": ["10"]}
    without_id = apply_change(subject="segment", key="s", patch=others, actor=Actor(ann), why="x", now=NOW)
    erasure.erase_unit_from_segments(unit_id="member-7", now=NOW)
    segment = Segment.objects.get(key="s")
    assert (segment.allowed_ids, segment.denied_ids) == (["8"], [])
    assert PendingChange.objects.get(pk=pending.pk).patch == {"allowed_ids": ["8", "9"]}
    assert PendingChange.objects.get(pk=without_id.pk).patch == others
    changes = FlagChange.objects.filter(subject="segment")
    assert changes.first().system == "erasure"
    assert not any("member-7" in str((row.before, row.after)) for row in changes)
    restore_change(change_id=changes.last().pk, actor=TEST, why="x", now=NOW)
    assert Segment.objects.get(key="s").allowed_ids == ["8"], "a restored segment keeps its lists"


def test_an_explanation_names_what_turns_a_flag_off_before_its_rules():
    """The schedule, or the value of a flag that it requires."""
    factories.flag("base", is_enabled=True, rollout_percentage=100)
    factories.flag("f", is_enabled=True, rollout_percentage=100, prerequisites=[{"flag": "base"}])
    assert [step.rule for step in explain(key="f", unit_id="u", given_attributes={}, now=NOW).steps] == [
        "rollout: 100 % of the remaining units"
    ]
    change_flag("base", default_value=False, rollout_percentage=0)
    explanation = explain(key="f", unit_id="u", given_attributes={}, now=NOW)
    assert (explanation.value, [step.rule for step in explanation.steps]) == (False, ["requires base"])
    assert explanation.steps[0].outcome == "Its value is False, not True: the unit gets the default value."
    change_flag(ends_at=NOW.isoformat())
    explanation = explain(key="f", unit_id="u", given_attributes={}, now=NOW)
    assert [step.rule for step in explanation.steps] == ["switch"]
    assert explanation.steps[0].outcome == "The schedule turns the flag off now. All units get the off value."


def test_an_explanation_names_the_experiment_that_did_not_take_a_unit():
    factories.flag("f", is_enabled=True, rollout_percentage=100)
    factories.experiment("f", at=NOW, traffic_percentage=50)
    explanations = [explain(key="f", unit_id=f"unit-{n}", given_attributes={}, now=NOW) for n in range(20)]
    outcomes = {tuple((step.rule, step.outcome) for step in row.steps) for row in explanations}
    assert outcomes == {
        (("experiment trial", "This rule decides."),),
        (
            ("experiment trial", "The rule does not apply to this unit."),
            ("rollout: 100 % of the remaining units", "This rule decides."),
        ),
    }


def test_an_explanation_has_the_outcome_of_each_rule():
    attributes.register_attributes(
        "test", {"region": Attribute(AttributeType.TEXT, "where")}, lambda unit: {"region": "DE"}
    )
    try:
        condition = {"attribute": "region", "values": ["FR"]}
        apply_change(
            subject="segment", key="fr", patch={"conditions": [condition]}, actor=TEST, why="x", now=NOW, create=True
        )
        factories.flag("f", is_enabled=True, rollout_percentage=0.01, rules=[{"segment": "fr", "percentage": 50}])
        explanation = explain(key="f", unit_id="unit-1", given_attributes={}, now=NOW)
        assert (explanation.value, explanation.variant, explanation.attributes) == (False, "default", {"region": "DE"})
        assert [step.rule for step in explanation.steps] == [
            "rule 1: 50 % of fr",
            "rollout: 0.01 % of the remaining units",
            "default value",
        ]
        assert (
            "not in the segment" in explanation.steps[0].outcome
            and "outside of 0 to 0.01 %" in explanation.steps[1].outcome
        )
        change_flag(rollout_percentage=100)
        assert explain(key="f", unit_id="unit-1", given_attributes={}, now=NOW).steps[-1].is_decisive
        assert explain(key="f", unit_id="u", given_attributes={"region": "FR"}, now=NOW).attributes == {"region": "FR"}
        change_flag(is_enabled=False)
        assert "The flag is off" in explain(key="f", unit_id="unit-1", given_attributes={}, now=NOW).steps[0].outcome
        with pytest.raises(UnknownKeyError):
            explain(key="none", unit_id="u", given_attributes={}, now=NOW)
    finally:
        attributes._readers.pop("test")


@pytest.mark.parametrize(
    ("subject", "patch", "message"),
    [
        ("segment", {"operator": "known", "values": [1]}, "takes no value"),
        ("segment", {"operator": "unknown", "values": [1]}, "takes no value"),
        ("segment", {"operator": "in", "values": []}, "Give a value to compare with"),
        ("segment", {"operator": "above", "values": [1, 2]}, "takes one value"),
        ("segment", {"operator": "in", "values": [[1]]}, "Give strings, numbers, true or false"),
        ("segment", {"operator": "in", "values": [{"a": 1}]}, "Give strings, numbers, true or false"),
        ("segment", {"operator": "in", "values": [None]}, "may not be null"),
        ("plan", {"phases": []}, "at least one phase"),
        ("plan", {"phase": 3}, "The plan has only 2 phases"),
        ("plan", {"flag": "nothing"}, "There is no flag nothing"),
        ("plan", {"flag": "archived"}, "There is no flag archived"),
        ("plan", {"state": "running"}, "A template cannot run"),
        ("plan", {"guardrails": [{"gauge": "weather", "threshold": 1}]}, "Unknown gauge 'weather'. Choose one of"),
    ],
)
def test_an_invalid_segment_or_plan_is_refused(subject, patch, message):
    factories.flag("archived", is_archived=True)
    valid = {"phases": [{"percentage": 5}, {"percentage": 50}]}
    document = {"conditions": [{"attribute": "a"} | patch]} if subject == "segment" else valid | patch
    with pytest.raises(InvalidChangeError, match=message):
        apply_change(subject=subject, key="x", patch=document, actor=TEST, why="x", now=NOW, create=True)
    assert not FlagChange.objects.filter(key="x").exists()


def test_exported_yaml_can_be_imported():
    apply_change(subject="segment", key="s", patch={"allowed_ids": ["1"]}, actor=TEST, why="x", now=NOW, create=True)
    factories.flag("a_base")
    factories.flag("a", rules=[{"segment": "s"}], prerequisites=[{"flag": "a_base", "value": True}], tags=["x"])
    text = transfer.export_yaml()
    assert {row.outcome for row in transfer.import_yaml(text=text, actor=TEST, why="again", now=NOW)} == {"unchanged"}
    changed = text.replace("allowed_ids:\n  - '1'", "allowed_ids:\n  - '2'").replace("key: a_base", "key: a_root")
    changed = changed.replace("flag: a_base", "flag: a_root")
    outcomes = {
        row.key: row.outcome for row in transfer.import_yaml(text=changed, actor=TEST, why="x", now=NOW, dry_run=True)
    }
    assert (outcomes["s"], outcomes["a_root"], outcomes["a"]) == ("changed", "created", "changed")
    assert not Flag.objects.filter(key="a_root").exists(), "a dry run saves nothing"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("flags: [{key: x, rollout_percentage: 900}]", "flags/x"),
        ("flags: [{rollout_percentage: 9}]", "flags/0"),
        ("flags: [{key: ok}, {key: y, kind: color}]", "flags/y"),
        ("flags: {", "text"),
        ("colors: []", "text"),
        ("flags: [{key: ok, expires_at: !!int soon}]", "text"),
        ("flags: [{key: ok, is_enabled: !!bool maybe}]", "text"),
        (f"flags: [{{key: ok, on_value: {'9' * 5000}}}]", "text"),
        ('flags: [{key: "a\\0b"}, {key: ok}]', "flags/a\0b"),
        ("flags: [{key: ok}, {key: ok, is_enabled: true}]", "flags/ok (item 2)"),
        ("flags: [{key: ok}, {key: x, kind: json, on_value: {1: a}}]", "flags/x"),
        ("flags: [{key: ok}, {key: x, kind: json, on_value: !!set {a}}]", "flags/x"),
        ("flags: [{key: ok}, {key: x, kind: number, on_value: 12345678901234567890}]", "flags/x"),
    ],
)
def test_yaml_with_an_error_changes_nothing(text, place):
    with pytest.raises(InvalidChangeError) as error:
        transfer.import_yaml(text=text, actor=TEST, why="x", now=NOW)
    assert place in error.value.detail
    assert not Flag.objects.filter(key__in=["x", "y", "ok"]).exists()


def test_a_refused_import_names_every_bad_object_and_keeps_the_good_ones_out():
    text = """
    segments: [{key: good}, {key: bad, match: some}, 5]
    flags: [{key: ok, rules: [{segment: good}]}, {key: ok}, {key: y, rules: [{segment: bad}]}, {key: z, size: 1}]
    """
    with pytest.raises(InvalidChangeError) as error:
        transfer.import_yaml(text=text, actor=TEST, why="x", now=NOW)
    assert set(error.value.detail) == {"segments/bad", "segments/2", "flags/ok (item 2)", "flags/y", "flags/z"}
    assert not Segment.objects.exists() and not Flag.objects.filter(key__in=["ok", "y", "z"]).exists()


@pytest.mark.parametrize("word", ["1.10", "010", "0x1F", "1_000", "1:30", "1e5", ".5", "+1", ".inf", "no", "On", "YES"])
def test_a_word_that_yaml_readers_understand_differently_is_refused(word):
    text = f"segments:\n- key: s\n  conditions: [{{attribute: region, values: [{word}]}}]"
    with pytest.raises(InvalidChangeError, match=f"Line 3: '{re.escape(word)}' has two meanings"):
        transfer.import_yaml(text=text, actor=TEST, why="x", now=NOW)
    transfer.import_yaml(text=text.replace(word, f"'{word}'"), actor=TEST, why="x", now=NOW)
    assert Segment.objects.get(key="s").conditions.get().values == [word]


@pytest.mark.parametrize("word", ["2026-01-31", "2026-01-31T12:00:00Z", "0o17", "DE", "1.2.3", "a b"])
def test_another_word_without_quotes_is_a_text(word):
    text = f"segments: [{{key: s, conditions: [{{attribute: region, values: [{word}]}}]}}]"
    transfer.import_yaml(text=text, actor=TEST, why="x", now=NOW)
    assert Segment.objects.get(key="s").conditions.get().values == [word]


def test_an_imported_change_of_a_flag_that_needs_approval_waits_for_approval():
    factories.flag("f", needs_approval=True)
    text = transfer.export_yaml().replace("key: f\n  description: ''", "key: f\n  description: Imported.")
    outcomes = {row.key: row.outcome for row in transfer.import_yaml(text=text, actor=TEST, why="x", now=NOW)}
    assert {key for key, outcome in outcomes.items() if outcome != "unchanged"} == {"f"}
    assert outcomes["f"] == "pending approval" and PendingChange.objects.get().patch["description"] == "Imported."
    assert Flag.objects.get(key="f").description == ""


def test_stale_flags_are_reported():
    factories.flag("old", is_enabled=True, rollout_percentage=100)
    factories.flag("expired", expires_at=(NOW - timedelta(days=1)).isoformat(), is_enabled=True, rollout_percentage=5)
    factories.flag("young", is_enabled=True, rollout_percentage=5)
    assert {flag.key for flag, _ in find_stale_flags(now=NOW)} & {"old", "expired", "young"} == {"expired"}
    assert {flag.key for flag, _ in find_stale_flags(now=NOW + timedelta(days=61))} & {"old", "expired", "young"} == {
        "expired",
        "old",
    }


def start_plan(*, on_breach="roll_back", hours=24, phases=(5, 50, 100)):
    factories.flag("f")
    patch = {
        "flag": "f",
        "phases": [{"percentage": p, "hours": hours} for p in phases],
        "guardrails": [
            {"gauge": "errors", "variant": "on", "threshold": 0.01, "on_breach": on_breach},
            {"gauge": "quality", "bound": "at_least", "threshold": 0.7, "on_breach": "pause"},
        ],
    }
    apply_change(subject="plan", key="p", patch=patch, actor=TEST, why="x", now=NOW, create=True)
    rollouts.start(key="p", actor=TEST, why="go", now=NOW)


def advance_to(hours):
    moment = NOW + timedelta(hours=hours)
    changes = rollouts.advance(now=moment)
    flag, plan = Flag.objects.get(key="f"), RolloutPlan.objects.get(key="p")
    return (flag.is_enabled, flag.rollout_percentage, plan.state, plan.phase), changes


def test_a_plan_advances_when_its_time_is_over_and_its_guardrails_hold(metric_values):
    values, reads = metric_values
    start_plan()
    assert advance_to(0) == ((True, 5, "running", 1), [])
    assert advance_to(23.9) == ((True, 5, "running", 1), [])
    values["errors"] = (0.0, 99)
    assert advance_to(24) == ((True, 5, "running", 1), []), "too few samples do not advance the plan"
    values["errors"] = (0.01, 1000)
    state, changes = advance_to(25)
    assert state == (True, 50, "running", 2)
    assert [(check["verdict"], check["samples"]) for check in changes[0].evidence] == [("holds", 1000), ("holds", 1000)]
    assert changes[0].actor_name == "system: rollout:p"
    assert advance_to(49)[0] == (True, 100, "running", 3)
    assert advance_to(73)[0] == (True, 100, "finished", 3)
    assert reads[-1][2] >= NOW + timedelta(hours=49), "the window starts within the phase"


def test_a_breach_turns_the_flag_off_and_saves_the_evidence(metric_values):
    values, _ = metric_values
    start_plan()
    values["errors"] = (0.2, 1000)
    state, changes = advance_to(0.5)
    assert state == (False, 5, "rolled_back", 1)
    assert "errors of on at most 0.01" in changes[0].why and changes[0].evidence[0]["value"] == 0.2
    last = FlagChange.objects.filter(subject="flag", key="f").first()
    assert (last.action, last.system) == ("killed", "rollout:p")
    assert advance_to(48)[0] == state, "it stays rolled back"
    rollouts.start(key="p", actor=TEST, why="fixed", now=NOW)
    assert Flag.objects.get(key="f").is_enabled


def test_the_evidence_is_stored_in_english_and_shown_in_the_language_of_the_page(metric_values):
    values, _ = metric_values
    start_plan()
    values["errors"] = (0.2, 1000)
    with override("de"):
        [change] = advance_to(0.5)[1]
        assert change.evidence_texts[0] == "errors von on höchstens 0,01: 0,2 bei 1.000 Messungen, verletzt"
    assert change.evidence[0]["guardrail"] == "errors of on at most 0.01"
    assert change.evidence_texts[0] == "errors of on at most 0.01: 0.2 over 1,000 samples, breached"


@pytest.mark.parametrize(
    ("verdict", "samples", "text"),
    [
        ("holds", 7, "errors at most 1: 0,5 bei 7 Messungen, eingehalten"),
        ("too_few_samples", 0, "errors at most 1: – bei 0 Messungen, zu wenige Messungen"),
        ("unreadable", 0, "errors at most 1: – bei 0 Messungen, nicht lesbar"),
    ],
)
def test_evidence_of_an_earlier_version_has_its_verdict_in_the_language_of_the_page(verdict, samples, text):
    with override("de"):
        check = {"guardrail": "errors at most 1", "value": 0.5, "samples": samples, "verdict": verdict}
        assert FlagChange(evidence=[check]).evidence_texts == [text]


def test_a_breach_can_pause_the_plan(metric_values):
    values, _ = metric_values
    start_plan()
    values["quality"] = (0.2, 1000)
    assert advance_to(30)[0] == (True, 5, "paused", 1)
    rollouts.resume(key="p", actor=TEST, why="checked", now=NOW + timedelta(hours=31))
    values["quality"] = (0.9, 1000)
    assert advance_to(54)[0] == (True, 5, "running", 1), "the phase's time restarted"
    assert advance_to(55)[0] == (True, 50, "running", 2)


def test_a_failed_gauge_neither_breaches_nor_advances(metric_values):
    start_plan()
    gauges.register_gauge("errors", "broken", lambda *_: {}["nothing"])
    assert advance_to(30) == ((True, 5, "running", 1), [])


def test_a_plan_that_cannot_be_read_does_not_stop_the_others(metric_values, caplog):
    start_plan()
    factories.flag("g")
    patch = {"flag": "g", "phases": [{"percentage": 5, "hours": 24}, {"percentage": 50}]}
    apply_change(subject="plan", key="z", patch=patch, actor=TEST, why="x", now=NOW, create=True)
    rollouts.start(key="z", actor=TEST, why="go", now=NOW)

    def fail_for_p(execute, sql, params, many, context):
        if "flags_rolloutplan" in sql and "p" in (params or ()):
            raise DatabaseError("unavailable")
        return execute(sql, params, many, context)

    with connection.execute_wrapper(fail_for_p):
        changes = rollouts.advance(now=NOW + timedelta(hours=25))
    assert [change.key for change in changes] == ["z"] and Flag.objects.get(key="g").rollout_percentage == 50
    assert RolloutPlan.objects.get(key="p").phase == 1
    assert [record.plan for record in caplog.records if record.message == "rollout_not_advanced"] == ["p"]


def test_a_plan_that_was_paused_meanwhile_is_not_advanced(metric_values):
    """Between the list of running plans and the plan's lock, a person may pause the plan."""
    start_plan()
    rollouts.pause(key="p", actor=TEST, why="wait", now=NOW)
    assert rollouts.advance_plan("p", NOW + timedelta(hours=25)) is None
    assert advance_to(25)[0] == (True, 5, "paused", 1)


def test_a_plan_is_paused_stepped_back_and_stopped(metric_values):
    start_plan()
    with pytest.raises(RefusedError, match="first phase"):
        rollouts.step_back(key="p", actor=TEST, why="x", now=NOW)
    advance_to(24)
    rollouts.pause(key="p", actor=TEST, why="holiday", now=NOW)
    assert advance_to(99)[0] == (True, 50, "paused", 2)
    rollouts.resume(key="p", actor=TEST, why="back", now=NOW)
    rollouts.step_back(key="p", actor=TEST, why="slow", now=NOW)
    assert advance_to(0)[0] == (True, 5, "running", 1)
    with pytest.raises(RefusedError, match="already running"):
        rollouts.start(key="p", actor=TEST, why="x", now=NOW)
    rollouts.stop(key="p", actor=TEST, why="enough", now=NOW)
    assert advance_to(99)[0] == (True, 5, "finished", 1)


def test_the_initial_template_can_be_copied_for_a_flag():
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
    second = rollouts.copy_template(template="gradual", flag="f", actor=TEST, why="x", now=NOW)
    with pytest.raises(RefusedError, match="Stop that plan first"):
        rollouts.start(key=second.key, actor=TEST, why="x", now=NOW)


def test_a_plan_of_a_flag_that_needs_approval_starts_after_approval(metric_values, ann, releaser):
    factories.flag("f", needs_approval=True)
    plan = rollouts.copy_template(template="gradual", flag="f", actor=Actor(ann), why="x", now=NOW)
    pending = rollouts.start(key=plan.key, actor=Actor(ann), why="go", now=NOW)
    assert isinstance(pending, PendingChange) and not Flag.objects.get(key="f").is_enabled
    approve.approve(pending_id=pending.pk, user=releaser, now=NOW)
    flag = Flag.objects.get(key="f")
    assert (flag.is_enabled, flag.rollout_percentage) == (True, 5)


def test_killing_a_flag_pauses_its_plan(metric_values, ann):
    start_plan()
    assert kill_flag(key="f", actor=Actor(ann), why="fire", now=NOW).action == "killed"
    assert advance_to(99)[0] == (False, 5, "paused", 1)
    assert evaluate(key="f", unit_id="u").value is False
    assert kill_flag(key="f", actor=Actor(ann), why="fire", now=NOW) is None
    rollouts.resume(key="p", actor=Actor(ann), why="out", now=NOW)
    assert Flag.objects.get(key="f").is_enabled


def add_plan_that_watches(flag, variant):
    guardrail = {"gauge": "feed_fallback_ratio", "variant": variant, "threshold": 0.05}
    plan = {"flag": flag, "phases": [{"percentage": 5, "hours": 1}], "guardrails": [guardrail]}
    return apply_change(subject="plan", key="watching", patch=plan, actor=TEST, why="x", now=NOW, create=True)


def test_a_guardrail_of_the_engine_flag_watches_a_variant_of_feeds():
    """Feeds are counted by the variant of their policy, which is no variant of the flag."""
    assert add_plan_that_watches(ENGINE_FLAG, "wasm_conservative")


def test_a_guardrail_of_another_flag_cannot_watch_a_variant_of_feeds():
    factories.flag("f")
    with pytest.raises(InvalidChangeError, match="has no variant 'wasm_conservative'"):
        add_plan_that_watches("f", "wasm_conservative")
