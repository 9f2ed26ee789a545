"""
API keys: made, rotated, revoked, and verified on every request.

A secret is 256 random bits, so one SHA-256 of it is enough: a slow hash (scrypt, Argon2) makes the guessing of
passwords dear, and there is nothing to guess in 2^256; it would cost each request some 50 ms. A process remembers a
key for `REMEMBERED_SECONDS`: within that time what an administrator changes holds everywhere.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic

from django.contrib.auth.models import AbstractBaseUser
from django.core.exceptions import ValidationError
from django.db import transaction

from access.errors import BadCredentialError, BadRequestError, UnknownKeyError
from access.models import ApiKey
from access.scopes import Scope

MARK = "rk_"
"""What every key starts with: scanners of repositories find a leaked one by it."""
PREFIX_LENGTH = 10
ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"
REMEMBERED_SECONDS = 1.0
"""How long a process goes by what it read of a key. Changes the answer for that long."""
MOST_REMEMBERED = 10_000
LONGEST_OVERLAP = timedelta(days=90)
USED_EVERY = timedelta(minutes=1)
"""How exact `last_used_at` is: the row is written no more often."""


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A key as verification needs it."""

    pk: int
    prefix: str
    scopes: frozenset[Scope]
    per_minute: int | None
    secret_hash: bytes
    old_hash: bytes | None
    old_until: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None

    def is_valid(self, now: datetime) -> bool:
        """Return whether it lets anybody in."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def fits(self, digest: bytes, now: datetime) -> bool:
        """Return whether *digest* is that of its secret, or of the one before while that holds."""
        if hmac.compare_digest(digest, self.secret_hash):
            return True
        holds = self.old_hash is not None and self.old_until is not None and now < self.old_until
        return holds and hmac.compare_digest(digest, self.old_hash or b"")


_remembered: dict[str, tuple[float, KnownKey]] = {}


def forget() -> None:
    """Read every key again at its next use."""
    _remembered.clear()


def verify(secret: str, now: datetime) -> KnownKey:
    """Return the key whose secret this is, or raise `BadCredentialError`."""
    key = known(secret[len(MARK) :].partition("_")[0], now)
    if key is None or not key.fits(digest_of(secret), now):
        raise BadCredentialError("There is no such API key, or it was rotated and its time is over.")
    if not key.is_valid(now):
        raise BadCredentialError(
            f"The API key {key.prefix} is revoked or has expired. Ask an administrator for a new one."
        )
    return key


def known(prefix: str, now: datetime) -> KnownKey | None:
    """Return the key of this prefix, as it was at most `REMEMBERED_SECONDS` ago; None if there is none."""
    found = _remembered.get(prefix)
    if found is not None and monotonic() - found[0] < REMEMBERED_SECONDS:
        return found[1]
    return read(prefix, now)


def read(prefix: str, now: datetime) -> KnownKey | None:
    """Return the key from its row, remember it, and note that it was used."""
    row = ApiKey.objects.filter(prefix=prefix).first() if len(prefix) == PREFIX_LENGTH else None
    if row is None:
        _remembered.pop(prefix, None)
        return None
    if row.last_used_at is None or now - row.last_used_at >= USED_EVERY:
        ApiKey.objects.filter(pk=row.pk).update(last_used_at=now)
    key = KnownKey(
        pk=row.pk,
        prefix=row.prefix,
        scopes=frozenset(Scope(scope) for scope in row.scopes),
        per_minute=row.per_minute,
        secret_hash=bytes(row.secret_hash),
        old_hash=bytes(row.old_hash) if row.old_hash is not None else None,
        old_until=row.old_until,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )
    if len(_remembered) >= MOST_REMEMBERED:
        _remembered.clear()
    _remembered[prefix] = (monotonic(), key)
    return key


def digest_of(secret: str) -> bytes:
    """Return what is kept of a secret."""
    return hashlib.sha256(secret.encode()).digest()


def new_secret(prefix: str) -> str:
    """Return a secret of 256 random bits for the key of this prefix."""
    return f"{MARK}{prefix}_{secrets.token_urlsafe(32)}"


def create(
    *,
    name: str,
    scopes: Sequence[str],
    now: datetime,
    expires_at: datetime | None = None,
    per_minute: int | None = None,
    by: AbstractBaseUser | None = None,
) -> tuple[ApiKey, str]:
    """Make a key; return it and its secret, which can be had only here. Raises `BadRequestError`."""
    prefix = "".join(secrets.choice(ALPHABET) for _ in range(PREFIX_LENGTH))
    secret = new_secret(prefix)
    key = ApiKey(
        prefix=prefix,
        name=name,
        scopes=sorted(set(scopes)),
        expires_at=expires_at,
        per_minute=per_minute,
        secret_hash=digest_of(secret),
        created_at=now,
        created_by=by,  # type: ignore[misc]
    )
    if expires_at is not None and expires_at <= now:
        raise BadRequestError("expires_at", "A key cannot expire in the past.")
    try:
        key.full_clean()
    except ValidationError as error:
        field, messages = next(iter(error.message_dict.items()))
        raise BadRequestError(field, " ".join(messages)) from None
    key.save()
    return key, secret


@transaction.atomic
def rotate(*, prefix: str, old_until: datetime, now: datetime) -> tuple[ApiKey, str]:
    """
    Give the key a new secret and return it; the present one works until *old_until*, any older one no more.

    Raises `UnknownKeyError`, and `BadRequestError` for a key that is revoked or a time too far away.
    """
    key = key_of(prefix)
    if key.revoked_at is not None:
        raise BadRequestError("prefix", f"Key {prefix} is revoked: make a new one.")
    if old_until > now + LONGEST_OVERLAP:
        raise BadRequestError("old_until", f"The old secret may go on for at most {LONGEST_OVERLAP.days} days.")
    secret = new_secret(prefix)
    key.old_hash, key.old_until = bytes(key.secret_hash), old_until
    key.secret_hash, key.rotated_at = digest_of(secret), now
    key.save(update_fields=["old_hash", "old_until", "secret_hash", "rotated_at"])
    _remembered.pop(prefix, None)
    return key, secret


@transaction.atomic
def revoke(*, prefix: str, now: datetime) -> ApiKey:
    """End the key, and every token it made, in all processes within `REMEMBERED_SECONDS`. Twice is once."""
    key = key_of(prefix)
    if key.revoked_at is None:
        key.revoked_at = now
        key.save(update_fields=["revoked_at"])
    _remembered.pop(prefix, None)
    return key


def key_of(prefix: str) -> ApiKey:
    """Return the key's row, locked for the transaction."""
    key = ApiKey.objects.select_for_update().filter(prefix=prefix).first()
    if key is None:
        raise UnknownKeyError(f"There is no API key {prefix!r}. `manage.py key list` shows all.")
    return key


def standing(key: ApiKey, now: datetime) -> str:
    """Return in a word whether the key lets anybody in: works, expired or revoked."""
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= now else "works"
