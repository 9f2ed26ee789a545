"""What monitoring itself keeps."""

from monitoring.models.alerts import Alert, AlertRule, Notice, Silence
from monitoring.models.maintenance import MaintenanceDuty, MaintenanceRun

__all__ = ["Alert", "AlertRule", "MaintenanceDuty", "MaintenanceRun", "Notice", "Silence"]
