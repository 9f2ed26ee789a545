"""The Django app. At start it registers health checks, panels, doctor lines and Celery tasks, and connects signals."""

from django.apps import AppConfig

from monitoring import doctor, exposing, figures, health, queries_timed, samples, servers, tasks_counted, workers


class MonitoringConfig(AppConfig):
    name = "monitoring"

    def ready(self) -> None:
        # These modules import models, which Django allows only once every app is loaded.
        # The first one fills Celery's task registry: a process that only enqueues tasks finds them by name as well.
        import monitoring.tasks  # noqa: F401
        from monitoring import alerting, database, maintenance, panels

        health.register("database", health.database)
        health.register("migrations", health.migrations)
        health.register("redis", health.redis)
        workers.connect()
        samples.connect()
        exposing.connect()
        queries_timed.connect()
        servers.connect()
        figures.connect()
        tasks_counted.connect()
        doctor.register_lines()
        maintenance.register("optimise_database", database.optimise)
        panels.register_panels()
        alerting.connect()
