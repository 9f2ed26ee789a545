"""The Django app. Its `ready` names the modules with what it adds to flags and monitoring, and installs triggers."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate

from recommendations.contracts import ENGINE_FLAG

EXTENSIONS = "recommendations.services.extensions"


class RecommendationsConfig(AppConfig):
    name = "recommendations"

    def ready(self) -> None:
        # These modules import models, which Django allows only once every app is loaded.
        from flags import attributes, hooks
        from flags import gauges as flag_gauges
        from flags.experiments import metric_sources
        from monitoring import dashboard, doctor, extensions, gauges, health, maintenance
        from recommendations.services import work
        from recommendations.stores import change_log, history_changes

        extensions.long_running.add(f"{EXTENSIONS}.processes")
        work.extensions.add(f"{EXTENSIONS}.jobs")
        health.extensions.add(f"{EXTENSIONS}.health")
        doctor.extensions.add(f"{EXTENSIONS}.doctor")
        maintenance.extensions.add(f"{EXTENSIONS}.maintenance")
        gauges.extensions.add(f"{EXTENSIONS}.gauges")
        dashboard.extensions.add(f"{EXTENSIONS}.panels")
        hooks.register_turn_off_hook(ENGINE_FLAG, "recommendations.services.invalidate.invalidate_all_slates")
        for registry in (attributes, flag_gauges):
            registry.extensions.add(f"{EXTENSIONS}.flags")
        metric_sources.extensions.add(f"{EXTENSIONS}.experiments")
        # A migration may drop triggers, because SQLite alters a table by creating a new one.
        post_migrate.connect(change_log.install_triggers, sender=self)
        post_migrate.connect(history_changes.install_triggers, sender=self)
