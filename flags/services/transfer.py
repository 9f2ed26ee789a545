"""Export and import of flags, segments and plan templates as YAML, to copy between installations or keep in Git."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import yaml
from django.db import transaction
from django.utils.translation import gettext

from flags.documents import Document, flag_document, plan_document, segment_document
from flags.models import ChangeSubject, Flag, PendingChange, RolloutPlan, Segment
from flags.services.change import SUBJECT_HANDLERS, apply_change
from flags.services.errors import FlagError, InvalidChangeError
from flags.services.record import Actor, check_key, flag_transaction
from flags.written_values import ambiguity
from values.numbers import JSON_NUMBER
from values.problems import quote_value
from values.translation import translatable

SECTIONS = {"segments": ChangeSubject.SEGMENT, "flags": ChangeSubject.FLAG, "plans": ChangeSubject.PLAN}
"""Sections of the file, in dependency order."""
RUNTIME_FIELDS = {"state", "phase", "phase_started_at", "flag"}


MAX_YAML_LENGTH = 2**20
"""Characters of an import: hundreds of flags with their rules."""


class PlainLoader(yaml.SafeLoader):
    """
    Reads YAML of which every reader would read the same.

    Rejects aliases: ten lines in which each repeats the line before ten times are ten billion values. Rejects words
    without quotes that are a text to one reader and a number or a boolean to another, or that lose digits: `1.10`,
    `010`, `1:30`, `no`. A date is a text, as in JSON.
    """

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError(gettext("Aliases are not supported. Repeat the value."))
        node: yaml.Node | None = super().compose_node(parent, index)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping. Raises `YAMLError` for a key that is given twice."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        repeated = next((key for number, key in enumerate(keys) if key in keys[:number]), None)
        if repeated is not None:
            text = gettext("The key {key} is given twice, again in line {line}.")
            raise yaml.YAMLError(text.format(key=repr(repeated), line=node.start_mark.line + 1))
        return super().construct_mapping(node, deep)

    def construct_scalar_value(self, node: yaml.ScalarNode) -> bool | int | float:
        """Return a number or a boolean that is written as in JSON. Raises `YAMLError` for another one."""
        try:
            value = YAML_READERS[node.tag](self, node)
        except (ArithmeticError, LookupError, ValueError) as error:  # !!int x, or a number of 5,000 digits
            text = gettext("Line {line}: {value} cannot be read as {type}.")
            text = text.format(line=node.start_mark.line + 1, value=quote_value(node.value), type=node.tag)
            raise yaml.YAMLError(text) from error
        if (node.value.lower() if isinstance(value, bool) else node.value) != json.dumps(value):
            problem = ambiguity(node.value, value).translate(gettext)
            raise yaml.YAMLError(
                gettext("Line {line}: {problem}").format(line=node.start_mark.line + 1, problem=problem)
            )
        return value

    def construct_time_text(self, node: yaml.ScalarNode) -> str:
        """Return a date or a time as a text, as JSON has it."""
        return str(self.construct_scalar(node))


class PlainDumper(yaml.SafeDumper):
    """Writes what `PlainLoader` reads back as the same values, without aliases."""

    def ignore_aliases(self, data: object) -> bool:
        return True

    def represent_text(self, data: str) -> yaml.ScalarNode:
        """Return a text, in double quotes and with escapes if it has characters that YAML takes for line breaks."""
        return self.represent_scalar(f"{YAML_TAG}:str", data, None if data.replace("\n", "").isprintable() else '"')

    def represent_number(self, data: float) -> yaml.ScalarNode:
        """Return a number as JSON writes it: 1e+20, not 1.0e+20."""
        return self.represent_scalar(f"{YAML_TAG}:float", json.dumps(data))


WHOLE_JSON_NUMBER = re.compile(rf"(?:{JSON_NUMBER.pattern})\Z", re.ASCII)
YAML_TAG = "tag:yaml.org,2002"
YAML_READERS: dict[str, Callable[[PlainLoader, yaml.ScalarNode], bool | int | float]] = {
    f"{YAML_TAG}:bool": PlainLoader.construct_yaml_bool,
    f"{YAML_TAG}:int": PlainLoader.construct_yaml_int,
    f"{YAML_TAG}:float": PlainLoader.construct_yaml_float,
}
for tag in YAML_READERS:
    PlainLoader.add_constructor(tag, PlainLoader.construct_scalar_value)
PlainLoader.add_constructor(f"{YAML_TAG}:timestamp", PlainLoader.construct_time_text)
PlainDumper.add_representer(str, PlainDumper.represent_text)
PlainDumper.add_representer(float, PlainDumper.represent_number)
for handler in (PlainLoader, PlainDumper):
    # PyYAML reads YAML 1.1, in which 1e5 is a text. In YAML 1.2 and in JSON it is a number.
    handler.add_implicit_resolver(f"{YAML_TAG}:float", WHOLE_JSON_NUMBER, list("-+.0123456789"))


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

    All or none, because the objects depend on each other: if a segment is refused, a flag of the same file would go to
    the units of the old segment. *dry_run* returns the outcomes without saving. Raises `InvalidChangeError` with the
    errors of each object by place, such as flags/dark_mode, also for a change that the user may not make in the admin.
    """
    content = parse_yaml(text)
    outcomes: list[ImportOutcome] = []
    errors: dict[str, Any] = {}
    for section, subject in SECTIONS.items():
        places: set[str] = set()
        for number, document in enumerate(content.get(section) or []):
            key = document.get("key", "") if isinstance(document, Mapping) else ""
            place = f"{section}/{key or number}"
            if place in places:
                item = gettext("{place} (item {number})").format(place=place, number=number + 1)
                errors[item] = {"key": [gettext("The file has this key twice.")]}
                continue
            places.add(place)
            try:
                outcomes.append(import_document(subject, document, actor, why, now))
            except FlagError as error:
                errors[place] = error.detail
    if errors:
        raise InvalidChangeError(errors)
    if dry_run:
        transaction.set_rollback(True)
    return outcomes


