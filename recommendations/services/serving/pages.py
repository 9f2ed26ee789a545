"""
Pages, and those that a process remembers: what was shown is shown again while all that it came of is as it was.

A page came of its viewer (with their taste), its posts, a slate, the variant that the flags gave and its policy. The
change log tells of the first two, and is asked before anything remembered is used; flags and policies have a version,
the slate its age. So a page that is asked for again costs that one question. Where any of it has changed, the road is
taken from the slate cache on.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from flags.services.version import version
from monitoring import metrics
from recommendations.contracts import Slate
from recommendations.services import wiring
from recommendations.services.serving.final_check import Picks, Sight
from recommendations.services.serving.query import Choice
from recommendations.services.serving.slates import is_fresh
from recommendations.stores.relational_viewers import Viewer

PAGES = 1_000
"""Pages that a process remembers, each some 30 KB with its words. Changes the speed."""
NAME = "pages"

page_hit, page_miss = (metrics.REMEMBERED.labels(NAME, word) for word in ("hit", "miss"))


@dataclass(frozen=True, slots=True)
class Page:
    """Some of a slate, in order."""

    request_id: UUID
    member_id: str
    feed: str
    engine: str
    variant: str
    fallback: str
    cached: bool
    built_at: datetime
    candidates: int
    picks: Picks
    next_cursor: str | None
    positions: tuple[int, ...] = ()
    """Of the picks, in the slate."""
    before: tuple[tuple[UUID, int], ...] = ()
    """The slates that this reading went through earlier, and how far."""


@dataclass(frozen=True, slots=True)
class KeptPage:
    """The first page of a feed, and what it came of."""

    page: Page
    slate: Slate
    sight: Sight
    choice: Choice
    flags: str
    """The version of the flags by which that is the viewer's choice."""

    def holds(self, now: float) -> bool:
        """Return whether the same would be shown now, as of when its viewer's facts were read last."""
        _, policy = wiring.policies().of(self.choice.variant)
        made_by = (self.slate.variant, self.slate.policy_version, self.flags)
        is_so = made_by == (self.choice.variant, policy, version())
        return is_so and is_fresh(self.slate, now) and self.sight.holds(self.sight.viewer)


class Pages:
    """The first pages that this process remembers, by member, feed and limit. Safe under threads."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: dict[tuple[str, str, int], KeptPage] = {}
        self._lock = threading.Lock()

    def get(self, member_id: str, feed: str, limit: int, now: float) -> KeptPage | None:
        """Return the first page of the member's feed, by the flags' choice, if it held when they were last asked of."""
        kept = self._kept.get((member_id, feed, limit))
        return kept if kept is not None and kept.holds(now) else None

    def of_now(self, kept: KeptPage | None, viewer: Viewer) -> KeptPage | None:
        """Return what `get` did if it holds still, by the viewer's facts of now."""
        is_so = kept is not None and kept.sight.holds(viewer)
        (page_hit if is_so else page_miss).inc()
        return kept if is_so else None

    def keep(self, page: Page, slate: Slate, sight: Sight, choice: Choice, flags: str, *, limit: int) -> None:
        """Remember a first page, and forget what was kept longest."""
        key = (sight.viewer.external_id, page.feed, limit)
        with self._lock:
            self._kept.pop(key, None)
            self._kept[key] = KeptPage(replace(page, cached=True), slate, sight, choice, flags)
            if len(self._kept) > self._most:
                del self._kept[next(iter(self._kept))]
            metrics.CACHE_ENTRIES.labels(NAME).set(len(self._kept))

    def clear(self) -> None:
        """Forget all of them."""
        with self._lock:
            self._kept.clear()
            metrics.CACHE_ENTRIES.labels(NAME).set(0)


@wiring.per_process
def pages() -> Pages:
    """Return this process's pages."""
    return Pages(PAGES)
