"""The Django app. Its `ready` connects signals, and names the modules with health checks, panels, gauges and tasks."""

from django.apps import AppConfig

from monitoring import (
    dashboard,
    doctor,
    gauges,
    health,
    metrics_endpoint,
    query_timing,
    samples,
    task_metrics,
    time_budget,
    workers,
)


class MonitoringConfig(AppConfig):
    name = "monitoring"

    def ready(self) -> None:
        # It imports models, which Django allows only once every app is loaded.
        from monitoring import maintenance

        workers.connect_signals()
        samples.connect_signals()
        metrics_endpoint.connect_signals()
        query_timing.connect_signals()
        task_metrics.connect_task_signals()
        time_budget.connect_signals()
        health.extensions.add("monitoring.health", "monitoring.alerts")
        doctor.extensions.add("monitoring.doctor")
        gauges.extensions.add("monitoring.server_gauges", "monitoring.sample_gauges", "monitoring.alerts")
        dashboard.extensions.add("monitoring.panels", "monitoring.alerts")
        maintenance.extensions.add("monitoring.optimize_database")
