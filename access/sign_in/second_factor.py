"""
The second factor of staff. Without it, a session is worth nothing outside of the pages that set it up.

A session has the second factor if its user used or registered one in it: an authenticator app, a security key or a
recovery code. A session that was opened before with the password alone does not get it by another session.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from allauth.mfa.signals import authenticator_added, authenticator_used
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import AnonymousUser, User
from django.db import DatabaseError
from django.http import HttpRequest, HttpResponseBase, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext_lazy

from monitoring.clock import now

SESSION_KEY = "second_factor_user"
"""The session's entry: the primary key of the user who has shown the second factor."""
TIME_KEY = "second_factor_at"
"""The session's entry: when that was, in seconds since 1970."""
RECENT_SECONDS = 300
"""How long after that the devices may be changed."""
SIGN_IN_PREFIX = "/account/"
ADVICE = gettext_lazy("Register an authenticator app or a security key. Other pages open afterwards.")
PAGE_PREFIXES = ("/admin/", "/dashboard/", "/explore/", "/product/")
"""Pages of a browser, which are redirected. Other requests are treated as if nobody were signed in."""


def connect_signals() -> None:
    """Connect the receivers of this module."""
    for signal in (authenticator_added, authenticator_used):
        signal.connect(remember_second_factor, dispatch_uid="remember_second_factor")


def remember_second_factor(sender: object, request: HttpRequest, user: User, **_: Any) -> None:
    """Note in the session that its user has shown a second factor, and when."""
    request.session[SESSION_KEY], request.session[TIME_KEY] = str(user.pk), now().timestamp()


def has_recent_second_factor(request: HttpRequest) -> bool:
    """Return whether the session's user has shown a second factor in it within the last `RECENT_SECONDS`."""
    is_own = request.session.get(SESSION_KEY) == str(request.user.pk)
    return is_own and now().timestamp() - request.session.get(TIME_KEY, 0) < RECENT_SECONDS


class SecondFactorMiddleware:
    """Lets a session without the second factor open only the pages under `SIGN_IN_PREFIX`."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if settings.SESSION_COOKIE_NAME in request.COOKIES and lacks_second_factor(request):
            if request.path.startswith(PAGE_PREFIXES):
                messages.info(request, ADVICE, fail_silently=True)
                return HttpResponseRedirect(reverse("mfa_index"))
            request.user = AnonymousUser()
        return self.get_response(request)


def lacks_second_factor(request: HttpRequest) -> bool:
    """
    Return whether the setting requires a second factor that the session's user has not shown in it.

    True if the session cannot be read: probes send no session, but a browser that opens them does.
    """
    if not settings.ENV.second_factor or request.path.startswith(SIGN_IN_PREFIX):
        return False
    try:
        return request.user.is_authenticated and request.session.get(SESSION_KEY) != str(request.user.pk)
    except DatabaseError:
        return True
