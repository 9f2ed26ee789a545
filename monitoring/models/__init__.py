"""What monitoring itself keeps."""

from monitoring.models.maintenance import MaintenanceDuty, MaintenanceRun

__all__ = ["MaintenanceDuty", "MaintenanceRun"]
