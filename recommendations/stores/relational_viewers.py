"""
What the database knows of a viewer, in a constant number of queries whatever the history's length.

These run on every request, so they are SQL: building the same ones with the ORM costs more than running them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from django.db import connection

from recommendations.contracts import EMPTY_IDS, Int64Array, Sensitivity
from recommendations.models import Member, NegativeFeedback, Post, PrivacySettings, Relationship, SeenPost
from recommendations.stores.sql import Rows, SqlQuery, fetch_rows, in_clause

SEEN_LIMIT = 5_000
"""Posts seen last that are excluded before ranking; the last look asks about all others. Changes the speed."""
ADULT_YEARS = 18

MEMBER_TABLE, PRIVACY_TABLE, RELATIONSHIP_TABLE, SEEN_TABLE, FEEDBACK_TABLE = (
    connection.ops.quote_name(model._meta.db_table)
    for model in (Member, PrivacySettings, Relationship, SeenPost, NegativeFeedback)
)
SELECT_VIEWER = f"""
    SELECT m.id, m.external_id, m.is_active, m.languages, m.region, m.birth_year, m.is_adult,
           p.is_personalized, p.sensitivity, p.muted_words, p.muted_tags
    FROM {MEMBER_TABLE} m LEFT JOIN {PRIVACY_TABLE} p ON p.member_id = m.id
    WHERE m.{{column}} = %s"""
MEMBER_ID_SUBQUERY = f"(SELECT id FROM {MEMBER_TABLE} WHERE {{column}} = %s)"
SELECT_RELATIONSHIPS = f"""
    SELECT kind, target_id FROM {RELATIONSHIP_TABLE} WHERE source_id = {MEMBER_ID_SUBQUERY}
    UNION ALL SELECT kind, source_id FROM {RELATIONSHIP_TABLE} WHERE target_id = {MEMBER_ID_SUBQUERY} AND kind = 'block'
    UNION ALL SELECT 'hidden', post_id FROM {FEEDBACK_TABLE} WHERE member_id = {MEMBER_ID_SUBQUERY} AND target = 'post'"""
SELECT_NEWEST_SEEN = f"SELECT post_id FROM {SEEN_TABLE} WHERE member_id = %s ORDER BY seen_at DESC LIMIT %s"
SELECT_SEEN = f"SELECT post_id FROM {SEEN_TABLE} WHERE member_id = %s AND post_id {{one_of}}"


@dataclass(frozen=True, slots=True)
class Viewer:
    """One member as a viewer. Id arrays are sorted."""

    id: int
    external_id: str
    is_active: bool
    is_personalized: bool
    languages: tuple[str, ...]
    region: str
    max_sensitivity: int
    muted_words: tuple[str, ...]
    muted_tags: tuple[str, ...]
    followed_author_ids: Int64Array
    blocked_author_ids: Int64Array
    muted_author_ids: Int64Array
    hidden_post_ids: Int64Array
    """Posts that the member hid, reported or turned down."""


def viewer_queries(*, external_id: str | None = None, pk: int | None = None) -> tuple[SqlQuery, SqlQuery]:
    """Return the queries for the member of this id, and for all that a last look needs of them."""
    column, value = ("external_id", external_id) if pk is None else ("id", pk)
    return (SELECT_VIEWER.format(column=column), (value,)), (SELECT_RELATIONSHIPS.format(column=column), (value,) * 3)


def build_viewer(rows: Sequence[Rows], now: datetime) -> Viewer | None:
    """Return the member by the rows of `questions`; None if there is none."""
    found, ties = rows
    if not found:
        return None
    id, external_id, is_active, languages, region, birth_year, is_adult, *others = found[0]
    personal, sensitivity, words, tags = others
    adult = is_known_adult(bool(is_adult) if is_adult is not None else None, birth_year, now)
    followed, blocked, muted, hidden = group_relationships(ties)
    # Without privacy settings: the strictest.
    return Viewer(
        id=id,
        external_id=external_id,
        is_active=bool(is_active),
        is_personalized=bool(personal),
        languages=tuple(json.loads(languages)),
        region=region,
        max_sensitivity=min(sensitivity or Sensitivity.SAFE, Sensitivity.ADULT if adult else Sensitivity.SENSITIVE),
        muted_words=tuple(word.casefold() for word in json.loads(words)) if words else (),
        muted_tags=tuple(json.loads(tags)) if tags else (),
        followed_author_ids=followed,
        blocked_author_ids=blocked,
        muted_author_ids=muted,
        hidden_post_ids=hidden,
    )


def is_known_adult(is_adult: bool | None, birth_year: int | None, now: datetime) -> bool:
    """Return whether a member is known to be of age: the platform says so, or the year of birth leaves no doubt."""
    if is_adult is not None:
        return is_adult
    return birth_year is not None and now.year - birth_year > ADULT_YEARS


def group_relationships(rows: Rows) -> tuple[Int64Array, Int64Array, Int64Array, Int64Array]:
    """Return the members that one follows, those on either side of a block, those it mutes; and posts it hid."""
    others: dict[str, set[int]] = {"follow": set(), "block": set(), "mute": set(), "hidden": set()}
    for kind, other in rows:
        others[kind].add(other)
    followed, blocked, muted, hidden = map(sorted_ids, others.values())
    return followed, blocked, muted, hidden


def sorted_ids(ids: set[int]) -> Int64Array:
    """Return the ids sorted."""
    return np.array(sorted(ids), np.int64) if ids else EMPTY_IDS


def find_post_ids(external_ids: Sequence[str]) -> Int64Array:
    """Return our numbers of these posts, sorted; those that are not there are left out."""
    found = Post.objects.filter(external_id__in=external_ids).values_list("pk", flat=True) if external_ids else ()
    return sorted_ids(set(found))


def newest_seen_query(member_id: int) -> SqlQuery:
    """Return the query for the posts that the member saw last."""
    return SELECT_NEWEST_SEEN, (member_id, SEEN_LIMIT)


def find_seen(member_id: int, post_ids: Sequence[int]) -> Int64Array:
    """Return which of these posts the member saw, sorted."""
    if not post_ids:
        return EMPTY_IDS
    sql, ids = in_clause(post_ids)
    return sorted_ids({id for (id,) in fetch_rows(SELECT_SEEN.format(one_of=sql), (member_id, *ids))})
