"""`manage.py reindex`: a door to `services/vectors/reindexing.py`."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from monitoring.clock import now
from recommendations.management.progress import progress_bar
from recommendations.ports import VectorIndexError
from recommendations.services.vectors.embedding import CONTENT_SPACE
from recommendations.services.vectors.reindexing import reindex


class Command(BaseCommand):
    help = "Write every post into the vector index (QDRANT_URL) again, from the database. It answers meanwhile."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--space", default=CONTENT_SPACE, help="content, image … (default: content)")
        parser.add_argument("--resume", action="store_true", help="after a run that was cut off: leave what is right")

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
        self.stdout.write(f"Wrote {done:,} posts into the index of {space}.")
