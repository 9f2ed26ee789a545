"""Who may use the API: everyone on an embedded stack (API_OPEN), else staff who are signed in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from django.http import HttpRequest
from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

if TYPE_CHECKING:
    # DRF's views import this module, as the settings name it.
    from rest_framework.views import APIView


def is_open_to(request: HttpRequest | Request) -> bool:
    """Return whether the sender may read anyone's feed."""
    return bool(settings.ENV.api_open or (request.user.is_active and request.user.is_staff))


class StaffSession(SessionAuthentication):
    """The admin's session. Naming a scheme makes DRF answer 401 to a stranger, where it would say 403."""

    def authenticate_header(self, request: Request) -> str:
        return 'Session realm="recsys"'


class OpenOrStaff(BasePermission):
    """See the module."""

    message = "Only staff may do this. Sign in at /admin/ as a member of staff."

    def has_permission(self, request: Request, view: APIView) -> bool:
        return is_open_to(request)
