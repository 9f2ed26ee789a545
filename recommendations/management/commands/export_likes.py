"""`manage.py export_likes FILE`: write all likes as Parquet (`services/training/export_likes.py`)."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from recommendations.management.progress import progress_bar

try:
    from recommendations.services.training.export_likes import export_likes
except ImportError:  # pyarrow is optional
    export_likes = None  # type: ignore[assignment]


class Command(BaseCommand):
    help = "Write the likes of all members as Parquet, for a training on Spark. The file is personal data."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path, metavar="FILE")

    def handle(self, *args: object, **options: Any) -> None:
        if export_likes is None:
            raise CommandError("Parquet needs pyarrow. Run: pip install pyarrow")
        try:
            with progress_bar() as step:
                count = export_likes(options["file"], step)
        except OSError as error:
            raise CommandError(f"The file cannot be written: {error}.") from error
        self.stdout.write(f"{count:,} likes written to {options['file']}.")
