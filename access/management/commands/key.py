"""`manage.py key create|list|rotate|revoke`: the API keys, without the admin."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from access import keys
from access.errors import AccessError
from access.models import ApiKey
from access.scopes import SCOPE_HELP, Scope
from monitoring.clock import now


class Command(BaseCommand):
    """See the module. A secret is printed once, as the last line, by itself."""

    help = "Make, list, rotate and revoke API keys. Scopes:\n" + "\n".join(f"{s}: {SCOPE_HELP[s]}" for s in Scope)

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        create = verbs.add_parser("create", help="Make a key and print its secret, once.")
        create.add_argument("name", help="Who uses it and what for.")
        create.add_argument("--scope", action="append", default=[], help="What it may do; give it more than once.")
        create.add_argument("--days", type=int, help="How long it works; left out: until it is revoked.")
        create.add_argument("--per-minute", type=int, help="Requests a minute; 0: no limit.")
        verbs.add_parser("list", help="Every key, newest first, without secrets.")
        rotate = verbs.add_parser("rotate", help="Give a key a new secret and print it, once.")
        rotate.add_argument("prefix")
        rotate.add_argument("--overlap-hours", type=float, default=24.0, help="How long the old secret goes on.")
        verbs.add_parser("revoke", help="End a key, and the tokens it made, at once.").add_argument("prefix")

    def handle(self, *args: Any, verb: str, **options: Any) -> None:
        try:
            verbs: dict[str, Callable[..., None]] = {"create": self.create_key, "list": self.list_keys}
            verbs |= {"rotate": self.rotate_key, "revoke": self.revoke_key}
            verbs[verb](now(), **options)
        except AccessError as error:
            raise CommandError(str(error)) from error

    def create_key(
        self, moment: datetime, *, name: str, scope: list[str], days: int | None, per_minute: int | None, **_: Any
    ) -> None:
        """Make a key."""
        ends = moment + timedelta(days=days) if days is not None else None
        made, secret = keys.create(name=name, scopes=scope, now=moment, expires_at=ends, per_minute=per_minute)
        self.stderr.write(f"Key {made.prefix} is made. Keep its secret now: it is shown this once.")
        self.stdout.write(secret)

    def list_keys(self, moment: datetime, **_: Any) -> None:
        """Print every key."""
        for key in ApiKey.objects.all():
            used = f"used {key.last_used_at:%Y-%m-%d %H:%M}" if key.last_used_at else "never used"
            self.stdout.write(
                f"{key.prefix}  {keys.key_status(key, moment)}  {used}  {key.name}  {' '.join(key.scopes)}"
            )

    def rotate_key(self, moment: datetime, *, prefix: str, overlap_hours: float, **_: Any) -> None:
        """Give a key a new secret."""
        until = moment + timedelta(hours=overlap_hours)
        _key, secret = keys.rotate(prefix=prefix, old_secret_expires_at=until, now=moment)
        self.stderr.write(f"The old secret works until {until:%Y-%m-%d %H:%M} UTC. Keep the new one: shown this once.")
        self.stdout.write(secret)

    def revoke_key(self, moment: datetime, *, prefix: str, **_: Any) -> None:
        """End a key."""
        keys.revoke(prefix=prefix, now=moment)
        self.stderr.write(f"Key {prefix} is revoked; every process knows within {keys.CACHE_SECONDS:.0f} s.")
