"""`manage.py purge_slates`: a door to `services/invalidate.py`."""

from django.core.management.base import BaseCommand

from recommendations.services import invalidate


class Command(BaseCommand):
    help = "Forget every kept feed, so that each is made anew by the engine that is chosen now. Costs time, no data."

    def handle(self, *args: object, **options: object) -> None:
        invalidate.invalidate_all_slates()
        self.stdout.write("Forgot every slate.")
