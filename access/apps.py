from importlib import import_module

from django.apps import AppConfig


class AccessConfig(AppConfig):
    name = "access"

    def ready(self) -> None:
        # The OpenAPI page finds these by their being imported.
        import_module("access.schema")
