"""Identify the caller of a request, an API key or a member token, by its credential."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from access import keys, tokens
from access.errors import BadCredentialError
from access.scopes import Scope


@dataclass(frozen=True, slots=True)
class Caller:
    """An identified caller and its scopes."""

    kind: Literal["key", "member"]
    id: str
    """The key's prefix, or the member's id."""
    scopes: frozenset[Scope]
    key: keys.CachedKey | None = None
    """The key, or the key that minted the token. None if the platform signed the token."""

    @property
    def member_id(self) -> str | None:
        """The only member whose data the caller may read and write, or None for every member."""
        return self.id if self.kind == "member" else None


def identify(credential: str, now: datetime) -> Caller:
    """Return the caller with this credential. Raises `BadCredentialError`."""
    if credential.startswith(keys.KEY_MARKER):
        key = keys.verify(credential, now)
        return Caller("key", key.prefix, key.scopes, key)
    token = tokens.verify_token(credential, now)
    minting_key = keys.find_key(token.key_prefix, now) if token.key_prefix else None
    if token.key_prefix and (minting_key is None or not minting_key.is_valid(now)):
        raise BadCredentialError("The key that minted this token is revoked or has expired. Request a new token.")
    return Caller("member", token.member_id, token.scopes, minting_key)
