"""Export and import of flags, segments and plan templates as YAML, to copy between installations or keep in Git."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import yaml
from django.db import transaction
from rest_framework.exceptions import ValidationError

from flags.documents import Document, flag_document, plan_document, segment_document
from flags.models import ChangeSubject, Flag, PendingChange, RolloutPlan, Segment
from flags.services.change import SUBJECT_HANDLERS, Actor, apply_change, flag_transaction

SECTIONS = {"segments": ChangeSubject.SEGMENT, "flags": ChangeSubject.FLAG, "plans": ChangeSubject.PLAN}
"""Sections of the file, in dependency order."""
RUNTIME_FIELDS = {"state", "phase", "phase_started_at", "flag"}


MAX_YAML_LENGTH = 2**20
"""Characters of an import: hundreds of flags with their rules."""


class PlainLoader(yaml.SafeLoader):
    """Rejects aliases: ten lines in which each repeats the line before ten times are ten billion values."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("Aliases are not supported. Repeat the value.")
        node: yaml.Node | None = super().compose_node(parent, index)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping. Raises `YAMLError` for a key that is given twice."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        repeated = next((key for number, key in enumerate(keys) if key in keys[:number]), None)
        if repeated is not None:
            raise yaml.YAMLError(f"The key {repeated!r} is given twice, again in line {node.start_mark.line + 1}.")
        return super().construct_mapping(node, deep)


class PlainDumper(yaml.SafeDumper):
    """Writes no aliases."""

    def ignore_aliases(self, data: object) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class ImportOutcome:
    """The outcome for one document: created, changed, unchanged or pending approval."""

    subject: str
    key: str
    outcome: str


def export_yaml() -> str:
    """Return every flag, segment and template as YAML."""
    templates = RolloutPlan.objects.filter(flag=None)
    sections = {
        "segments": [segment_document(row) for row in Segment.objects.all()],
        "flags": [flag_document(row) for row in sort_by_prerequisites(list(Flag.objects.filter(is_archived=False)))],
        "plans": [{k: v for k, v in plan_document(row).items() if k not in RUNTIME_FIELDS} for row in templates],
    }
    return yaml.dump(sections, Dumper=PlainDumper, sort_keys=False, allow_unicode=True)


def sort_by_prerequisites(flags: Sequence[Flag]) -> list[Flag]:
    """Return the flags in an order in which each comes after its prerequisites."""
    ordered: list[Flag] = []
    todo = list(flags)
    while todo:
        placed = {row.pk for row in ordered}
        ready = [row for row in todo if set(row.prerequisites.values_list("required_flag_id", flat=True)) <= placed]
        ordered += ready or todo
        todo = [row for row in todo if ready and row not in ready]
    return ordered


@flag_transaction
def import_yaml(*, text: str, actor: Actor, why: str, now: datetime, dry_run: bool = False) -> list[ImportOutcome]:
    """
    Create or change the objects in the YAML, all or none. Objects that it does not contain stay as they are.

    *dry_run* returns the outcomes without saving. Raises `ValidationError` by place, such as flags/dark_mode, also for
    a change that the user may not make in the admin.
    """
    content = parse_yaml(text)
    outcomes, errors = [], {}
    for section, subject in SECTIONS.items():
        for number, document in enumerate(content.get(section) or []):
            key = document.get("key", "") if isinstance(document, Mapping) else ""
            try:
                outcomes.append(import_document(subject, document, actor, why, now))
            except ValidationError as error:
                errors[f"{section}/{key or number}"] = error.detail
    if errors:
        raise ValidationError(errors)
    if dry_run:
        transaction.set_rollback(True)
    return outcomes


def parse_yaml(text: str) -> dict[str, Any]:
    """Return the YAML as a mapping of lists. Raises `ValidationError`."""
    if len(text) > MAX_YAML_LENGTH:
        raise ValidationError({"text": [f"The YAML has {len(text):,} characters. Give at most {MAX_YAML_LENGTH:,}."]})
    try:
        content = yaml.load(text, PlainLoader)
    except yaml.YAMLError as error:
        raise ValidationError({"text": [f"Invalid YAML: {error}"]}) from error
    except RecursionError as error:
        raise ValidationError({"text": ["Invalid YAML: nested too deeply."]}) from error
    except ValueError as error:  # a number with thousands of digits, a date that does not exist
        raise ValidationError({"text": [f"Invalid YAML: {error}"]}) from error
    if (
        not isinstance(content, dict)
        or set(content) - set(SECTIONS)
        or not all(isinstance(rows, list) for rows in content.values())
    ):
        raise ValidationError({"text": [f"Give an object with lists under {', '.join(SECTIONS)}, and nothing else."]})
    return content


def import_document(subject: ChangeSubject, document: Document, actor: Actor, why: str, now: datetime) -> ImportOutcome:
    """Create or change one object."""
    if not isinstance(document, Mapping) or not isinstance(document.get("key"), str):
        raise ValidationError({"key": ["Give an object with a key."]})
    key, model = document["key"], SUBJECT_HANDLERS[subject].model
    is_new = not model.objects.filter(key=key).exists()
    record = apply_change(
        subject=subject, key=key, patch=document, actor=actor, why=why, now=now, action="imported", create=is_new
    )
    permission = f"flags.{'add' if is_new else 'change'}_{model._meta.model_name}"
    if record is not None and actor.user is not None and not actor.user.has_perm(permission):
        raise ValidationError({"key": [f"Your roles do not include the permission {permission}."]})
    is_pending = isinstance(record, PendingChange)
    if is_pending:
        outcome = "pending approval"
    elif record is None:
        outcome = "unchanged"
    else:
        outcome = "created" if is_new else "changed"
    return ImportOutcome(subject, key, outcome)
