"""The explorer: pages that show the feed of any member. Their scripts use the public API."""

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_safe

from access.permissions import is_cross_site, is_staff_session, session_may
from access.scopes import STAFF_PERMISSIONS, Scope
from recommendations.services.policies import list_policies
from recommendations.services.wiring import ENGINE_FACTORIES

PARTS = {
    "interact": (STAFF_PERMISSIONS[Scope.INTERACTIONS_WRITE],),
    "see_likes": ("recommendations.view_interaction",),
    "compare": (STAFF_PERMISSIONS[Scope.POLICIES_READ],),
    "change_settings": (STAFF_PERMISSIONS[Scope.PROFILE_READ], STAFF_PERMISSIONS[Scope.PROFILE_WRITE]),
    "create_members": (STAFF_PERMISSIONS[Scope.MEMBERS_WRITE], STAFF_PERMISSIONS[Scope.PROFILE_WRITE]),
}
"""The parts of the page, and the permissions that their requests to the API need. Others are left out of the page."""
EXPLORER_CALLS = {
    "page": gettext_lazy("read this page"),
    "like": gettext_lazy("record an interaction"),
    "explain": gettext_lazy("explain the first post"),
}
"""The requests that the explorer shows as code, and what they are called there."""


@require_safe
def explorer_page(request: HttpRequest, *, has_remote_pictures: bool = False) -> HttpResponse:
    """
    Return the explorer to staff who may read feeds, or redirect to the sign-in page.

    *has_remote_pictures*: the page loads pictures from other servers, which then learn the reader's address. A request
    that a page of another origin sent is redirected to the explorer without them: that is not the reader's choice.
    """
    if has_remote_pictures and is_cross_site(request):  # before the sign-in, whose form would lead back to this address
        return redirect("explorer")
    if refusal := refuse_others(request):
        return refusal
    may = {part: all(session_may(request, name) for name in names) for part, names in PARTS.items()}
    context = {
        "may": may,
        "has_remote_pictures": has_remote_pictures,
        "code_calls": EXPLORER_CALLS,
        "engines": ENGINE_FACTORIES if may["compare"] else (),
        "variants": [policy.variant for policy in list_policies()] if may["compare"] else (),
    }
    return render(request, "recommendations/explorer.html", context)


@require_safe
def on_device_page(request: HttpRequest) -> HttpResponse:
    """Return the page that ranks a candidate pack in the browser to staff who may read feeds (docs/on-device.md)."""
    return refuse_others(request) or render(request, "recommendations/on_device.html")


@require_safe
def graphql_console_page(request: HttpRequest) -> HttpResponse:
    """Return the page that sends queries to the GraphQL endpoint to staff who may read feeds (docs/graphql.md)."""
    context = {"code_calls": {"operation": "run this operation"}}
    return refuse_others(request) or render(request, "recommendations/graphql_console.html", context)


def refuse_others(request: HttpRequest) -> HttpResponse | None:
    """
    Return a redirect to the sign-in page, or None for staff who may read feeds.

    Raises `PermissionDenied` for other staff.
    """
    if session_may(request, STAFF_PERMISSIONS[Scope.FEEDS_READ]):
        return None
    if is_staff_session(request):
        raise PermissionDenied
    return redirect_to_login(request.get_full_path())
