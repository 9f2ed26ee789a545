"""`manage.py reset_second_factor`: let a user who lost their device sign in again."""

from typing import Any

from allauth.mfa.models import Authenticator
from axes.utils import reset
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser


class Command(BaseCommand):
    help = (
        "Delete a user's authenticator app, security keys and recovery codes, and end a lock-out of the user's name. "
        "At the next sign-in the user registers a new device. Make sure that you know who asks for it."
    )
    requires_system_checks = ()  # they load every page of the service

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")

    def handle(self, *args: object, **options: Any) -> None:
        user = User.objects.filter(username=options["username"]).first()
        if user is None:
            raise CommandError(f"There is no user {options['username']!r}.")
        count, _ = Authenticator.objects.filter(user=user).delete()
        reset(username=user.username)
        self.stdout.write(
            f"Deleted {count} authenticators. {user.username} registers a new device at the next sign-in."
        )
