"""
Event ids: which are taken, and whether an event that is sent again is the same event.

An event id is unique per member and sender: the platform with all its keys and imports, or the member's own tokens. So
no member can take the ids that the platform will use. Unique constraints enforce it (`models/activity.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from django.db import connection

from recommendations.contracts import MAX_CLOCK_SKEW, Sender
from recommendations.models import Interaction, Undo
from recommendations.services.learning.store_relationships import split_into_queries
from recommendations.stores.sql import fetch_rows, in_clause

EventKey = tuple[str, int]
"""An event id and the primary key of the event's member. Unique for a sender."""


@dataclass(frozen=True, slots=True)
class EventContent:
    """The content of an event, to compare with another of the same id. An interaction, or an undo."""

    post_pk: int = 0
    kind: str = ""
    target: str = ""
    value: float | None = None
    request_id: UUID | None = None
    occurred_at: datetime | None = None
    """None: the sender gave no time, or the event is an undo."""
    undoes_event_id: str = ""


CONTENT_COLUMNS = ("post_id", "kind", "target", "value", "request_id", "occurred_at")
"""The columns of an interaction, in the order of the fields of `EventContent`."""


UNDO_TABLE, INTERACTION_TABLE = (connection.ops.quote_name(model._meta.db_table) for model in (Undo, Interaction))
SELECT_USED = f"""
    SELECT event_id FROM {UNDO_TABLE} WHERE sender = %s AND event_id {{one_of}}
    UNION ALL SELECT event_id FROM {INTERACTION_TABLE} WHERE sender = %s AND event_id {{one_of}}"""


def find_used(event_ids: Iterable[str], sender: Sender) -> set[str]:
    """Return those of the ids that *sender* has used, with any member."""
    used: set[str] = set()
    for ids in split_into_queries(event_ids):
        one_of, parameters = in_clause(ids)
        own = (sender.value, *parameters)
        used.update(event_id for (event_id,) in fetch_rows(SELECT_USED.format(one_of=one_of), (*own, *own)))
    return used


def find_recorded(keys: Iterable[EventKey], sender: Sender) -> dict[EventKey, EventContent]:
    """Return the contents of the recorded events of *sender* among *keys*."""
    wanted = set(keys)
    recorded: dict[EventKey, EventContent] = {}
    # Nearly all events are new, so the contents, which take longer to read, are read of used ids only.
    for event_ids in split_into_queries(find_used({event_id for event_id, _ in wanted}, sender)):
        same_ids = {"event_id__in": event_ids, "sender": sender}
        undos = Undo.objects.filter(**same_ids).values_list("event_id", "member_id", "undoes_event_id")
        for event_id, member_pk, undone_id in undos:
            recorded[event_id, member_pk] = EventContent(undoes_event_id=undone_id)
        interactions = Interaction.objects.filter(**same_ids)
        for event_id, member_pk, *content in interactions.values_list("event_id", "member_id", *CONTENT_COLUMNS):
            recorded[event_id, member_pk] = EventContent(*content)
    return {key: content for key, content in recorded.items() if key in wanted}


def has_same_content(event: EventContent, earlier: EventContent) -> bool:
    """
    Return whether an event equals an earlier one.

    An event without a time equals an event of any time. A time in the future was stored as the time of the request, so
    it may be later than the stored one by `MAX_CLOCK_SKEW`.
    """
    at, earlier_at = event.occurred_at, earlier.occurred_at
    if at is not None and earlier_at is not None and not earlier_at <= at <= earlier_at + MAX_CLOCK_SKEW:
        return False
    return replace(event, occurred_at=None) == replace(earlier, occurred_at=None)
