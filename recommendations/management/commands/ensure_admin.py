"""`manage.py ensure_admin`: create the first user of the admin."""

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

ADMIN_USERNAME = "admin"


class Command(BaseCommand):
    help = "Create the superuser admin with the password in ADMIN_PASSWORD. An existing user is not changed."

    def handle(self, *args: object, **options: object) -> None:
        users = get_user_model().objects
        if users.filter(username=ADMIN_USERNAME).exists():
            self.stdout.write(f"The user {ADMIN_USERNAME} already exists.")
            return
        password = settings.ENV.admin_password.get_secret_value()
        if not password:
            raise CommandError("ADMIN_PASSWORD is not set. Set it to the password of the user admin.")
        try:
            validate_password(password)
        except ValidationError as error:
            raise CommandError(f"ADMIN_PASSWORD is not allowed: {' '.join(error.messages)}") from error
        users.create_superuser(username=ADMIN_USERNAME, password=password)
        self.stdout.write(f"Created the user {ADMIN_USERNAME}.")
