"""`manage.py prepare`: prepare the database for the embedded stack before its servers start."""

from time import perf_counter

from django.core.management import call_command
from django.core.management.base import BaseCommand

STEPS = (
    ("Migrating the database", "migrate"),
    ("Creating the admin user", "ensure_admin"),
    ("Importing the sample data", "import_sample"),
    ("Embedding the posts", "embed"),
    ("Learning interests", "learn"),
    ("Training on what members like together", "train", "--if-due"),
)


class Command(BaseCommand):
    help = "Migrate, create the admin user, import the sample, embed it, learn and train. Completed steps are skipped."

    def handle(self, *args: object, **_: object) -> None:
        for title, command, *options in STEPS:
            self.stdout.write(f"{title} …")
            start = perf_counter()
            call_command(command, *options, verbosity=0 if command == "migrate" else 1)
            self.stdout.write(f"  done in {perf_counter() - start:.1f} s")
