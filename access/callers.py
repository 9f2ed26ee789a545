"""Who asks: an API key or a member's token, from what the Authorization header holds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from access import keys, tokens
from access.errors import BadCredentialError
from access.scopes import Scope


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who was identified, and what they may do."""

    kind: Literal["key", "member"]
    id: str
    """The key's prefix, or the member's id."""
    scopes: frozenset[Scope]
    key: keys.CachedKey | None = None
    """The key itself, or the one that minted the token; None if the platform signed the token by itself."""

    @property
    def member_id(self) -> str | None:
        """The one member whose data the caller may read and write; None: everybody's."""
        return self.id if self.kind == "member" else None


def identify(credential: str, now: datetime) -> Caller:
    """Return who presents *credential*, or raise `BadCredentialError`."""
    if credential.startswith(keys.KEY_MARKER):
        key = keys.verify(credential, now)
        return Caller("key", key.prefix, key.scopes, key)
    token = tokens.verify_token(credential, now)
    minted_by = keys.find_key(token.key_prefix, now) if token.key_prefix else None
    if token.key_prefix and (minted_by is None or not minted_by.is_valid(now)):
        raise BadCredentialError("The key that made this token is revoked or has expired. Ask for a new token.")
    return Caller("member", token.member_id, token.scopes, minted_by)
