"""The tables of monitoring."""

from monitoring.models.alerts import Alert, AlertRule, Notice, Silence
from monitoring.models.maintenance import MaintenanceRun, MaintenanceTask

__all__ = ["Alert", "AlertRule", "MaintenanceRun", "MaintenanceTask", "Notice", "Silence"]
