"""`manage.py print_personal_data`: print every place that may hold personal data, as Markdown."""

from django.core.management.base import BaseCommand

from recommendations.services.members.personal_data import describe_places


class Command(BaseCommand):
    help = "Print every place that may hold personal data. docs/personal-data.md is its output."
    requires_system_checks = ()

    def handle(self, *args: object, **options: object) -> None:
        self.stdout.write(describe_places())
