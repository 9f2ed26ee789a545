"""Reads posts from the database: changes since a time for the catalogue, and the facts for the final check."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, TypeVar

import numpy as np
import orjson
from django.db import connection
from django.db.models import Model, QuerySet

from recommendations.contracts import (
    TAGS_PER_POST,
    UNKNOWN,
    UNKNOWN_FACTS,
    AccountStatus,
    BoolArray,
    Candidates,
    Int32Array,
    Int64Array,
    PostView,
)
from recommendations.models import (
    ErasedPost,
    Member,
    Post,
    PostEmbedding,
    PostStats,
    PrivacySettings,
    RegionStats,
)
from recommendations.stores.sql import Rows, SqlQuery, fetch_rows, in_clause
from recommendations.stores.vocabulary import Vocabularies
from values.text import contains_word, fold

CHUNK_ROWS = 5_000
NO_TAGS = (UNKNOWN,) * TAGS_PER_POST
R = TypeVar("R", bound=Model)


class PostRow(NamedTuple):
    """The database columns of a candidate, as in `POST_ROW_FIELDS`."""

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


class PostFacts(NamedTuple):
    """The database columns that decide who may see a post, and those that its interactions need."""

    id: int
    external_id: str
    author_id: int
    visibility: int
    sensitivity: int
    is_removed: bool
    kind: str
    is_active: bool
    is_private: bool | None
    tags: list[str]


POST_TABLE, MEMBER_TABLE, PRIVACY_TABLE = (
    connection.ops.quote_name(model._meta.db_table) for model in (Post, Member, PrivacySettings)
)
POSTS_WITH_AUTHORS = f"""
    {POST_TABLE} p
    JOIN {MEMBER_TABLE} a ON a.id = p.author_id
    LEFT JOIN {PRIVACY_TABLE} s ON s.member_id = a.id"""
SELECT_POST_FACTS = f"""
    SELECT p.id, p.external_id, p.author_id, p.visibility, p.sensitivity, p.removed_at IS NOT NULL, p.kind,
           a.is_active, s.is_private, p.tags
    FROM {POSTS_WITH_AUTHORS}
    WHERE p.{{column}} {{one_of}}"""


def read_post_facts(*, external_ids: Sequence[str] = (), pks: Sequence[int] = ()) -> list[PostFacts]:
    """Return the facts of the posts with these platform ids or primary keys that exist. Raises `DatabaseError`."""
    column, ids = ("external_id", external_ids) if external_ids else ("id", pks)
    posts: list[PostFacts] = []
    for start in range(0, len(ids), CHUNK_ROWS):
        one_of, parameters = in_clause(ids[start : start + CHUNK_ROWS])
        rows = fetch_rows(SELECT_POST_FACTS.format(column=column, one_of=one_of), parameters)
        posts += [PostFacts._make((*facts, orjson.loads(tags))) for *facts, tags in rows]
    return posts


def build_fact_candidates(posts: Sequence[PostFacts]) -> Candidates:
    """Return the posts as candidates, with the facts that decide who may see them."""
    candidates = Candidates.unknown(np.array([post.id for post in posts], np.int64), np.zeros(len(posts), np.uint16))
    candidates.author_ids[:] = [post.author_id for post in posts]
    candidates.visibility[:] = [post.visibility for post in posts]
    candidates.sensitivity[:] = [post.sensitivity for post in posts]
    candidates.is_removed[:] = [post.is_removed for post in posts]
    candidates.account_status[:] = [derive_account_status(post.is_active, post.is_private) for post in posts]
    return candidates


def derive_account_status(is_active: bool, is_private: bool | None) -> int:
    """Return an author's `AccountStatus`: `UNKNOWN` without privacy settings, so that filters drop the posts."""
    if not is_active:
        return AccountStatus.INACTIVE
    if is_private is None:
        return UNKNOWN
    return AccountStatus.PRIVATE if is_private else AccountStatus.OPEN


def newest_posts(limit: int) -> Iterator[PostRow]:
    """Yield the newest *limit* posts that are not removed, newest first."""
    rows = Post.objects.filter(removed_at__isnull=True).order_by("-created_at", "-id").values_list(*POST_ROW_FIELDS)
    return (PostRow(*row) for row in rows[:limit].iterator(CHUNK_ROWS))


def changed_posts(since: datetime) -> Iterator[PostRow]:
    """Yield the posts that changed at or after *since*, including removed posts, then those that were erased."""
    rows = Post.objects.filter(changed_at__gte=since).order_by("changed_at").values_list(*POST_ROW_FIELDS)
    yield from (PostRow(*row) for row in rows.iterator(CHUNK_ROWS))
    for post_id, erased_at in ErasedPost.objects.filter(erased_at__gte=since).values_list("post_id", "erased_at"):
        yield PostRow(post_id, UNKNOWN, erased_at, UNKNOWN, UNKNOWN, erased_at, "", [], False, None, "")


