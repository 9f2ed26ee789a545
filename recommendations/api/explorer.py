"""The explorer: a page on which a person looks at any member's feed. Its script uses the API like any client."""

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from access.permissions import has_full_access

# All that the page needs comes from here; a text that holds a script stays a text.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'"
)


@require_safe
def explorer_page(request: HttpRequest) -> HttpResponse:
    """Return the page, or send a stranger to the admin's sign-in."""
    if not has_full_access(request):
        return redirect_to_login(request.get_full_path(), "/admin/login/")
    response = render(request, "recommendations/explorer.html")
    response["Content-Security-Policy"] = (
        f"{CONTENT_SECURITY_POLICY}; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
    return response
