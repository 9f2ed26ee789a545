"""
The sender of a request, within which the ids that clients choose are unique.

Event ids belong to the platform, with all its keys and staff as one sender, or to one member's tokens: a platform
moves its work between keys, and a retry with another key is the same event. Idempotency keys belong to one key or one
member of staff: two of a platform's services do not know each other's keys.
"""

from __future__ import annotations

from django.contrib.auth.models import User
from rest_framework.request import Request

from access.callers import Caller
from recommendations.contracts import Sender


def get_sender(request: Request) -> Sender:
    """Return the sender of the request's events."""
    return Sender.MEMBER if isinstance(request.auth, Caller) and request.auth.member_id is not None else Sender.PLATFORM


def get_submitter(request: Request) -> str:
    """Return the sender of the request's jobs, such as "key:ab12cd34ef". Empty for an open API."""
    if isinstance(request.auth, Caller):
        return f"{request.auth.kind}:{request.auth.id}"
    return f"staff:{request.user.pk}" if isinstance(request.user, User) else ""