def changed_account_statuses(since: datetime) -> dict[int, int]:
    """Return the account status of each member whose account or privacy settings changed at or after *since*."""
    fields = ("id", "is_active", "privacy__is_private")
    accounts = Member.objects.filter(changed_at__gte=since).values_list(*fields)
    privacies = Member.objects.filter(privacy__changed_at__gte=since).values_list(*fields)
    return {id: derive_account_status(is_active, is_private) for id, is_active, is_private in [*accounts, *privacies]}


class StatsRow(NamedTuple):
    """The database columns of a post's stats."""

    post_id: int
    hour_sum: float
    day_sum: float
    week_sum: float
    year_sum: float
    total_sum: float
    summed_at: datetime
    positive_count: int
    served_count: int
    seen_count: float


class RegionRow(NamedTuple):
    """The database columns of a post's stats in one region."""

    post_id: int
    region: str
    hour_sum: float
    day_sum: float
    week_sum: float
    year_sum: float
    total_sum: float
    summed_at: datetime


def stats_since(since: datetime | None, extra_post_ids: Int64Array) -> Iterator[StatsRow]:
    """Yield the stats that changed at or after *since*, and those of *extra_post_ids*."""
    for rows in changed_row_querysets(PostStats.objects.all(), since, extra_post_ids):
        yield from (StatsRow(*row) for row in rows.values_list(*StatsRow._fields).iterator(CHUNK_ROWS))


def region_stats_since(since: datetime | None, extra_post_ids: Int64Array) -> Iterator[RegionRow]:
    """Yield the stats by region that changed at or after *since*, and those of *extra_post_ids*."""
    for rows in changed_row_querysets(RegionStats.objects.all(), since, extra_post_ids):
        yield from (RegionRow(*row) for row in rows.values_list(*RegionRow._fields).iterator(CHUNK_ROWS))


def embeddings_since(
    since: datetime | None, extra_post_ids: Int64Array, space: str, model: str
) -> Iterator[tuple[int, bytes]]:
    """Yield the post id and float32 bytes of embeddings that changed at or after *since*, and of *extra_post_ids*."""
    for rows in changed_row_querysets(
        PostEmbedding.objects.filter(space=space, embedding_model=model), since, extra_post_ids
    ):
        for post_id, vector in rows.values_list("post_id", "vector").iterator(CHUNK_ROWS):
            yield post_id, bytes(vector)


def embeddings_of(post_ids: Sequence[int], space: str, model: str) -> Iterator[tuple[int, bytes]]:
    """Yield the post id and float32 bytes of these posts' embeddings."""
    for start in range(0, len(post_ids), CHUNK_ROWS):
        rows = PostEmbedding.objects.filter(
            post__in=post_ids[start : start + CHUNK_ROWS], space=space, embedding_model=model
        )
        for post_id, vector in rows.values_list("post_id", "vector"):
            yield post_id, bytes(vector)


def changed_row_querysets(
    rows: QuerySet[R], since: datetime | None, extra_post_ids: Int64Array
) -> Iterator[QuerySet[R]]:
    """Yield querysets of rows changed at or after *since* and of *extra_post_ids*; of all rows if *since* is None."""
    if since is None:
        yield rows
        return
    yield rows.filter(changed_at__gte=since)
    for start in range(0, len(extra_post_ids), CHUNK_ROWS):
        yield rows.filter(post_id__in=extra_post_ids[start : start + CHUNK_ROWS].tolist())


SELECT_POSTS = f"""
    SELECT p.id, p.author_id, p.visibility, p.sensitivity, p.removed_at IS NOT NULL, a.is_active, s.is_private,
           p.external_id, a.external_id, p.text, p.kind, p.language, p.tags, p.media, CAST(p.created_at AS text)
    FROM {POSTS_WITH_AUTHORS}
    WHERE p.id {{one_of}}"""


PACKED_FACTS = struct.Struct(f"<qdbbb?ii{TAGS_PER_POST}i")
PACKED_COLUMNS = np.dtype(
    [
        ("author_ids", "<i8"),
        ("created_at", "<f8"),
        ("visibility", "i1"),
        ("sensitivity", "i1"),
        ("account_status", "i1"),
        ("is_removed", "?"),
        ("language_ids", "<i4"),
        ("kind_ids", "<i4"),
        ("tag_ids", "<i4", TAGS_PER_POST),
    ]
)
"""The columns of `Candidates` in `PostSnapshot.packed_facts`, packed by `PACKED_FACTS`."""
PACKED_UNKNOWN = np.array(tuple(UNKNOWN_FACTS[name] for name in PACKED_COLUMNS.names or ()), PACKED_COLUMNS).tobytes()


