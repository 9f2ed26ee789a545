"""`manage.py flag`: read and change flags, segments and rollout plans from a terminal or CI."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import IO, Any, cast

import yaml
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser
from rest_framework.exceptions import APIException, ValidationError
from rich.console import Console
from rich.table import Table

from flags import gauges
from flags.documents import flag_document, plan_document
from flags.models import ChangeSubject, Flag, FlagChange, PendingChange, RolloutPlan
from flags.services import rollouts, transfer
from flags.services.change import Actor, apply_change, find_flag
from flags.services.errors import error_lines
from flags.services.explain import explain
from flags.services.history import find_differences, restore_change
from flags.services.kill import kill_flag
from flags.services.stale_flags import find_stale_flags, stale_reason
from flags.services.transfer import PlainLoader
from monitoring.clock import now

PLAN_STEPS: dict[str, Callable[..., RolloutPlan | PendingChange]] = {
    "start": rollouts.start,
    "pause": rollouts.pause,
    "resume": rollouts.resume,
    "step-back": rollouts.step_back,
    "stop": rollouts.stop,
}


class Command(BaseCommand):
    help = "Read and change flags. Changes need --why and are recorded. Every process applies a change within 2 s."
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

        listing = add_action("list", "List flags with their state and rollout.")
        listing.add_argument("--stale", action="store_true", help="only flags that should be removed from the code")
        listing.add_argument("--json", action="store_true")
        showing = add_action("show", "Show a flag as YAML with its last changes.", "key")
        showing.add_argument("--json", action="store_true")
        setting = add_action("set", "Change fields, for example: is_enabled=true 'tags=[search]'.", "key", changes=True)
        setting.add_argument("fields", nargs="+", metavar="FIELD=VALUE", help="the value in YAML")
        setting.add_argument("--create", action="store_true", help="create the flag if it does not exist")
        add_action("rollout", "Set the rollout percentage of a flag.", "key", "percentage", changes=True)
        add_action("kill", "Turn a flag off for all members at once, without approval.", "key", changes=True)
        add_action(
            "restore", "Restore the state after a change (see its number in show).", "key", "change", changes=True
        )
        explaining = add_action("explain", "Explain a flag's value for a unit.", "key", "unit_id")
        explaining.add_argument("attributes", nargs="*", metavar="NAME=VALUE", help="attributes to assume")
        planning = add_action("plan", "Run a step of a rollout plan, or `plan create TEMPLATE FLAG`.", changes=True)
        planning.add_argument("step", choices=["create", *PLAN_STEPS])
        planning.add_argument("key", help="the plan's key; for create: the template's key")
        planning.add_argument("flag", nargs="?", help="for create: the flag's key")
        add_action("plans", "List rollout plans.")
        measuring = add_action("gauges", "Show the current metric values that guardrails can check.")
        measuring.add_argument("--variant", default="", help="only requests of this variant; default: all requests")
        measuring.add_argument("--minutes", type=float, default=60.0, help="length of the window")
        exporting = add_action("export", "Export all flags, segments and plan templates as YAML.")
        exporting.add_argument("--output", type=Path, help="the file to write; default: the terminal")
        importing = add_action("import", "Create or change the objects in a YAML file, all or none.", changes=True)
        importing.add_argument("file", type=Path)
        importing.add_argument("--dry-run", action="store_true", help="print the outcomes and save nothing")

    def handle(self, *args: object, **options: Any) -> None:
        try:
            getattr(self, f"do_{options['action']}")(**options)
        except ValidationError as error:
            raise CommandError("\n".join(error_lines(error.detail))) from error
        except APIException as error:
            raise CommandError(str(error.detail)) from error

    def do_list(self, **options: Any) -> None:
        moment = now()
        rows = (
            [row for row, _ in find_stale_flags(now=moment)]
            if options["stale"]
            else Flag.objects.filter(is_archived=False)
        )
        documents = [flag_document(row) | {"stale_reason": stale_reason(row, moment)} for row in rows]
        if options["json"]:
            self.stdout.write(json.dumps(documents, indent=2))
            return
        table = Table("flag", "state", "rollout", "rules", "note")
        for row in documents:
            state = "on" if row["is_enabled"] else "off"
            table.add_row(
                row["key"], state, f"{row['rollout_percentage']:g} %", str(len(row["rules"])), row["stale_reason"]
            )
        self.print_table(table)

    def do_show(self, key: str, **options: Any) -> None:
        document = flag_document(find_flag(key))
        changes = FlagChange.objects.filter(subject=ChangeSubject.FLAG, key=key).select_related("user")[:10]
        if options["json"]:
            self.stdout.write(json.dumps(document, indent=2))
            return
        self.stdout.write(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
        for row in changes:
            differences = "; ".join(
                f"{d.field}: {d.before or '-'} -> {d.after or '-'}" for d in find_differences(row.before, row.after)
            )
            head = f"#{row.pk} {row.changed_at:%Y-%m-%d %H:%M:%S} {row.actor_name}, {row.action}: {row.why}"
            self.stdout.write(head if row.before is None else f"{head} {differences}".rstrip())

    def do_set(self, key: str, fields: list[str], create: bool, why: str, user: str, **_: object) -> None:
        patch = parse_assignments(fields)
        is_new = create and not Flag.objects.filter(key=key).exists()
        self.print_outcome(
            apply_change(key=key, patch=patch, actor=find_actor(user), why=why, now=now(), create=is_new)
        )

    def do_rollout(self, key: str, percentage: str, why: str, user: str, **_: object) -> None:
        patch = {"rollout_percentage": percentage.removesuffix("%").strip()}
        self.print_outcome(apply_change(key=key, patch=patch, actor=find_actor(user), why=why, now=now()))

    def do_kill(self, key: str, why: str, user: str, **_: object) -> None:
        self.print_outcome(kill_flag(key=key, actor=find_actor(user), why=why, now=now()))

    def do_restore(self, key: str, change: str, why: str, user: str, **_: object) -> None:
        rows = FlagChange.objects.filter(subject=ChangeSubject.FLAG, key=key)
        row = rows.filter(pk=change.removeprefix("#")).first() if change.removeprefix("#").isdigit() else None
        if row is None:
            raise CommandError(f"{key} has no change {change!r}. List the changes with `manage.py flag show {key}`.")
        self.print_outcome(restore_change(change_id=row.pk, actor=find_actor(user), why=why, now=now()))

    def do_explain(self, key: str, unit_id: str, attributes: list[str], **_: object) -> None:
        explanation = explain(key=key, unit_id=unit_id, given_attributes=parse_assignments(attributes), now=now())
        value = json.dumps(explanation.value)
        self.stdout.write(
            f"{key} for {unit_id}: {value} ({explanation.variant}, {explanation.reason}), "
            f"bucket {100 * explanation.bucket:.2f} %."
        )
        for name, attribute in explanation.attributes.items():
            self.stdout.write(f"  {name}: {json.dumps(attribute, default=str)}")
        for step in explanation.steps:
            self.stdout.write(f"  {'>' if step.is_decisive else ' '} {step.rule}: {step.outcome}")

    def do_plan(self, step: str, key: str, flag: str | None, why: str, user: str, **_: object) -> None:
        actor, moment = find_actor(user), now()
        if step == "create":
            if not flag:
                raise CommandError(
                    "Give the template and the flag, for example: flag plan create gradual wasm_recommendations."
                )
            outcome: RolloutPlan | PendingChange = rollouts.copy_template(
                template=key, flag=flag, actor=actor, why=why, now=moment
            )
        else:
            outcome = PLAN_STEPS[step](key=key, actor=actor, why=why, now=moment)
        if isinstance(outcome, PendingChange):
            self.print_outcome(outcome)
        else:
            phase = f"phase {outcome.phase} of {outcome.phases.count()}"
            self.stdout.write(f"{outcome.key}: {outcome.get_state_display()}, {phase}.")

    def do_plans(self, **_: object) -> None:
        table = Table("plan", "flag", "state", "phase", "phases")
        for row in RolloutPlan.objects.select_related("flag"):
            document = plan_document(row)
            phases = ", ".join(f"{phase['percentage']:g} %" for phase in document["phases"])
            state = row.get_state_display() if row.flag else "template"
            table.add_row(row.key, document["flag"] or "", state, str(row.phase or ""), phases)
        self.print_table(table)

    def do_gauges(self, variant: str, minutes: float, **_: object) -> None:
        until = now()
        table = Table("gauge", "value", "samples", "description")
        for name, description in gauges.describe_gauges().items():
            metric = gauges.read_gauge(name, variant, until - timedelta(minutes=minutes), until)
            table.add_row(name, f"{metric.value:.4g}" if metric.samples else "", f"{metric.samples:,}", description)
        self.print_table(table)

    def do_export(self, output: Path | None, **_: object) -> None:
        text = transfer.export_yaml()
        if output is None:
            self.stdout.write(text)
        else:
            output.write_text(text)
            self.stdout.write(f"Wrote {output}.")

    def do_import(self, file: Path, dry_run: bool, why: str, user: str, **_: object) -> None:
        try:
            text = file.read_text()
        except OSError as error:
            raise CommandError(f"{file} cannot be read: {error.strerror}.") from error
        for document in transfer.import_yaml(text=text, actor=find_actor(user), why=why, now=now(), dry_run=dry_run):
            self.stdout.write(f"{document.subject} {document.key}: {document.outcome}{' (dry run)' if dry_run else ''}")

    def print_outcome(self, outcome: FlagChange | PendingChange | None) -> None:
        """Print the outcome of a change."""
        if outcome is None:
            self.stdout.write("Nothing changed: the values are the same as before.")
        elif isinstance(outcome, PendingChange):
            self.stdout.write(
                f"{outcome.key} is pending approval by a second person (#{outcome.pk}). Nothing has changed yet."
            )
        else:
            for row in find_differences(outcome.before, outcome.after) if outcome.before else []:
                self.stdout.write(f"{outcome.key} {row.field}: {row.before or '-'} -> {row.after or '-'}")
            self.stdout.write(f"{outcome.key} {outcome.action} (#{outcome.pk}). Every process applies it within 2 s.")

    def print_table(self, table: Table) -> None:
        """Print a table to the command's output, as wide as the terminal."""
        console = Console(file=cast("IO[str]", self.stdout), width=None if self.stdout.isatty() else 160)
        console.print(table)


def find_actor(name: str) -> Actor:
    """Return the user with this name as an actor, or the command line for an empty name."""
    if not name:
        return Actor(system="command line")
    user = get_user_model().objects.filter(username=name).first()
    if user is None:
        raise CommandError(f"There is no user {name!r}.")
    return Actor(user)


def parse_assignments(arguments: list[str]) -> dict[str, Any]:
    """Return NAME=VALUE arguments as a mapping, with values parsed as YAML."""
    assignments = {}
    for argument in arguments:
        name, sign, value = argument.partition("=")
        if not sign or not name:
            raise CommandError(f"Give NAME=VALUE, not {argument!r}.")
        try:
            assignments[name] = yaml.load(value, PlainLoader)
        except yaml.YAMLError as error:
            raise CommandError(f"The value of {name} is not valid YAML: {error}") from error
    return assignments
