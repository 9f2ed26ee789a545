"""The app. Its readiness checks and its tasks are registered when it starts."""

from importlib import import_module

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class RecommendationsConfig(AppConfig):
    name = "recommendations"

    def ready(self) -> None:
        # Services import models, which may not be imported before every app is known.
        import_module("recommendations.services.health").register_checks()
        import_module("recommendations.services.for_flags").register()
        import_module("recommendations.services.for_experiments").register()
        import_module("recommendations.services.memory").watch()
        import_module("recommendations.services.recording").watch()
        import_module("recommendations.services.checklist").register_lines()
        import_module("recommendations.services.duties").register()
        import_module("recommendations.services.readings").register()
        import_module("recommendations.services.panels").register_panels()
        # A migration may drop triggers: SQLite alters a table by making another.
        post_migrate.connect(import_module("recommendations.stores.change_log").install, sender=self)
        # Who asks for a task finds it by name, so the registry is filled in every process, not in workers only.
        import_module("recommendations.tasks")
