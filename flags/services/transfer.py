"""Flags, segments and templates of plans as YAML: from one installation to another, or kept beside the code."""

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
from flags.services.change import SUBJECT_HANDLERS, Actor, apply_change

SECTIONS = {"segments": ChangeSubject.SEGMENT, "flags": ChangeSubject.FLAG, "plans": ChangeSubject.PLAN}
"""In the order that they need each other."""
RUNTIME_FIELDS = {"state", "phase", "phase_since", "flag"}


@dataclass(frozen=True, slots=True)
class ImportOutcome:
    """What became of one document: made, changed, unchanged, waits for approval."""

    subject: str
    key: str
    outcome: str


def export_yaml() -> str:
    """Return every flag, segment and template as YAML."""
    templates = RolloutPlan.objects.filter(flag=None)
    everything = {
        "segments": [segment_document(row) for row in Segment.objects.all()],
        "flags": [flag_document(row) for row in sort_by_prerequisites(list(Flag.objects.filter(is_archived=False)))],
        "plans": [{k: v for k, v in plan_document(row).items() if k not in RUNTIME_FIELDS} for row in templates],
    }
    return yaml.safe_dump(everything, sort_keys=False, allow_unicode=True)


def sort_by_prerequisites(flags: Sequence[Flag]) -> list[Flag]:
    """Return the flags so that each comes after those that it needs."""
    ordered: list[Flag] = []
    todo = list(flags)
    while todo:
        done = {row.pk for row in ordered}
        ready = [row for row in todo if set(row.prerequisites.values_list("required_flag_id", flat=True)) <= done]
        ordered += ready or todo
        todo = [row for row in todo if ready and row not in ready]
    return ordered


def import_yaml(*, text: str, actor: Actor, why: str, now: datetime, dry_run: bool = False) -> list[ImportOutcome]:
    """
    Make or change what the YAML names, all of it or nothing; what it does not name stays.

    *dry_run* says what would come of it. Raises `ValidationError` by place, such as flags/dark_mode.
    """
    found = parse_yaml(text)
    done, wrong = [], {}
    with transaction.atomic():
        for part, subject in SECTIONS.items():
            for number, document in enumerate(found.get(part) or []):
                key = document.get("key", "") if isinstance(document, Mapping) else ""
                try:
                    done.append(import_document(subject, document, actor, why, now))
                except ValidationError as error:
                    wrong[f"{part}/{key or number}"] = error.detail
        if wrong:
            raise ValidationError(wrong)
        if dry_run:
            transaction.set_rollback(True)
    return done


def parse_yaml(text: str) -> dict[str, Any]:
    """Return the YAML as an object of lists, or raise `ValidationError`."""
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValidationError({"text": [f"This is no YAML: {error}"]}) from error
    if (
        not isinstance(found, dict)
        or set(found) - set(SECTIONS)
        or not all(isinstance(v, list) for v in found.values())
    ):
        raise ValidationError({"text": [f"Give an object with lists under {', '.join(SECTIONS)}; nothing else."]})
    return found


def import_document(subject: ChangeSubject, document: Document, actor: Actor, why: str, now: datetime) -> ImportOutcome:
    """Make or change one thing."""
    if not isinstance(document, Mapping) or not isinstance(document.get("key"), str):
        raise ValidationError({"key": ["Give an object with its key."]})
    key = document["key"]
    is_new = not SUBJECT_HANDLERS[subject].model.objects.filter(key=key).exists()
    record = apply_change(
        subject=subject, key=key, patch=document, actor=actor, why=why, now=now, action="imported", create=is_new
    )
    waits = isinstance(record, PendingChange)
    outcome = "waits for approval" if waits else "unchanged" if record is None else "made" if is_new else "changed"
    return ImportOutcome(subject, key, outcome)
