"""`manage.py check_index`: compare the vector indexes with the database (`services/vectors/reindexing.py`)."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from monitoring.clock import now
from recommendations.ports import VectorIndexError
from recommendations.services.vectors.embedding import CONTENT_SPACE
from recommendations.services.vectors.reindexing import compare_indexes


class Command(BaseCommand):
    help = "Compare the vector indexes with the database. Fails if they differ; `manage.py reindex` repairs Qdrant's."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--space", default=CONTENT_SPACE, help="embedding space, such as content or image (default: content)"
        )

    def handle(self, *args: object, **options: Any) -> None:
        try:
            comparisons = compare_indexes(space=options["space"], now=now())
        except VectorIndexError as error:
            raise CommandError(str(error)) from error
        for comparison in comparisons:
            posts = f"{comparison.in_index:,} of {comparison.in_database:,} posts"
            differences = f"missing {comparison.missing:,}, stale {comparison.stale:,}, extra {comparison.extra:,}"
            sample = f"different {comparison.different:,} of {comparison.sampled:,} sampled"
            self.stdout.write(f"{comparison.index}: {posts}; {differences}, {sample}.")
        if wrong_posts := sum(comparison.wrong_posts for comparison in comparisons):
            raise CommandError(f"{wrong_posts:,} posts differ. Run manage.py reindex, then check again.")
