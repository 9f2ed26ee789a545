"""
Signs files that leave the service, with Ed25519 (RFC 8032). Anyone can verify them with the public keys.

A public key is a JSON Web Key (RFC 8037), which a browser's WebCrypto imports as it is. Its id is its thumbprint
(RFC 7638). The private keys are derived from secrets by HKDF, so a deployment has no further secret to keep.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

SIGNATURE_BYTES = 64


class SignatureError(ValueError):
    """Bytes that no known key signed."""


class Signer:
    """Signs and verifies bytes. Thread-safe."""

    def __init__(self, secrets: Sequence[str]) -> None:
        """*secrets*, one or more, newest first: the first one signs, all of them verify."""
        keys = [derive_private_key(secret) for secret in secrets]
        self._keys = {public_jwk(key)["kid"]: key for key in keys}
        self.key_id = next(iter(self._keys))
        """The id of the key that signs."""

    def sign(self, content: bytes) -> bytes:
        """Return the signature of *content*, `SIGNATURE_BYTES` long."""
        return self._keys[self.key_id].sign(content)

    def verify(self, key_id: object, content: bytes, signature: bytes) -> None:
        """Raise `SignatureError` unless the key *key_id* signed *content*."""
        key = self._keys.get(str(key_id))
        if key is None:
            raise SignatureError("signed by an unknown key")
        try:
            key.public_key().verify(signature, content)
        except InvalidSignature as error:
            raise SignatureError("changed since it was signed") from error

    def public_keys(self) -> list[dict[str, str]]:
        """Return the public keys as JSON Web Keys, newest first."""
        return [public_jwk(key) for key in self._keys.values()]


def derive_private_key(secret: str) -> Ed25519PrivateKey:
    """Return the key that is derived from a secret by HKDF with SHA-256 (RFC 5869)."""
    return Ed25519PrivateKey.from_private_bytes(
        HKDF(SHA256(), 32, salt=None, info=b"recsys signature").derive(secret.encode())
    )


def public_jwk(key: Ed25519PrivateKey) -> dict[str, str]:
    """Return the public part of *key* as a JSON Web Key."""
    required = {"crv": "Ed25519", "kty": "OKP", "x": encode_base64url(key.public_key().public_bytes_raw())}
    thumbprint = hashlib.sha256(json.dumps(required, separators=(",", ":")).encode()).digest()
    return required | {"kid": encode_base64url(thumbprint), "alg": "EdDSA", "use": "sig"}


def encode_base64url(content: bytes) -> str:
    """Return *content* in base64url without padding."""
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
