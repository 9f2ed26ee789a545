"""`manage.py flag`: flags from a terminal and for CI. A door to flags/services."""

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
from monitoring.clock import now

PLAN_STEPS: dict[str, Callable[..., RolloutPlan | PendingChange]] = {
    "start": rollouts.start,
    "pause": rollouts.pause,
    "resume": rollouts.resume,
    "step-back": rollouts.step_back,
    "stop": rollouts.stop,
}


class Command(BaseCommand):
    help = "Look at flags and change them. Every change says --why and is recorded; all processes obey within 2 s."

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

        listing = action("list", "Every flag: its state, its rollout and since when.")
        listing.add_argument("--stale", action="store_true", help="only those that the code should be rid of")
        listing.add_argument("--json", action="store_true")
        showing = action("show", "One flag as YAML, and its last changes.", "key")
        showing.add_argument("--json", action="store_true")
        setting = action("set", "Change fields, such as: is_enabled=true 'tags=[search]'.", "key", changes=True)
        setting.add_argument("fields", nargs="+", metavar="FIELD=VALUE", help="a value in YAML")
        setting.add_argument("--create", action="store_true", help="create the flag if it does not exist")
        action("rollout", "Set the percentage of those who have the flag.", "key", "percentage", changes=True)
        action("kill", "Turn a flag off for everybody at once; waits for no approval.", "key", changes=True)
        action("restore", "Bring back what a change left (its number is in show).", "key", "change", changes=True)
        explaining = action("explain", "What a unit gets, and why.", "key", "unit_id")
        explaining.add_argument("attributes", nargs="*", metavar="NAME=VALUE", help="what to assume of the unit")
        planning = action("plan", "Steer a rollout plan, or `plan create TEMPLATE FLAG`.", changes=True)
        planning.add_argument("step", choices=["create", *PLAN_STEPS])
        planning.add_argument("key", help="the plan's; of make: the template's")
        planning.add_argument("flag", nargs="?", help="of make: the flag's")
        action("plans", "Every rollout plan.")
        measuring = action("gauges", "What guardrails read: how it goes now.")
        measuring.add_argument("--variant", default="", help="whose requests; else everybody's")
        measuring.add_argument("--minutes", type=float, default=60.0, help="how far back")
        exporting = action("export", "All flags, segments and templates as YAML.")
        exporting.add_argument("--output", type=Path, help="a file; else the terminal")
        importing = action("import", "Make or change what a YAML file names, all of it or nothing.", changes=True)
        importing.add_argument("file", type=Path)
        importing.add_argument("--dry-run", action="store_true", help="only say what would come of it")

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
        found = [flag_document(row) | {"stale_reason": stale_reason(row, moment)} for row in rows]
        if options["json"]:
            self.stdout.write(json.dumps(found, indent=2))
            return
        table = Table("flag", "state", "rollout", "rules", "note")
        for row in found:
            state = "on" if row["is_enabled"] else "off"
            table.add_row(
                row["key"], state, f"{row['rollout_percentage']:g} %", str(len(row["rules"])), row["stale_reason"]
            )
        self.print_table(table)

    def do_show(self, key: str, **options: Any) -> None:
        document = flag_document(find_flag(key))
        records = FlagChange.objects.filter(subject=ChangeSubject.FLAG, key=key).select_related("user")[:10]
        if options["json"]:
            self.stdout.write(json.dumps(document, indent=2))
            return
        self.stdout.write(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
        for row in records:
            what = "; ".join(
                f"{d.field}: {d.before or '-'} -> {d.after or '-'}" for d in find_differences(row.before, row.after)
            )
            made = "" if row.before is None else what
            self.stdout.write(
                f"#{row.pk} {row.changed_at:%Y-%m-%d %H:%M:%S} {row.actor_name}, {row.action}: {row.why} {made}".rstrip()
            )

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
        record = rows.filter(pk=change.removeprefix("#")).first() if change.removeprefix("#").isdigit() else None
        if record is None:
            raise CommandError(f"{key} has no change {change!r}; `manage.py flag show {key}` lists them.")
        self.print_outcome(restore_change(change_id=record.pk, actor=find_actor(user), why=why, now=now()))

    def do_explain(self, key: str, unit_id: str, attributes: list[str], **_: object) -> None:
        found = explain(key=key, unit_id=unit_id, given_attributes=parse_assignments(attributes), now=now())
        value = json.dumps(found.value)
        self.stdout.write(
            f"{key} for {unit_id}: {value} ({found.variant}, {found.reason}), at {100 * found.bucket:.2f} %."
        )
        for name, known in found.attributes.items():
            self.stdout.write(f"  {name}: {json.dumps(known, default=str)}")
        for step in found.steps:
            self.stdout.write(f"  {'>' if step.is_decisive else ' '} {step.rule}: {step.outcome}")

    def do_plan(self, step: str, key: str, flag: str | None, why: str, user: str, **_: object) -> None:
        actor, moment = find_actor(user), now()
        if step == "create":
            if not flag:
                raise CommandError("Name the template and the flag: flag plan create gradual wasm_recommendations.")
            done: RolloutPlan | PendingChange = rollouts.copy_template(
                template=key, flag=flag, actor=actor, why=why, now=moment
            )
        else:
            done = PLAN_STEPS[step](key=key, actor=actor, why=why, now=moment)
        if isinstance(done, PendingChange):
            self.print_outcome(done)
        else:
            self.stdout.write(f"{done.key}: {done.get_state_display()}, phase {done.phase} of {done.phases.count()}.")

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
        table = Table("reading", "value", "samples", "what it is")
        for name, what in gauges.describe_gauges().items():
            found = gauges.read_gauge(name, variant, until - timedelta(minutes=minutes), until)
            table.add_row(name, f"{found.value:.4g}" if found.samples else "", f"{found.samples:,}", what)
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
        for one in transfer.import_yaml(text=text, actor=find_actor(user), why=why, now=now(), dry_run=dry_run):
            self.stdout.write(f"{one.subject} {one.key}: {one.outcome}{' (dry run)' if dry_run else ''}")

    def print_outcome(self, outcome: FlagChange | PendingChange | None) -> None:
        """Say what became of a change."""
        if outcome is None:
            self.stdout.write("It is so already.")
        elif isinstance(outcome, PendingChange):
            self.stdout.write(
                f"{outcome.key} waits for a second person's approval (#{outcome.pk}). Nothing changed yet."
            )
        else:
            for one in find_differences(outcome.before, outcome.after) if outcome.before else []:
                self.stdout.write(f"{outcome.key} {one.field}: {one.before or '-'} -> {one.after or '-'}")
            self.stdout.write(f"{outcome.key} {outcome.action} (#{outcome.pk}). Every process obeys within 2 s.")

    def print_table(self, table: Table) -> None:
        """Print a table as wide as the terminal, to where the command writes."""
        console = Console(file=cast("IO[str]", self.stdout), width=None if self.stdout.isatty() else 160)
        console.print(table)


def find_actor(name: str) -> Actor:
    """Return the user of this name, or the command line itself."""
    if not name:
        return Actor(system="command line")
    user = get_user_model().objects.filter(username=name).first()
    if user is None:
        raise CommandError(f"There is no user {name!r}.")
    return Actor(user)


def parse_assignments(arguments: list[str]) -> dict[str, Any]:
    """Return NAME=VALUE words as a mapping, values read as YAML."""
    found = {}
    for word in arguments:
        name, sign, value = word.partition("=")
        if not sign or not name:
            raise CommandError(f"{word!r} is not NAME=VALUE.")
        try:
            found[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise CommandError(f"The value of {name} is no YAML: {error}") from error
    return found
