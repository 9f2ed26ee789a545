"""A slate that is not twenty times the same."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from recommendations.contracts import UNKNOWN, BoolArray, Int64Array, Origin, Query, ScoredCandidates, has_origin
from recommendations.ports import Engine

FINALISTS_PER_PICK = 2
"""How far below the slate's last rank a post may come from. Changes the answer."""
SHOW_LESS_THRESHOLD = -0.5
"""Below this `less`, before its weight, the viewer said so: no variety brings the post up. Changes the answer."""


def is_show_less(query: Query, scored: ScoredCandidates) -> BoolArray:
    """Return which posts the viewer asked to see less of."""
    if "show_less" not in scored.part_names:
        return np.zeros(len(scored.scores), np.bool_)
    return scored.parts[:, scored.part_names.index("show_less")] < SHOW_LESS_THRESHOLD * query.policy.show_less


def append_others(chosen: Int64Array, n: int) -> Int64Array:
    """Return the *chosen* positions, and behind them the others of *n* in their order."""
    is_left = np.ones(n, np.bool_)
    is_left[chosen] = False
    return np.concatenate([chosen, np.flatnonzero(is_left)])


@dataclass(frozen=True)
class Diversity:
    """Maximal marginal relevance over the finalists, with a cap per author; the others follow in their order."""

    engine: Engine
    name: str = field(default="diversity", init=False)

    def __call__(self, query: Query, scored: ScoredCandidates) -> Int64Array:
        """See `Reranker`."""
        n = min(len(scored.scores), FINALISTS_PER_PICK * query.size)
        finalists = scored.candidates
        picks = self.engine.diversify(
            finalists.rows[:n],
            finalists.post_ids[:n],
            scored.scores[:n],
            finalists.author_ids[:n],
            min(query.size, n),
            query.policy.diversity,
            query.policy.author_cap,
        )
        return append_others(picks, len(scored.scores))


@dataclass(frozen=True)
class Spacing:
    """No two neighbors by one author, and no long run about one topic, as far as there is something else to show."""

    name: str = field(default="spacing", init=False)

    def __call__(self, query: Query, scored: ScoredCandidates) -> Int64Array:
        """See `Reranker`. Looks at the slate's own posts; a post moves down as little as it can."""
        posts = scored.candidates.take(np.arange(min(query.size, len(scored.scores))))
        order = space_out(posts.author_ids.tolist(), posts.topic_ids.tolist(), query.policy.max_topic_run)
        return np.concatenate([np.array(order, np.int64), np.arange(len(order), len(scored.scores))])


def space_out(authors: list[int], topics: list[int], max_run: int) -> list[int]:
    """Return the positions so that authors alternate and at most *run* in a row share a topic, where that can be."""
    order: list[int] = []
    waiting: list[int] = []  # passed over so far, in their order
    about: Counter[int] = Counter()  # how many of them, by topic: where all are about the worn one, none fits
    author: int | None = None
    topic: int | None = None
    length = ahead = 0
    while len(order) < len(authors):
        worn = topic if length >= max_run and topic != UNKNOWN else None
        fits = None
        if worn is None or about[worn] < len(waiting):
            fits = next((at for at in waiting if topics[at] != worn and authors[at] != author), None)
        while fits is None and ahead < len(authors):
            if topics[ahead] != worn and authors[ahead] != author:
                fits = ahead
            waiting.append(ahead)
            about[topics[ahead]] += 1
            ahead += 1
        if fits is None:  # Nothing fits both: somebody else's at least, or simply the next.
            fits = next((at for at in waiting if authors[at] != author), waiting[0])
        waiting.remove(fits)
        about[topics[fits]] -= 1
        order.append(fits)
        length = length + 1 if topics[fits] == topic and topic != UNKNOWN else 1
        author, topic = authors[fits], topics[fits]
    return order


@dataclass(frozen=True)
class ExplorationSlots:
    """Keeps a share of the slate for posts on exploration: one in every stretch of 1 / share posts, near its middle."""

    name: str = field(default="exploration_slots", init=False)

    def __call__(self, query: Query, scored: ScoredCandidates) -> Int64Array:
        """See `Reranker`."""
        n, share = len(scored.scores), query.policy.exploration_share
        if not share or not n:
            return np.arange(n)
        auditioning = has_origin(scored.candidates.origins, Origin.EXPLORATION) & ~is_show_less(query, scored)
        stretch = round(min(1 / share, n))
        spare = np.flatnonzero(auditioning).tolist()
        # Behind what a stretch may show, the others follow in their order: they are not moved about one by one.
        order, hopeful = list(range(min(query.size + stretch, n))), frozenset(spare)
        for start in range(0, min(query.size, n), stretch):
            shown = order[start : start + stretch]
            if not hopeful.isdisjoint(shown):
                continue
            placed = frozenset(order[:start])
            at = next((at for at in spare if at not in placed), None)
            if at is None:
                break
            if at in order:
                order.remove(at)
            order.insert(start + len(shown) // 2, at)
        return append_others(np.array(order, np.int64), n)


@dataclass(frozen=True)
class ShowLessLast:
    """Puts what the viewer asked to see less of behind all else: no spreading and no exploration brings it up again."""

    name: str = field(default="show_less_last", init=False)

    def __call__(self, query: Query, scored: ScoredCandidates) -> Int64Array:
        """See `Reranker`."""
        everything, asked = np.arange(len(scored.scores)), is_show_less(query, scored)
        return np.concatenate([everything[~asked], everything[asked]])
