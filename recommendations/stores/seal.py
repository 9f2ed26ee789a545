"""
Personal values in Redis are sealed: AES-256-GCM under the newest of some keys, with the key's id in front.

A value is bound to the place it was kept at: moved to another key of Redis it does not open. What does not open (an
unknown key, another place, a changed byte) raises `SealError`, which every cache takes for a miss.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_ID_BYTES, NONCE_BYTES = 4, 12
OVERHEAD_BYTES = KEY_ID_BYTES + NONCE_BYTES + 16
"""What sealing adds to a value; the last 16 are GCM's tag."""


class SealError(ValueError):
    """Bytes that none of our keys opens here; taken for a miss."""


class Seal:
    """Seals and opens. Safe under threads."""

    def __init__(self, secrets: Sequence[str]) -> None:
        """Take the *secrets*, newest first: the first seals, all of them open. Give each 32 characters or more."""
        if not secrets:
            raise ValueError("Give at least one secret to seal with.")
        # Two secrets with one id (one chance in four thousand million): the newer one counts.
        self._ciphers = {key_id(secret): AESGCM(derive_key(secret)) for secret in reversed(secrets)}
        self._newest = key_id(secrets[0])

    def seal(self, value: bytes, context: str) -> bytes:
        """Return *value* sealed for *place*."""
        # A random nonce is safe for 2^32 values a key (NIST SP 800-38D, 8.3): at 1,000 a second, rotate within 49 days.
        nonce = os.urandom(NONCE_BYTES)
        return self._newest + nonce + self._ciphers[self._newest].encrypt(nonce, value, context.encode())

    def open(self, sealed: bytes, context: str) -> bytes:
        """Return what was sealed for *place*; raise `SealError` if it was not, or by a key that is gone."""
        cipher = self._ciphers.get(sealed[:KEY_ID_BYTES])
        if cipher is None or len(sealed) < OVERHEAD_BYTES:
            raise SealError("sealed by no key of ours")
        start = KEY_ID_BYTES + NONCE_BYTES
        try:
            return cipher.decrypt(sealed[KEY_ID_BYTES:start], sealed[start:], context.encode())
        except InvalidTag as error:
            raise SealError("changed since it was sealed, or moved here from another place") from error


def derive_key(secret: str) -> bytes:
    """Return the key (32 bytes) of a secret: HKDF with SHA-256, RFC 5869."""
    return HKDF(SHA256(), 32, salt=None, info=b"recsys cache").derive(secret.encode())


def key_id(secret: str) -> bytes:
    """Return the public id of a secret's key."""
    return hashlib.sha256(b"recsys cache key id" + derive_key(secret)).digest()[:KEY_ID_BYTES]
