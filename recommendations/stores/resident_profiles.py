"""
What was learned of members lately asking, kept in process and decoded: least recently used first out, half an hour.

A profile is used by the version that its row has in the same request: what another process
learned a moment ago is never missed, and a taste that was deleted is never used. Personal data: it is in no file, and a
process forgets it with its memory.
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
"""What an entry takes besides its vectors and sums: the cache's own link, key, version and objects."""
KEY_BYTES = 120
"""What one author, topic or format in the sums takes."""


def profile_size_bytes(profile: Profile | None) -> int:
    """Return about how many bytes a profile takes."""
    if profile is None:
        return ENTRY_BYTES
    arrays = (profile.likes, profile.like_weights, profile.dislikes, profile.dislike_weights, profile.session)
    sums = sum(map(len, profile.affinity_sums.values()))
    return ENTRY_BYTES + KEY_BYTES * sums + sum(array.nbytes for array in arrays)


class ResidentProfiles:
    """This process's profiles, of one model. Safe under threads."""

    def __init__(self, *, model: str, dimension: int, max_entries: int) -> None:
        self._model, self._dimension = model, dimension
        self._lock = threading.Lock()
        self._kept: TTLCache[int, tuple[ProfileVersion, Profile | None]] = TTLCache(max_entries, TTL_SECONDS)

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, member_id: int, version: ProfileVersion | None, rows: Rows | None = None) -> Profile | None:
        """
        Return the member's profile of this *version*; None if there is none, or in the space of another model.

        *rows*: what `READ_PROFILE` finds, if it has been asked.
        """
        if version is None:
            return None
        with self._lock:
            kept = self._kept.get(member_id)
        if kept is not None and kept[0] == version:
            metrics.CACHE_REQUESTS.labels(CACHE_NAME, "hit").inc()
            return kept[1]
        metrics.CACHE_REQUESTS.labels(CACHE_NAME, "miss").inc()
        rows = fetch_rows(SELECT_PROFILE, (member_id,)) if rows is None else rows
        profile = decode_profile(rows, self._model, self._dimension)
        if (read := profile_version(rows)) is not None:
            with self._lock:
                self._kept[member_id] = (read, profile)
                self._report_entries()
        return profile

    def evict(self, member_ids: Sequence[int]) -> None:
        """Forget these members here; elsewhere their version has changed."""
        with self._lock:
            for member_id in member_ids:
                self._kept.pop(member_id, None)

    def size_bytes(self) -> int:
        """Return what is kept, in bytes: some of the profiles are measured, the others taken for as large."""
        with self._lock:
            kept = [profile for _, profile in islice(self._kept.values(), SAMPLE_SIZE)]
            count = len(self._kept)
        return count * sum(map(profile_size_bytes, kept)) // len(kept) if kept else 0

    def evict_expired(self) -> None:
        """Forget those whose half hour is over."""
        with self._lock:
            self._kept.expire()
            self._report_entries()

    def clear(self) -> None:
        """Forget all of them: the next request of each member reads its row."""
        with self._lock:
            self._kept.clear()
            self._report_entries()

    def _report_entries(self) -> None:
        metrics.CACHE_ENTRIES.labels(CACHE_NAME).set(len(self._kept))
