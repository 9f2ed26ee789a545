"""`manage.py replay`: rank a served request again (`services/explaining/replay.py`)."""

from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from recommendations.services.errors import ServiceError
from recommendations.services.explaining.replay import replay


class Command(BaseCommand):
    help = "Rank a served request again from its stored inputs, and check that the result is identical byte for byte."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("request_id", type=UUID, help="`request_id` of a feed page")

    def handle(self, *args: object, **options: Any) -> None:
        try:
            result = replay(request_id=options["request_id"])
        except ServiceError as error:
            raise CommandError(str(error)) from error
        if not result.is_identical:
            raise CommandError(f"The result of {result.engine} differs from the served slate.")
        self.stdout.write(f"Ranked again with {result.engine}: {len(result.post_ids)} posts, identical byte for byte.")
