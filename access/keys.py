"""
Create, rotate, revoke and verify API keys.

A secret has 256 random bits, so a single SHA-256 suffices to store it. A slow hash (scrypt, Argon2) makes guessing
passwords expensive, but a secret of 256 bits cannot be guessed, and a slow hash would add about 50 ms to each request.
A process caches a key for `CACHE_SECONDS`, so a change by an administrator takes effect everywhere within that time.
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
from django.utils.translation import gettext

from access.errors import BadCredentialError, BadRequestError, UnknownKeyError
from access.models import ApiKey
from access.scopes import Scope
from monitoring.transactions import write_transaction

KEY_MARKER = "rk_"
"""Prefix of every secret, by which secret scanners of repositories recognize a leaked key."""
PREFIX_LENGTH = 10
ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"  # pragma: allowlist secret
CACHE_SECONDS = 1.0
"""How long a process uses a cached key. A change of the key takes effect after at most this time."""
MAX_CACHED_KEYS = 10_000
MAX_OVERLAP = timedelta(days=90)
LAST_USED_RESOLUTION = timedelta(minutes=1)
"""Resolution of `last_used_at`: the row is written at most this often."""


@dataclass(frozen=True, slots=True)
class CachedKey:
    """The fields of a key that verification needs."""

    pk: int
    prefix: str
    scopes: frozenset[Scope]
    per_minute: int | None
    secret_hash: bytes
    old_secret_hash: bytes | None
    old_secret_expires_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None

    def is_valid(self, now: datetime) -> bool:
        """Return whether the key is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    def matches(self, digest: bytes, now: datetime) -> bool:
        """Return whether *digest* is the hash of the secret, or of the previous secret before that expires."""
        if hmac.compare_digest(digest, self.secret_hash):
            return True
        has_valid_old_secret = (
            self.old_secret_hash is not None
            and self.old_secret_expires_at is not None
            and now < self.old_secret_expires_at
        )
        return has_valid_old_secret and hmac.compare_digest(digest, self.old_secret_hash or b"")


_cache: dict[str, tuple[float, CachedKey]] = {}


def clear_key_cache() -> None:
    """Clear the cache, so that every key is read again at its next use."""
    _cache.clear()


def verify(secret: str, now: datetime) -> CachedKey:
    """Return the valid key with this secret. Raises `BadCredentialError`."""
    key = find_key(secret[len(KEY_MARKER) :].partition("_")[0], now)
    if key is None or not key.matches(hash_secret(secret), now):
        raise BadCredentialError("There is no such API key, or its secret was rotated and has expired.")
    if not key.is_valid(now):
        raise BadCredentialError(
            f"The API key {key.prefix} is revoked or has expired. Ask an administrator for a new one."
        )
    return key


def find_key(prefix: str, now: datetime) -> CachedKey | None:
    """Return the key with this prefix, at most `CACHE_SECONDS` old, or None if there is none."""
    cached = _cache.get(prefix)
    if cached is not None and monotonic() - cached[0] < CACHE_SECONDS:
        return cached[1]
    return load_key(prefix, now)


def load_key(prefix: str, now: datetime) -> CachedKey | None:
    """Return the key from the database, cache it and update `last_used_at`."""
    row = ApiKey.objects.filter(prefix=prefix).first() if len(prefix) == PREFIX_LENGTH else None
    if row is None:
        _cache.pop(prefix, None)
        return None
    if row.last_used_at is None or now - row.last_used_at >= LAST_USED_RESOLUTION:
        ApiKey.objects.filter(pk=row.pk).update(last_used_at=now)
    key = CachedKey(
        pk=row.pk,
        prefix=row.prefix,
        scopes=frozenset(Scope(scope) for scope in row.scopes),
        per_minute=row.per_minute,
        secret_hash=bytes(row.secret_hash),
        old_secret_hash=bytes(row.old_secret_hash) if row.old_secret_hash is not None else None,
        old_secret_expires_at=row.old_secret_expires_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )
    if len(_cache) >= MAX_CACHED_KEYS:
        _cache.clear()
    _cache[prefix] = (monotonic(), key)
    return key


def hash_secret(secret: str) -> bytes:
    """Return the stored hash of a secret."""
    return hashlib.sha256(secret.encode()).digest()


def new_secret(prefix: str) -> str:
    """Return a new secret of 256 random bits for the key with this prefix."""
    return f"{KEY_MARKER}{prefix}_{secrets.token_urlsafe(32)}"


def create(
    *,
    name: str,
    scopes: Sequence[str],
    now: datetime,
    expires_at: datetime | None = None,
    per_minute: int | None = None,
    created_by: AbstractBaseUser | None = None,
) -> tuple[ApiKey, str]:
    """Create a key. Return it with its secret, which is not stored. Raises `BadRequestError`."""
    prefix = "".join(secrets.choice(ALPHABET) for _ in range(PREFIX_LENGTH))
    secret = new_secret(prefix)
    key = ApiKey(
        prefix=prefix,
        name=name,
        scopes=sorted(set(scopes)),
        expires_at=expires_at,
        per_minute=per_minute,
        secret_hash=hash_secret(secret),
        created_at=now,
        created_by=created_by,  # type: ignore[misc]
    )
    if expires_at is not None and expires_at <= now:
        raise BadRequestError("expires_at", gettext("A key cannot expire in the past. Give a later time."))
    try:
        key.full_clean()
    except ValidationError as error:
        field, messages = next(iter(error.message_dict.items()))
        raise BadRequestError(field, " ".join(messages)) from None
    key.save(force_insert=True)
    return key, secret


@write_transaction
def rotate(*, prefix: str, old_secret_expires_at: datetime, now: datetime) -> tuple[ApiKey, str]:
    """
    Give the key a new secret and return both. The current secret stays valid until *old_secret_expires_at*.

    Older secrets become invalid at once. Raises `UnknownKeyError`, and `BadRequestError` for a revoked key or an
    expiry more than `MAX_OVERLAP` away.
    """
    key = lock_key(prefix)
    if key.revoked_at is not None:
        raise BadRequestError("prefix", gettext("Key {prefix} is revoked. Create a new key.").format(prefix=prefix))
    if old_secret_expires_at > now + MAX_OVERLAP:
        text = gettext("The old secret may stay valid for at most {n} days.").format(n=MAX_OVERLAP.days)
        raise BadRequestError("old_secret_expires_at", text)
    secret = new_secret(prefix)
    key.old_secret_hash, key.old_secret_expires_at = bytes(key.secret_hash), old_secret_expires_at
    key.secret_hash, key.rotated_at = hash_secret(secret), now
    key.save(update_fields=["old_secret_hash", "old_secret_expires_at", "secret_hash", "rotated_at"])
    _cache.pop(prefix, None)
    return key, secret


@write_transaction
def revoke(*, prefix: str, now: datetime) -> ApiKey:
    """Revoke the key and every token it minted, in all processes within `CACHE_SECONDS`. Idempotent."""
    key = lock_key(prefix)
    if key.revoked_at is None:
        key.revoked_at = now
        key.save(update_fields=["revoked_at"])
    _cache.pop(prefix, None)
    return key


def lock_key(prefix: str) -> ApiKey:
    """Return the key's row, locked for the transaction. Raises `UnknownKeyError`."""
    key = ApiKey.objects.select_for_update().filter(prefix=prefix).first()
    if key is None:
        raise UnknownKeyError(f"There is no API key {prefix!r}. `manage.py key list` lists all keys.")
    return key


def key_status(key: ApiKey, now: datetime) -> str:
    """Return the status of the key: active, expired or revoked."""
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= now else "active"
