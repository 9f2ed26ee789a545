"""`manage.py verify_erasure ID`: search every place for an erased member (`services/members/traces.py`)."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from recommendations.services.errors import FactsUnavailable
from recommendations.services.members.traces import find_traces


class Command(BaseCommand):
    help = "Search every table, Redis, files and Qdrant for traces of a member. Exit code 1 if there are any."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("member_id", help="the member's id on the platform")
        parser.add_argument(
            "--mark",
            action="append",
            default=[],
            help="another text that only this member has, such as a word from a post; may be repeated",
        )

    def handle(self, *args: object, **options: Any) -> None:
        try:
            traces = find_traces(member_id=options["member_id"], marks=options["mark"])
        except FactsUnavailable as error:
            raise CommandError(str(error), returncode=2) from error
        for trace in traces:
            self.stdout.write(f"{trace.place}: {trace.where}")
        if traces:
            raise CommandError(f"{len(traces):,} traces were found.")
        self.stdout.write("No trace was found.")