def parse_yaml(text: str) -> dict[str, Any]:
    """Return the YAML as a mapping of lists. Raises `InvalidChangeError`."""
    if len(text) > MAX_YAML_LENGTH:
        problem = gettext("The YAML has {count} characters. Give at most {limit}.")
        raise InvalidChangeError({"text": [problem.format(count=f"{len(text):,}", limit=f"{MAX_YAML_LENGTH:,}")]})
    try:
        content = yaml.load(text, PlainLoader)
    except yaml.YAMLError as error:
        raise InvalidChangeError({"text": [gettext("Invalid YAML: {error}").format(error=error)]}) from error
    except RecursionError as error:
        raise InvalidChangeError({"text": [gettext("Invalid YAML: nested too deeply.")]}) from error
    except ValueError as error:  # a number with thousands of digits, a date that does not exist
        raise InvalidChangeError({"text": [gettext("Invalid YAML: {error}").format(error=error)]}) from error
    if (
        not isinstance(content, dict)
        or set(content) - set(SECTIONS)
        or not all(isinstance(rows, list) for rows in content.values())
    ):
        problem = gettext("Give an object with lists under {sections}, and nothing else.")
        raise InvalidChangeError({"text": [problem.format(sections=", ".join(SECTIONS))]})
    return content


def import_document(subject: ChangeSubject, document: Document, actor: Actor, why: str, now: datetime) -> ImportOutcome:
    """Create or change one object."""
    if not isinstance(document, Mapping) or not isinstance(document.get("key"), str):
        raise InvalidChangeError({"key": [gettext("Give an object with a key.")]})
    key, model = document["key"], SUBJECT_HANDLERS[subject].model
    check_key(key)
    is_new = not model.objects.filter(key=key).exists()
    record = apply_change(
        subject=subject, key=key, patch=document, actor=actor, why=why, now=now, action="imported", create=is_new
    )
    permission = f"flags.{'add' if is_new else 'change'}_{model._meta.model_name}"
    if record is not None and actor.user is not None and not actor.user.has_perm(permission):
        problem = gettext("Your roles do not include the permission {permission}.")
        raise InvalidChangeError({"key": [problem.format(permission=permission)]})
    is_pending = isinstance(record, PendingChange)
    if is_pending:
        outcome = translatable("pending approval")
    elif record is None:
        outcome = translatable("unchanged")
    else:
        outcome = "created" if is_new else "changed"
    return ImportOutcome(subject, key, outcome)
