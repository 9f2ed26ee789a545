"""The change history as differences, and restoring an earlier state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from flags.documents import UNIT_ID_FIELDS
from flags.models import ChangeSubject, FlagChange, PendingChange
from flags.services.change import Actor, apply_change, flag_transaction
from flags.services.errors import RefusedError, UnknownKeyError
from flags.written_values import write_value


@dataclass(frozen=True, slots=True)
class FieldDifference:
    """One field's value before and after a change."""

    field: str
    before: str
    after: str


def find_differences(before: Mapping[str, object] | None, after: Mapping[str, object]) -> list[FieldDifference]:
    """Return the fields that differ. Rows of a list are compared by position."""
    old, new = dict(flatten("", before or {})), dict(flatten("", after))
    names = [*new, *(name for name in old if name not in new)]
    return [
        FieldDifference(name, old.get(name, ""), new.get(name, ""))
        for name in names
        if old.get(name, "") != new.get(name, "")
    ]


def flatten(name: str, value: object) -> Iterator[tuple[str, str]]:
    """Yield the path and the formatted value of each leaf of a document."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from flatten(f"{name} {key}".strip(), inner)
    elif isinstance(value, list) and any(isinstance(inner, Mapping) for inner in value):
        for number, inner in enumerate(value, 1):
            yield from flatten(f"{name} {number}", inner)
    else:
        yield name, format_value(value)


def format_value(value: object) -> str:
    """Return a value as text for people. A text that looks like another type is in quotes."""
    if value is None or value == "":
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, list):
        return ", ".join(format_value(inner) for inner in value)
    return write_value(value)


@flag_transaction
def restore_change(*, change_id: int, actor: Actor, why: str, now: datetime) -> FlagChange | PendingChange | None:
    """
    Restore the state after the change *change_id*, as a new recorded change; return None if that is the current state.

    Raises `UnknownKeyError`, or `RefusedError` for a rollout plan.
    """
    record = FlagChange.objects.filter(pk=change_id).first()
    if record is None:
        raise UnknownKeyError("change", str(change_id))
    if record.subject == ChangeSubject.PLAN:
        raise RefusedError("A rollout plan cannot be restored. Step back, or start another plan.")
    # The history masks lists of ids, so these lists stay as they are.
    patch = {name: value for name, value in record.after.items() if name not in UNIT_ID_FIELDS}
    return apply_change(
        subject=record.subject, key=record.key, patch=patch, actor=actor, why=why, now=now, action="restored"
    )
