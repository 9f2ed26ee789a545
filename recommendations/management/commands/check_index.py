"""`manage.py check_index`: a door to `services/vectors/reindexing.py`."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from monitoring.clock import now
from recommendations.ports import VectorIndexError
from recommendations.services.vectors.embedding import CONTENT_SPACE
from recommendations.services.vectors.reindexing import compare_indexes


class Command(BaseCommand):
    help = "Compare the vector indexes with the database, and fail if they differ. `manage.py reindex` mends Qdrant's."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--space", default=CONTENT_SPACE, help="content, image … (default: content)")

    def handle(self, *args: object, **options: Any) -> None:
        try:
            found = compare_indexes(space=options["space"], now=now())
        except VectorIndexError as error:
            raise CommandError(str(error)) from error
        for one in found:
            wrongs = f"missing {one.missing:,}, stale {one.stale:,}, strays {one.extra:,}"
            sampled = f"different {one.different:,} of {one.sampled:,} sampled"
            self.stdout.write(f"{one.index}: {one.in_index:,} of {one.in_database:,} posts; {wrongs}, {sampled}.")
        if wrong := sum(one.wrong_posts for one in found):
            raise CommandError(f"{wrong:,} posts differ. Run manage.py reindex, then look again.")
