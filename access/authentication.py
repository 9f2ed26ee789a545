"""Authentication of requests by an API key, a member token or a staff session."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from access import throttles
from access.callers import Caller, identify
from access.errors import BadCredentialError
from monitoring.clock import now

SCHEME = "bearer"


class CallerUser(AnonymousUser):
    """The `request.user` of a key or token, which has no row in the table of users."""

    def __init__(self, caller: Caller) -> None:
        super().__init__()
        self.caller = caller


class KeyOrToken(BaseAuthentication):
    """`Authorization: Bearer …` with an API key or a member token."""

    def authenticate(self, request: Request) -> tuple[CallerUser, Caller] | None:
        scheme, _, credential = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() != SCHEME:
            return None
        try:
            caller = identify(credential.strip(), now())
        except BadCredentialError as error:
            # Count invalid credentials against the client address, to slow down guessing.
            throttles.check_rate_limit(request, None)
            raise AuthenticationFailed(str(error), code="bad-credential") from None
        return CallerUser(caller), caller

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="recsys"'


class StaffSession(SessionAuthentication):
    """The session of the admin."""

    def authenticate(self, request: Request) -> tuple[Any, None] | None:
        """Return the session's user. Without the cookie of a session nobody is signed in, and no user is looked up."""
        return super().authenticate(request) if settings.SESSION_COOKIE_NAME in request.COOKIES else None
