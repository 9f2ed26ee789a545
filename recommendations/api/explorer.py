"""The explorer: a page that shows the feed of any member. Its script uses the public API."""

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from access.permissions import is_staff_session, session_may
from access.scopes import STAFF_PERMISSIONS, Scope

# The page loads everything from this server, and the browser runs no script from the text of a post.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'"
)


@require_safe
def explorer_page(request: HttpRequest) -> HttpResponse:
    """Return the explorer to staff who may read feeds, or redirect to the sign-in page."""
    if not session_may(request, STAFF_PERMISSIONS[Scope.FEEDS_READ]):
        if is_staff_session(request):
            raise PermissionDenied
        return redirect_to_login(request.get_full_path(), "/admin/login/")
    response = render(request, "recommendations/explorer.html")
    response["Content-Security-Policy"] = (
        f"{CONTENT_SECURITY_POLICY}; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
    return response
