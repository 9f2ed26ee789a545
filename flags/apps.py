"""The app. Its provider answers OpenFeature, and its tasks are registered, when it starts."""

from importlib import import_module

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class FlagsConfig(AppConfig):
    name = "flags"

    def ready(self) -> None:
        # These import models, which may not be imported before every app is known.
        import_module("flags.starting").start()
        post_migrate.connect(import_module("flags.roles").make_roles, sender=self)
