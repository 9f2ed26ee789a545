"""
Cursors: opaque texts that name a position in a feed and the slates whose posts the reader has already passed.

A cached slate may be lost between two pages. The next page then comes from a new slate, without the posts that earlier
pages served. So a cursor names every slate that the reader went through, and how far. A cursor grants no access: the
slates that it names are read from the reader's own slates only.

The posts of a slate, and those that the reader had passed before it, are kept before its first page is served
(`records.keep_slate`). So the posts that a cursor has passed are known even if no worker has recorded a slate yet.

A cursor of another layout must contain a character that base64 for addresses does not have, such as a full stop. This
version answers it as an invalid cursor, and the client begins at the first page.
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
from recommendations.services.serving.records import get_kept_slates

STEP_BYTES = 18
"""Bytes of one step: 16 of the request id, 2 of the offset."""
MAX_STEPS = 20
"""Slates that a cursor names, newest last. What was passed before them is kept with the newest."""

CursorStep = tuple[UUID, int]
"""The request id of a slate, and how many of its picks the reader has passed."""


@dataclass(frozen=True, slots=True)
class CursorPosition:
    """A position in a feed: after *offset* picks of the slate *request_id*, and after the earlier steps."""

    request_id: UUID
    offset: int
    earlier_steps: tuple[CursorStep, ...] = ()

    @property
    def steps(self) -> tuple[CursorStep, ...]:
        """Every slate that was read, and how far, oldest first."""
        return (*self.earlier_steps, (self.request_id, self.offset))


@dataclass(frozen=True, slots=True)
class PassedPosts:
    """The posts that a reader has passed before a position."""

    post_ids: Int64Array  # (n,) sorted
    known_steps: tuple[CursorStep, ...]
    """The steps whose slates were found."""
    unknown_count: int
    """How many posts were passed in slates that were not found."""


def write_cursor(request_id: UUID, offset: int, earlier_steps: tuple[CursorStep, ...] = ()) -> str:
    """Return the cursor of the position after *offset* picks of the slate *request_id*."""
    steps = CursorPosition(request_id, offset, earlier_steps).steps[-MAX_STEPS:]
    data = b"".join(step_id.bytes + step_offset.to_bytes(2, "big") for step_id, step_offset in steps)
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def read_cursor(cursor: str) -> CursorPosition:
    """Return the position that *cursor* names. Raises `InvalidRequest` if it is not a valid cursor."""
    try:
        data = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        count, rest = divmod(len(data), STEP_BYTES)
        if rest or not 1 <= count <= MAX_STEPS:
            raise ValueError(f"{len(data)} bytes")
    except (ValueError, binascii.Error) as error:
        raise InvalidRequest("Invalid cursor. Send the `next_cursor` of an earlier page.", "/cursor") from error
    *earlier_steps, (request_id, offset) = [decode_step(data, at) for at in range(0, len(data), STEP_BYTES)]
    return CursorPosition(request_id, offset, tuple(earlier_steps))


def decode_step(data: bytes, start: int) -> CursorStep:
    """Return the step that begins at byte *start*."""
    step = data[start : start + STEP_BYTES]
    return UUID(bytes=step[:16]), int.from_bytes(step[16:], "big")


def find_passed_posts(position: CursorPosition, member_id: int, slates: Mapping[UUID, Int64Array]) -> PassedPosts:
    """
    Return the posts that the member has passed before *position*.

    *slates* are the post ids of slates that the caller already has, by request id. The others are those that were kept
    when they were served, or rows of the database. A slate that was kept has the posts of all steps before it.
    """
    steps = dict(position.steps)
    served = get_kept_slates(member_id, list(steps))
    known_slates = {id: row_post_ids(kept.row) for id, kept in served.items()} | dict(slates)
    missing = set(steps) - set(known_slates)
    if missing:
        rows = FeedRequest.objects.filter(pk__in=missing, member_id=member_id)
        known_slates |= {row.pk: row_post_ids(row) for row in rows.only("pk", "post_ids")}
    passed, known_steps, unknown_count = [EMPTY_IDS], [], 0
    is_complete = False
    for request_id, offset in reversed(steps.items()):
        if request_id in known_slates:
            passed.append(known_slates[request_id][:offset])
        elif not is_complete:
            unknown_count += offset
            continue
        known_steps.append((request_id, offset))
        if request_id in served:
            passed.append(served[request_id].earlier_post_ids)
            is_complete = True
    return PassedPosts(np.unique(np.concatenate(passed)), tuple(reversed(known_steps)), unknown_count)


def row_post_ids(row: FeedRequest) -> Int64Array:
    """Return the posts (n,) of a slate's row."""
    return np.frombuffer(bytes(row.post_ids), "<i8")
