"""
What happens after failed sign-ins: django-axes locks the user name and the address, and operators get an alert.

A wrong code of the second factor counts as a failure, too: whoever sends one has the password. A lock also ends the
session in which the last failure happened, so that no further code can be tried in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from allauth.mfa.signals import authentication_failed
from axes.signals import user_locked_out
from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_login_failed
from django.http import HttpRequest

from access.masks import mask_identity
from access.models import UsageAlert
from access.usage import UsageAnomaly, raise_usage_alert
from monitoring.clock import now
from monitoring.transactions import write_transaction


def connect_signals() -> None:
    """Connect the receivers of this module."""
    authentication_failed.connect(count_wrong_code, dispatch_uid="count_wrong_code")
    user_locked_out.connect(end_session, dispatch_uid="end_session")
    user_locked_out.connect(alert_operators, dispatch_uid="alert_operators")


def read_username(request: HttpRequest, credentials: Mapping[str, str] | None) -> str:
    """Return the user name of an attempt: that of the credentials, or else that of the sign-in form."""
    return (credentials or {}).get("username") or request.POST.get("login", "")


def count_wrong_code(sender: object, request: HttpRequest, user: User, **_: Any) -> None:
    """Count a wrong second factor as a failed sign-in."""
    user_login_failed.send(sender=__name__, credentials={"username": user.get_username()}, request=request)


def end_session(sender: object, request: HttpRequest, **_: Any) -> None:
    """End the session, and with it a sign-in that waits for its second factor."""
    request.session.flush()


@write_transaction
def alert_operators(sender: object, username: str | None = None, ip_address: str | None = None, **_: Any) -> None:
    """Raise an alert about the user name that was locked, and about the address, at most one per hour each."""
    anomaly = UsageAnomaly(UsageAlert.Kind.SIGN_IN, settings.AXES_FAILURE_LIMIT, settings.AXES_FAILURE_LIMIT)
    for kind, name in (("user", username), ("address", ip_address)):
        if name:
            raise_usage_alert(f"{kind}:{mask_identity(kind, name)}", anomaly, now())
