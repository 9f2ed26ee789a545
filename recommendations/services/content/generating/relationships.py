"""Follows, blocks and mutes."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from recommendations.contracts import BoolArray, Int32Array, Int64Array
from recommendations.services.content.generating.draws import (
    SECONDS_PER_DAY,
    PlatformSize,
    WeightedCells,
    draw_distinct,
    draw_topics,
    draw_weighted,
)
from recommendations.services.content.generating.people import People
from recommendations.services.content.generating.posts import Posts


@dataclass(frozen=True)
class Relationships:
    """Relationships of one kind from *source* to *target*: distinct pairs of two different members."""

    source: Int64Array  # (n,) row of People
    target: Int64Array  # (n,)
    ages: Int64Array  # (n,) seconds


def make_blocks(size: PlatformSize, people: People) -> Relationships:
    """Return blocks by random members, mostly of active members, whom others meet more often."""
    return make_random_relationships(size.random_stream(3), people, size.blocks, "blocks")


def make_mutes(size: PlatformSize, people: People) -> Relationships:
    """Return mutes, drawn like blocks."""
    return make_random_relationships(size.random_stream(4), people, size.mutes, "mutes")


def make_follows(size: PlatformSize, people: People, posts: Posts, blocks: Relationships) -> Relationships:
    """Return follows of authors on the member's topics, weighted by popularity; none across a block."""
    rng = size.random_stream(5)
    by_topic = WeightedCells(posts.topic.astype(np.int64), posts.popularity, people.tastes.shape[1])
    source_weights = np.sqrt(people.activity)

    def draw(count: int) -> dict[str, Int64Array]:
        source = draw_weighted(rng, source_weights, count)
        post = by_topic.draw(rng, draw_topics(rng, people.tastes, source).astype(np.int64))
        target = posts.author[post].astype(np.int64)
        is_allowed = (post >= 0) & (source != target) & ~is_blocked(blocks, source, target, len(people.ages))
        return with_pair_keys(source[is_allowed], target[is_allowed], len(people.ages))

    return assign_ages(rng, draw_distinct(draw, size.follows, "follows"))


def make_random_relationships(rng: Generator, people: People, count: int, row_name: str) -> Relationships:
    def draw(n: int) -> dict[str, Int64Array]:
        source = rng.integers(0, len(people.ages), n)
        target = draw_weighted(rng, people.activity, n)
        is_allowed = source != target
        return with_pair_keys(source[is_allowed], target[is_allowed], len(people.ages))

    return assign_ages(rng, draw_distinct(draw, count, row_name))


def with_pair_keys(source: Int64Array, target: Int64Array, members: int) -> dict[str, Int64Array]:
    return {"source": source, "target": target, "key": source * members + target}


def assign_ages(rng: Generator, rows: dict[str, Int64Array]) -> Relationships:
    return Relationships(rows["source"], rows["target"], rng.integers(60, 366 * SECONDS_PER_DAY, len(rows["source"])))


def is_blocked(
    blocks: Relationships, source: Int64Array | Int32Array, target: Int64Array | Int32Array, members: int
) -> BoolArray:
    """Return for each pair (n,) whether either member blocks the other, as bool (n,)."""
    forward, backward = source * members + target, target * members + source
    blocked = blocks.source * members + blocks.target
    return np.isin(forward, blocked) | np.isin(backward, blocked)
