"""
Headers that limit what a page may do in a browser. Django sets the other security headers by its own settings.

No page needs an inline script, so a script that someone injects into a page does not run. The pages of three libraries
need more: the admin's theme evaluates expressions in its own attributes (Alpine.js), and it, the API's documentation
and the documentation's site set inline styles. docs/decisions/0022-sign-in.md has the reasons.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from django.http import HttpRequest, HttpResponseBase

STRICT = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "font-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}
EXCEPTIONS = {
    "/admin/": {"script-src": "'self' 'unsafe-eval'", "style-src": "'self' 'unsafe-inline'"},
    "/api/docs/": {"style-src": "'self' 'unsafe-inline'"},
    "/docs/": {"style-src": "'self' 'unsafe-inline'"},
}
"""What other pages need instead, by the beginning of their path."""
NO_EXCEPTIONS: Mapping[str, str] = {}
PERMISSIONS_POLICY = ", ".join(
    f"{feature}=()" for feature in ("camera", "display-capture", "geolocation", "microphone", "payment", "usb")
)


def write_policy(*exceptions: Mapping[str, str]) -> str:
    """Return the strict policy with these *exceptions*, the last of which has precedence."""
    directives = dict(STRICT)
    for changed in exceptions:
        directives |= changed
    return "; ".join(f"{name} {value}" for name, value in directives.items())


POLICIES = {prefix: write_policy(exceptions) for prefix, exceptions in {**EXCEPTIONS, "": NO_EXCEPTIONS}.items()}


def content_security_policy(path: str, exceptions: Mapping[str, str] = NO_EXCEPTIONS) -> str:
    """Return the Content-Security-Policy of a page. *exceptions*: what one response needs instead."""
    prefix = next(prefix for prefix in POLICIES if path.startswith(prefix))
    return write_policy(EXCEPTIONS.get(prefix, NO_EXCEPTIONS), exceptions) if exceptions else POLICIES[prefix]


class SecurityHeadersMiddleware:
    """Adds the headers to every response. A view sets `csp_exceptions` on a response that needs a wider policy."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        response.headers["Content-Security-Policy"] = content_security_policy(
            request.path, getattr(response, "csp_exceptions", NO_EXCEPTIONS)
        )
        response.headers["Permissions-Policy"] = PERMISSIONS_POLICY
        return response
