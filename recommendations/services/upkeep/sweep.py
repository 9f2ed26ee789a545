"""Sweep of the shared caches in Redis. Each process trims its own caches, see `process_memory.py`."""

from __future__ import annotations

import logging
from datetime import datetime

from django.conf import settings

from monitoring import metrics
from recommendations.contracts import SweepResult
from recommendations.ports import StoreError
from recommendations.services import wiring

log = logging.getLogger(__name__)


def sweep_caches(*, now: datetime) -> dict[str, SweepResult]:
    """
    Remove expired entries from every shared cache, and evict entries beyond its budget.

    Return the result by cache name, an empty dict if Redis does not respond.
    """
    moment = now.timestamp()
    try:
        swept = {
            "slates": wiring.slate_cache().sweep(moment, max_entries=settings.ENV.slate_cache_members),
            "post_vectors": wiring.post_vector_cache().sweep(moment, max_entries=settings.ENV.post_vector_cache_size),
            "neighbors": wiring.neighbor_cache().sweep(moment, max_entries=settings.ENV.query_cache_size),
        }
    except StoreError as error:
        log.warning("caches_not_swept", extra={"problem": type(error.__cause__).__name__})
        return {}
    for cache, result in swept.items():
        metrics.SHARED_CACHE_ENTRIES.labels(cache).set(result.entries)
        metrics.SHARED_CACHE_BYTES.labels(cache).set(result.size_bytes)
        metrics.CACHE_REMOVALS.labels(cache, "expired").inc(result.expired)
        metrics.CACHE_REMOVALS.labels(cache, "evicted").inc(result.evicted)
    return swept
