"""The Django app. Its `ready` names the modules with what it adds to flags and monitoring, and installs triggers."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate

from monitoring.extensions import extensions_of, long_running
from recommendations.contracts import ENGINE_FLAG

EXTENSIONS = "recommendations.services.extensions"


class RecommendationsConfig(AppConfig):
    name = "recommendations"

    def ready(self) -> None:
        # These modules import models, which Django allows only once every app is loaded.
        from flags import hooks
        from recommendations.stores import change_log, history_changes

        long_running.add(f"{EXTENSIONS}.processes")
        extensions_of("recommendations.services.work").add(f"{EXTENSIONS}.jobs")
        for name in ("health", "doctor", "maintenance", "gauges"):
            extensions_of(f"monitoring.{name}").add(f"{EXTENSIONS}.{name}")
        extensions_of("monitoring.dashboard").add(f"{EXTENSIONS}.panels")
        hooks.register_turn_off_hook(ENGINE_FLAG, "recommendations.services.invalidate.invalidate_all_slates")
        for registry in ("attributes", "gauges"):
            extensions_of(f"flags.{registry}").add(f"{EXTENSIONS}.flags")
        extensions_of("flags.experiments.metric_sources").add(f"{EXTENSIONS}.experiments")
        # A migration may drop triggers, because SQLite alters a table by creating a new one.
        post_migrate.connect(change_log.install_triggers, sender=self)
        post_migrate.connect(history_changes.install_triggers, sender=self)
