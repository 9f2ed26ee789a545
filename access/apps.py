"""The Django app. At startup it loads the OpenAPI extensions and connects the receivers of sign-in."""

from django.apps import AppConfig


class AccessConfig(AppConfig):
    name = "access"

    def ready(self) -> None:
        # Importing the module registers its extensions with drf-spectacular. They need loaded apps.
        import access.schema  # noqa: F401
        from access.sign_in import lockout, second_factor

        lockout.connect_signals()
        second_factor.connect_signals()
