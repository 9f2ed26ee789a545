"""
`manage.py flag`: read and change flags, segments and rollout plans from a terminal or CI.

The list and the kill are for emergencies, and load nothing that they do not need (tests/architecture). The other
actions are in `flags.management.flag_actions`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO, Any, cast

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.module_loading import import_string
from rich.console import Console
from rich.table import Table

from flags.differences import find_differences
from flags.documents import flag_document
from flags.models import Flag, FlagChange, PendingChange
from flags.services.errors import FlagError, error_lines
from flags.services.kill import kill_flag
from flags.services.record import Actor
from flags.services.stale_flags import find_stale_flags, stale_reason
from monitoring.clock import now

PLAN_STEPS = ("start", "pause", "resume", "step-back", "stop")
OTHER_ACTIONS = "flags.management.flag_actions.Actions"


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
        name = options["action"].replace("-", "_")
        actions = self if name in ("list", "kill") else import_string(OTHER_ACTIONS)(self)
        try:
            getattr(actions, f"do_{name}")(**options)
        except FlagError as error:
            raise CommandError("\n".join(error_lines(error.detail))) from error

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

    def do_kill(self, key: str, why: str, user: str, **_: object) -> None:
        self.print_outcome(kill_flag(key=key, actor=find_actor(user), why=why, now=now()))

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
