"""The app. Its provider answers OpenFeature, and its tasks are registered, when it starts."""

from importlib import import_module

from django.apps import AppConfig


class FlagsConfig(AppConfig):
    name = "flags"

    def ready(self) -> None:
        # Both import models, which may not be imported before every app is known.
        import_module("flags.starting").start()
