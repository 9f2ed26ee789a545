"""The Django app. At startup it registers the OpenFeature provider and the Celery tasks."""

from django.apps import AppConfig


class FlagsConfig(AppConfig):
    name = "flags"

    def ready(self) -> None:
        # These modules import models, which Django allows only after every app is loaded.
        from flags import startup

        startup.register_provider()
