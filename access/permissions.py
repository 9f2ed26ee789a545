"""
Who may do what: a key or token by its scopes, staff everything, a stranger nothing but on an open API (API_OPEN).

A view says in `scopes` which scope each method needs, and in `members_named(request)` whose data a request is about,
where its address has no `member_id`. Without the one a view is closed to keys, without the other to tokens.
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
    # DRF's views import this module, as the settings name it.
    from rest_framework.views import APIView

OTHER_MEMBER = "This token reads and writes the data of the member it was made for, and nobody else's."


def has_full_access(request: HttpRequest | Request) -> bool:
    """Return whether the sender may use every address: everybody on an open API, staff, but no key and no token."""
    if isinstance(getattr(request, "auth", None), Caller):
        return False
    return bool(settings.ENV.api_open or (request.user.is_active and request.user.is_staff))


def may_be_authenticated(request: Request) -> bool:
    """Return whether the request need not be refused at once: it shows something to be let in by, or anybody is."""
    shown = "HTTP_AUTHORIZATION" in request.META or settings.SESSION_COOKIE_NAME in request.COOKIES
    return bool(settings.ENV.api_open or shown)


def require_access(caller: Caller, scope: Scope | None, member_ids: Iterable[object] | None) -> None:
    """
    Raise `PermissionDenied` unless the caller has *scope* and, holding a token, is all the members *named*.

    *named* is None where nobody knows whose data a request is about. Any door may ask this, GraphQL's too.
    """
    if scope is None or scope not in caller.scopes:
        needed = f"the scope {scope}" if scope else "a staff session: no key and no token may do it"
        raise PermissionDenied(f"This needs {needed}.", code="missing-scope")
    if caller.member_id is not None and (
        member_ids is None or any(member != caller.member_id for member in member_ids)
    ):
        # The same answer whether there is such a member or not.
        raise PermissionDenied(OTHER_MEMBER, code="other-member")


def requested_member_ids(request: Request, view: Any) -> Iterable[object] | None:
    """Return the ids of the members whose data the request is about; None if nobody can say."""
    if hasattr(view, "members_named"):
        named: Iterable[object] = view.requested_member_ids(request)
        return named
    return [view.kwargs["member_id"]] if "member_id" in view.kwargs else None


def viewer_ids_in_query(request: Request) -> Iterable[object]:
    """Return whom a request names as `viewer`, for views that take it in their query."""
    return request.query_params.getlist("viewer")


class HasScope(BasePermission):
    """See the module."""

    message = "Only staff may do this without a key. Send an API key, or sign in at /admin/ as a member of staff."

    def has_permission(self, request: Request, view: APIView) -> bool:
        caller = request.auth
        if not isinstance(caller, Caller):
            if has_full_access(request):
                return True
            throttles.check_rate_limit(request, None)
            return False
        method = request.method or ""
        if method == "OPTIONS" or not hasattr(view, method.lower()):
            return True  # answered with what there is, and with 405
        try:
            scope = getattr(view, "scopes", {}).get(method)
            require_access(caller, scope, requested_member_ids(request, view) if caller.member_id is not None else None)
        except PermissionDenied:
            throttles.check_rate_limit(request, caller)
            raise
        return True
