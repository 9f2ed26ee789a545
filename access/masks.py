"""Pseudonyms for members and addresses, for use in Redis, alerts and logs."""

from __future__ import annotations

import hashlib
import hmac

from django.conf import settings


def mask_identity(kind: str, name: str) -> str:
    """Return a hash of *name* keyed with SECRET_KEY, so that it cannot be reversed by hashing guessed names."""
    key = settings.SECRET_KEY.encode()
    return hmac.new(key, f"{kind}\0{name}".encode(), hashlib.sha256).hexdigest()[:24]
