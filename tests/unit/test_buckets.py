"""Buckets and assignments against a golden file that was computed independently of this code and of the engine."""

import json
from pathlib import Path

import pytest

from flags.experiments.rules import ExperimentArm, RunningExperiment
from flags.rollout import Rollout, compile_rollouts, evaluate_with_engine

ROWS = json.loads((Path(__file__).parent / "golden" / "buckets.json").read_text())["buckets"]
"""Rows of seed, unit id and bucket (0 to 9,999)."""


def flag(key, *, percentage=100.0, variants=()):
    return Rollout(key, is_enabled=True, percentage=percentage, default_value="default", on_value="on", arms=variants)


def running_experiment(flag_key, **fields):
    """Return an experiment of two halves on all units of the flag."""
    arms = (ExperimentArm("control", 0.5, "a"), ExperimentArm("treatment", 0.5, "b"))
    defaults = {"experiment_id": 1, "phase_id": 1, "key": "trial", "seed": "trial:1", "traffic": 1.0, "arms": arms}
    return RunningExperiment(flag_key=flag_key, **(defaults | fields))


def value(unit, rollout, *experiments):
    return evaluate_with_engine(compile_rollouts([rollout], experiments), rollout.key, unit).value


@pytest.mark.parametrize(("seed", "unit", "bucket"), ROWS)
def test_a_rollout_reaches_a_unit_exactly_at_its_bucket(seed, unit, bucket):
    """The flag's key is the seed. One bucket is 0.01 %."""
    assert value(unit, flag(seed, percentage=(bucket - 0.5) / 100)) == "default"
    assert value(unit, flag(seed, percentage=(bucket + 0.5) / 100)) == "on"


@pytest.mark.parametrize(("seed", "unit", "bucket"), ROWS)
def test_variants_of_a_flag_divide_the_buckets_in_order(seed, unit, bucket):
    for edge, served in ((bucket - 0.5, "second"), (bucket + 0.5, "first")):
        share = edge / 10_000
        variants = (ExperimentArm("1", share, "first"), ExperimentArm("2", 1 - share, "second"))
        assert value(unit, flag(seed, variants=variants)) == served


@pytest.mark.parametrize(("seed", "unit", "bucket"), ROWS)
def test_variants_of_an_experiment_divide_the_buckets_of_its_own_seed(seed, unit, bucket):
    for edge, served in ((bucket - 0.5, "b"), (bucket + 0.5, "a")):
        share = edge / 10_000
        arms = (ExperimentArm("control", share, "a"), ExperimentArm("treatment", 1 - share, "b"))
        assert value(unit, flag("f"), running_experiment("f", seed=seed, arms=arms)) == served


@pytest.mark.parametrize(("seed", "unit", "bucket"), [row for row in ROWS if row[0].startswith("holdout:")])
def test_a_holdout_takes_the_lowest_buckets_of_its_seed(seed, unit, bucket):
    holdout = {"holdout": seed.removeprefix("holdout:")}
    assert (
        value(unit, flag("f"), running_experiment("f", holdout_share=(bucket + 0.5) / 10_000, **holdout)) == "default"
    )
    assert value(unit, flag("f"), running_experiment("f", holdout_share=(bucket - 0.5) / 10_000, **holdout)) in (
        "a",
        "b",
    )


@pytest.mark.parametrize(("seed", "unit", "bucket"), [row for row in ROWS if row[0].startswith("group:")])
def test_an_experiment_in_a_group_takes_the_buckets_of_its_slot(seed, unit, bucket):
    """A unit outside of the slot falls through to the rollout."""
    below, above = (bucket - 0.5) / 10_000, (bucket + 0.5) / 10_000
    for slot, is_in in (((below, above), True), ((0.0, below), False), ((above, 1.0), False)):
        served = value(unit, flag("f"), running_experiment("f", group=seed.removeprefix("group:"), slot=slot))
        assert (served in ("a", "b")) is is_in
