"""Posts as the database has them now: what changed since, and the facts that the last look needs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple, TypeVar

import numpy as np
from django.db import connection
from django.db.models import Model, QuerySet

from recommendations.contracts import UNKNOWN, BoolArray, Candidates, Int64Array, Looked, PostView, Query, Standing
from recommendations.models import Member, Post, PostEmbedding, PostStats, PrivacySettings, RegionStats, Seen
from recommendations.stores.vocabulary import Words

CHUNK_ROWS = 5_000
R = TypeVar("R", bound=Model)


class PostRow(NamedTuple):
    """The columns that a candidate is made of."""

    id: int
    author_id: int
    created_at: datetime
    visibility: int
    sensitivity: int
    removed_at: datetime | None
    language: str
    tags: list[str]
    is_active: bool
    is_private: bool | None
    kind: str


FIELDS = (
    "id",
    "author_id",
    "created_at",
    "visibility",
    "sensitivity",
    "removed_at",
    "language",
    "tags",
    "author__is_active",
    "author__privacy__is_private",
    "kind",
)


def standing_of(is_active: bool, is_private: bool | None) -> int:
    """Return how an author stands; an author without privacy settings is of unknown standing, which is a no."""
    if not is_active:
        return Standing.INACTIVE
    if is_private is None:
        return UNKNOWN
    return Standing.PRIVATE if is_private else Standing.OPEN


def newest_posts(limit: int) -> Iterator[PostRow]:
    """Yield the newest *limit* posts that are not removed."""
    rows = Post.objects.filter(removed_at__isnull=True).order_by("-created_at", "-id").values_list(*FIELDS)
    return (PostRow(*row) for row in rows[:limit].iterator(CHUNK_ROWS))


def changed_posts(since: datetime) -> Iterator[PostRow]:
    """Yield the posts that changed at or after *since*, removed ones among them."""
    rows = Post.objects.filter(changed_at__gte=since).order_by("changed_at").values_list(*FIELDS)
    return (PostRow(*row) for row in rows.iterator(CHUNK_ROWS))


def changed_standings(since: datetime) -> dict[int, int]:
    """Return the standing of each member whose account or privacy changed at or after *since*."""
    fields = ("id", "is_active", "privacy__is_private")
    accounts = Member.objects.filter(changed_at__gte=since).values_list(*fields)
    privacies = Member.objects.filter(privacy__changed_at__gte=since).values_list(*fields)
    return {id: standing_of(active, private) for id, active, private in [*accounts, *privacies]}


def stats_since(since: datetime | None, also: Int64Array) -> Iterator[tuple[int, float, datetime, int, int]]:
    """
    Yield stats that changed at or after *since*, and those of the posts *also*.

    Each is post id, engagement and its moment, positive acts, and impressions.
    """
    fields = ("post_id", "engagement", "engagement_at", "positives", "impressions")
    for rows in since_or_of(PostStats.objects.all(), since, also):
        yield from rows.values_list(*fields).iterator(CHUNK_ROWS)


def region_stats_since(since: datetime | None, also: Int64Array) -> Iterator[tuple[int, str, float, datetime]]:
    """Yield post id, region, engagement there and its moment: what changed at or after *since*, and of posts *also*."""
    for rows in since_or_of(RegionStats.objects.all(), since, also):
        yield from rows.values_list("post_id", "region", "engagement", "engagement_at").iterator(CHUNK_ROWS)


def embeddings_since(since: datetime | None, also: Int64Array, space: str, model: str) -> Iterator[tuple[int, bytes]]:
    """Yield post id and float32 bytes: of embeddings made at or after *since*, and of the posts *also*."""
    for rows in since_or_of(PostEmbedding.objects.filter(space=space, model=model), since, also):
        for post_id, vector in rows.values_list("post_id", "vector").iterator(CHUNK_ROWS):
            yield post_id, bytes(vector)


def since_or_of(rows: QuerySet[R], since: datetime | None, also: Int64Array) -> Iterator[QuerySet[R]]:
    """Yield the queries that bring *rows* that changed since, and those of posts; all of them if *since* is None."""
    if since is None:
        yield rows
        return
    yield rows.filter(changed_at__gte=since)
    for start in range(0, len(also), CHUNK_ROWS):
        yield rows.filter(post_id__in=also[start : start + CHUNK_ROWS].tolist())


POST, MEMBER, PRIVACY, SEEN = (
    connection.ops.quote_name(model._meta.db_table) for model in (Post, Member, PrivacySettings, Seen)
)
LOOK = f"""
    SELECT p.id, p.author_id, p.created_at, p.visibility, p.sensitivity, p.removed_at, p.language, p.tags,
           a.is_active, s.is_private, {{seen}}, p.text, p.external_id, a.external_id, p.kind, p.media
    FROM {POST} p
    JOIN {MEMBER} a ON a.id = p.author_id
    LEFT JOIN {PRIVACY} s ON s.member_id = a.id
    {{and_seen}}
    WHERE p.id IN ({{marks}})"""
AND_SEEN = f"LEFT JOIN {SEEN} v ON v.post_id = p.id AND v.member_id = %s"


class DatabasePosts:
    """Keeps `PostFacts` by reading the rows at this moment, in SQL: this runs on every request."""

    def __init__(self, words: Words) -> None:
        self.words = words

    def read(self, query: Query, post_ids: Int64Array) -> Looked:
        """See `PostFacts.read`. One query, for what a post is judged by and for what is shown of it."""
        candidates = Candidates.unknown(post_ids, np.zeros(len(post_ids), np.uint16))
        if not len(post_ids):
            return Looked(candidates, {})
        with connection.cursor() as cursor:
            cursor.execute(*look(query, post_ids.tolist()))
            found = {row[0]: row for row in cursor.fetchall()}
        at = [i for i, post_id in enumerate(post_ids.tolist()) if post_id in found]
        rows = [found[int(post_ids[i])] for i in at]
        tags = [json.loads(row[7]) for row in rows]
        moments = [moment_of(row[2]) for row in rows]
        facts = [
            PostRow(row[0], row[1], moment, row[3], row[4], row[5], row[6], tags, bool(row[8]), row[9], row[14])
            for row, tags, moment in zip(rows, tags, moments, strict=True)
        ]
        fill(candidates, at, facts, self.words)
        candidates.is_seen[at] = [row[10] is not None for row in rows]
        candidates.is_muted[at] = mentions([row[11] for row in rows], query.muted_words)
        views = {
            row[0]: PostView(row[12], row[13], row[11], row[14], row[6], tags, json.loads(row[15]), moment)
            for row, tags, moment in zip(rows, tags, moments, strict=True)
        }
        return Looked(candidates, views)


def look(query: Query, post_ids: list[int]) -> tuple[str, list[int]]:
    """Return the last look at these posts and its parameters; what the viewer saw is read only if it may be used."""
    marks = ",".join(["%s"] * len(post_ids))
    if not query.uses_history:
        return LOOK.format(seen="NULL", and_seen="", marks=marks), post_ids
    return LOOK.format(seen="v.post_id", and_seen=AND_SEEN, marks=marks), [query.viewer_id, *post_ids]


def moment_of(value: datetime) -> datetime:
    """Return a moment as a driver gives it: PostgreSQL's with its offset, SQLite's without one, in UTC."""
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def mentions(texts: list[str], words: tuple[str, ...]) -> BoolArray:
    """Return which texts hold one of *words* (case-folded)."""
    if not words:
        return np.zeros(len(texts), np.bool_)
    return np.array([any(word in text.casefold() for word in words) for text in texts], np.bool_)


def fill(candidates: Candidates, at: list[int], rows: list[PostRow], words: Words) -> None:
    """Write the facts of *rows* into the columns at the positions *at*."""
    width = max((len(row.tags) for row in rows), default=0)
    if width > candidates.tag_ids.shape[1]:
        wider = np.full((len(candidates), width), UNKNOWN, np.int32)
        object.__setattr__(candidates, "tag_ids", wider)
    candidates.author_ids[at] = [row.author_id for row in rows]
    candidates.created_at[at] = [row.created_at.timestamp() for row in rows]
    candidates.visibility[at] = [row.visibility for row in rows]
    candidates.sensitivity[at] = [row.sensitivity for row in rows]
    candidates.standing[at] = [standing_of(row.is_active, row.is_private) for row in rows]
    candidates.is_removed[at] = [row.removed_at is not None for row in rows]
    candidates.is_seen[at] = False
    candidates.is_muted[at] = False
    candidates.language_ids[at] = [words.languages.learn(row.language) if row.language else UNKNOWN for row in rows]
    candidates.format_ids[at] = [words.formats.learn(row.kind) for row in rows]
    candidates.tag_ids[at] = words.tags.table([row.tags for row in rows], candidates.tag_ids.shape[1])
