"""The Django app. Its `ready` registers health checks, panels, doctor checks and tasks, and connects signals."""

from django.apps import AppConfig

from monitoring import (
    doctor,
    health,
    metrics_endpoint,
    query_timing,
    sample_gauges,
    samples,
    server_gauges,
    task_metrics,
    time_budget,
    workers,
)


class MonitoringConfig(AppConfig):
    name = "monitoring"

    def ready(self) -> None:
        # These modules import models, which Django allows only once every app is loaded.
        # The first one fills Celery's task registry: a process that only enqueues tasks finds them by name as well.
        import monitoring.tasks  # noqa: F401
        from monitoring import alerts, maintenance, optimize_database, panels

        health.register_health_check("database", health.ping_database, is_required=True)
        health.register_health_check("migrations", health.require_migrations, is_required=True)
        health.register_health_check("redis", health.ping_redis, is_required=False)
        health.register_health_check("alerts", alerts.require_evaluation, is_required=False)
        workers.connect_signals()
        samples.connect_signals()
        metrics_endpoint.connect_signals()
        query_timing.connect_signals()
        server_gauges.register_server_gauges()
        sample_gauges.register_sample_gauges()
        task_metrics.connect_task_signals()
        time_budget.connect_signals()
        doctor.register_checks()
        maintenance.register_maintenance_task("optimize_database", optimize_database.optimize_database)
        panels.register_panels()
        alerts.register_alerts()
