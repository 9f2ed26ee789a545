"""
Measure what management commands cost before they do anything: CPU seconds of the whole process.

    python -m benchmarks.commands [--quick] [--json FILE]

Each command runs in a process of its own on an empty SQLite database. The limit is `import django` in an interpreter
of its own, and the peer is the help of a new Django project's command line, which loads Django and its default apps.
Commands alternate, so that a busy machine slows all of them alike. CPU time also grows on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PEER = (
    "from django.conf import settings; from django.core.management import execute_from_command_line;"
    "settings.configure(INSTALLED_APPS=['django.contrib.' + name for name in"
    " ('admin', 'auth', 'contenttypes', 'sessions', 'messages', 'staticfiles')]);"
    "execute_from_command_line(['manage.py', 'help'])"
)
MANAGE = (sys.executable, "manage.py")
COMMANDS = {
    "import django": (sys.executable, "-c", "import django"),
    "help of a new Django project": (sys.executable, "-c", PEER),
    "flag list": (*MANAGE, "flag", "list"),
    "flag kill": (*MANAGE, "flag", "kill", "no-such-flag", "--why", "benchmark"),
    "key list": (*MANAGE, "key", "list"),
    "help": (*MANAGE, "help"),
    "maintain": (*MANAGE, "maintain"),
    "check": (*MANAGE, "check"),
}


def measure_cpu_seconds(command: tuple[str, ...], env: dict[str, str]) -> float:
    """Run a command. Return the CPU seconds of its process, in user and system mode."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the CPU time of management commands.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        env = os.environ | {
            "SECRET_KEY": "for-the-benchmark-only-" + "x" * 32,
            "DATABASE_URL": f"sqlite:///{folder}/db.sqlite3",
        }
        subprocess.run([*MANAGE, "migrate", "-v0"], cwd=ROOT, env=env, check=True)
        seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
        for _ in range(3 if options.quick else 9):
            for name, command in COMMANDS.items():
                seconds[name].append(measure_cpu_seconds(command, env))
    limit = statistics.median(seconds["import django"])
    print(
        f"load average {os.getloadavg()[0]:.1f}\n{'CPU seconds':30} {'median':>7} {'least':>7} {'most':>7} {'ratio':>7}"
    )
    for name, values in seconds.items():
        median = statistics.median(values)
        print(f"{name:30} {median:7.2f} {min(values):7.2f} {max(values):7.2f} {median / limit:7.1f}")
    if options.json:
        options.json.write_text(json.dumps(seconds, indent=2) + "\n")


if __name__ == "__main__":
    main()
