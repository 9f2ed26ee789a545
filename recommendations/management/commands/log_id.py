"""`manage.py log_id`: under which id a member stands in the logs of a day."""

from datetime import date
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from monitoring.clock import now
from monitoring.log_ids import hash_log_id
from recommendations.services.errors import UnknownMember
from recommendations.services.members.members import get_member_pk


class Command(BaseCommand):
    help = (
        "Print the ids under which a member stands in the logs of a day: requests have the first, all else the second."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("member", help="The platform's id of the member.")
        parser.add_argument("--day", help="Such as 2026-11-24, in UTC; today if it is left out.")

    def handle(self, *args: object, **options: Any) -> None:
        try:
            day = (date.fromisoformat(options["day"]) if options["day"] else now().date()).isoformat()
            number = get_member_pk(member_id=options["member"])
        except ValueError as error:
            raise CommandError("Give the day as 2026-11-24.") from error
        except UnknownMember as error:
            raise CommandError(f"There is no member {options['member']!r}.") from error
        for known_as in (options["member"], number):
            self.stdout.write(hash_log_id(settings.SECRET_KEY, known_as, day))
