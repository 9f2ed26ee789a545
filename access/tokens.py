"""
Short-lived tokens with which a platform's app reads and writes the data of one member.

They are JSON Web Tokens (RFC 7519) signed with HMAC-SHA-256. The service mints them for a key with the scope
tokens:mint (`POST /api/v1/tokens`), or the platform mints them itself with a secret from TOKEN_SIGNING_KEYS. The
header's `kid` names the secret, so that secrets can be replaced while older tokens stay valid until they expire.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache

import jwt
from django.conf import settings

from access.errors import BadCredentialError, BadRequestError
from access.scopes import MEMBER_SCOPES, Scope

AUDIENCE = "recsys"
ALGORITHM = "HS256"
MAX_TTL_SECONDS = 3600
"""Maximum lifetime of a token. A token with a longer lifetime is rejected."""
MAX_CLOCK_SKEW_SECONDS = 30
"""Maximum time by which the platform's clock may be ahead of the server's."""
DERIVED_KEY_NAME = "derived"
"""Name (`kid`) of the secret that is derived from SECRET_KEY if TOKEN_SIGNING_KEYS is empty."""
MAX_MEMBER_ID_LENGTH = 128
MAX_CACHED_TOKENS = 10_000
"""Tokens whose verified signature a process caches. Changes the speed, not the result."""


@dataclass(frozen=True, slots=True)
class MemberToken:
    """The contents of a valid token."""

    member_id: str
    scopes: frozenset[Scope]
    key_prefix: str | None
    """Prefix of the API key that minted the token. None if the platform minted it."""


def get_signing_secrets() -> dict[str, str]:
    """Return the secrets by name. The first signs new tokens; all are accepted."""
    return settings.TOKEN_SIGNING_KEYS or {DERIVED_KEY_NAME: derive_signing_secret(settings.SECRET_KEY)}


@cache
def derive_signing_secret(secret: str) -> str:
    """Return a secret for tokens only, so that a token is never valid as another value signed with SECRET_KEY."""
    return hashlib.sha256(b"recsys member token\0" + secret.encode()).hexdigest()


def mint_token(
    *, member_id: str, scopes: Iterable[str], ttl_seconds: int, now: datetime, key_prefix: str | None = None
) -> str:
    """Return a token for the member, valid for *ttl_seconds*. Raises `BadRequestError`."""
    sorted_scopes = sorted(set(scopes))
    if not 1 <= ttl_seconds <= MAX_TTL_SECONDS:
        raise BadRequestError("ttl_seconds", f"Give 1 to {MAX_TTL_SECONDS} seconds, not {ttl_seconds}.")
    if not 1 <= len(member_id) <= MAX_MEMBER_ID_LENGTH:
        raise BadRequestError("member_id", f"Give 1 to {MAX_MEMBER_ID_LENGTH} characters, not {len(member_id)}.")
    if not sorted_scopes or not set(sorted_scopes) <= MEMBER_SCOPES:
        raise BadRequestError("scopes", f"Give at least one of {', '.join(sorted(MEMBER_SCOPES))}.")
    issued_at = int(now.timestamp())
    claims = {
        "sub": member_id,
        "scope": " ".join(sorted_scopes),
        "aud": AUDIENCE,
        "iat": issued_at,
        "exp": issued_at + ttl_seconds,
    }
    kid, secret = next(iter(get_signing_secrets().items()))
    return jwt.encode(claims | ({"key_prefix": key_prefix} if key_prefix else {}), secret, ALGORITHM, {"kid": kid})


def verify_token(text: str, now: datetime) -> MemberToken:
    """Return the contents of a valid token. Raises `BadCredentialError`."""
    claims = decode_claims(text, tuple(get_signing_secrets().items()))
    check_times(claims, now.timestamp())
    return parse_claims(claims)


@lru_cache(MAX_CACHED_TOKENS)
def decode_claims(text: str, secrets: tuple[tuple[str, str], ...]) -> dict[str, object]:
    """
    Return the claims of a token signed with one of *secrets*. Raises `BadCredentialError`.

    The result is cached, so the caller must check the times of the claims on every use.
    """
    try:
        kid = jwt.get_unverified_header(text).get("kid")
        secret = dict(secrets).get(kid) if isinstance(kid, str) else None
        if secret is None:
            raise BadCredentialError("The token's kid is not the name of a known secret.")
        claims: dict[str, object] = jwt.decode(
            text,
            secret,
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            # `check_times` checks the times against the caller's clock.
            options={"verify_exp": False, "verify_iat": False, "verify_nbf": False, "require": ["exp", "iat", "sub"]},
        )
    except jwt.InvalidTokenError as error:
        raise BadCredentialError(f"This is not a valid API key or token: {type(error).__name__}.") from None
    return claims


def check_times(claims: dict[str, object], now: float) -> None:
    """Raise `BadCredentialError` unless the token is valid now and its lifetime is within the limit."""
    issued_at, expires_at, valid_from = claims["iat"], claims["exp"], claims.get("nbf", claims["iat"])
    # In Python, bool is a subclass of int.
    if not all(isinstance(at, int | float) and not isinstance(at, bool) for at in (issued_at, expires_at, valid_from)):
        raise BadCredentialError("The token's iat, exp and nbf must be numbers.")
    assert isinstance(issued_at, int | float) and isinstance(expires_at, int | float)
    assert isinstance(valid_from, int | float)
    if not expires_at - issued_at <= MAX_TTL_SECONDS:
        raise BadCredentialError(f"The token's lifetime is longer than {MAX_TTL_SECONDS} seconds.")
    if not issued_at <= now + MAX_CLOCK_SKEW_SECONDS:
        raise BadCredentialError("The token was issued in the future. Check the platform's clock.")
    if not valid_from <= now + MAX_CLOCK_SKEW_SECONDS:
        raise BadCredentialError("The token is not valid yet.")
    if not now < expires_at:
        raise BadCredentialError("The token has expired. Request a new one.")


def parse_claims(claims: dict[str, object]) -> MemberToken:
    """Return the claims as a token. Raises `BadCredentialError`, also for a scope that member tokens may not have."""
    member_id, scope, key_prefix = claims["sub"], claims.get("scope"), claims.get("key_prefix")
    # Serializers trim strings: a token for " 42" would otherwise give access to the member 42.
    if (
        not isinstance(member_id, str)
        or not 1 <= len(member_id) <= MAX_MEMBER_ID_LENGTH
        or member_id != member_id.strip()
    ):
        raise BadCredentialError("The token's sub must be a member's id.")
    scopes = frozenset(scope.split()) if isinstance(scope, str) else frozenset()
    if not scopes or not scopes <= MEMBER_SCOPES:
        raise BadCredentialError(f"The token's scope must be one or more of {' '.join(sorted(MEMBER_SCOPES))}.")
    return MemberToken(member_id, frozenset(map(Scope, scopes)), key_prefix if isinstance(key_prefix, str) else None)
