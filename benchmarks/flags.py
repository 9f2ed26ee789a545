"""
Measure what asking for a flag costs, beside other evaluators of flags in the same process and the same run.

    pip install -r requirements/dev.txt -r benchmarks/requirements.txt
    python benchmarks/flags.py [--quick] [--json FILE]

Every contender runs once in each round, in turn, over the same units; printed are the median over the rounds per
question in µs, the range, and the median over the rounds of contender / ours: above 1 ours is faster. `engine` is the
rule alone, `service` with the process's snapshot, `openfeature` all that the road of a request pays. The in-memory
provider of OpenFeature's own SDK knows no percentage: it is the floor of what its client costs. Flagsmith's engine
answers for all flags of its context at once; its context here has one.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
os.environ.update(
    DJANGO_SETTINGS_MODULE="recsys_project.settings",
    DATABASE_URL=f"sqlite:///{tempfile.mkdtemp(prefix='recsys-benchmark-')}/db.sqlite3",
    SECRET_KEY="for-a-benchmark-only-" + "x" * 32,
)

import django  # noqa: E402

django.setup()

from django.core.management import call_command  # noqa: E402
from flag_engine.engine import get_evaluation_result  # noqa: E402
from openfeature import api  # noqa: E402
from openfeature.evaluation_context import EvaluationContext  # noqa: E402
from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider  # noqa: E402

from flags import rollout  # noqa: E402
from flags.services.change import Actor, apply_change  # noqa: E402
from flags.services.evaluate import evaluate  # noqa: E402
from flags.snapshot import flag_snapshot  # noqa: E402
from monitoring.clock import now  # noqa: E402

FLAG = "quarter"
Row = dict[str, Any]
FlagEvaluator = Callable[[str], bool]


def create_flags(others: int) -> None:
    """Make the flag that is asked for, one with a segment, and *others* beside them."""
    actor = Actor(system="benchmark")

    def make(key: str, subject: str = "flag", **patch: Any) -> None:
        apply_change(subject=subject, key=key, patch=patch, actor=actor, why="benchmark", now=now(), create=True)

    make("staff", "segment", conditions=[{"attribute": "plan", "values": ["pro", "team"]}])
    make(FLAG, is_enabled=True, rollout_percentage=25)
    make("targeted", is_enabled=True, rollout_percentage=25, rules=[{"segment": "staff", "percentage": 50}])
    for number in range(others):
        make(f"other-{number}", is_enabled=True, rollout_percentage=50)


def flagsmith_context() -> dict[str, Any]:
    """Return a context of Flagsmith's engine with one flag at 25 %."""
    quarter = {"operator": "PERCENTAGE_SPLIT", "property": "$.identity.key", "value": "25"}
    override = {"key": FLAG, "name": FLAG, "enabled": True, "value": True, "priority": 0}
    segment = {
        "key": "1",
        "name": "quarter",
        "rules": [{"type": "ALL", "conditions": [quarter], "rules": []}],
        "overrides": [override],
    }
    return {
        "environment": {"key": "benchmark", "name": "benchmark"},
        "features": {FLAG: {"key": FLAG, "name": FLAG, "enabled": False, "value": False}},
        "segments": {"1": segment},
    }


def contenders() -> dict[str, FlagEvaluator]:
    """Return who answers, by name; the first is what others are compared with."""
    compiled = flag_snapshot.current()
    ours = api.get_client()
    api.set_provider(InMemoryProvider({FLAG: InMemoryFlag("on", {"on": True, "off": False})}), "memory")
    memory = api.get_client("memory")
    context = flagsmith_context()

    def by_flagsmith(unit: str) -> bool:
        identity = {"identifier": unit, "key": f"benchmark_{unit}", "traits": {}}
        found: Any = get_evaluation_result(context | {"identity": identity})  # type: ignore[arg-type]
        return bool(found["flags"][FLAG]["enabled"])

    return {
        "service": lambda unit: evaluate(key=FLAG, unit_id=unit).value is True,
        "engine": lambda unit: rollout.evaluate_with_engine(compiled, FLAG, unit).value is True,
        "service, with a segment": lambda unit: (
            evaluate(key="targeted", unit_id=unit, attributes={"plan": "free"}).value is True
        ),
        "openfeature": lambda unit: ours.get_boolean_value(FLAG, False, EvaluationContext(unit)),
        "openfeature, in-memory provider": lambda unit: memory.get_boolean_value(FLAG, False, EvaluationContext(unit)),
        "flagsmith-flag-engine": by_flagsmith,
    }


def measure(asks: dict[str, FlagEvaluator], units: list[str], rounds: int) -> list[Row]:
    """Time each contender once a round, over all units."""
    times: dict[str, list[float]] = {name: [] for name in asks}
    shares: dict[str, float] = {}
    for number in range(rounds + 1):
        for name, ask in asks.items():
            start = time.perf_counter()
            met = sum(ask(unit) for unit in units)
            seconds = time.perf_counter() - start
            if number > 0:  # the first round warms up
                times[name].append(seconds / len(units) * 1e6)
            shares[name] = met / len(units)
    ours = times[next(iter(asks))]
    return [
        {
            "contender": name,
            "us": statistics.median(taken),
            "low": min(taken),
            "high": max(taken),
            "ratio": statistics.median(a / b for a, b in zip(taken, ours, strict=True)),
            "share": shares[name],
        }
        for name, taken in times.items()
    ]


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few units and rounds")
    parser.add_argument("--json", type=Path, help="write the measurements here too")
    asked = parser.parse_args()
    call_command("migrate", verbosity=0)
    create_flags(20)
    units = [f"unit-{number}" for number in range(300 if asked.quick else 3000)]
    rows = measure(contenders(), units, 5 if asked.quick else 25)
    print(f"{'contender':34} {'µs':>7} {'range':>15} {'x ours':>7} {'on':>6}")
    for row in rows:
        spread = f"{row['low']:.1f}-{row['high']:.1f}"
        print(f"{row['contender']:34} {row['us']:7.1f} {spread:>15} {row['ratio']:7.2f} {row['share']:6.1%}")
    if asked.json:
        asked.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
