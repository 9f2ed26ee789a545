"""`manage.py log_id`: print the ids of a member in the logs of a day."""

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
        "Print the two ids of a member in the logs of a day. Request logs contain the first, all other logs the second."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("member_id", help="The platform's id of the member.")
        parser.add_argument("--day", help="UTC day, such as 2026-11-24. Default: today.")

    def handle(self, *args: object, **options: Any) -> None:
        try:
            day = (date.fromisoformat(options["day"]) if options["day"] else now().date()).isoformat()
            pk = get_member_pk(member_id=options["member_id"])
        except ValueError as error:
            raise CommandError("Give --day as a date, such as 2026-11-24.") from error
        except UnknownMember as error:
            raise CommandError(f"There is no member {options['member_id']!r}.") from error
        for member_key in (options["member_id"], pk):
            self.stdout.write(hash_log_id(settings.SECRET_KEY, member_key, day))
