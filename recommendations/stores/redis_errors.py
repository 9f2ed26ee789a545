"""Turns an error of Redis into `StoreError`, for the calls of a store that must not fail in silence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import redis

from recommendations.ports import StoreError


@contextmanager
def store_errors() -> Iterator[None]:
    """Raise `StoreError` where Redis cannot be reached, or refuses. Use it as a decorator or in a `with`."""
    try:
        yield
    except redis.RedisError as error:
        raise StoreError(f"Redis failed: {type(error).__name__}: {error}") from error
