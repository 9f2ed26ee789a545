"""
Cursors: a text that stands for a place in a feed, and what was shown before it.

A slate may be lost between two pages. The next one is then made without what the pages before it showed, so a cursor
names every slate that the reading went through, and how far in each. It gives no access: what it names is looked up
among the reader's own.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

import numpy as np

from recommendations.contracts import EMPTY_IDS, Int64Array
from recommendations.models import FeedRequest
from recommendations.services.errors import InvalidRequest

STEP_BYTES = 18
MOST_STEPS = 20
"""Slates that a cursor names, the latest ones: the posts of an earlier one might come again. Changes the answer."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a reading stands: after *offset* picks of *request_id*, and before that, of others."""

    request_id: UUID
    offset: int
    before: tuple[tuple[UUID, int], ...] = ()

    @property
    def steps(self) -> tuple[tuple[UUID, int], ...]:
        """Every slate that was read, and how far, in order."""
        return (*self.before, (self.request_id, self.offset))


def write_cursor(request_id: UUID, offset: int, before: tuple[tuple[UUID, int], ...] = ()) -> str:
    """Return a text that stands for the place after *offset* picks of a request."""
    steps = Place(request_id, offset, before).steps[-MOST_STEPS:]
    data = b"".join(step.bytes + read.to_bytes(2, "big") for step, read in steps)
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def read_cursor(cursor: str) -> Place:
    """Return the place that *cursor* stands for."""
    try:
        data = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        count, rest = divmod(len(data), STEP_BYTES)
        if rest or not 1 <= count <= MOST_STEPS:
            raise ValueError(f"{len(data)} bytes")
    except (ValueError, binascii.Error) as error:
        raise InvalidRequest("This is no cursor of ours. Take `next_cursor` of an earlier page.", "/cursor") from error
    parts = [data[i : i + STEP_BYTES] for i in range(0, len(data), STEP_BYTES)]
    *before, (request_id, offset) = [(UUID(bytes=part[:16]), int.from_bytes(part[16:], "big")) for part in parts]
    return Place(request_id, offset, tuple(before))


def read_before(
    place: Place, member_id: int, kept: Mapping[UUID, Int64Array]
) -> tuple[Int64Array, int, tuple[tuple[UUID, int], ...]]:
    """
    Return the posts that a reading passed, sorted; how many more, of slates nothing tells of; and the slates known.

    *kept* are the posts of slates that are known besides what the database holds, which is a second behind.
    """
    read = dict(place.steps)
    rows = FeedRequest.objects.filter(pk__in=set(read) - set(kept), member_id=member_id).values_list("pk", "post_ids")
    told = dict(kept) | {pk: np.frombuffer(bytes(post_ids), "<i8") for pk, post_ids in rows}
    passed = {pk: told[pk][:offset] for pk, offset in read.items() if pk in told}
    known = tuple(step for step in place.steps if step[0] in passed)
    untold = sum(offset for request_id, offset in place.steps if request_id not in passed)
    return (np.unique(np.concatenate(list(passed.values()))) if passed else EMPTY_IDS), untold, known
