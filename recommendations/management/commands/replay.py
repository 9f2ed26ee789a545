"""`manage.py replay`: a door to `services/explaining/replay.py`."""

from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from recommendations.services.errors import ServiceError
from recommendations.services.explaining.replay import replay


class Command(BaseCommand):
    help = "Rank a served request again from what was kept of it, and say whether the same bytes come of it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("request_id", type=UUID, help="`request_id` of a feed")

    def handle(self, *args: object, **options: Any) -> None:
        try:
            found = replay(request_id=options["request_id"])
        except ServiceError as error:
            raise CommandError(str(error)) from error
        if not found.is_identical:
            raise CommandError(f"Ranked by {found.engine}, and something else came of it.")
        self.stdout.write(f"Ranked by {found.engine} again: the same {len(found.post_ids)} posts, byte for byte.")
