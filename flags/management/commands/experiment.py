"""`manage.py experiment`: experiments from a terminal and for CI. A door to flags/services."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from django.core.management.base import BaseCommand, CommandError, CommandParser
from rest_framework.exceptions import APIException, ValidationError
from rich.console import Console
from rich.table import Table

from flags.experiments import report
from flags.experiments.documents import experiment_document
from flags.experiments.request_analysis import request_interim_analysis
from flags.management.commands.flag import find_actor, parse_assignments
from flags.models import ChangeSubject, Experiment, PendingChange
from flags.services import experiments
from flags.services.change import apply_change
from flags.services.errors import error_lines
from monitoring.clock import now


class Command(BaseCommand):
    help = "Look at experiments and steer them. Every step says --why and is recorded; all processes obey within 2 s."

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)

        def action(name: str, about: str, *arguments: str, changes: bool = False) -> Any:
            sub = actions.add_parser(name, help=about, description=about)
            for argument in arguments:
                sub.add_argument(argument)
            if changes:
                sub.add_argument("--why", required=True, help="kept with the change")
                sub.add_argument("--user", default="", help="the user who makes the change; default: the command line")
            return sub

        action("list", "Every experiment: its state, traffic and variants.")
        action("show", "One experiment as YAML.", "key")
        saving = action("save", "Make or change a draft from a YAML file, as show prints it.", changes=True)
        saving.add_argument("file", type=Path)
        action("start", "Begin the first phase.", "key", changes=True)
        action("pause", "Let everybody follow the flag until it is resumed.", "key", changes=True)
        action("resume", "Go on in the same phase.", "key", changes=True)
        action("widen", "Take more units in.", "key", "percentage", changes=True)
        phasing = action("phase", "Begin a phase with other weights, such as control=20 b=80.", "key", changes=True)
        phasing.add_argument("weights", nargs="+", metavar="VARIANT=WEIGHT")
        finishing = action("finish", "End it with a decision.", "key", changes=True)
        finishing.add_argument("--decision", default="", help="the variant that won; else none")
        resulting = action("results", "What came of it.", "key")
        resulting.add_argument("--csv", action="store_true")
        resulting.add_argument("--json", action="store_true")
        action("analyze", "Request an interim analysis from the analysis worker now.", "key")

    def handle(self, *args: object, **options: Any) -> None:
        try:
            getattr(self, f"do_{options['action']}", self.run_step)(**options)
        except ValidationError as error:
            raise CommandError("\n".join(error_lines(error.detail))) from error
        except APIException as error:
            raise CommandError(str(error.detail)) from error

    def do_list(self, **_: object) -> None:
        table = Table("experiment", "flag", "state", "traffic", "variants")
        for row in Experiment.objects.select_related("flag").prefetch_related("variants"):
            arms = ", ".join(f"{arm.key} {arm.weight:g}" for arm in row.variants.all())
            table.add_row(row.key, row.flag.key, row.state, f"{row.traffic_percentage:g} %", arms)
        Console(file=self.stdout, width=140).print(table)  # type: ignore[arg-type]

    def do_show(self, key: str, **_: object) -> None:
        document = experiment_document(experiments.find_experiment(key))
        self.stdout.write(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))

    def do_save(self, file: Path, why: str, user: str, **_: object) -> None:
        try:
            document = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError) as error:
            raise CommandError(f"{file} cannot be read: {error}") from error
        if not isinstance(document, dict) or not document.get("key"):
            raise CommandError(f"{file} is no experiment: it needs a key.")
        key, subject = str(document["key"]), ChangeSubject.EXPERIMENT
        is_new = not Experiment.objects.filter(key=key).exists()
        done = apply_change(
            subject=subject, key=key, patch=document, actor=find_actor(user), why=why, now=now(), create=is_new
        )
        self.print_outcome(key, done)

    def run_step(self, action: str, key: str, why: str, user: str, **options: Any) -> None:
        more: dict[str, Any] = {}
        if action == "widen":
            more["traffic_percentage"] = parse_number(options["percentage"])
        elif action == "phase":
            more["weights"] = {
                name: parse_number(value) for name, value in parse_assignments(options["weights"]).items()
            }
        elif action == "finish":
            more["decision"] = options["decision"]
        do: Any = experiments.STEPS[action]
        self.print_outcome(key, do(key=key, actor=find_actor(user), why=why, now=now(), **more))

    def do_results(self, key: str, **options: Any) -> None:
        found = report.build_report(experiments.find_experiment(key))
        if options["csv"]:
            self.stdout.write(report.report_to_csv(found), ending="")
        elif options["json"]:
            self.stdout.write(json.dumps(report.report_to_json(found), indent=2))
        else:
            self.print_results(found)

    def print_results(self, found: report.Report) -> None:
        """Print the comparisons of everybody."""
        if found.analyzed_at is None:
            self.stdout.write(f"Nobody has looked at {found.experiment} yet: experiment analyze {found.experiment}")
            return
        if found.has_sample_ratio_mismatch:
            self.stdout.write(f"THE SPLIT IS WRONG (p {found.sample_ratio_p:.2g}): believe none of this.")
        table = Table("metric", "variant", "units", "lift", "interval", "verdict")
        for line in (line for line in found.comparisons if not line.slice_label):
            numbers = line.numbers
            lift, low, high = (
                "–" if numbers[name] is None else f"{numbers[name]:+.1%}" for name in ("lift", "lift_low", "lift_high")
            )
            table.add_row(line.metric, line.variant, str(numbers["units"]), lift, f"{low} to {high}", line.verdict)
        Console(file=self.stdout, width=140).print(table)  # type: ignore[arg-type]

    def do_analyze(self, key: str, **_: object) -> None:
        request_interim_analysis(experiments.find_experiment(key).key)
        self.stdout.write(f"Asked for: experiment results {key}")

    def print_outcome(self, key: str, outcome: object) -> None:
        """Say what became of it."""
        if isinstance(outcome, PendingChange):
            self.stdout.write(f"{key} waits for approval: change {outcome.pk}.")
            return
        row = experiments.find_experiment(key)
        self.stdout.write(f"{key}: {row.get_state_display().lower()}, phase {row.phases.count()}.")


def parse_number(value: object) -> float:
    """Return a number that was typed."""
    try:
        return float(str(value))
    except ValueError as error:
        raise CommandError(f"{value!r} is no number.") from error