class PostSnapshot(NamedTuple):
    """A post as it was read: the facts for the final check, and the view to serve."""

    author_id: int
    packed_facts: bytes
    """One row of `PACKED_COLUMNS`. The final check joins the rows of its posts, and has all columns at once."""
    tag_ids: tuple[int, ...]
    """All tags, since the viewer may mute any of them."""
    view: PostView
    folded_text: str
    """The text, tags and alternative texts in the form of `values.text.fold`, in which muted words are searched."""


def posts_query(post_ids: Sequence[int]) -> SqlQuery:
    """Return the query for the snapshots of these posts."""
    sql, ids = in_clause(post_ids)
    return SELECT_POSTS.format(one_of=sql), ids


def decode_posts(rows: Rows, vocabularies: Vocabularies) -> dict[int, PostSnapshot]:
    """Return snapshots by post id from the rows of `posts_query`. A post that was deleted has none."""
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
    """Return the snapshot of one row of `SELECT_POSTS`."""
    created, tag_words = as_utc(datetime.fromisoformat(created_at)), orjson.loads(tags)
    media_items = orjson.loads(media)
    alternative_texts = [item["alt"] for item in media_items if isinstance(item.get("alt"), str)]
    tag_ids = tuple(map(vocabularies.tags.intern, tag_words))
    packed_facts = PACKED_FACTS.pack(
        author_id,
        created.timestamp(),
        visibility,
        sensitivity,
        derive_account_status(is_active, is_private),
        is_removed,
        vocabularies.languages.intern(language) if language else UNKNOWN,
        vocabularies.kinds.intern(kind),
        *(tag_ids + NO_TAGS)[:TAGS_PER_POST],
    )
    return PostSnapshot(
        author_id=author_id,
        packed_facts=packed_facts,
        tag_ids=tag_ids,
        view=PostView(post_external_id, author_external_id, text, kind, language, tag_words, media_items, created),
        folded_text="\n".join(map(fold, [text, *tag_words, *alternative_texts])),
    )


def build_candidates(
    post_ids: Int64Array, posts: Sequence[PostSnapshot | None], is_seen: BoolArray, muted_words: Sequence[str]
) -> Candidates:
    """Return posts as candidates, in their order. The facts of a deleted post (None) stay `UNKNOWN`."""
    packed = b"".join([post.packed_facts if post is not None else PACKED_UNKNOWN for post in posts])
    facts, is_deleted = np.frombuffer(packed, PACKED_COLUMNS), np.array([post is None for post in posts], np.bool_)
    columns = {name: facts[name] for name in PACKED_COLUMNS.names or ()} | {
        "tag_ids": add_late_tags(facts["tag_ids"], posts),
        "is_seen": is_seen | is_deleted,
        "has_muted_word": find_muted_words(posts, muted_words) if muted_words else is_deleted,
    }
    return Candidates.unknown(post_ids, np.zeros(len(post_ids), np.uint16)).take(slice(None), **columns)


def add_late_tags(tag_ids: Int32Array, posts: Sequence[PostSnapshot | None]) -> Int32Array:
    """Return *tag_ids* (n, t), the first tags of *posts*, with as many more columns as the longest list of tags has."""
    tag_counts = [len(post.tag_ids) if post is not None else 0 for post in posts]
    width = max(tag_counts, default=0)
    if width <= TAGS_PER_POST:
        return tag_ids
    all_tags = np.full((len(posts), width), UNKNOWN, np.int32)
    for row, post in zip(all_tags, posts, strict=True):
        if post is not None:
            row[: len(post.tag_ids)] = post.tag_ids
    return all_tags


def find_muted_words(posts: Sequence[PostSnapshot | None], muted_words: Sequence[str]) -> BoolArray:
    """Return which of *posts* (n,) contain a muted word, or were deleted."""
    return np.array(
        [post is None or any(contains_word(post.folded_text, word) for word in muted_words) for post in posts], np.bool_
    )


def as_utc(value: datetime) -> datetime:
    """Return an aware time. PostgreSQL returns times with an offset; SQLite returns them in UTC without one."""
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def fill_columns(candidates: Candidates, positions: list[int], rows: list[PostRow], vocabularies: Vocabularies) -> None:
    """Write the facts of *rows* into the columns of *candidates* at *positions*."""
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
