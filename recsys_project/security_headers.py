"""
Headers that limit what a page may do in a browser, and keep responses out of caches. Django sets the other security
headers by its own settings.

No page needs an inline script, so a script that someone injects into a page does not run. The pages of three libraries
need more: the admin's theme evaluates expressions in its own attributes (Alpine.js), and it, the API's documentation
and the documentation's site set inline styles. docs/decisions/0022-sign-in.md has the reasons.
"""

from __future__ import annotations

from collections.abc import Callable

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
    # Compiles the kernel, which is WebAssembly.
    "/explore/on-device/": {"script-src": "'self' 'wasm-unsafe-eval'"},
    # The explorer, once its reader has agreed to load pictures of other servers.
    "/explore/remote-pictures/": {"img-src": "'self' data: https: http:"},
}
"""What other pages need instead, by the beginning of their path."""
PERMISSIONS_POLICY = ", ".join(
    f"{feature}=()" for feature in ("camera", "display-capture", "geolocation", "microphone", "payment", "usb")
)


POLICIES = {
    prefix: "; ".join(f"{name} {value}" for name, value in (STRICT | exceptions).items())
    for prefix, exceptions in {**EXCEPTIONS, "": {}}.items()
}


def content_security_policy(path: str) -> str:
    """Return the Content-Security-Policy of a page."""
    return next(policy for prefix, policy in POLICIES.items() if path.startswith(prefix))


class SecurityHeadersMiddleware:
    """Adds the headers to every response."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        response.headers["Content-Security-Policy"] = content_security_policy(request.path)
        response.headers["Permissions-Policy"] = PERMISSIONS_POLICY
        # What one caller may read, no cache may give to another. Public pages have a header of their own.
        response.headers.setdefault("Cache-Control", "no-store")
        return response
