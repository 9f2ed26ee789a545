"""Follows, blocks and mutes."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from recommendations.contracts import BoolArray, Int32Array, Int64Array
from recommendations.services.content.generating.draws import (
    DAY,
    Size,
    WeightedCells,
    distinct,
    draw_topics,
    draw_weighted,
)
from recommendations.services.content.generating.people import People
from recommendations.services.content.generating.posts import Posts
from recommendations.services.content.generating.vocabulary import TOPICS


@dataclass(frozen=True)
class Ties:
    """Ties of one kind from *source* to *target*, each pair once, nobody to oneself."""

    source: Int64Array  # (n,) row of People
    target: Int64Array  # (n,)
    ages: Int64Array  # (n,) seconds


def make_blocks(size: Size, people: People) -> Ties:
    """Return blocks: by anyone, of active members mostly, since one must meet to fall out."""
    return make_random(size.stream(3), people, size.blocks, "blocks")


def make_mutes(size: Size, people: People) -> Ties:
    """Return mutes, drawn as blocks are."""
    return make_random(size.stream(4), people, size.mutes, "mutes")


def make_follows(size: Size, people: People, posts: Posts, blocks: Ties) -> Ties:
    """Return follows of authors on the member's topics, the popular ones more; none across a block."""
    rng = size.stream(5)
    by_topic = WeightedCells(posts.topic.astype(np.int64), posts.popularity, len(TOPICS))
    eager = np.sqrt(people.activity)

    def draw(count: int) -> dict[str, Int64Array]:
        source = draw_weighted(rng, eager, count)
        post = by_topic.draw(rng, draw_topics(rng, people.tastes, source).astype(np.int64))
        target = posts.author[post].astype(np.int64)
        open_ = (post >= 0) & (source != target) & ~is_blocked(blocks, source, target, len(people.ages))
        return keyed(source[open_], target[open_], len(people.ages))

    return with_ages(rng, distinct(draw, size.follows, "follows"))


def make_random(rng: Generator, people: People, count: int, what: str) -> Ties:
    def draw(n: int) -> dict[str, Int64Array]:
        source = rng.integers(0, len(people.ages), n)
        target = draw_weighted(rng, people.activity, n)
        return keyed(source[source != target], target[source != target], len(people.ages))

    return with_ages(rng, distinct(draw, count, what))


def keyed(source: Int64Array, target: Int64Array, members: int) -> dict[str, Int64Array]:
    return {"source": source, "target": target, "key": source * members + target}


def with_ages(rng: Generator, rows: dict[str, Int64Array]) -> Ties:
    return Ties(rows["source"], rows["target"], rng.integers(60, 366 * DAY, len(rows["source"])))


def is_blocked(
    blocks: Ties, source: Int64Array | Int32Array, target: Int64Array | Int32Array, members: int
) -> BoolArray:
    """Return whether either of each pair (n,) blocks the other."""
    there, back = source * members + target, target * members + source
    keys = blocks.source * members + blocks.target
    return np.isin(there, keys) | np.isin(back, keys)
