"""
Turns a flag off in an emergency: at once, for all units, without approval.

A kill writes the two fields itself, and does not validate the rest of the document as `apply_change` does: a flag of an
earlier release, with a field that is invalid today, can be killed too. The record and the notice are the same.
"""

from __future__ import annotations

from datetime import datetime

from flags.documents import Document, flag_document, plan_document
from flags.models import ChangeSubject, Flag, FlagChange, RolloutPlan
from flags.models.guarded import allow_guarded_writes
from flags.services.record import (
    Actor,
    check_key,
    check_reason,
    find_flag,
    flag_transaction,
    record_change,
    save_row,
    to_plain_json,
)


@flag_transaction
def kill_flag(*, key: str, actor: Actor, why: str, now: datetime) -> FlagChange | None:
    """
    Turn the flag off, and pause the plan that would raise it again. Return None if the flag is off already.

    Every process applies it within `REFRESH_SECONDS`. The turn-off hooks purge what was cached under the flag. Raises
    `UnknownKeyError`, or `InvalidChangeError` for a missing reason or a key that no database can store.
    """
    check_reason(why)
    check_key(key)
    flag = find_flag(key)
    record = write_kill(ChangeSubject.FLAG, flag, actor, why, now) if flag.is_enabled else None
    for plan in RolloutPlan.objects.filter(flag=flag, state=RolloutPlan.State.RUNNING):
        write_kill(ChangeSubject.PLAN, plan, actor, why, now)
    return record


def write_kill(subject: str, row: Flag | RolloutPlan, actor: Actor, why: str, now: datetime) -> FlagChange:
    """Turn a flag off or pause a plan, and record it."""
    before = read_document(row)
    if isinstance(row, Flag):
        row.is_enabled = False
        row.version += 1
    else:
        row.state = RolloutPlan.State.PAUSED
    row.changed_at = now
    with allow_guarded_writes():
        save_row(row)
    return record_change(
        subject=subject,
        key=row.key,
        before=before,
        after=read_document(row),
        actor=actor,
        action="killed",
        why=why,
        now=now,
    )


def read_document(row: Flag | RolloutPlan) -> Document:
    """Return the document of a row as plain JSON."""
    return to_plain_json(flag_document(row) if isinstance(row, Flag) else plan_document(row))
