"""The Django app. At startup it registers the OpenFeature provider, the Celery tasks and the staff groups."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class FlagsConfig(AppConfig):
    name = "flags"

    def ready(self) -> None:
        # These modules import models, which Django allows only after every app is loaded.
        from flags import roles, startup

        startup.register_provider()
        post_migrate.connect(roles.create_roles, sender=self)
