"""The Django app. Its `ready` connects signals, and names the modules with health checks, panels, gauges and tasks."""

from django.apps import AppConfig

from monitoring import time_budget
from monitoring.extensions import extensions_of, long_running


class MonitoringConfig(AppConfig):
    name = "monitoring"

    def ready(self) -> None:
        time_budget.connect_signals()
        long_running.add("monitoring.process_signals")
        extensions_of("monitoring.task_publisher").add("monitoring.task_metrics")
        extensions_of("monitoring.health").add("monitoring.health", "monitoring.alerts")
        extensions_of("monitoring.doctor").add("monitoring.doctor")
        extensions_of("monitoring.gauges").add(
            "monitoring.server_gauges", "monitoring.sample_gauges", "monitoring.alerts"
        )
        extensions_of("monitoring.dashboard").add("monitoring.panels", "monitoring.alerts")
        extensions_of("monitoring.maintenance").add("monitoring.optimize_database")
