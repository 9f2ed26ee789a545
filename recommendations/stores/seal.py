"""
Encrypts personal values in Redis: AES-256-GCM under the newest of several keys, with the key's id in front.

A value is bound to its context (such as the Redis key and the member): copied to another Redis key, it does not open.
A value that does not open (unknown key, other context, changed byte) raises `SealError`, which caches treat as a miss.

A change of the layout of a sealed value that has no version of its own must also change its context, for example by a
number at the end. While two versions of the code run side by side, each then treats the values of the other as misses.
The conformance tests of the stores pin these layouts.
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
"""Bytes that sealing adds to a value: key id, nonce and GCM's tag of 16 bytes."""


class SealError(ValueError):
    """Bytes that no key opens in this context."""


class Seal:
    """Seals and opens values. Thread-safe."""

    def __init__(self, secrets: Sequence[str]) -> None:
        """
        *secrets*, one or more, newest first: the first one seals, all of them open.

        Each should have 32 characters or more.
        """
        # If two secrets have the same id (a chance of 1 in 2^32), the newer one is used.
        self._ciphers = {key_id(secret): AESGCM(derive_key(secret)) for secret in reversed(secrets)}
        self._newest = key_id(secrets[0])

    def seal(self, value: bytes, context: str) -> bytes:
        """Return *value*, sealed for *context*."""
        # A random nonce is safe for 2^32 values per key (NIST SP 800-38D, 8.3): at 1,000/s, rotate within 49 days.
        nonce = os.urandom(NONCE_BYTES)
        return self._newest + nonce + self._ciphers[self._newest].encrypt(nonce, value, context.encode())

    def open(self, sealed: bytes, context: str) -> bytes:
        """Return the value that was sealed for *context*. Raises `SealError` if it was not, or its key is unknown."""
        cipher = self._ciphers.get(sealed[:KEY_ID_BYTES])
        if cipher is None or len(sealed) < OVERHEAD_BYTES:
            raise SealError("not sealed by a known key")
        start = KEY_ID_BYTES + NONCE_BYTES
        try:
            return cipher.decrypt(sealed[KEY_ID_BYTES:start], sealed[start:], context.encode())
        except InvalidTag as error:
            raise SealError("changed since it was sealed, or sealed for another context") from error


def derive_key(secret: str) -> bytes:
    """Return the key (32 bytes) derived from a secret by HKDF with SHA-256, RFC 5869."""
    return HKDF(SHA256(), 32, salt=None, info=b"recsys cache").derive(secret.encode())


def key_id(secret: str) -> bytes:
    """Return the public id of a secret's key."""
    return hashlib.sha256(b"recsys cache key id" + derive_key(secret)).digest()[:KEY_ID_BYTES]
