"""`manage.py reindex`: rebuild the vector index (`services/vectors/reindexing.py`)."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from monitoring.clock import now
from recommendations.management.progress import progress_bar
from recommendations.ports import VectorIndexError
from recommendations.services.vectors.embedding import CONTENT_SPACE
from recommendations.services.vectors.reindexing import reindex


class Command(BaseCommand):
    help = "Write every post from the database to the vector index (QDRANT_URL). The index stays available meanwhile."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--space", default=CONTENT_SPACE, help="embedding space, such as content or image (default: content)"
        )
        parser.add_argument(
            "--resume", action="store_true", help="after an interrupted run: skip posts that are correct"
        )

    def handle(self, *args: object, **options: Any) -> None:
        space = options["space"]
        try:
            with progress_bar() as step:
                done = reindex(
                    space=space,
                    resume=options["resume"],
                    now=now(),
                    progress=lambda done, total: step("posts", done, total),
                )
        except VectorIndexError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"Wrote {done:,} posts to the index of {space}.")
