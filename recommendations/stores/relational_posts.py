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

from recommendations.contracts import UNKNOWN, AccountStatus, BoolArray, Candidates, Int64Array, PostView
from recommendations.models import (
    ErasedPost,
    Member,
    Post,
    PostEmbedding,
    PostStats,
    PrivacySettings,
    RegionStats,
)
from recommendations.stores.sql import Rows, SqlQuery, in_clause
from recommendations.stores.vocabulary import Vocabularies

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


POST_ROW_FIELDS = (
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


def derive_account_status(is_active: bool, is_private: bool | None) -> int:
    """Return how an author stands; an author without privacy settings is of unknown standing, which is a no."""
    if not is_active:
        return AccountStatus.INACTIVE
    if is_private is None:
        return UNKNOWN
    return AccountStatus.PRIVATE if is_private else AccountStatus.OPEN


def newest_posts(limit: int) -> Iterator[PostRow]:
    """Yield the newest *limit* posts that are not removed."""
    rows = Post.objects.filter(removed_at__isnull=True).order_by("-created_at", "-id").values_list(*POST_ROW_FIELDS)
    return (PostRow(*row) for row in rows[:limit].iterator(CHUNK_ROWS))


def changed_posts(since: datetime) -> Iterator[PostRow]:
    """Yield the posts that changed at or after *since*, removed ones among them, and those that were erased."""
    rows = Post.objects.filter(changed_at__gte=since).order_by("changed_at").values_list(*POST_ROW_FIELDS)
    yield from (PostRow(*row) for row in rows.iterator(CHUNK_ROWS))
    for post_id, at in ErasedPost.objects.filter(erased_at__gte=since).values_list("post_id", "erased_at"):
        yield PostRow(post_id, UNKNOWN, at, UNKNOWN, UNKNOWN, at, "", [], False, None, "")


def changed_account_statuses(since: datetime) -> dict[int, int]:
    """Return the standing of each member whose account or privacy changed at or after *since*."""
    fields = ("id", "is_active", "privacy__is_private")
    accounts = Member.objects.filter(changed_at__gte=since).values_list(*fields)
    privacies = Member.objects.filter(privacy__changed_at__gte=since).values_list(*fields)
    return {id: derive_account_status(active, private) for id, active, private in [*accounts, *privacies]}


def stats_since(since: datetime | None, extra_post_ids: Int64Array) -> Iterator[tuple[int, float, datetime, int, int]]:
    """
    Yield stats that changed at or after *since*, and those of the posts *also*.

    Each is post id, engagement and its moment, positive acts, and served_count.
    """
    fields = ("post_id", "engagement", "engagement_at", "positive_count", "served_count")
    for rows in changed_row_querysets(PostStats.objects.all(), since, extra_post_ids):
        yield from rows.values_list(*fields).iterator(CHUNK_ROWS)


def region_stats_since(
    since: datetime | None, extra_post_ids: Int64Array
) -> Iterator[tuple[int, str, float, datetime]]:
    """Yield post id, region, engagement there and its moment: what changed at or after *since*, and of posts *also*."""
    for rows in changed_row_querysets(RegionStats.objects.all(), since, extra_post_ids):
        yield from rows.values_list("post_id", "region", "engagement", "engagement_at").iterator(CHUNK_ROWS)


def embeddings_since(
    since: datetime | None, extra_post_ids: Int64Array, space: str, model: str
) -> Iterator[tuple[int, bytes]]:
    """Yield post id and float32 bytes: of embeddings made at or after *since*, and of the posts *also*."""
    for rows in changed_row_querysets(
        PostEmbedding.objects.filter(space=space, embedding_model=model), since, extra_post_ids
    ):
        for post_id, vector in rows.values_list("post_id", "vector").iterator(CHUNK_ROWS):
            yield post_id, bytes(vector)


def embeddings_of(post_ids: Sequence[int], space: str, model: str) -> Iterator[tuple[int, bytes]]:
    """Yield post id and float32 bytes of these posts' embeddings."""
    for start in range(0, len(post_ids), CHUNK_ROWS):
        some = PostEmbedding.objects.filter(
            post__in=post_ids[start : start + CHUNK_ROWS], space=space, embedding_model=model
        )
        for post_id, vector in some.values_list("post_id", "vector"):
            yield post_id, bytes(vector)


def changed_row_querysets(
    rows: QuerySet[R], since: datetime | None, extra_post_ids: Int64Array
) -> Iterator[QuerySet[R]]:
    """Yield the queries that bring *rows* that changed since, and those of posts; all of them if *since* is None."""
    if since is None:
        yield rows
        return
    yield rows.filter(changed_at__gte=since)
    for start in range(0, len(extra_post_ids), CHUNK_ROWS):
        yield rows.filter(post_id__in=extra_post_ids[start : start + CHUNK_ROWS].tolist())


POST_TABLE, MEMBER_TABLE, PRIVACY_TABLE = (
    connection.ops.quote_name(model._meta.db_table) for model in (Post, Member, PrivacySettings)
)
SELECT_POSTS = f"""
    SELECT p.id, p.author_id, p.visibility, p.sensitivity, p.removed_at IS NOT NULL, a.is_active, s.is_private,
           p.external_id, a.external_id, p.text, p.kind, p.language, p.tags, p.media, CAST(p.created_at AS text)
    FROM {POST_TABLE} p
    JOIN {MEMBER_TABLE} a ON a.id = p.author_id
    LEFT JOIN {PRIVACY_TABLE} s ON s.member_id = a.id
    WHERE p.id {{one_of}}"""


class PostSnapshot(NamedTuple):
    """A post as it was read: what it is judged by, and what is shown of it."""

    author_id: int
    visibility: int
    sensitivity: int
    is_removed: bool
    account_status: int
    created_at: float
    language_id: int
    kind_id: int
    tag_ids: tuple[int, ...]
    """All of them, since any may be muted."""
    view: PostView
    folded_text: str
    """The text as muted words are sought in it."""


def posts_query(post_ids: Sequence[int]) -> SqlQuery:
    """Return the query for these posts."""
    sql, ids = in_clause(post_ids)
    return SELECT_POSTS.format(one_of=sql), ids


def decode_posts(rows: Rows, vocabularies: Vocabularies) -> dict[int, PostSnapshot]:
    """Return posts by the rows of `posts_question`; what is gone is left out."""
    return {row[0]: decode_post(vocabularies, *row[1:]) for row in rows}


def decode_post(
    vocabularies: Vocabularies,
    author_id: int,
    visibility: int,
    sensitivity: int,
    is_removed: bool,
    is_active: bool,
    is_private: bool | None,
    post_external_id: str,
    author_external_id: str,
    text: str,
    kind: str,
    language: str,
    tags: str,
    media: str,
    created_at: str,
) -> PostSnapshot:
    """Return one row of `LOOK`, decoded."""
    moment, named = as_utc(datetime.fromisoformat(created_at)), orjson.loads(tags)
    return PostSnapshot(
        author_id=author_id,
        visibility=visibility,
        sensitivity=sensitivity,
        is_removed=bool(is_removed),
        account_status=derive_account_status(is_active, is_private),
        created_at=moment.timestamp(),
        language_id=vocabularies.languages.intern(language) if language else UNKNOWN,
        kind_id=vocabularies.kinds.intern(kind),
        tag_ids=tuple(map(vocabularies.tags.intern, named)),
        view=PostView(post_external_id, author_external_id, text, kind, language, named, orjson.loads(media), moment),
        folded_text=text.casefold(),
    )


def build_candidates(
    post_ids: Int64Array, posts: Sequence[PostSnapshot | None], is_seen: BoolArray, muted_words: Sequence[str]
) -> Candidates:
    """Return posts as candidates, in their order; what is gone (None) stays `UNKNOWN`."""
    candidates = Candidates.unknown(post_ids, np.zeros(len(post_ids), np.uint16))
    at = [i for i, post in enumerate(posts) if post is not None]
    known = [post for post in posts if post is not None]
    if not known:
        return candidates
    facts = list(zip(*known, strict=True))
    for name in (
        "author_ids",
        "visibility",
        "sensitivity",
        "is_removed",
        "account_status",
        "created_at",
        "language_ids",
    ):
        getattr(candidates, name)[at] = facts[SNAPSHOT_POSITIONS[name]]
    candidates.kind_ids[at] = facts[SNAPSHOT_POSITIONS["kind_ids"]]
    candidates.is_seen[at] = is_seen[at]
    candidates.has_muted_word[at] = [any(word in post.folded_text for word in muted_words) for post in known]
    most = max(candidates.tag_ids.shape[1], *(len(post.tag_ids) for post in known))
    tags = np.full((len(candidates), most), UNKNOWN, np.int32)
    tags[at] = [post.tag_ids + (UNKNOWN,) * (most - len(post.tag_ids)) for post in known]
    return replace(candidates, tag_ids=tags)


SNAPSHOT_POSITIONS = {
    column: PostSnapshot._fields.index(name)
    for column, name in {
        "author_ids": "author_id",
        "visibility": "visibility",
        "sensitivity": "sensitivity",
        "is_removed": "is_removed",
        "account_status": "account_status",
        "created_at": "created_at",
        "language_ids": "language_id",
        "kind_ids": "kind_id",
    }.items()
}
"""Where each column of candidates is found in a post."""


def as_utc(value: datetime) -> datetime:
    """Return a moment as a driver gives it: PostgreSQL's with its offset, SQLite's without one, in UTC."""
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def fill_columns(candidates: Candidates, positions: list[int], rows: list[PostRow], vocabularies: Vocabularies) -> None:
    """Write the facts of *rows* into the columns at the positions *at*."""
    candidates.author_ids[positions] = [row.author_id for row in rows]
    candidates.created_at[positions] = [row.created_at.timestamp() for row in rows]
    candidates.visibility[positions] = [row.visibility for row in rows]
    candidates.sensitivity[positions] = [row.sensitivity for row in rows]
    candidates.account_status[positions] = [derive_account_status(row.is_active, row.is_private) for row in rows]
    candidates.is_removed[positions] = [row.removed_at is not None for row in rows]
    candidates.is_seen[positions] = False
    candidates.has_muted_word[positions] = False
    candidates.language_ids[positions] = [
        vocabularies.languages.intern(row.language) if row.language else UNKNOWN for row in rows
    ]
    candidates.kind_ids[positions] = [vocabularies.kinds.intern(row.kind) for row in rows]
    candidates.tag_ids[positions] = vocabularies.tags.intern_table(
        [row.tags for row in rows], candidates.tag_ids.shape[1]
    )
