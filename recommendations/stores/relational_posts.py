"""Posts as the database has them now: what changed since, and the facts that the last look needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple, TypeVar

import numpy as np
import orjson
from django.db import connection
from django.db.models import Model, QuerySet

from recommendations.contracts import UNKNOWN, BoolArray, Candidates, Int64Array, PostView, Standing
from recommendations.models import (
    ErasedPost,
    Member,
    Post,
    PostEmbedding,
    PostStats,
    PrivacySettings,
    RegionStats,
)
from recommendations.stores.sql import Question, Rows, one_of
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
    """Yield the posts that changed at or after *since*, removed ones among them, and those that were erased."""
    rows = Post.objects.filter(changed_at__gte=since).order_by("changed_at").values_list(*FIELDS)
    yield from (PostRow(*row) for row in rows.iterator(CHUNK_ROWS))
    for post_id, at in ErasedPost.objects.filter(erased_at__gte=since).values_list("post_id", "erased_at"):
        yield PostRow(post_id, UNKNOWN, at, UNKNOWN, UNKNOWN, at, "", [], False, None, "")


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


def embeddings_of(post_ids: Sequence[int], space: str, model: str) -> Iterator[tuple[int, bytes]]:
    """Yield post id and float32 bytes of these posts' embeddings."""
    for start in range(0, len(post_ids), CHUNK_ROWS):
        some = PostEmbedding.objects.filter(post__in=post_ids[start : start + CHUNK_ROWS], space=space, model=model)
        for post_id, vector in some.values_list("post_id", "vector"):
            yield post_id, bytes(vector)


def since_or_of(rows: QuerySet[R], since: datetime | None, also: Int64Array) -> Iterator[QuerySet[R]]:
    """Yield the queries that bring *rows* that changed since, and those of posts; all of them if *since* is None."""
    if since is None:
        yield rows
        return
    yield rows.filter(changed_at__gte=since)
    for start in range(0, len(also), CHUNK_ROWS):
        yield rows.filter(post_id__in=also[start : start + CHUNK_ROWS].tolist())


POST, MEMBER, PRIVACY = (connection.ops.quote_name(model._meta.db_table) for model in (Post, Member, PrivacySettings))
LOOK = f"""
    SELECT p.id, p.author_id, p.visibility, p.sensitivity, p.removed_at IS NOT NULL, a.is_active, s.is_private,
           p.external_id, a.external_id, p.text, p.kind, p.language, p.tags, p.media, CAST(p.created_at AS text)
    FROM {POST} p
    JOIN {MEMBER} a ON a.id = p.author_id
    LEFT JOIN {PRIVACY} s ON s.member_id = a.id
    WHERE p.id {{one_of}}"""


class KnownPost(NamedTuple):
    """A post as it was read: what it is judged by, and what is shown of it."""

    author_id: int
    visibility: int
    sensitivity: int
    is_removed: bool
    standing: int
    created_at: float
    language_id: int
    format_id: int
    tag_ids: tuple[int, ...]
    """All of them, since any may be muted."""
    view: PostView
    folded: str
    """The text as muted words are sought in it."""


def posts_question(post_ids: Sequence[int]) -> Question:
    """Return the query for these posts."""
    sql, ids = one_of(post_ids)
    return LOOK.format(one_of=sql), ids


def posts_of(rows: Rows, words: Words) -> dict[int, KnownPost]:
    """Return posts by the rows of `posts_question`; what is gone is left out."""
    return {row[0]: known_post(words, *row[1:]) for row in rows}


def known_post(
    words: Words,
    author_id: int,
    visibility: int,
    sensitivity: int,
    is_removed: bool,
    is_active: bool,
    is_private: bool | None,
    post: str,
    author: str,
    text: str,
    kind: str,
    language: str,
    tags: str,
    media: str,
    created_at: str,
) -> KnownPost:
    """Return one row of `LOOK`, decoded."""
    moment, named = moment_of(datetime.fromisoformat(created_at)), orjson.loads(tags)
    return KnownPost(
        author_id=author_id,
        visibility=visibility,
        sensitivity=sensitivity,
        is_removed=bool(is_removed),
        standing=standing_of(is_active, is_private),
        created_at=moment.timestamp(),
        language_id=words.languages.learn(language) if language else UNKNOWN,
        format_id=words.formats.learn(kind),
        tag_ids=tuple(map(words.tags.learn, named)),
        view=PostView(post, author, text, kind, language, named, orjson.loads(media), moment),
        folded=text.casefold(),
    )


def candidates_of(
    post_ids: Int64Array, posts: Sequence[KnownPost | None], seen: BoolArray, muted_words: Sequence[str]
) -> Candidates:
    """Return posts as candidates, in their order; what is gone (None) stays `UNKNOWN`."""
    candidates = Candidates.unknown(post_ids, np.zeros(len(post_ids), np.uint16))
    at = [i for i, post in enumerate(posts) if post is not None]
    known = [post for post in posts if post is not None]
    if not known:
        return candidates
    facts = list(zip(*known, strict=True))
    for name in ("author_ids", "visibility", "sensitivity", "is_removed", "standing", "created_at", "language_ids"):
        getattr(candidates, name)[at] = facts[PLACES[name]]
    candidates.format_ids[at] = facts[PLACES["format_ids"]]
    candidates.is_seen[at] = seen[at]
    candidates.is_muted[at] = [any(word in post.folded for word in muted_words) for post in known]
    most = max(candidates.tag_ids.shape[1], *(len(post.tag_ids) for post in known))
    tags = np.full((len(candidates), most), UNKNOWN, np.int32)
    tags[at] = [post.tag_ids + (UNKNOWN,) * (most - len(post.tag_ids)) for post in known]
    return replace(candidates, tag_ids=tags)


PLACES = {
    column: KnownPost._fields.index(name)
    for column, name in {
        "author_ids": "author_id",
        "visibility": "visibility",
        "sensitivity": "sensitivity",
        "is_removed": "is_removed",
        "standing": "standing",
        "created_at": "created_at",
        "language_ids": "language_id",
        "format_ids": "format_id",
    }.items()
}
"""Where each column of candidates is found in a post."""


def moment_of(value: datetime) -> datetime:
    """Return a moment as a driver gives it: PostgreSQL's with its offset, SQLite's without one, in UTC."""
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def fill(candidates: Candidates, at: list[int], rows: list[PostRow], words: Words) -> None:
    """Write the facts of *rows* into the columns at the positions *at*."""
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
