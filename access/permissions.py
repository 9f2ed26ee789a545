"""
Permissions: scopes limit keys and tokens, Django permissions limit sessions, anonymous requests need API_OPEN.

A view's `scopes` maps each method to the scope it requires; without it, nobody can use the view. A session needs the
permission of that scope (`STAFF_PERMISSIONS`), or the one that the view's `staff_permissions` maps the method to. If
the URL has no `member_id`, the operation declares the members whose data the request concerns
(`access.inputs.Operation`); without it, tokens cannot use the operation.

An open API accepts no request that a page of another origin sent: any page that the user visits could use it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpRequest
from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import BasePermission

from access import throttles
from access.callers import Caller
from access.inputs import Request
from access.scopes import STAFF_PERMISSIONS, Scope

if TYPE_CHECKING:
    # DRF's views import this module through the settings.
    from rest_framework.views import APIView

CROSS_SITE = "A page of another origin may not use this API without a key or a token."
EMBEDDED = "A page may use this API by fetch only, not as the address of a picture, a script or a frame."
DIFFERENT_MEMBER = "This token may read and write the data of its own member only."


def is_staff_session(request: HttpRequest | Request) -> bool:
    """Return whether a member of staff is signed in. A key or token in the request takes precedence over a session."""
    has_key = isinstance(getattr(request, "auth", None), Caller)
    return bool(not has_key and request.user.is_active and request.user.is_staff)


def session_may(request: HttpRequest | Request, permission: str | None) -> bool:
    """
    Return whether a request without a key or token has *permission*: staff who have it, or anyone if the API is open.

    None, an undeclared permission, is refused to everyone.
    """
    if permission is None or isinstance(getattr(request, "auth", None), Caller):
        return False
    return bool(settings.ENV.api_open or (is_staff_session(request) and request.user.has_perm(permission)))


def is_cross_site(request: HttpRequest | Request) -> bool:
    """
    Return whether a page of another origin sent the request. Requests of other clients than browsers never are.

    Browsers send Sec-Fetch-Site to https and loopback addresses, and Origin with every POST and every CORS request.
    """
    origin = request.headers.get("Origin")
    if origin in settings.CORS_ALLOWED_ORIGINS:
        return False
    fetch_site = request.headers.get("Sec-Fetch-Site")
    if fetch_site is not None:
        return fetch_site not in ("same-origin", "none")
    return origin is not None and origin != f"{request.scheme}://{request.get_host()}"


def is_embedded(request: HttpRequest | Request) -> bool:
    """
    Return whether a browser loads the response into a page, such as a picture of a post that the explorer shows.

    The author of a post chooses the picture's address, and a feed that is read is recorded as served.
    """
    return request.headers.get("Sec-Fetch-Dest", "empty") not in ("empty", "document")


def is_sent_by_member(request: Request) -> bool:
    """Return whether a member's own token sent the request. Otherwise the platform did: a key, staff or an open API."""
    return isinstance(request.auth, Caller) and request.auth.member_id is not None


def may_be_authenticated(request: Request) -> bool:
    """Return whether the request has credentials to check or the API is open. Other requests are rejected at once."""
    has_credentials = "HTTP_AUTHORIZATION" in request.META or settings.SESSION_COOKIE_NAME in request.COOKIES
    return bool(settings.ENV.api_open or has_credentials)


def require_access(caller: Caller, scope: Scope | None, member_ids: Iterable[object] | None) -> None:
    """
    Raise `PermissionDenied` unless the caller has *scope* and, for a token, every one of *member_ids* is its member.

    *member_ids* is None if the members are unknown; a token is then rejected. REST and GraphQL both call this.
    """
    if scope is None or scope not in caller.scopes:
        requirement = f"This requires the scope {scope}." if scope else "Keys and tokens may not do this."
        raise PermissionDenied(requirement, code="missing-scope")
    if caller.member_id is not None and (
        member_ids is None or any(member != caller.member_id for member in member_ids)
    ):
        # The response does not reveal whether the other member exists.
        raise PermissionDenied(DIFFERENT_MEMBER, code="different-member")


def require_permission(request: Request, permission: str) -> None:
    """Raise `PermissionDenied` if the request is of a session without *permission*. Scopes limit keys and tokens."""
    if not isinstance(request.auth, Caller) and not session_may(request, permission):
        raise PermissionDenied(describe_missing_permission(permission), code="permission-denied")


def require_scope(request: Request, scope: Scope, member_ids: Iterable[object] | None) -> None:
    """Raise `PermissionDenied` unless the key, token or session has *scope*, and a token only its own member."""
    if isinstance(request.auth, Caller):
        require_access(request.auth, scope, member_ids)
    else:
        require_permission(request, STAFF_PERMISSIONS[scope])


def describe_missing_permission(permission: str | None) -> str:
    """Return the detail of a 403 for a session."""
    return f"Your roles do not include the permission {permission}. An administrator can give you a role that does."


def staff_permission(view: Any, method: str) -> str | None:
    """Return the permission that a session needs for a method of the view, or None if the view declares none."""
    scope = getattr(view, "scopes", {}).get(method)
    declared: str | None = getattr(view, "staff_permissions", {}).get(method)
    return declared or (STAFF_PERMISSIONS[scope] if scope else None)


class HasScope(BasePermission):
    """The permission check that the module docstring describes."""

    message = "Send an API key, or sign in at /admin/ as staff."

    def has_permission(self, request: Request, view: APIView) -> bool:  # type: ignore[override]
        caller, method = request.auth, request.method or ""
        # OPTIONS describes the view; another method that the view does not have gets a 405.
        is_harmless = method == "OPTIONS" or not hasattr(view, method.lower())
        if not isinstance(caller, Caller):
            is_staff, permission = is_staff_session(request), staff_permission(view, method)
            if session_may(request, permission) or (is_harmless and (is_staff or settings.ENV.api_open)):
                # A session is protected by the CSRF token. An open API is protected only by this.
                if not request.user.is_authenticated and is_cross_site(request):
                    raise PermissionDenied(CROSS_SITE, code="cross-site")
                if is_embedded(request):
                    raise PermissionDenied(EMBEDDED, code="embedded")
                return True
            if is_staff:
                self.message = describe_missing_permission(permission)
            throttles.check_rate_limit(request, request.user if isinstance(request.user, User) else None)
            return False
        if is_harmless:
            return True
        try:
            scope = getattr(view, "scopes", {}).get(method)
            require_access(caller, scope, request.inputs.member_ids if caller.member_id is not None else None)
        except PermissionDenied:
            throttles.check_rate_limit(request, caller)
            raise
        return True
