"""Rerankers for a varied slate: diversity, spacing, exploration slots, and negative feedback last."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from recommendations.contracts import UNKNOWN, BoolArray, Int64Array, Origin, Query, ScoredCandidates, has_origin
from recommendations.ports import Engine

FINALISTS_PER_PICK = 2
"""Finalists that diversity chooses from, for each pick of the slate. Changes the answer."""
SHOW_LESS_THRESHOLD = -0.5
"""
A post whose unweighted `show_less` part is below this goes last. Changes the answer.

Such a value comes from negative feedback of the viewer, so neither diversity nor exploration may move the post up.
"""


def is_show_less(query: Query, scored: ScoredCandidates) -> BoolArray:
    """Return a mask (n,) of the posts that the viewer asked to see less of."""
    if "show_less" not in scored.part_names:
        return np.zeros(len(scored.scores), np.bool_)
    return scored.parts[:, scored.part_names.index("show_less")] < SHOW_LESS_THRESHOLD * query.policy.show_less


def append_others(chosen: Int64Array, n: int) -> Int64Array:
    """Return the *chosen* positions, followed by the other positions below *n* in ascending order."""
    is_left = np.ones(n, np.bool_)
    is_left[chosen] = False
    return np.concatenate([chosen, np.flatnonzero(is_left)])


@dataclass(frozen=True)
class Diversity:
    """Maximal marginal relevance over the finalists, with a cap per author. The other posts follow in their order."""

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
    """Separates posts by the same author and limits runs of posts about one topic, if other posts are available."""

    name: str = field(default="spacing", init=False)

    def __call__(self, query: Query, scored: ScoredCandidates) -> Int64Array:
        """See `Reranker`. Only reorders the posts of the slate, and moves each post down as little as possible."""
        posts = scored.candidates.take(np.arange(min(query.size, len(scored.scores))))
        order = space_out(posts.author_ids.tolist(), posts.topic_ids.tolist(), query.policy.max_topic_run)
        return np.concatenate([np.array(order, np.int64), np.arange(len(order), len(scored.scores))])


def space_out(authors: list[int], topics: list[int], max_run: int) -> list[int]:
    """
    Return an order in which neighbors differ in author, and at most *max_run* in a row share a topic, if possible.

    Each step takes the first remaining post with another author than the last post, and with another topic if the
    current run is full. If no post satisfies both, it takes the first by another author, or else the first remaining.
    """
    order: list[int] = []
    skipped: list[int] = []  # positions that were passed over so far, in ascending order
    skipped_topics: Counter[int] = Counter()  # of the skipped positions: if all have the blocked topic, none fits
    author: int | None = None
    topic: int | None = None
    run_length = next_position = 0
    for _ in authors:
        blocked_topic = topic if run_length >= max_run and topic != UNKNOWN else None
        chosen = None
        if skipped and (blocked_topic is None or skipped_topics[blocked_topic] < len(skipped)):
            chosen = next((at for at in skipped if topics[at] != blocked_topic and authors[at] != author), None)
        while chosen is None and next_position < len(authors):
            if topics[next_position] != blocked_topic and authors[next_position] != author:
                chosen = next_position
            else:
                skipped.append(next_position)
                skipped_topics[topics[next_position]] += 1
            next_position += 1
        if chosen is None:
            chosen = next((at for at in skipped if authors[at] != author), skipped[0])
        if skipped and chosen <= skipped[-1]:
            skipped.remove(chosen)
            skipped_topics[topics[chosen]] -= 1
        order.append(chosen)
        run_length = run_length + 1 if topics[chosen] == topic and topic != UNKNOWN else 1
        author, topic = authors[chosen], topics[chosen]
    return order


@dataclass(frozen=True)
class ExplorationSlots:
    """Reserves a share of the slate for posts in exploration: one near the middle of every 1 / share positions."""

    name: str = field(default="exploration_slots", init=False)

    def __call__(self, query: Query, scored: ScoredCandidates) -> Int64Array:
        """See `Reranker`."""
        n, share = len(scored.scores), query.policy.exploration_share
        if not share or not n:
            return np.arange(n)
        is_exploration = has_origin(scored.candidates.origins, Origin.EXPLORATION) & ~is_show_less(query, scored)
        slot_size = round(min(1 / share, n))
        exploration = np.flatnonzero(is_exploration).tolist()
        # Only the slate and one more slot are reordered. `append_others` adds the rest in one step.
        order, exploration_set = list(range(min(query.size + slot_size, n))), frozenset(exploration)
        for start in range(0, min(query.size, n), slot_size):
            slot = order[start : start + slot_size]
            if not exploration_set.isdisjoint(slot):
                continue
            placed = frozenset(order[:start])
            position = next((position for position in exploration if position not in placed), None)
            if position is None:
                break
            if position in order:
                order.remove(position)
            order.insert(start + len(slot) // 2, position)
        return append_others(np.array(order, np.int64), n)


@dataclass(frozen=True)
class ShowLessLast:
    """Moves the posts that the viewer asked to see less of to the end. Runs last, since others may move them up."""

    name: str = field(default="show_less_last", init=False)

    def __call__(self, query: Query, scored: ScoredCandidates) -> Int64Array:
        """See `Reranker`."""
        positions, is_last = np.arange(len(scored.scores)), is_show_less(query, scored)
        return np.concatenate([positions[~is_last], positions[is_last]])
