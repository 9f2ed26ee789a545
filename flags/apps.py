"""The Django app. At start it registers its OpenFeature provider, its Celery tasks and the groups of its staff."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class FlagsConfig(AppConfig):
    name = "flags"

    def ready(self) -> None:
        # These modules import models, which Django allows only once every app is loaded.
        from flags import roles, startup

        startup.register_provider()
        post_migrate.connect(roles.create_roles, sender=self)
