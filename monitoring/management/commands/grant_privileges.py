"""`manage.py grant_privileges`: give the database roles their privileges on the tables of this release."""

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connection

GRANTS = settings.BASE_DIR / "recsys_project" / "postgresql" / "grants.sql"


class Command(BaseCommand):
    help = "Run recsys_project/postgresql/grants.sql, after each migration and as the owner of the tables."

    def handle(self, *args: object, **options: object) -> None:
        if connection.vendor != "postgresql":
            raise CommandError("Only PostgreSQL has roles. SQLite's file is protected by its permissions.")
        with connection.cursor() as cursor:
            cursor.execute(GRANTS.read_text())
