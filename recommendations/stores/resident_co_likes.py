"""
A process's cache of the nearest co-likes of posts: least recently used out first, a few seconds at most.

Requests read the co-likes of a member's last few likes, and popular posts are among most members' likes. No personal
data.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from cachetools import TTLCache
from django.db import connection

from monitoring import metrics
from recommendations.collaborative.nearest import Entries, unpack_nearest
from recommendations.models import CoLikes
from recommendations.stores.sql import fetch_rows, in_clause

TTL_SECONDS = 20.0
"""How long entries are used. Changes the answer for that long."""
MAX_POSTS = 20_000
"""Posts in the cache, up to 2 KB each. Changes the speed."""
CACHE_NAME = "co_likes"

CO_LIKES_TABLE = connection.ops.quote_name(CoLikes._meta.db_table)
SELECT_NEAREST = f"SELECT post_id, nearest FROM {CO_LIKES_TABLE} WHERE post_id {{one_of}}"


class ResidentCoLikes:
    """The nearest co-likes of posts, by post id. Thread-safe."""

    def __init__(self, *, min_members: int) -> None:
        self._min_members = min_members
        self._lock = threading.Lock()
        self._entries: TTLCache[int, Entries] = TTLCache(MAX_POSTS, TTL_SECONDS)

    def get(self, post_ids: Sequence[int]) -> dict[int, Entries]:
        """Return the entries of *post_ids*, empty for a post without co-likes. Raises `DatabaseError`."""
        with self._lock:
            entries = {post_id: self._entries[post_id] for post_id in post_ids if post_id in self._entries}
        metrics.PROCESS_CACHE_REQUESTS.labels(CACHE_NAME, "hit").inc(len(entries))
        if missing := [post_id for post_id in post_ids if post_id not in entries]:
            metrics.PROCESS_CACHE_REQUESTS.labels(CACHE_NAME, "miss").inc(len(missing))
            read = self._read(missing)
            with self._lock:
                self._entries.update(read)
                metrics.CACHE_ENTRIES.labels(CACHE_NAME).set(len(self._entries))
            entries |= read
        return entries

    def _read(self, post_ids: Sequence[int]) -> dict[int, Entries]:
        sql, ids = in_clause(post_ids)
        packed = {post_id: bytes(row) for post_id, row in fetch_rows(SELECT_NEAREST.format(one_of=sql), ids)}
        return {id: unpack_nearest(packed.get(id, b""), min_members=self._min_members) for id in post_ids}

    def clear(self) -> None:
        """Evict all entries."""
        with self._lock:
            self._entries.clear()
            metrics.CACHE_ENTRIES.labels(CACHE_NAME).set(0)
