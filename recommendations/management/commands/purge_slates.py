"""`manage.py purge_slates`: remove every cached slate (`services/invalidate.py`)."""

from django.core.management.base import BaseCommand

from recommendations.services import invalidate


class Command(BaseCommand):
    help = "Remove every cached slate, so that each feed is built again with the current engine. No data is lost."
    requires_system_checks = ()  # they load every page of the service

    def handle(self, *args: object, **options: object) -> None:
        invalidate.invalidate_all_slates()
        self.stdout.write("Purged every slate.")
