"""
Decide which posts and members a member may see, for reads and for writes alike.

A request that names a hidden post or member gets the answer of one that names an absent one, after the same queries: a
post is looked up together with the facts that decide, in one query, and these facts are never taken from a cache.
Otherwise the answer, its time or its effects would tell which posts exist and what they are about.

Pages of feeds are checked by the same filters, on cached facts (`final_check.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from django.db import DatabaseError
from django.db.models import QuerySet

from recommendations import feeds
from recommendations.contracts import BoolArray, Candidates, Interests, Policy, Query
from recommendations.models import Member, Relationship
from recommendations.pipeline.run import apply_filters
from recommendations.pipeline.stages import FilterError, Trace
from recommendations.services.errors import FactsUnavailable, PostNotVisible
from recommendations.stores.relational_posts import PostFacts, build_fact_candidates, read_post_facts
from recommendations.stores.relational_viewers import read_viewing_rules

NO_MEMBER = Query(
    request_id=UUID(int=0), viewer_id=0, feed="", size=0, now=0.0, policy=Policy(), variant="", policy_version=0,
    interests=Interests.empty(0),
)  # fmt: skip
"""A query of nobody. The mandatory filters read the viewer's id, sensitivity, follows and blocks only."""
UNREADABLE = "The facts about the posts cannot be read now. Try again shortly."


def may_see(query: Query, posts: Candidates) -> BoolArray:
    """
    Return which of *posts* (n,) the viewer of *query* may see: those that pass every mandatory filter, and their own.

    Raises `FactsUnavailable` if a filter fails.
    """
    try:
        passes = apply_filters(feeds.MANDATORY_FILTERS, query, posts, Trace(), stage="visibility")
    except FilterError as error:
        raise FactsUnavailable(UNREADABLE) from error
    return passes | (~posts.is_removed & (posts.author_ids == query.viewer_id))


def require_visible(query: Query, post_id: str) -> int:
    """
    Return the database id of the post with this platform id. Raises `PostNotVisible` and `FactsUnavailable`.

    *query*: of a viewer who was read in this request.
    """
    try:
        posts = read_post_facts(external_ids=[post_id])
    except DatabaseError as error:
        raise FactsUnavailable(UNREADABLE) from error
    visible = select_posts(query, posts)
    if not visible:
        raise PostNotVisible(post_id)
    return visible[0].id


def find_visible_posts(wanted: Mapping[int, Collection[str]], now: datetime) -> dict[tuple[int, str], PostFacts]:
    """
    Return the posts that members may see now, by the member's primary key and the post's platform id.

    *wanted*: by member, the platform ids of the posts. Three queries, whatever the number of members and posts. Raises
    `FactsUnavailable`.
    """
    try:
        posts = read_post_facts(external_ids=sorted(set().union(*wanted.values())))
        rules = read_rules(wanted, posts, now)
    except DatabaseError as error:
        raise FactsUnavailable(UNREADABLE) from error
    # The filters run on all posts for each member: the columns that they share are then computed once.
    candidates = build_fact_candidates(posts)
    positions = {post.external_id: position for position, post in enumerate(posts)}
    visible: dict[tuple[int, str], PostFacts] = {}
    for member_id, rule in rules.items():
        mask = may_see(rule, candidates).tolist()
        at = [positions[post_id] for post_id in wanted[member_id] if post_id in positions]
        visible |= {(member_id, posts[position].external_id): posts[position] for position in at if mask[position]}
    return visible


def select_visible(member_id: int, post_ids: Iterable[int], now: datetime) -> dict[int, PostFacts]:
    """Return those of the posts, by primary key, that the member may see now. Raises `FactsUnavailable`."""
    try:
        posts = read_post_facts(pks=sorted(set(post_ids)))
        rules = read_rules([member_id], posts, now)
    except DatabaseError as error:
        raise FactsUnavailable(UNREADABLE) from error
    return {post.id: post for rule in rules.values() for post in select_posts(rule, posts)}


def select_posts(query: Query, posts: Sequence[PostFacts]) -> list[PostFacts]:
    """Return those of the posts that the viewer of *query* may see."""
    mask = may_see(query, build_fact_candidates(posts)).tolist()
    return [post for post, is_visible in zip(posts, mask, strict=True) if is_visible]


def read_rules(member_ids: Collection[int], posts: Iterable[PostFacts], now: datetime) -> dict[int, Query]:
    """Return, by member, a query with what decides whether the member may see these posts."""
    rules = read_viewing_rules(list(member_ids), sorted({post.author_id for post in posts}), now)
    return {member_id: replace(NO_MEMBER, viewer_id=member_id, **rule._asdict()) for member_id, rule in rules.items()}


def members_visible_to(member_id: int) -> QuerySet[Member]:
    """Return the members whose names the member may be given: active ones that do not block the member."""
    blocks = Relationship.objects.filter(kind=Relationship.Kind.BLOCK, target=member_id)
    return Member.objects.filter(is_active=True).exclude(pk__in=blocks.values("source"))


def follows_visible_member(member_id: int) -> bool:
    """Return whether the member follows anyone whose name the member may be given."""
    follows = Relationship.objects.filter(kind=Relationship.Kind.FOLLOW, source=member_id)
    return members_visible_to(member_id).filter(pk__in=follows.values("target")).exists()
