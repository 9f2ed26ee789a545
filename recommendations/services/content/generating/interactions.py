"""Interactions of members with posts: mostly within their taste, on popular posts and soon after publication."""

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from recommendations.contracts import (
    BoolArray,
    Float64Array,
    Int8Array,
    Int64Array,
    InteractionKind,
    Visibility,
)
from recommendations.services.content.generating.draws import (
    NONE,
    PlatformSize,
    WeightedCells,
    draw_distinct,
    draw_topics,
    draw_weighted,
)
from recommendations.services.content.generating.people import People
from recommendations.services.content.generating.posts import Posts
from recommendations.services.content.generating.relationships import Relationships, is_blocked
from recommendations.services.content.generating.vocabulary import LANGUAGES

FOLLOWED_SHARE = 0.2
"""Share of interactions with a post by an author whom the member follows."""
OUT_OF_TASTE_SHARE = 0.1
"""Share of the other interactions that are outside the member's taste."""
INTERACTION_KINDS = tuple(kind.value for kind in InteractionKind)
# Shares of each kind, in the order of INTERACTION_KINDS.
KIND_SHARES_IN_TASTE = (0.46, 0.14, 0.12, 0.18, 0.03, 0.03, 0.03, 0.005, 0.004, 0.001)
KIND_SHARES_OUT_OF_TASTE = (0.58, 0.10, 0.06, 0.04, 0.01, 0.005, 0.005, 0.12, 0.06, 0.02)
MEDIAN_DELAY_SECONDS = 12 * 3600
DELAY_DEVIATION = 1.5
"""Of the logarithm of the time from a post to an interaction with it."""
DWELL_KIND = INTERACTION_KINDS.index("dwell")


@dataclass(frozen=True)
class Interactions:
    """Interactions, oldest first. Each (member, post, kind) occurs once."""

    member: Int64Array  # (n,) row of People
    post: Int64Array  # (n,) row of Posts
    kind: Int8Array  # (n,) index of INTERACTION_KINDS
    seconds: Float64Array  # (n,) duration of a dwell; NaN for other kinds
    ages: Int64Array  # (n,) seconds


def make_interactions(
    size: PlatformSize, people: People, posts: Posts, follows: Relationships, blocks: Relationships
) -> Interactions:
    """
    Return interactions that respect the platform's visibility rules, so that a forbidden post in a feed is the feed's
    error.

    No interaction is with a private, unlisted or removed post, with a post of an inactive author, or across a block.
    Only followers interact with posts for followers and with posts of private authors.
    """
    rng, members = size.random_stream(6), len(people.ages)
    public, followed = PublicPosts(people, posts), FollowedPosts(people, posts, follows)

    def draw(count: int) -> dict[str, Int64Array]:
        member = draw_weighted(rng, people.activity * people.is_active, count)
        out_of_taste = rng.random(count) < OUT_OF_TASTE_SHARE
        post = public.draw(rng, member, out_of_taste)
        followed_post = followed.draw(rng, member)
        post = np.where((rng.random(count) < FOLLOWED_SHARE) & (followed_post >= 0), followed_post, post)
        author = posts.author[post].astype(np.int64)
        is_allowed = (post >= 0) & (member != author) & ~is_blocked(blocks, member, author, members)
        member, post = member[is_allowed], post[is_allowed]
        kind = draw_kinds(rng, people.tastes[member, posts.topic[post]] > 1 / people.tastes.shape[1])
        key = (member * len(posts.ages) + post) * len(INTERACTION_KINDS) + kind
        return {"member": member, "post": post, "kind": kind, "key": key}

    return assign_times(rng, posts, draw_distinct(draw, size.interactions, "interactions"))


class PublicPosts:
    """Posts that every member may see, by topic and language."""

    def __init__(self, people: People, posts: Posts) -> None:
        author = posts.author
        is_visible = (posts.visibility == Visibility.PUBLIC) & ~posts.is_removed
        is_visible &= people.is_active[author] & ~people.is_private[author]
        weights = posts.popularity * is_visible
        cells = posts.topic.astype(np.int64) * len(LANGUAGES) + posts.language
        self._people = people
        self._cells = WeightedCells(cells, weights, people.tastes.shape[1] * len(LANGUAGES))
        self._all = WeightedCells(np.zeros(len(weights), np.int64), weights, 1)

    def draw(self, rng: Generator, member: Int64Array, out_of_taste: BoolArray) -> Int64Array:
        """
        Return a post (n,) for each *member* (n,), in a language and topic of the member's.

        Where *out_of_taste* (n,) is true or no post matches, return any visible post; `NONE` if there is no post.
        """
        second = self._people.second_language[member]
        language = np.where((second != NONE) & (rng.random(len(member)) < 0.3), second, self._people.language[member])
        topic = draw_topics(rng, self._people.tastes, member).astype(np.int64)
        matching_post = self._cells.draw(rng, topic * len(LANGUAGES) + language)
        any_post = self._all.draw(rng, np.zeros(len(member), np.int64))
        return np.where(out_of_taste | (matching_post < 0), any_post, matching_post)


class FollowedPosts:
    """Posts of the authors whom a member follows, including posts for followers."""

    def __init__(self, people: People, posts: Posts, follows: Relationships) -> None:
        is_visible = (posts.visibility == Visibility.PUBLIC) | (posts.visibility == Visibility.FOLLOWERS)
        is_visible &= ~posts.is_removed & people.is_active[posts.author]
        members = len(people.ages)
        self._targets = follows.target
        self._follows = WeightedCells(follows.source, np.ones(len(follows.source)), members)
        self._posts = WeightedCells(posts.author.astype(np.int64), posts.popularity * is_visible, members)

    def draw(self, rng: Generator, member: Int64Array) -> Int64Array:
        """Return a post (n,) by an author whom each *member* (n,) follows, or `NONE` if there is none."""
        if not len(self._targets):
            return np.full(len(member), NONE, np.int64)
        follow = self._follows.draw(rng, member)
        post = self._posts.draw(rng, self._targets[follow])
        return np.where(follow >= 0, post, NONE)


def draw_kinds(rng: Generator, in_taste: BoolArray) -> Int64Array:
    """Return kinds (n,) as indexes: more likes within the member's taste, more negative kinds outside it."""
    edges = np.cumsum((KIND_SHARES_OUT_OF_TASTE, KIND_SHARES_IN_TASTE), axis=1)
    marks = rng.random(len(in_taste))[:, None] * edges[:, -1].max()
    kinds: Int64Array = (edges[in_taste.astype(np.int8)] <= marks).sum(axis=1)
    return kinds.clip(max=len(INTERACTION_KINDS) - 1)


def assign_times(rng: Generator, posts: Posts, rows: dict[str, Int64Array]) -> Interactions:
    """Give each interaction a time after its post's, and sort the interactions by time."""
    published = posts.ages[rows["post"]]
    delay = np.exp(rng.normal(np.log(MEDIAN_DELAY_SECONDS), DELAY_DEVIATION, len(published)))
    late = delay >= published
    ages = np.where(late, rng.random(len(published)) * published, published - delay).astype(np.int64)
    order = np.argsort(-ages, kind="stable")
    kind = rows["kind"][order].astype(np.int8)
    seconds = np.where(kind == DWELL_KIND, np.round(rng.gamma(2.0, 15.0, len(kind)), 1), np.nan)
    return Interactions(rows["member"][order], rows["post"][order], kind, seconds, ages[order])
