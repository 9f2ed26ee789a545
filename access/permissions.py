"""
Permissions: scopes limit keys and tokens, staff may do everything, and anonymous requests need an open API (API_OPEN).

An open API accepts no request that a page of another origin sent: any page that the user visits could use it.

A view's `scopes` maps each method to the scope it requires; without it, keys cannot use the view. If the URL has no
`member_id`, the operation declares the members whose data the request concerns (`access.inputs.Operation`); without it,
tokens cannot use the operation.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from django.conf import settings
from django.http import HttpRequest
from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import BasePermission

from access import throttles
from access.callers import Caller
from access.inputs import Request
from access.scopes import Scope

if TYPE_CHECKING:
    # DRF's views import this module through the settings.
    from rest_framework.views import APIView

CROSS_SITE = "A page of another origin may not use this API without a key or a token."
DIFFERENT_MEMBER = "This token may read and write the data of its own member only."


def has_full_access(request: HttpRequest | Request) -> bool:
    """Return whether the request may use every endpoint: staff, or anyone if the API is open, but no key or token."""
    if isinstance(getattr(request, "auth", None), Caller):
        return False
    return bool(settings.ENV.api_open or (request.user.is_active and request.user.is_staff))


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
        requirement = f"the scope {scope}" if scope else "a staff session; keys and tokens may not do it"
        raise PermissionDenied(f"This requires {requirement}.", code="missing-scope")
    if caller.member_id is not None and (
        member_ids is None or any(member != caller.member_id for member in member_ids)
    ):
        # The response does not reveal whether the other member exists.
        raise PermissionDenied(DIFFERENT_MEMBER, code="different-member")


class HasScope(BasePermission):
    """The permission check that the module docstring describes."""

    message = "Only staff may do this without an API key. Send a key, or sign in at /admin/ as staff."

    def has_permission(self, request: Request, view: APIView) -> bool:  # type: ignore[override]
        caller = request.auth
        if not isinstance(caller, Caller):
            if has_full_access(request):
                # A session is protected by the CSRF token. An open API is protected only by this.
                if not request.user.is_authenticated and is_cross_site(request):
                    raise PermissionDenied(CROSS_SITE, code="cross-site")
                return True
            throttles.check_rate_limit(request, None)
            return False
        method = request.method or ""
        if method == "OPTIONS" or not hasattr(view, method.lower()):
            return True  # OPTIONS describes the view; another unknown method gets a 405
        try:
            scope = getattr(view, "scopes", {}).get(method)
            require_access(caller, scope, request.inputs.member_ids if caller.member_id is not None else None)
        except PermissionDenied:
            throttles.check_rate_limit(request, caller)
            raise
        return True
