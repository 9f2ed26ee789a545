"""The explorer: a page that shows the feed of any member. Its script uses the public API."""

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
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
REMOTE_PICTURES = {"img-src": "'self' data: https: http:"}
"""What the page's Content-Security-Policy allows beside the usual, once the reader has asked for remote pictures."""


@require_safe
def explorer_page(request: HttpRequest, *, asks_for_remote_pictures: bool = False) -> HttpResponse:
    """
    Return the explorer to staff who may read feeds, or redirect to the sign-in page.

    *asks_for_remote_pictures*: the page may load pictures from other servers, which then learn the reader's address.
    Without effect if a page of another origin sent the request: that is not the reader's choice.
    """
    if not session_may(request, STAFF_PERMISSIONS[Scope.FEEDS_READ]):
        if is_staff_session(request):
            raise PermissionDenied
        return redirect_to_login(request.get_full_path())
    may = {part: all(session_may(request, name) for name in names) for part, names in PARTS.items()}
    has_remote_pictures = asks_for_remote_pictures and not is_cross_site(request)
    context = {
        "may": may,
        "has_remote_pictures": has_remote_pictures,
        "engines": ENGINE_FACTORIES if may["compare"] else (),
        "variants": [policy.variant for policy in list_policies()] if may["compare"] else (),
    }
    response = render(request, "recommendations/explorer.html", context)
    if has_remote_pictures:
        response.csp_exceptions = REMOTE_PICTURES  # type: ignore[attr-defined]
    return response
