"""The Django app. At start it loads the extensions that describe its authentication in the OpenAPI schema."""

from django.apps import AppConfig


class AccessConfig(AppConfig):
    name = "access"

    def ready(self) -> None:
        # drf-spectacular finds extensions once their module is imported, and they need loaded apps.
        import access.schema  # noqa: F401
