"""`manage.py doctor`: the entry point of `monitoring/doctor.py`."""

import json
import sys
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from monitoring import doctor
from monitoring.clock import now
from monitoring.doctor import Verdict


class Command(BaseCommand):
    help = "Check the running configuration against the deployment checklist. Exits with 1 if a line fails."
    # A database that is down is reported as a failed line; it must not stop the command.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print the lines as JSON")

    def handle(self, *args: object, **options: Any) -> None:
        lines = doctor.run_checks(now())
        if options["json"]:
            self.stdout.write(json.dumps([asdict(line) for line in lines], indent=2))
        else:
            self.print_report(lines)
        if doctor.failed_lines(lines):
            sys.exit(1)

    def print_report(self, lines: list[doctor.ReportLine]) -> None:
        """Print each line, with the fix below lines that did not pass."""
        styles = {Verdict.PASS: self.style.SUCCESS, Verdict.WARN: self.style.WARNING, Verdict.FAIL: self.style.ERROR}
        for line in lines:
            self.stdout.write(f"{styles[line.verdict](f'{line.verdict:4}')}  {line.title}: {line.message}")
            if line.fix:
                self.stdout.write(f"      → {line.fix}")
        counts = {verdict: sum(line.verdict is verdict for line in lines) for verdict in Verdict}
        self.stdout.write(f"{counts[Verdict.PASS]} pass, {counts[Verdict.WARN]} warn, {counts[Verdict.FAIL]} fail.")
