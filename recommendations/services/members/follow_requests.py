"""
Follow requests: list those that a member has received or sent, approve them and decline them.

A follow of a private account is a request, made and withdrawn like any relationship (`preferences.set_relationship`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.core import signing

from recommendations.models import Relationship
from recommendations.services.errors import InvalidRequest, UnknownFollowRequest
from recommendations.services.learning.store_relationships import FOLLOW_REQUEST, approve_request, end_relationships
from recommendations.services.members.preferences import get_member
from recommendations.services.serving.visibility import members_visible_to

DIRECTIONS = ("incoming", "outgoing")
MAX_REQUESTS = 100
"""Maximum number of follow requests on a page."""


@dataclass(frozen=True, slots=True)
class FollowRequest:
    """A pending request."""

    member_id: str
    """The other member: who sent an incoming request, or who received an outgoing one."""
    created_at: datetime


@dataclass(frozen=True, slots=True)
class FollowRequestPage:
    """A page of pending requests, newest first."""

    follow_requests: list[FollowRequest]
    next_cursor: str | None


def list_follow_requests(
    *, member_id: str, direction: str = "incoming", limit: int = 20, cursor: str | None = None
) -> FollowRequestPage:
    """
    Return pending requests that the member has received (incoming) or sent (outgoing), after the position of *cursor*.

    Raises `UnknownMember`, and `InvalidRequest` for an unknown direction, a limit out of range or an invalid cursor.
    """
    if direction not in DIRECTIONS:
        raise InvalidRequest(f"Give a direction of {', '.join(DIRECTIONS)}, not {direction!r}.", "/direction")
    if not 1 <= limit <= MAX_REQUESTS:
        raise InvalidRequest(f"A page has 1 to {MAX_REQUESTS} follow requests, not {limit}.", "/limit")
    member = get_member(member_id)
    own, other = ("target", "source") if direction == "incoming" else ("source", "target")
    requests = Relationship.objects.filter(
        **{own: member, "kind": FOLLOW_REQUEST, f"{other}__in": members_visible_to(member.pk)}
    )
    if cursor is not None:
        requests = requests.filter(pk__lt=read_cursor(cursor))
    rows = list(requests.order_by("-pk").values_list("pk", f"{other}__external_id", "created_at")[: limit + 1])
    page = rows[:limit]
    return FollowRequestPage(
        [FollowRequest(external_id, created_at) for _, external_id, created_at in page],
        write_cursor(page[-1][0]) if len(rows) > limit else None,
    )


def write_cursor(pk: int) -> str:
    """Return the cursor of the position after the request with this primary key."""
    return signing.dumps(pk, salt=FOLLOW_REQUEST)


def read_cursor(cursor: str) -> int:
    """Return the primary key of the last request before the position. Raises `InvalidRequest`."""
    try:
        return int(signing.loads(cursor, salt=FOLLOW_REQUEST))
    except signing.BadSignature:
        raise InvalidRequest("Invalid cursor. Send the next_cursor of the previous page.", "/cursor") from None


def approve_follow_request(*, member_id: str, requester_id: str) -> None:
    """
    Let the requester follow the member.

    Raises `UnknownMember`, and `UnknownFollowRequest` if there is no pending request, whatever the reason.
    """
    target_pk = get_member(member_id).pk
    if not approve_request(source__external_id=requester_id, target=target_pk):
        raise UnknownFollowRequest(requester_id)


def decline_follow_request(*, member_id: str, requester_id: str) -> None:
    """Delete the pending request, if there is one. The requester may send another. Raises `UnknownMember`."""
    target_pk = get_member(member_id).pk
    requests = Relationship.objects.filter(kind=FOLLOW_REQUEST, target=target_pk)
    end_relationships(requests.filter(source__external_id=requester_id))
