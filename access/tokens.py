"""
Short-lived tokens with which a platform's app reads and writes one member's own data.

JSON Web Tokens (RFC 7519) signed by HMAC-SHA-256. We mint them for a key that may (`POST /api/v1/tokens`); or the
platform mints them itself with a secret of TOKEN_SIGNING_KEYS, which it shares with us. The header's `kid` names the
secret, so that secrets can change while older tokens live out their hour.
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
"""A token that says it lives longer is refused. Changes the answer."""
MAX_CLOCK_SKEW_SECONDS = 30
"""How far the platform's clock may be from ours."""
DERIVED_KEY_NAME = "own"
"""The name of the secret that is derived from SECRET_KEY where TOKEN_SIGNING_KEYS is empty."""
MAX_MEMBER_ID_LENGTH = 128
MAX_CACHED_TOKENS = 10_000
"""Tokens whose signature a process need not look at again. Changes the speed."""


@dataclass(frozen=True, slots=True)
class MemberToken:
    """What a valid token says."""

    member_id: str
    scopes: frozenset[Scope]
    key_prefix: str | None
    """The prefix of the key that asked us for it."""


def get_signing_secrets() -> dict[str, str]:
    """Return the secrets by name; the first signs, all are accepted."""
    return settings.TOKEN_SIGNING_KEYS or {DERIVED_KEY_NAME: derive_signing_secret(settings.SECRET_KEY)}


@cache
def derive_signing_secret(secret: str) -> str:
    """Return a secret of the tokens' own, so that one of them never stands in for another signed thing."""
    return hashlib.sha256(b"recsys member token\0" + secret.encode()).hexdigest()


def mint_token(
    *, member_id: str, scopes: Iterable[str], ttl_seconds: int, now: datetime, key_prefix: str | None = None
) -> str:
    """Return a token for the member that lives *ttl_seconds*. Raises `BadRequestError`."""
    wanted = sorted(set(scopes))
    if not 1 <= ttl_seconds <= MAX_TTL_SECONDS:
        raise BadRequestError("ttl_seconds", f"A token lives 1 to {MAX_TTL_SECONDS} seconds.")
    if not 1 <= len(member_id) <= MAX_MEMBER_ID_LENGTH:
        raise BadRequestError("member", f"A member's id has 1 to {MAX_MEMBER_ID_LENGTH} characters.")
    if not wanted or not set(wanted) <= MEMBER_SCOPES:
        raise BadRequestError("scopes", f"Choose of {', '.join(sorted(MEMBER_SCOPES))}.")
    issued = int(now.timestamp())
    claims = {"sub": member_id, "scope": " ".join(wanted), "aud": AUDIENCE, "iat": issued, "exp": issued + ttl_seconds}
    kid, secret = next(iter(get_signing_secrets().items()))
    return jwt.encode(claims | ({"key": key_prefix} if key_prefix else {}), secret, ALGORITHM, {"kid": kid})


def verify_token(text: str, now: datetime) -> MemberToken:
    """Return what the token says, or raise `BadCredentialError`."""
    claims = decode_claims(text, tuple(get_signing_secrets().items()))
    check_times(claims, now.timestamp())
    return parse_claims(claims)


@lru_cache(MAX_CACHED_TOKENS)
def decode_claims(text: str, secrets: tuple[tuple[str, str], ...]) -> dict[str, object]:
    """Return the claims of a token that one of *secrets* signed; its times are the caller's to check, each time."""
    try:
        kid = jwt.get_unverified_header(text).get("kid")
        secret = dict(secrets).get(kid) if isinstance(kid, str) else None
        if secret is None:
            raise BadCredentialError("The token's kid names no secret that we have.")
        claims: dict[str, object] = jwt.decode(
            text,
            secret,
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            # Times are checked below, by the clock that is handed in.
            options={"verify_exp": False, "verify_iat": False, "verify_nbf": False, "require": ["exp", "iat", "sub"]},
        )
    except jwt.InvalidTokenError as error:
        raise BadCredentialError(f"This is no API key and no token of ours: {type(error).__name__}.") from None
    return claims


def check_times(claims: dict[str, object], now: float) -> None:
    """Raise `BadCredentialError` unless the token lives now, and no longer than a token may."""
    issued, ends = claims["iat"], claims["exp"]
    # A bool is an int in Python, and no time.
    if not all(isinstance(at, int | float) and not isinstance(at, bool) for at in (issued, ends)):
        raise BadCredentialError("The token's iat and exp must be numbers.")
    assert isinstance(issued, int | float) and isinstance(ends, int | float)
    if not ends - issued <= MAX_TTL_SECONDS:
        raise BadCredentialError(f"The token says it lives longer than {MAX_TTL_SECONDS} seconds.")
    if not issued <= now + MAX_CLOCK_SKEW_SECONDS:
        raise BadCredentialError("The token was made in the future. Check the platform's clock.")
    if not now < ends:
        raise BadCredentialError("The token has expired. Ask for a new one.")


def parse_claims(claims: dict[str, object]) -> MemberToken:
    """Return the claims as a token; a scope that a member may not have makes it invalid."""
    member_id, scope, key = claims["sub"], claims.get("scope"), claims.get("key")
    # Forms trim what they read: " 42" must not be let in as itself and then read as 42.
    if (
        not isinstance(member_id, str)
        or not 1 <= len(member_id) <= MAX_MEMBER_ID_LENGTH
        or member_id != member_id.strip()
    ):
        raise BadCredentialError("The token's sub must be a member's id.")
    wanted = frozenset(scope.split()) if isinstance(scope, str) else frozenset()
    if not wanted or not wanted <= MEMBER_SCOPES:
        raise BadCredentialError(f"The token's scope must be of {' '.join(sorted(MEMBER_SCOPES))}.")
    return MemberToken(member_id, frozenset(Scope(one) for one in wanted), key if isinstance(key, str) else None)
