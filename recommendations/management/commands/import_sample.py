"""`manage.py import_sample [SAMPLE]`: import a sample (`services/content/import_sample.py`)."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from monitoring.clock import now
from recommendations.services.content.import_movielens import SampleMissingError
from recommendations.services.content.import_sample import DEFAULT_SAMPLE, SAMPLES, import_sample


class Command(BaseCommand):
    help = (
        "Import a sample: demo (an invented community: 400 members, 1,636 posts in three languages with pictures, "
        "27,003 interactions that end now) or movielens (671 members, 9,066 films, 100,004 ratings that end yesterday; "
        "its terms forbid commercial use: recommendations/sample/movielens/README.md). Importing a sample again adds "
        "nothing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("sample", nargs="?", choices=SAMPLES, default=DEFAULT_SAMPLE, help="default: %(default)s")

    def handle(self, *args: object, **options: Any) -> None:
        try:
            created = import_sample(options["sample"], now=now())
        except SampleMissingError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"Created {', '.join(f'{count:,} {name}' for name, count in created.items())}.")
