"""`manage.py key create|list|rotate|revoke`: manage API keys without the admin."""

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
    """The command of the module docstring. It prints a secret once, alone on the last line."""

    help = "Create, list, rotate and revoke API keys. Scopes:\n" + "\n".join(f"{s}: {SCOPE_HELP[s]}" for s in Scope)
    requires_system_checks = ()  # they load every page of the service

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        create = actions.add_parser("create", help="Create a key and print its secret once.")
        create.add_argument("name", help="User and purpose of the key.")
        create.add_argument("--scope", action="append", default=[], help="A scope of the key. May be repeated.")
        create.add_argument("--days", type=int, help="Days until the key expires. Default: it does not expire.")
        create.add_argument(
            "--per-minute", type=int, help="Maximum requests per minute. 0: no limit. Default: RATE_PER_KEY."
        )
        actions.add_parser("list", help="List all keys, newest first, without their secrets.")
        rotate = actions.add_parser("rotate", help="Give a key a new secret and print it once.")
        rotate.add_argument("prefix")
        rotate.add_argument(
            "--overlap-hours", type=float, default=24.0, help="Hours for which the old secret stays valid."
        )
        actions.add_parser("revoke", help="Revoke a key and the tokens it minted.").add_argument("prefix")

    def handle(self, *args: Any, action: str, **options: Any) -> None:
        try:
            actions: dict[str, Callable[..., None]] = {"create": self.create_key, "list": self.list_keys}
            actions |= {"rotate": self.rotate_key, "revoke": self.revoke_key}
            actions[action](now(), **options)
        except AccessError as error:
            raise CommandError(str(error)) from error

    def create_key(
        self, at: datetime, *, name: str, scope: list[str], days: int | None, per_minute: int | None, **_: Any
    ) -> None:
        """Create a key and print its secret."""
        expires_at = at + timedelta(days=days) if days is not None else None
        key, secret = keys.create(name=name, scopes=scope, now=at, expires_at=expires_at, per_minute=per_minute)
        self.stderr.write(f"Created key {key.prefix}. Copy its secret now: it is printed only once.")
        self.stdout.write(secret)

    def list_keys(self, at: datetime, **_: Any) -> None:
        """Print one line per key."""
        for key in ApiKey.objects.all():
            used = f"used {key.last_used_at:%Y-%m-%d %H:%M}" if key.last_used_at else "never used"
            self.stdout.write(f"{key.prefix}  {keys.key_status(key, at)}  {used}  {key.name}  {' '.join(key.scopes)}")

    def rotate_key(self, at: datetime, *, prefix: str, overlap_hours: float, **_: Any) -> None:
        """Give a key a new secret and print it."""
        expires_at = at + timedelta(hours=overlap_hours)
        _key, secret = keys.rotate(prefix=prefix, old_secret_expires_at=expires_at, now=at)
        self.stderr.write(
            f"The old secret is valid until {expires_at:%Y-%m-%d %H:%M} UTC. Copy the new one: it is printed only once."
        )
        self.stdout.write(secret)

    def revoke_key(self, at: datetime, *, prefix: str, **_: Any) -> None:
        """Revoke a key."""
        keys.revoke(prefix=prefix, now=at)
        self.stderr.write(f"Revoked key {prefix}. Every process rejects it within {keys.CACHE_SECONDS:.0f} s.")
