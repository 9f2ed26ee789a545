"""
The sender of a request, within which the ids that clients choose are unique.

Event ids belong to the platform, with all its keys and staff as one sender, or to one member's tokens: a platform
moves its work between keys, and a retry with another key is the same event. Idempotency keys belong to one key or one
member of staff: two of a platform's services do not know each other's keys.
"""

from __future__ import annotations

from django.contrib.auth.models import User

from access.callers import Caller
from access.inputs import Request
from access.masks import mask_identity
from recommendations.contracts import Sender


def get_sender(request: Request) -> Sender:
    """Return the sender of the request's events."""
    return Sender.MEMBER if isinstance(request.auth, Caller) and request.auth.member_id is not None else Sender.PLATFORM


def get_submitter(request: Request) -> str:
    """
    Return the sender of the request's jobs, such as "key:ab12cd34ef". Empty for an open API.

    A token's member is a keyed hash: the receipt of an erasure stores the sender, and must not name the member.
    """
    if isinstance(request.auth, Caller):
        member_id = request.auth.member_id
        return f"key:{request.auth.id}" if member_id is None else f"member:{mask_identity('submitter', member_id)}"
    return f"staff:{request.user.pk}" if isinstance(request.user, User) else ""
