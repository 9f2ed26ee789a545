"""The Django app. At startup it registers health checks, maintenance tasks, panels, kinds of jobs and Celery tasks."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class RecommendationsConfig(AppConfig):
    name = "recommendations"

    def ready(self) -> None:
        # These modules import models, which Django allows only once every app is loaded.
        # The first one fills Celery's task registry, so that processes which only enqueue tasks find them by name.
        import recommendations.tasks  # noqa: F401
        from recommendations.services.extensions import (
            doctor,
            experiments,
            flags,
            gauges,
            health,
            jobs,
            maintenance,
            panels,
        )
        from recommendations.services.serving import records
        from recommendations.services.upkeep import process_memory
        from recommendations.stores import change_log, history_changes

        jobs.register()
        health.register_health_checks()
        flags.register_flag_sources()
        experiments.register_experiment_sources()
        doctor.register_doctor_checks()
        maintenance.register_maintenance_tasks()
        gauges.register_gauges()
        panels.register_panels()
        process_memory.connect_memory_checks()
        records.send_after_tasks()
        # A migration may drop triggers, because SQLite alters a table by creating a new one.
        post_migrate.connect(change_log.install_triggers, sender=self)
        post_migrate.connect(history_changes.install_triggers, sender=self)
