"""
Who may use the flags' addresses: readers as everywhere in the API, writers by their role.

A writer must be somebody: the record of changes says who. So an open API (API_OPEN) opens reading alone.
"""

from __future__ import annotations

from collections.abc import Collection

from django.contrib.auth.models import User
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request
from rest_framework.settings import api_settings
from rest_framework.views import APIView

from access.scopes import Scope
from flags.services.change import Actor

CHANGE_PERMISSION, RELEASE_PERMISSION = "flags.change_flag", "flags.release_flag"
READ_SCOPE, WRITE_SCOPE = Scope.FLAGS_READ, Scope.FLAGS_WRITE


class CanWriteFlags(BasePermission):
    """Let those change flags whose role has the permission that the view names, and keys with the scope to write."""

    message = "Your role does not let you do this: flag editors change flags, flag releasers also approve and roll out."

    def has_permission(self, request: Request, view: APIView) -> bool:
        if request.method in SAFE_METHODS or getattr(view, "is_read_only", False):
            return True
        if WRITE_SCOPE in get_scopes(request):
            return not getattr(view, "is_for_people_only", False)
        return bool(request.user.has_perm(getattr(view, "write_permission", CHANGE_PERMISSION)))


class BaseFlagView(APIView):
    """What the flags' addresses share."""

    write_permission = CHANGE_PERMISSION
    """The permission that changing needs."""
    scopes = {"GET": READ_SCOPE, "HEAD": READ_SCOPE, "POST": WRITE_SCOPE, "PATCH": WRITE_SCOPE, "DELETE": WRITE_SCOPE}
    """The scope that each method needs of a key."""
    permission_classes = [*api_settings.DEFAULT_PERMISSION_CLASSES, CanWriteFlags]  # type: ignore[list-item]


def get_scopes(request: Request) -> Collection[str]:
    """Return what the key or token of the request may do; nothing if it came with a session."""
    found: Collection[str] = getattr(request.auth, "scopes", ())
    return found


def get_actor(request: Request) -> Actor:
    """Return who asks. Only asked for behind `MayWrite`, which lets nobody nameless through."""
    if get_scopes(request):
        return Actor(system=f"key {request.auth.id}")  # type: ignore[union-attr]
    assert isinstance(request.user, User)
    return Actor(request.user)
