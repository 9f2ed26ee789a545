"""The plan of faults."""

import pytest

from tests.faults.plan import draw_plan, list_faults


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_seed_repeats_its_plan_and_each_fault_comes_before_any_comes_again(database):
    plan = draw_plan(7, 600, database)
    assert plan == draw_plan(7, 600, database) != draw_plan(8, 600, database)
    faults = list_faults(database)
    assert sorted((fault.kind, fault.target) for fault in plan[: len(faults)]) == sorted(faults)
    assert sum(fault.after + fault.seconds for fault in plan[:-1]) < 600


def test_postgresql_itself_gets_faults():
    targets = {target for _, target in list_faults("postgresql")}
    assert targets - {target for _, target in list_faults("sqlite")} == {"postgres"}
