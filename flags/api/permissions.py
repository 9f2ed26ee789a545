"""
Permissions of the flag endpoints. Reading follows the rest of the API; writing depends on the role or the key's scope.

A writer must be identified, because the change history names the author. Therefore API_OPEN opens only reading.
"""

from __future__ import annotations

from collections.abc import Collection

from django.contrib.auth.models import User
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.settings import api_settings

from access.inputs import Request
from access.permissions import staff_permission
from access.scopes import READ_METHODS, Scope
from access.views import APIView
from flags.services.record import Actor

RELEASE_PERMISSION = "flags.release_flag"
READ_SCOPE, WRITE_SCOPE = Scope.FLAGS_READ, Scope.FLAGS_WRITE


def permissions_for(read: str, **writes: str) -> dict[str, str]:
    """Return a view's `staff_permissions`: `flags.{read}` for GET and HEAD, and the given ones for other methods."""
    return {method: f"flags.{name}" for method, name in (dict.fromkeys(READ_METHODS, read) | writes).items()}


class CanWriteFlags(BasePermission):
    """Allow changes by users with the view's permission, and by keys with the write scope."""

    message = "Your role does not allow this. Editors can change flags; releasers can also approve and roll out."

    def has_permission(self, request: Request, view: APIView) -> bool:  # type: ignore[override]
        if request.method in SAFE_METHODS or getattr(view, "is_read_only", False):
            return True
        if WRITE_SCOPE in get_scopes(request):
            return not getattr(view, "is_for_people_only", False)
        permission = staff_permission(view, request.method or "")
        return permission is not None and bool(request.user.has_perm(permission))


class BaseFlagView(APIView):
    """The base of the flag endpoints."""

    scopes = {"GET": READ_SCOPE, "HEAD": READ_SCOPE, "POST": WRITE_SCOPE, "PATCH": WRITE_SCOPE, "DELETE": WRITE_SCOPE}
    """The scope that a key needs for each method."""
    permission_classes = [*api_settings.DEFAULT_PERMISSION_CLASSES, CanWriteFlags]  # type: ignore[list-item]


def get_scopes(request: Request) -> Collection[str]:
    """Return the scopes of the request's key or token; empty for a session."""
    scopes: Collection[str] = getattr(request.auth, "scopes", ())
    return scopes


def get_actor(request: Request) -> Actor:
    """Return the author of a change. Call it only behind `CanWriteFlags`, which refuses anonymous requests."""
    if get_scopes(request):
        return Actor(system=f"key {request.auth.id}")  # type: ignore[union-attr]
    assert isinstance(request.user, User)
    return Actor(request.user)
