"""How django-allauth signs staff in: without registration, and with encrypted secrets of authenticator apps."""

from __future__ import annotations

import base64
import hashlib

from allauth.account.adapter import DefaultAccountAdapter
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from cryptography.fernet import Fernet, MultiFernet
from django.conf import settings
from django.http import HttpRequest

from access.sign_in.second_factor import has_recent_second_factor


class StaffAccountAdapter(DefaultAccountAdapter):
    """Accounts are created in the admin or by `manage.py createsuperuser`."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Return False: visitors cannot register."""
        return False

    def is_reauthentication_required(self, *, app: str, **kwargs: object) -> bool:
        """
        Return whether a second factor is asked for again before a change of the devices.

        Not for the first device of a user, nor shortly after a device was used or registered in this session. The
        password does not suffice: a session that someone opened with a stolen password, before the user had a device,
        could else remove the user's device and add another.
        """
        has_device = Authenticator.objects.filter(user=self.request.user).exists()
        return has_device and not has_recent_second_factor(self.request)

    def send_notification_mail(self, *args: object, **kwargs: object) -> None:
        """Send nothing. A staff user may have no email address, and sign-in must not depend on the mail server."""


class StaffMFAAdapter(DefaultMFAAdapter):
    """Encrypts the secrets of authenticator apps and recovery codes, so that a copy of the database contains none."""

    def encrypt(self, text: str) -> str:
        """Return the text, encrypted with a key derived from SECRET_KEY."""
        return second_factor_cipher().encrypt(text.encode()).decode()

    def decrypt(self, encrypted_text: str) -> str:
        """Return the text. Raises `InvalidToken` if SECRET_KEY and all of SECRET_KEY_FALLBACKS are others."""
        return second_factor_cipher().decrypt(encrypted_text).decode()


def second_factor_cipher() -> MultiFernet:
    """Return the cipher of second factors. SECRET_KEY encrypts; SECRET_KEY_FALLBACKS decrypt, too."""
    secrets = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    keys = (hashlib.sha256(b"recsys second factor\0" + secret.encode()).digest() for secret in secrets)
    return MultiFernet([Fernet(base64.urlsafe_b64encode(key)) for key in keys])
