"""The explorer: a page that shows the feed of any member. Its script uses the public API."""

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from access.permissions import is_staff_session, session_may
from access.scopes import STAFF_PERMISSIONS, Scope


@require_safe
def explorer_page(request: HttpRequest) -> HttpResponse:
    """Return the explorer to staff who may read feeds, or redirect to the sign-in page."""
    if not session_may(request, STAFF_PERMISSIONS[Scope.FEEDS_READ]):
        if is_staff_session(request):
            raise PermissionDenied
        return redirect_to_login(request.get_full_path())
    return render(request, "recommendations/explorer.html")
