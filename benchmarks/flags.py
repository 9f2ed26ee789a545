"""
Compare the time of a flag evaluation with other flag engines, in the same process and run.

    pip install -r requirements/dev.txt -r benchmarks/requirements.txt
    python benchmarks/flags.py [--quick] [--json FILE]

Every contender runs once in each round over the same units. The table shows the median over the rounds in µs per
evaluation, the range, and the median of the ratio contender / service: above 1 the service is faster. `engine`
evaluates the rule alone, `service` uses the process's snapshot, and `openfeature` is the full cost in a request. The
in-memory provider of OpenFeature's SDK has no percentage rollouts: it shows the minimum cost of the client. Flagsmith's
engine evaluates all flags of its context at once; the context here has one flag.
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
from flags.services.change import apply_change  # noqa: E402
from flags.services.evaluate import evaluate  # noqa: E402
from flags.services.record import Actor  # noqa: E402
from flags.snapshot import flag_snapshot  # noqa: E402
from monitoring.clock import now  # noqa: E402

FLAG = "quarter"
Row = dict[str, Any]
FlagEvaluator = Callable[[str], bool]


def create_flags(others: int) -> None:
    """Create the evaluated flag, a flag with a segment, and *others* more flags."""
    actor = Actor(system="benchmark")

    def create(key: str, subject: str = "flag", **patch: Any) -> None:
        apply_change(subject=subject, key=key, patch=patch, actor=actor, why="benchmark", now=now(), create=True)

    create("staff", "segment", conditions=[{"attribute": "plan", "values": ["pro", "team"]}])
    create(FLAG, is_enabled=True, rollout_percentage=25)
    create("targeted", is_enabled=True, rollout_percentage=25, rules=[{"segment": "staff", "percentage": 50}])
    for number in range(others):
        create(f"other-{number}", is_enabled=True, rollout_percentage=50)


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
    """Return the contenders by name. The others are compared with the first."""
    compiled = flag_snapshot.current()
    client = api.get_client()
    api.set_provider(InMemoryProvider({FLAG: InMemoryFlag("on", {"on": True, "off": False})}), "memory")
    memory = api.get_client("memory")
    context = flagsmith_context()

    def evaluate_with_flagsmith(unit: str) -> bool:
        identity = {"identifier": unit, "key": f"benchmark_{unit}", "traits": {}}
        result: Any = get_evaluation_result(context | {"identity": identity})  # type: ignore[arg-type]
        return bool(result["flags"][FLAG]["enabled"])

    return {
        "service": lambda unit: evaluate(key=FLAG, unit_id=unit).value is True,
        "engine": lambda unit: rollout.evaluate_with_engine(compiled, FLAG, unit).value is True,
        "service, with a segment": lambda unit: (
            evaluate(key="targeted", unit_id=unit, attributes={"plan": "free"}).value is True
        ),
        "openfeature": lambda unit: client.get_boolean_value(FLAG, False, EvaluationContext(unit)),
        "openfeature, in-memory provider": lambda unit: memory.get_boolean_value(FLAG, False, EvaluationContext(unit)),
        "flagsmith-flag-engine": evaluate_with_flagsmith,
    }


def measure(evaluators: dict[str, FlagEvaluator], units: list[str], rounds: int) -> list[Row]:
    """Time each contender once per round, over all units."""
    times: dict[str, list[float]] = {name: [] for name in evaluators}
    shares: dict[str, float] = {}
    for number in range(rounds + 1):
        for name, evaluator in evaluators.items():
            start = time.perf_counter()
            on_count = sum(evaluator(unit) for unit in units)
            seconds = time.perf_counter() - start
            if number > 0:  # the first round warms up
                times[name].append(seconds / len(units) * 1e6)
            shares[name] = on_count / len(units)
    service_times = times[next(iter(evaluators))]
    return [
        {
            "contender": name,
            "us": statistics.median(durations),
            "low": min(durations),
            "high": max(durations),
            "ratio": statistics.median(a / b for a, b in zip(durations, service_times, strict=True)),
            "share": shares[name],
        }
        for name, durations in times.items()
    ]


def main() -> None:
    """Run and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="use few units and rounds")
    parser.add_argument("--json", type=Path, help="also write the measurements to this file")
    options = parser.parse_args()
    call_command("migrate", verbosity=0)
    create_flags(20)
    units = [f"unit-{number}" for number in range(300 if options.quick else 3000)]
    rows = measure(contenders(), units, 5 if options.quick else 25)
    print(f"{'contender':34} {'µs':>7} {'range':>15} {'ratio':>7} {'on':>6}")
    for row in rows:
        spread = f"{row['low']:.1f}-{row['high']:.1f}"
        print(f"{row['contender']:34} {row['us']:7.1f} {spread:>15} {row['ratio']:7.2f} {row['share']:6.1%}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
