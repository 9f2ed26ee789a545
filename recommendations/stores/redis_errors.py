"""Converts errors of Redis to `StoreError`, for store calls that must report a failure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import redis

from recommendations.ports import StoreError


@contextmanager
def store_errors() -> Iterator[None]:
    """Raise `StoreError` if a Redis command fails. Works as a decorator and as a context manager."""
    try:
        yield
    except redis.RedisError as error:
        raise StoreError(f"Redis failed: {type(error).__name__}: {error}") from error
