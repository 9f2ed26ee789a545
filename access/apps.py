"""The Django app. At startup it loads the OpenAPI extensions that describe the authentication."""

from django.apps import AppConfig


class AccessConfig(AppConfig):
    name = "access"

    def ready(self) -> None:
        # Importing the module registers its extensions with drf-spectacular. They need loaded apps.
        import access.schema  # noqa: F401
