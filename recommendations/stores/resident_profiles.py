"""
What was learned of members lately asking, kept in process and decoded: least recently used first out, half an hour.

A profile is used by the version that the viewer's own facts name, read in the same request: what another process
learned a moment ago is never missed, and a taste that was deleted is never used. Personal data: it is in no file, and a
process forgets it with its memory.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from cachetools import TTLCache

from monitoring import metrics
from recommendations.stores.profiles import Profile, read_profile

KEEP_SECONDS = 1_800
NAME = "preference_vectors"

Version = tuple[object, ...]
"""What a profile's row says of when and how it changed last."""


class ResidentProfiles:
    """This process's profiles, of one model. Safe under threads."""

    def __init__(self, *, model: str, dimension: int, most: int) -> None:
        self._model, self._dimension = model, dimension
        self._lock = threading.Lock()
        self._kept: TTLCache[int, tuple[Version, Profile | None]] = TTLCache(most, KEEP_SECONDS)

    def __len__(self) -> int:
        return len(self._kept)

    def of(self, member_id: int, version: Version | None) -> Profile | None:
        """Return the member's profile of this *version*; None if there is none, or in the space of another model."""
        if version is None:
            return None
        with self._lock:
            kept = self._kept.get(member_id)
        if kept is not None and kept[0] == version:
            metrics.CACHE_REQUESTS.labels(NAME, "hit").inc()
            return kept[1]
        metrics.CACHE_REQUESTS.labels(NAME, "miss").inc()
        profile = read_profile(member_id, self._model, self._dimension)
        with self._lock:
            self._kept[member_id] = (version, profile)
            metrics.CACHE_ENTRIES.labels(NAME).set(len(self._kept))
        return profile

    def forget(self, member_ids: Sequence[int]) -> None:
        """Forget these members here; elsewhere their version has changed."""
        with self._lock:
            for member_id in member_ids:
                self._kept.pop(member_id, None)

    def sweep(self) -> int:
        """Forget what is older than half an hour. Return how many that were."""
        with self._lock:
            count = len(self._kept.expire())
            metrics.CACHE_ENTRIES.labels(NAME).set(len(self._kept))
            metrics.CACHE_BYTES.labels(NAME).set(sum(p.size_bytes for _, p in self._kept.values() if p))
            return count

    def clear(self) -> int:
        """Forget everybody. Return how many that were."""
        with self._lock:
            count = len(self._kept)
            self._kept.clear()
        metrics.CACHE_ENTRIES.labels(NAME).set(0)
        metrics.CACHE_BYTES.labels(NAME).set(0)
        return count
