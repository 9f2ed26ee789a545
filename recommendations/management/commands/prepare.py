"""`manage.py prepare`: prepare the database for the embedded stack before its servers start."""

from time import perf_counter

from django.core.management import call_command
from django.core.management.base import BaseCommand

STEPS = (
    ("Database", "migrate"),
    ("Admin", "ensure_admin"),
    ("Sample data", "import_sample"),
    ("Embeddings", "embed"),
    ("Interests", "learn"),
)


class Command(BaseCommand):
    help = "Migrate, create the admin user, import the sample, embed it and learn from it. Completed steps are skipped."

    def handle(self, *args: object, **options: object) -> None:
        for title, command in STEPS:
            start = perf_counter()
            call_command(command, verbosity=0 if command == "migrate" else 1)
            self.stdout.write(f"  {title}: {perf_counter() - start:.1f} s")
