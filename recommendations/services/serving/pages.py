"""
Pages of a feed, and the page cache: first pages that this process has served, to be served again while still current.

A page depends on its viewer (with their interests), its posts, a slate, the variant that the flags assigned, and that
variant's policy. The change log reports changes of the viewer and the posts, and every request reads it before it uses
a cached page. Flags and policies have a version, and a slate has its age. So a page that is requested again costs one
read of the log. If anything has changed, the request goes on with the slate cache.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from flags.services.version import flags_version
from monitoring import metrics
from recommendations.contracts import EmptyReason
from recommendations.services import wiring
from recommendations.services.serving.cursors import CursorStep, write_cursor
from recommendations.services.serving.final_check import CheckedPicks, Picks
from recommendations.services.serving.query import EngineAssignment
from recommendations.services.serving.slates import CachedSlate, SlatePosition, is_fresh
from recommendations.stores.relational_viewers import Viewer

MAX_PAGES = 1_000
"""Pages that a process caches, about 30 KB each once rendered. Changes the speed."""
CACHE_NAME = "pages"

page_hit, page_miss = (metrics.PROCESS_CACHE_REQUESTS.labels(CACHE_NAME, outcome) for outcome in ("hit", "miss"))


@dataclass(frozen=True, slots=True)
class Page:
    """Consecutive picks of a slate, as entry points serve them."""

    request_id: UUID
    member_id: str
    feed: str
    engine: str
    variant: str
    fallback: str
    is_cached: bool
    built_at: datetime
    candidate_count: int
    picks: Picks
    next_cursor: str | None
    empty_reason: EmptyReason | None = None
    """Why there are no picks; None if there are."""
    positions: tuple[int, ...] = ()
    """Where in the slate the picks are."""
    earlier_steps: tuple[CursorStep, ...] = ()
    """The slates that the reader went through before this one."""
    languages: tuple[str, ...] = ()
    """The languages that the member reads, best first. A change of them evicts the page from the cache."""


@dataclass(frozen=True, slots=True)
class CheckedPage:
    """A page that passed the final check, with the slate it is from and the facts that it was checked on."""

    page: Page
    position: SlatePosition
    checked: CheckedPicks


@dataclass(frozen=True, slots=True)
class CachedPage(CheckedPage):
    """The first page of a feed in the page cache."""

    assignment: EngineAssignment
    """What the flags gave the viewer when the page was built."""

    def is_current(self, now: float) -> bool:
        """Return whether nothing that the page depends on has changed, up to when the viewer's facts were last read."""
        slate, assignment = self.position.slate, self.assignment
        _, policy_version = wiring.policies().get(assignment.variant)
        built_with = (slate.variant, slate.policy_version, assignment.flags_version)
        is_same = built_with == (assignment.variant, policy_version, flags_version())
        return is_same and is_fresh(slate, now) and self.checked.is_current(self.checked.viewer)


class PageCache:
    """The first pages that this process has served, by member, feed and limit. Safe under threads."""

    def __init__(self, max_pages: int) -> None:
        self._max_pages = max_pages
        self._pages: dict[tuple[str, str, int], CachedPage] = {}
        self._lock = threading.Lock()

    def get(self, member_id: str, feed: str, limit: int, now: float) -> CachedPage | None:
        """Return the first page of the member's feed if it was current when their facts were last read, else None."""
        cached = self._pages.get((member_id, feed, limit))
        return cached if cached is not None and cached.is_current(now) else None

    def confirm(self, cached: CachedPage | None, viewer: Viewer) -> CachedPage | None:
        """Return the page from `get` if it is still current on the facts of *viewer*, else None. Count hit or miss."""
        is_current = cached is not None and cached.checked.is_current(viewer)
        (page_hit if is_current else page_miss).inc()
        return cached if is_current else None

    def put(self, served: CheckedPage, assignment: EngineAssignment, *, limit: int) -> None:
        """Cache a first page, and evict the page that was cached the longest ago if there are too many."""
        page = replace(served.page, is_cached=True)
        # Without the trace of a fresh slate, which references every candidate.
        position = SlatePosition(CachedSlate(served.position.slate))
        key = (page.member_id, page.feed, limit)
        with self._lock:
            self._pages.pop(key, None)
            self._pages[key] = CachedPage(page, position, served.checked, assignment)
            if len(self._pages) > self._max_pages:
                del self._pages[next(iter(self._pages))]
            metrics.CACHE_ENTRIES.labels(CACHE_NAME).set(len(self._pages))

    def clear(self) -> None:
        """Evict every page."""
        with self._lock:
            self._pages.clear()
            metrics.CACHE_ENTRIES.labels(CACHE_NAME).set(0)


@wiring.per_process
def page_cache() -> PageCache:
    """Return this process's page cache."""
    return PageCache(MAX_PAGES)


def cursor_after(page: Page, index: int) -> str:
    """Return the cursor of the position after the page's pick *index*."""
    return write_cursor(page.request_id, page.positions[index] + 1, page.earlier_steps)
