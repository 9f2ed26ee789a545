"""The Django app. At startup it connects the receivers of sign-in."""

from django.apps import AppConfig


class AccessConfig(AppConfig):
    name = "access"

    def ready(self) -> None:
        # These modules import models, which Django allows only once every app is loaded.
        from access.sign_in import lockout, second_factor

        lockout.connect_signals()
        second_factor.connect_signals()
