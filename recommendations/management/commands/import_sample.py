"""`manage.py import_sample`: import the MovieLens sample (`services/content/import_sample.py`)."""

from django.core.management.base import BaseCommand, CommandError

from monitoring.clock import now
from recommendations.services.content.import_sample import SampleMissingError, import_sample


class Command(BaseCommand):
    help = (
        "Import the MovieLens sample (671 members, 9,066 films, 100,004 ratings), with times shifted to end "
        "yesterday. Importing it again adds nothing. Its terms forbid commercial use: "
        "recommendations/sample/movielens/README.md."
    )

    def handle(self, *args: object, **options: object) -> None:
        try:
            summary = import_sample(now=now())
        except SampleMissingError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"Created {summary.members:,} members, {summary.studios:,} studios, {summary.posts:,} films, "
            f"{summary.interactions:,} interactions."
        )
