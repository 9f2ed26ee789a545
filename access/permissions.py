"""
Permissions: scopes limit keys and tokens, staff may do everything, and anonymous requests need an open API (API_OPEN).

A view's `scopes` maps each method to the scope it requires; without it, keys cannot use the view. If the URL has no
`member_id`, the view's `requested_member_ids(request)` returns the members whose data the request concerns; without it,
tokens cannot use the view.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.http import HttpRequest
from rest_framework.exceptions import PermissionDenied
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from access import throttles
from access.callers import Caller
from access.scopes import Scope

if TYPE_CHECKING:
    # DRF's views import this module through the settings.
    from rest_framework.views import APIView

DIFFERENT_MEMBER = "This token may read and write the data of its own member only."


def has_full_access(request: HttpRequest | Request) -> bool:
    """Return whether the request may use every endpoint: staff, or anyone if the API is open, but no key or token."""
    if isinstance(getattr(request, "auth", None), Caller):
        return False
    return bool(settings.ENV.api_open or (request.user.is_active and request.user.is_staff))


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
        requirement = f"the scope {scope}" if scope else "a staff session; keys and tokens may not do it"
        raise PermissionDenied(f"This requires {requirement}.", code="missing-scope")
    if caller.member_id is not None and (
        member_ids is None or any(member != caller.member_id for member in member_ids)
    ):
        # The response does not reveal whether the other member exists.
        raise PermissionDenied(DIFFERENT_MEMBER, code="different-member")


def requested_member_ids(request: Request, view: Any) -> Iterable[object] | None:
    """Return the ids of the members whose data the request concerns, or None if the view does not define them."""
    if hasattr(view, "requested_member_ids"):
        member_ids: Iterable[object] = view.requested_member_ids(request)
        return member_ids
    return [view.kwargs["member_id"]] if "member_id" in view.kwargs else None


def viewer_ids_in_query(request: Request) -> Iterable[object]:
    """Return every `viewer_id` in the query string."""
    return request.query_params.getlist("viewer_id")


class HasScope(BasePermission):
    """The permission check that the module docstring describes."""

    message = "Only staff may do this without an API key. Send a key, or sign in at /admin/ as staff."

    def has_permission(self, request: Request, view: APIView) -> bool:
        caller = request.auth
        if not isinstance(caller, Caller):
            if has_full_access(request):
                return True
            throttles.check_rate_limit(request, None)
            return False
        method = request.method or ""
        if method == "OPTIONS" or not hasattr(view, method.lower()):
            return True  # OPTIONS describes the view; another unknown method gets a 405
        try:
            scope = getattr(view, "scopes", {}).get(method)
            require_access(caller, scope, requested_member_ids(request, view) if caller.member_id is not None else None)
        except PermissionDenied:
            throttles.check_rate_limit(request, caller)
            raise
        return True
