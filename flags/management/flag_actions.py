"""
What `manage.py flag` does, except its list and its kill.

Those two do not wait for the imports of this module: the engine of flags, serializers and YAML.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from django.core.management.base import CommandError
from rich.table import Table

from flags import gauges
from flags.differences import find_differences
from flags.documents import flag_document, plan_document
from flags.management.commands.flag import PLAN_STEPS, Command, find_actor
from flags.models import ChangeSubject, Flag, FlagChange, PendingChange, RolloutPlan
from flags.services import rollouts, transfer
from flags.services.change import apply_change
from flags.services.explain import explain
from flags.services.history import restore_change
from flags.services.record import find_flag
from flags.services.transfer import PlainLoader
from monitoring.clock import now

STEP_FUNCTIONS: dict[str, Callable[..., RolloutPlan | PendingChange]] = {
    step: getattr(rollouts, step.replace("-", "_")) for step in PLAN_STEPS
}


class Actions:
    """The actions by the name `do_ACTION`. Each takes the options of the command."""

    def __init__(self, command: Command) -> None:
        self.command = command

    def do_show(self, key: str, **options: Any) -> None:
        document = flag_document(find_flag(key))
        changes = FlagChange.objects.filter(subject=ChangeSubject.FLAG, key=key).select_related("user")[:10]
        if options["json"]:
            self.command.stdout.write(json.dumps(document, indent=2))
            return
        self.command.stdout.write(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
        for row in changes:
            differences = "; ".join(
                f"{d.field}: {d.before or '-'} -> {d.after or '-'}" for d in find_differences(row.before, row.after)
            )
            head = f"#{row.pk} {row.changed_at:%Y-%m-%d %H:%M:%S} {row.actor_name}, {row.action}: {row.why}"
            self.command.stdout.write(head if row.before is None else f"{head} {differences}".rstrip())

    def do_set(self, key: str, fields: list[str], create: bool, why: str, user: str, **_: object) -> None:
        patch = parse_assignments(fields)
        is_new = create and not Flag.objects.filter(key=key).exists()
        self.command.print_outcome(
            apply_change(key=key, patch=patch, actor=find_actor(user), why=why, now=now(), create=is_new)
        )

    def do_rollout(self, key: str, percentage: str, why: str, user: str, **_: object) -> None:
        patch = {"rollout_percentage": percentage.removesuffix("%").strip()}
        self.command.print_outcome(apply_change(key=key, patch=patch, actor=find_actor(user), why=why, now=now()))

    def do_restore(self, key: str, change: str, why: str, user: str, **_: object) -> None:
        rows = FlagChange.objects.filter(subject=ChangeSubject.FLAG, key=key)
        row = rows.filter(pk=change.removeprefix("#")).first() if change.removeprefix("#").isdigit() else None
        if row is None:
            raise CommandError(f"{key} has no change {change!r}. List the changes with `manage.py flag show {key}`.")
        self.command.print_outcome(restore_change(change_id=row.pk, actor=find_actor(user), why=why, now=now()))

    def do_explain(self, key: str, unit_id: str, attributes: list[str], **_: object) -> None:
        explanation = explain(key=key, unit_id=unit_id, given_attributes=parse_assignments(attributes), now=now())
        value = json.dumps(explanation.value)
        self.command.stdout.write(
            f"{key} for {unit_id}: {value} ({explanation.variant}, {explanation.reason}), "
            f"bucket {100 * explanation.bucket:.2f} %."
        )
        for name, attribute in explanation.attributes.items():
            self.command.stdout.write(f"  {name}: {json.dumps(attribute, default=str)}")
        for step in explanation.steps:
            self.command.stdout.write(f"  {'>' if step.is_decisive else ' '} {step.rule}: {step.outcome}")

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
            outcome = STEP_FUNCTIONS[step](key=key, actor=actor, why=why, now=moment)
        if isinstance(outcome, PendingChange):
            self.command.print_outcome(outcome)
        else:
            phase = f"phase {outcome.phase} of {outcome.phases.count()}"
            self.command.stdout.write(f"{outcome.key}: {outcome.get_state_display()}, {phase}.")

    def do_plans(self, **_: object) -> None:
        table = Table("plan", "flag", "state", "phase", "phases")
        for row in RolloutPlan.objects.select_related("flag"):
            document = plan_document(row)
            phases = ", ".join(f"{phase['percentage']:g} %" for phase in document["phases"])
            state = row.get_state_display() if row.flag else "template"
            table.add_row(row.key, document["flag"] or "", state, str(row.phase or ""), phases)
        self.command.print_table(table)

    def do_gauges(self, variant: str, minutes: float, **_: object) -> None:
        until = now()
        table = Table("gauge", "value", "samples", "description")
        for name, description in gauges.describe_gauges().items():
            metric = gauges.read_gauge(name, variant, until - timedelta(minutes=minutes), until)
            table.add_row(name, f"{metric.value:.4g}" if metric.samples else "", f"{metric.samples:,}", description)
        self.command.print_table(table)

    def do_export(self, output: Path | None, **_: object) -> None:
        text = transfer.export_yaml()
        if output is None:
            self.command.stdout.write(text)
        else:
            output.write_text(text)
            self.command.stdout.write(f"Wrote {output}.")

    def do_import(self, file: Path, dry_run: bool, why: str, user: str, **_: object) -> None:
        try:
            text = file.read_text()
        except OSError as error:
            raise CommandError(f"{file} cannot be read: {error.strerror}.") from error
        for document in transfer.import_yaml(text=text, actor=find_actor(user), why=why, now=now(), dry_run=dry_run):
            self.command.stdout.write(
                f"{document.subject} {document.key}: {document.outcome}{' (dry run)' if dry_run else ''}"
            )


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
