"""The Django app. At startup it loads the OpenAPI extensions and connects the receivers of sign-in."""

from django.apps import AppConfig


class AccessConfig(AppConfig):
    name = "access"

    def ready(self) -> None:
        # Importing the module registers its extensions with drf-spectacular. They need loaded apps.
        from allauth.account.models import EmailAddress
        from allauth.mfa.models import Authenticator
        from django.contrib import admin

        import access.schema  # noqa: F401
        from access.sign_in import lockout, second_factor

        # `manage.py reset_second_factor` replaces a lost device, and the service uses no email address of staff.
        admin.site.unregister([Authenticator, EmailAddress])
        lockout.connect_signals()
        second_factor.connect_signals()
