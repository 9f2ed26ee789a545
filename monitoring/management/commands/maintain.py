"""`manage.py maintain`: run a maintenance task outside its schedule."""

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from monitoring import maintenance
from monitoring.clock import now
from monitoring.models import MaintenanceRun


class Command(BaseCommand):
    help = "Run a maintenance task now and print its record. Without a name, list the tasks and their last runs."
    requires_system_checks = ()  # they load every page of the service

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", nargs="?", help="the task, such as delete_expired_records")

    def handle(self, *args: object, **options: Any) -> None:
        if options["name"] is None:
            for name in sorted(maintenance.maintenance_task_names()):
                self.stdout.write(f"{name:20} {self.last_run(name)}")
            return
        try:
            run = maintenance.run_maintenance_task(name=options["name"], now=now(), interval=timedelta())
        except maintenance.UnknownMaintenanceTaskError as error:
            raise CommandError(str(error)) from error
        if run is None:
            raise CommandError(f"{options['name']} is already running. Its record will appear in the admin.")
        self.stdout.write(f"{run.name}: {run.rows:,} rows, {run.bytes:,} bytes, {run.seconds:.3f} s. {run.note}")

    def last_run(self, name: str) -> str:
        """Return the outcome, the time and the note of a task's last run."""
        run = MaintenanceRun.objects.filter(name__startswith=name).first()
        return f"{run.outcome} {run.started_at:%Y-%m-%d %H:%M} UTC, {run.note or run.error}" if run else "never ran"
