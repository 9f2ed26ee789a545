"""
Cursors: opaque texts that name a position in a feed and the slates whose posts the reader has already passed.

A cached slate may be lost between two pages. The next page then comes from a new slate, without the posts that earlier
pages served. So a cursor names every slate that the reader went through, and how far. A cursor grants no access: the
slates that it names are read from the reader's own slates only.
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
"""Bytes of one step: 16 of the request id, 2 of the offset."""
MAX_STEPS = 20
"""Slates that a cursor names, newest last. Posts of earlier slates may be served again. Changes the answer."""

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
        data = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
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

    *slates* are the post ids of slates that the caller already has, by request id. The others are read from the
    database, where a slate is written about a second after it was served.
    """
    offsets = dict(position.steps)
    missing = set(offsets) - set(slates)
    rows = FeedRequest.objects.filter(pk__in=missing, member_id=member_id).values_list("pk", "post_ids")
    known_slates = dict(slates) | {pk: np.frombuffer(bytes(post_ids), "<i8") for pk, post_ids in rows}
    passed = [known_slates[pk][:offset] for pk, offset in offsets.items() if pk in known_slates]
    return PassedPosts(
        post_ids=np.unique(np.concatenate(passed)) if passed else EMPTY_IDS,
        known_steps=tuple(step for step in position.steps if step[0] in known_slates),
        unknown_count=sum(offset for request_id, offset in position.steps if request_id not in known_slates),
    )
