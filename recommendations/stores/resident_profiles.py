"""
A process's cache of decoded profiles of recent viewers: least recently used out first, at most half an hour.

A profile is used only if its version equals the version of its row in the same request. So a profile that another
process updated a moment ago is read again, and a deleted profile is never used. Personal data: it is in memory only.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import islice

from cachetools import TTLCache

from monitoring import metrics
from recommendations.stores.profiles import SELECT_PROFILE, Profile, ProfileVersion, decode_profile, profile_version
from recommendations.stores.sql import Rows, fetch_rows

TTL_SECONDS = 1_800
CACHE_NAME = "preference_vectors"

SAMPLE_SIZE = 20
ENTRY_BYTES = 400
"""Bytes of an entry without its vectors and sums: link, key, version and objects."""
KEY_BYTES = 120
"""Bytes of one author, topic or kind in the sums."""


def profile_size_bytes(profile: Profile | None) -> int:
    """Return the approximate size of a profile in bytes."""
    if profile is None:
        return ENTRY_BYTES
    arrays = (profile.likes, profile.like_weights, profile.dislikes, profile.dislike_weights, profile.session)
    sums = sum(map(len, profile.affinity_sums.values()))
    return ENTRY_BYTES + KEY_BYTES * sums + sum(array.nbytes for array in arrays)


class ResidentProfiles:
    """This process's profiles, of one embedding model. Thread-safe."""

    def __init__(self, *, model: str, dimension: int, max_entries: int) -> None:
        self._model, self._dimension = model, dimension
        self._lock = threading.Lock()
        self._profiles: TTLCache[int, tuple[ProfileVersion, Profile | None]] = TTLCache(max_entries, TTL_SECONDS)

    def __len__(self) -> int:
        return len(self._profiles)

    def get(self, member_id: int, version: ProfileVersion | None, rows: Rows | None = None) -> Profile | None:
        """
        Return the member's profile of this *version*, or None if there is none or it belongs to another model.

        *rows* are the rows of `SELECT_PROFILE`, if the caller has read them.
        """
        if version is None:
            return None
        with self._lock:
            cached = self._profiles.get(member_id)
        if cached is not None and cached[0] == version:
            metrics.CACHE_REQUESTS.labels(CACHE_NAME, "hit").inc()
            return cached[1]
        metrics.CACHE_REQUESTS.labels(CACHE_NAME, "miss").inc()
        rows = fetch_rows(SELECT_PROFILE, (member_id,)) if rows is None else rows
        profile = decode_profile(rows, self._model, self._dimension)
        if (read_version := profile_version(rows)) is not None:
            with self._lock:
                self._profiles[member_id] = (read_version, profile)
                self._report_entries()
        return profile

    def evict(self, member_ids: Sequence[int]) -> None:
        """Evict these members from this process. Other processes notice that the version of the row has changed."""
        with self._lock:
            for member_id in member_ids:
                self._profiles.pop(member_id, None)

    def size_bytes(self) -> int:
        """Return the approximate size of the cache in bytes, extrapolated from a sample of profiles."""
        with self._lock:
            sample = [profile for _, profile in islice(self._profiles.values(), SAMPLE_SIZE)]
            count = len(self._profiles)
        return count * sum(map(profile_size_bytes, sample)) // len(sample) if sample else 0

    def evict_expired(self) -> None:
        """Evict the profiles that have expired."""
        with self._lock:
            self._profiles.expire()
            self._report_entries()

    def clear(self) -> None:
        """Evict all profiles. The next request of each member reads the row again."""
        with self._lock:
            self._profiles.clear()
            self._report_entries()

    def _report_entries(self) -> None:
        metrics.CACHE_ENTRIES.labels(CACHE_NAME).set(len(self._profiles))
