"""Answers that depend on the unit's id only are computed once, and are those of the engine."""

from dataclasses import replace

import pytest

from flags.experiments.rules import ExperimentArm, RunningExperiment
from flags.rollout import Rollout, RolloutRule, compile_rollouts, evaluate_with_engine
from flags.services.evaluate import evaluate_details

UNITS = [f"unit-{number}" for number in range(200)]
FLAG = Rollout("f", is_enabled=True, percentage=60)
ARMS = (ExperimentArm("control", 0.5, "a"), ExperimentArm("treatment", 0.5, "b", {"size": 3}))
EXPERIMENT = RunningExperiment(
    experiment_id=1, phase_id=1, key="trial", flag_key="f", seed="trial:1", traffic=0.5, arms=ARMS
)
PRO_ONLY = RolloutRule(condition={"plan": "pro"}, attributes=frozenset({"plan"}))


@pytest.mark.parametrize("experiments", [(), (EXPERIMENT,)])
@pytest.mark.parametrize("fields", [{}, {"is_enabled": False}, {"arms": ARMS}])
def test_a_static_flag_is_evaluated_once_for_a_unit_and_gives_the_engines_answer(fields, experiments):
    compiled = compile_rollouts([replace(FLAG, **fields)], experiments)
    for _ in range(2):
        for unit in UNITS:
            assert evaluate_details(compiled, "f", unit).answer == evaluate_with_engine(compiled, "f", unit)
    cached = compiled.answer_static.cache_info()
    assert (cached.hits, cached.misses) == (len(UNITS), len(UNITS))


def test_changed_flags_have_no_answers_of_earlier_flags():
    for percentage, expected in ((0, {False}), (100, {True})):
        compiled = compile_rollouts([replace(FLAG, percentage=percentage)])
        assert {evaluate_details(compiled, "f", unit).answer.value for unit in UNITS} == expected


def test_a_flag_that_needs_an_attribute_or_an_earlier_assignment_is_not_static():
    needs_attribute = replace(FLAG, rules=(PRO_ONLY,))
    follows = Rollout("g", is_enabled=True, percentage=100, prerequisites=(("f", True),))
    compiled = compile_rollouts([needs_attribute, follows])
    assert not compiled.flags["f"].is_static and not compiled.flags["g"].is_static
    sticky = replace(EXPERIMENT, has_earlier_assignments=True)
    assert not compile_rollouts([FLAG], [sticky]).flags["f"].is_static
    assert compile_rollouts([FLAG], [EXPERIMENT]).flags["f"].is_static


def test_an_attribute_decides_although_the_unit_was_evaluated_before():
    compiled = compile_rollouts([replace(FLAG, percentage=0, rules=(PRO_ONLY,))])
    plans = ("free", "pro", "free")
    answers = [evaluate_details(compiled, "f", "u", {"plan": plan}).answer.value for plan in plans]
    assert answers == [False, True, False]
