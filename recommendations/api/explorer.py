"""The explorer: a page on which a person looks at any member's feed. Its script uses the API like any client."""

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from access.permissions import is_open_to

# All that the page needs comes from here; a text that holds a script stays a text.
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'"


@require_safe
def explore(request: HttpRequest) -> HttpResponse:
    """Return the page, or send a stranger to the admin's sign-in."""
    if not is_open_to(request):
        return redirect_to_login(request.get_full_path(), "/admin/login/")
    response = render(request, "recommendations/explorer.html")
    response["Content-Security-Policy"] = f"{POLICY}; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    return response
