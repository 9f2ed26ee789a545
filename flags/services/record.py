"""
What every change of flags shares: the lock, the author, the record in the change history, and the notice to processes.

It validates no document, so that a kill in an emergency loads no serializers and is refused because of no other field.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar
from uuid import uuid4

from django.contrib.auth.models import User
from django.core.serializers.json import DjangoJSONEncoder
from django.db import transaction
from django.db.models import Model
from django.utils.translation import gettext

from flags import hooks
from flags.changed import flags_changed
from flags.documents import Document, format_timestamp, mask_unit_ids
from flags.models import ChangeSubject, Flag, FlagChange, PayloadVersion
from flags.services.errors import InvalidChangeError, UnknownKeyError
from monitoring.transactions import write_transaction
from values.text import storage_problem

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Actor:
    """The author of a change: a user, or a system rule by its name."""

    user: User | None = None
    system: str = ""

    def __post_init__(self) -> None:
        if (self.user is None) == (not self.system):
            raise ValueError("Give an actor either a user or a system name, not both and not neither.")


def flag_transaction(function: Callable[P, R]) -> Callable[P, R]:
    """
    Run *function* in a `write_transaction` that first waits until no other one changes flags or what belongs to them.

    One lock for all of them: a change of a plan also changes its flag and a kill of a flag also pauses its plan, so
    with a lock for each row two people could block each other. Changes are rare, and every one writes this row anyway.
    """

    @write_transaction
    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        if not PayloadVersion.objects.select_for_update().filter(pk=1).exists():
            PayloadVersion.objects.create(pk=1, token=uuid4())
        return function(*args, **kwargs)

    return run


def record_change(
    *,
    subject: str,
    key: str,
    before: Document | None,
    after: Document,
    actor: Actor,
    action: str,
    why: str,
    now: datetime,
    approved_by: User | None = None,
    evidence: Sequence[Mapping[str, Any]] = (),
) -> FlagChange:
    """Record a change that was just written, make every process apply it, and run the hooks of a flag turned off."""
    record = FlagChange.objects.create(
        subject=subject,
        key=key,
        changed_at=now,
        user=actor.user,
        system=actor.system,
        approved_by=approved_by,
        action=action,
        why=why.strip(),
        before=mask_unit_ids(before) if before else None,
        after=mask_unit_ids(after),
        evidence=list(evidence),
    )
    notify_processes()
    if subject == ChangeSubject.FLAG and before and before["is_enabled"] and not after["is_enabled"]:
        transaction.on_commit(partial(hooks.run_turn_off_hooks, key))
    return record


def check_reason(why: str) -> None:
    """Raise `InvalidChangeError` for a change without a reason."""
    if not why.strip():
        raise InvalidChangeError({"why": [gettext("Give a reason: it is saved with the change.")]})


def check_key(key: str) -> None:
    """Raise `InvalidChangeError` for a key that no query of a database can contain. The document checks its letters."""
    if problem := storage_problem(key):
        raise InvalidChangeError({"key": [gettext("The key {problem}.").format(problem=gettext(problem))]})


def find_flag(key: str) -> Flag:
    """Return the flag, or raise `UnknownKeyError`."""
    flag = Flag.objects.filter(key=key).first()
    if flag is None:
        raise UnknownKeyError(ChangeSubject.FLAG.label, key)
    return flag


def to_json(document: Mapping[str, Any]) -> str:
    """Return the document as JSON. Documents with the same text are the same: 1, 1.0 and true are three values."""
    return json.dumps(document, cls=DocumentEncoder, sort_keys=True)


def to_plain_json(document: Mapping[str, Any]) -> Document:
    """Return the document with only JSON types."""
    return dict(json.loads(json.dumps(document, cls=DocumentEncoder)))


class DocumentEncoder(DjangoJSONEncoder):
    """Writes times as documents have them, to the microsecond."""

    def default(self, o: object) -> Any:
        """Return the JSON value of *o*."""
        return format_timestamp(o) if isinstance(o, datetime) else super().default(o)


def notify_processes() -> None:
    """
    Make every process reload the flags within `REFRESH_SECONDS`, and this one at once.

    The snapshot of this process, if it has one, is invalidated twice: now, so that the rest of this transaction sees
    the change, and after the commit, because another thread may reload the old rows before it.
    """
    PayloadVersion.objects.filter(pk=1).update(token=uuid4())
    flags_changed.send(sender=None)
    transaction.on_commit(partial(flags_changed.send, sender=None))


def save_row(row: Model) -> None:
    """Insert a new row, or write all columns of an existing one: they are the document, read under the lock."""
    columns = [field.name for field in row._meta.concrete_fields if not field.primary_key]
    row.save(update_fields=columns) if row.pk else row.save(force_insert=True)
