"""
Reads a viewer from the database, in a constant number of queries for any length of history.

The queries run on every request, so they are raw SQL: building them with the ORM takes longer than running them.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import numpy as np
from django.db import connection
from django.db.models import Q, QuerySet

from recommendations.contracts import EMPTY_IDS, Int64Array, Sensitivity
from recommendations.models import (
    Member,
    NegativeFeedback,
    Post,
    PrivacySettings,
    Relationship,
    SeenPost,
    is_personalized_by_default,
)
from recommendations.stores.sql import Rows, SqlQuery, fetch_all_rows, fetch_rows, in_clause
from values.text import fold

SEEN_LIMIT = 5_000
"""Number of most recently seen posts that are excluded before ranking. The final check queries the rest. Changes the
speed."""
ADULT_YEARS = 18

MEMBER_TABLE, PRIVACY_TABLE, RELATIONSHIP_TABLE, SEEN_TABLE, FEEDBACK_TABLE = (
    connection.ops.quote_name(model._meta.db_table)
    for model in (Member, PrivacySettings, Relationship, SeenPost, NegativeFeedback)
)
SELECT_VIEWER = f"""
    SELECT m.id, m.external_id, m.is_active, m.languages, m.region, m.birth_year, m.is_adult,
           p.is_personalized, p.sensitivity, p.muted_words, p.muted_tags, p.interest_tags
    FROM {MEMBER_TABLE} m LEFT JOIN {PRIVACY_TABLE} p ON p.member_id = m.id
    WHERE m.{{column}} = %s"""
MEMBER_ID_SUBQUERY = f"(SELECT id FROM {MEMBER_TABLE} WHERE {{column}} = %s)"
SELECT_RELATIONSHIPS = f"""
    SELECT kind, target_id FROM {RELATIONSHIP_TABLE}
    WHERE source_id = {MEMBER_ID_SUBQUERY} AND kind <> 'follow_request'
    UNION ALL SELECT kind, source_id FROM {RELATIONSHIP_TABLE} WHERE target_id = {MEMBER_ID_SUBQUERY} AND kind = 'block'
    UNION ALL SELECT 'hidden', post_id FROM {FEEDBACK_TABLE}
    WHERE member_id = {MEMBER_ID_SUBQUERY} AND target = 'post'"""
SELECT_NEWEST_SEEN = f"SELECT post_id FROM {SEEN_TABLE} WHERE member_id = %s ORDER BY seen_at DESC LIMIT %s"
SELECT_SENSITIVITIES = f"""
    SELECT m.id, m.birth_year, m.is_adult, p.sensitivity
    FROM {MEMBER_TABLE} m LEFT JOIN {PRIVACY_TABLE} p ON p.member_id = m.id WHERE m.id {{one_of}}"""
SELECT_FOLLOWS_AND_BLOCKS = f"""
    SELECT source_id, kind, target_id FROM {RELATIONSHIP_TABLE}
    WHERE source_id {{members}} AND kind IN ('follow', 'block') AND target_id {{authors}}
    UNION ALL SELECT target_id, kind, source_id FROM {RELATIONSHIP_TABLE}
    WHERE target_id {{members}} AND kind = 'block' AND source_id {{authors}}"""
SELECT_MEMBER_IDS = f"SELECT external_id, id FROM {MEMBER_TABLE} WHERE external_id {{one_of}}"
SELECT_SEEN = f"SELECT post_id FROM {SEEN_TABLE} WHERE member_id = %s AND post_id {{one_of}}"


@dataclass(frozen=True, slots=True)
class Viewer:
    """A member as a viewer. Id arrays are sorted."""

    id: int
    external_id: str
    is_active: bool
    is_personalized: bool
    languages: tuple[str, ...]
    region: str
    max_sensitivity: int
    muted_words: tuple[str, ...]
    muted_tags: tuple[str, ...]
    interest_tags: tuple[str, ...]
    """Tags that the member says they like."""
    followed_author_ids: Int64Array
    blocked_author_ids: Int64Array
    muted_author_ids: Int64Array
    hidden_post_ids: Int64Array
    """Posts that the member hid or reported, or gave negative feedback about."""


class ViewingRules(NamedTuple):
    """What decides which posts of some authors a member may see. Id arrays are sorted and hold only those authors."""

    max_sensitivity: int
    followed_author_ids: Int64Array
    blocked_author_ids: Int64Array
    """Authors on either side of a block."""


def viewer_queries(*, external_id: str | None = None, pk: int | None = None) -> tuple[SqlQuery, SqlQuery]:
    """Return two queries for the member with this id: account and settings, and relationships and hidden posts."""
    column, value = ("external_id", external_id) if pk is None else ("id", pk)
    return (SELECT_VIEWER.format(column=column), (value,)), (SELECT_RELATIONSHIPS.format(column=column), (value,) * 3)


def build_viewer(rows: Sequence[Rows], now: datetime) -> Viewer | None:
    """Return the viewer from the rows of `viewer_queries`, or None if there is no such member."""
    accounts, relationships = rows
    if not accounts:
        return None
    id, external_id, is_active, languages, region, birth_year, is_adult, *settings = accounts[0]
    is_personalized, sensitivity, muted_words, muted_tags, interest_tags = settings
    adult = is_known_adult(bool(is_adult) if is_adult is not None else None, birth_year, now)
    followed, blocked, muted, hidden = group_relationships(relationships)
    # A member without privacy settings gets the strictest ones, except that PERSONALIZATION_CONSENT decides consent.
    return Viewer(
        id=id,
        external_id=external_id,
        is_active=bool(is_active),
        is_personalized=is_personalized_by_default() if is_personalized is None else bool(is_personalized),
        languages=tuple(json.loads(languages)),
        region=region,
        max_sensitivity=highest_sensitivity(sensitivity, adult),
        muted_words=tuple(map(fold, json.loads(muted_words))) if muted_words else (),
        muted_tags=tuple(json.loads(muted_tags)) if muted_tags else (),
        interest_tags=tuple(json.loads(interest_tags)) if interest_tags else (),
        followed_author_ids=followed,
        blocked_author_ids=blocked,
        muted_author_ids=muted,
        hidden_post_ids=hidden,
    )


def highest_sensitivity(setting: int | None, is_adult: bool) -> int:
    """Return the most sensitive content that a member with this setting may see. Without settings: safe content."""
    return min(setting or Sensitivity.SAFE, Sensitivity.ADULT if is_adult else Sensitivity.SENSITIVE)


def is_known_adult(is_adult: bool | None, birth_year: int | None, now: datetime) -> bool:
    """
    Return whether a member is certainly an adult.

    The platform's own statement decides. Without one, the year of birth must leave no doubt: the birthday is unknown.
    """
    if is_adult is not None:
        return is_adult
    return birth_year is not None and now.year - birth_year > ADULT_YEARS


def find_consenting(members: QuerySet[Member]) -> QuerySet[Member]:
    """Return those of *members* who let the service learn from what they do."""
    consents = Q(privacy__is_personalized=True)
    return members.filter(consents | Q(privacy=None) if is_personalized_by_default() else consents)


def group_relationships(rows: Rows) -> tuple[Int64Array, Int64Array, Int64Array, Int64Array]:
    """Return the ids followed, those with a block in either direction, those muted, and the ids of hidden posts."""
    ids: dict[str, set[int]] = {"follow": set(), "block": set(), "mute": set(), "hidden": set()}
    for kind, id in rows:
        ids[kind].add(id)
    followed, blocked, muted, hidden = map(sorted_ids, ids.values())
    return followed, blocked, muted, hidden


def sorted_ids(ids: set[int]) -> Int64Array:
    """Return the ids sorted."""
    return np.array(sorted(ids), np.int64) if ids else EMPTY_IDS


def read_viewing_rules(member_ids: Sequence[int], author_ids: Sequence[int], now: datetime) -> dict[int, ViewingRules]:
    """Return the rules of each member for the posts of these authors, in two queries. Raises `DatabaseError`."""
    members, member_parameters = in_clause(member_ids)
    authors, author_parameters = in_clause(author_ids)
    parameters = (*member_parameters, *author_parameters)
    accounts, relationships = fetch_all_rows(
        (SELECT_SENSITIVITIES.format(one_of=members), member_parameters),
        (SELECT_FOLLOWS_AND_BLOCKS.format(members=members, authors=authors), (*parameters, *parameters)),
    )
    by_member: defaultdict[int, Rows] = defaultdict(list)
    for member_id, kind, author_id in relationships:
        by_member[member_id].append((kind, author_id))
    rules = {}
    for id, birth_year, is_adult, sensitivity in accounts:
        adult = is_known_adult(bool(is_adult) if is_adult is not None else None, birth_year, now)
        followed, blocked, _, _ = group_relationships(by_member[id])
        rules[id] = ViewingRules(highest_sensitivity(sensitivity, adult), followed, blocked)
    return rules


def find_member_ids(external_ids: Collection[str]) -> dict[str, int]:
    """Return the primary keys of those of the members that exist, by platform id. Raises `DatabaseError`."""
    one_of, parameters = in_clause(list(external_ids))
    return dict(fetch_rows(SELECT_MEMBER_IDS.format(one_of=one_of), parameters))


def find_post_ids(external_ids: Sequence[str]) -> Int64Array:
    """Return the sorted primary keys of these posts. Ids of missing posts are left out."""
    keys = Post.objects.filter(external_id__in=external_ids).values_list("pk", flat=True) if external_ids else ()
    return sorted_ids(set(keys))


def newest_seen_query(member_id: int) -> SqlQuery:
    """Return the query for the posts that the member saw most recently."""
    return SELECT_NEWEST_SEEN, (member_id, SEEN_LIMIT)


def find_seen(member_id: int, post_ids: Sequence[int]) -> Int64Array:
    """Return the sorted ids of those posts that the member has seen."""
    if not post_ids:
        return EMPTY_IDS
    sql, ids = in_clause(post_ids)
    return sorted_ids({id for (id,) in fetch_rows(SELECT_SEEN.format(one_of=sql), (member_id, *ids))})
