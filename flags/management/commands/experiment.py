"""`manage.py experiment`: read, change and analyze experiments from a terminal or CI."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.table import Table

from flags.experiments import findings, report
from flags.experiments.documents import experiment_document
from flags.experiments.request_analysis import request_interim_analysis
from flags.management.commands.flag import find_actor
from flags.management.flag_actions import parse_assignments
from flags.models import ChangeSubject, Experiment, PendingChange
from flags.services import experiments
from flags.services.change import apply_change
from flags.services.errors import FlagError, error_lines
from flags.services.transfer import PlainLoader
from monitoring.clock import now


class Command(BaseCommand):
    help = "Read and run experiments. Steps need --why and are recorded. Every process applies a step within 2 s."
    requires_system_checks = ()  # they load every page of the service

    def add_arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)

        def add_action(name: str, description: str, *arguments: str, changes: bool = False) -> Any:
            sub = actions.add_parser(name, help=description, description=description)
            for argument in arguments:
                sub.add_argument(argument)
            if changes:
                sub.add_argument("--why", required=True, help="the reason, saved with the change")
                sub.add_argument("--user", default="", help="the user who makes the change; default: the command line")
            return sub

        add_action("list", "List experiments with their state, traffic and variants.")
        add_action("show", "Show an experiment as YAML.", "key")
        saving = add_action("save", "Create or change a draft from a YAML file in the format of show.", changes=True)
        saving.add_argument("file", type=Path)
        add_action("start", "Start the first phase.", "key", changes=True)
        add_action("pause", "Let all units follow the flag until the experiment is resumed.", "key", changes=True)
        add_action("resume", "Continue the same phase.", "key", changes=True)
        add_action("widen", "Raise the traffic percentage.", "key", "percentage", changes=True)
        phasing = add_action("phase", "Begin a phase with new weights, such as control=20 b=80.", "key", changes=True)
        phasing.add_argument("weights", nargs="+", metavar="VARIANT=WEIGHT")
        finishing = add_action("finish", "Finish the experiment with a decision.", "key", changes=True)
        finishing.add_argument("--decision", default="", help="the winning variant's key; default: no decision")
        resulting = add_action("results", "Show the results.", "key")
        resulting.add_argument("--csv", action="store_true")
        resulting.add_argument("--json", action="store_true")
        add_action("analyze", "Request an interim analysis from the analysis worker now.", "key")

    def handle(self, *args: object, **options: Any) -> None:
        try:
            getattr(self, f"do_{options['action']}", self.run_step)(**options)
        except FlagError as error:
            raise CommandError("\n".join(error_lines(error.detail))) from error

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
            document = yaml.load(file.read_text(encoding="utf-8"), PlainLoader)
        except (OSError, yaml.YAMLError) as error:
            raise CommandError(f"{file} cannot be read: {error}") from error
        if not isinstance(document, dict) or not document.get("key"):
            raise CommandError(f"{file} is not an experiment document: it needs a key.")
        key, subject = str(document["key"]), ChangeSubject.EXPERIMENT
        is_new = not Experiment.objects.filter(key=key).exists()
        outcome = apply_change(
            subject=subject, key=key, patch=document, actor=find_actor(user), why=why, now=now(), create=is_new
        )
        self.print_outcome(key, outcome)

    def run_step(self, action: str, key: str, why: str, user: str, **options: Any) -> None:
        step_options: dict[str, Any] = {}
        if action == "widen":
            step_options["traffic_percentage"] = parse_number(options["percentage"])
        elif action == "phase":
            step_options["weights"] = {
                name: parse_number(value) for name, value in parse_assignments(options["weights"]).items()
            }
        elif action == "finish":
            step_options["decision"] = options["decision"]
        step: Any = experiments.STEPS[action]
        self.print_outcome(key, step(key=key, actor=find_actor(user), why=why, now=now(), **step_options))

    def do_results(self, key: str, **options: Any) -> None:
        results = report.build_report(experiments.find_experiment(key))
        if options["csv"]:
            self.stdout.write(report.report_to_csv(results), ending="")
        elif options["json"]:
            self.stdout.write(json.dumps(report.report_to_json(results), indent=2))
        else:
            self.print_results(results)

    def print_results(self, results: report.Report) -> None:
        """Print the comparisons over all units."""
        if results.analyzed_at is None:
            self.stdout.write(f"No analysis yet. Request one with: experiment analyze {results.experiment}")
            return
        if results.has_sample_ratio_mismatch:
            self.stdout.write(f"SAMPLE RATIO MISMATCH (p {results.sample_ratio_p:.2g}): do not use these results.")
        self.stdout.write(findings.summarize(results))
        table = Table("metric", "variant", "units", "lift", "interval", "verdict")
        for row in (row for row in results.comparisons if not row.slice_label):
            numbers = row.numbers
            lift, low, high = (
                "–" if numbers[name] is None else f"{numbers[name]:+.1%}" for name in ("lift", "lift_low", "lift_high")
            )
            table.add_row(row.metric, row.variant, str(numbers["units"]), lift, f"{low} to {high}", row.verdict)
        Console(file=self.stdout, width=140).print(table)  # type: ignore[arg-type]

    def do_analyze(self, key: str, **_: object) -> None:
        request_interim_analysis(experiments.find_experiment(key).key)
        self.stdout.write(f"Analysis requested. Show it with: experiment results {key}")

    def print_outcome(self, key: str, outcome: object) -> None:
        """Print the outcome of a step."""
        if isinstance(outcome, PendingChange):
            self.stdout.write(f"{key} is pending approval: change {outcome.pk}.")
            return
        row = experiments.find_experiment(key)
        self.stdout.write(f"{key}: {row.get_state_display().lower()}, phase {row.phases.count()}.")


def parse_number(value: object) -> float:
    """Return the argument as a number. Raises `CommandError`."""
    try:
        return float(str(value))
    except ValueError as error:
        raise CommandError(f"Give a number, not {value!r}.") from error
