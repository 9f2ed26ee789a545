"""Posts as the database has them now: what changed since, and the facts that the last look needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

import numpy as np
import orjson
from django.db import connection
from django.db.models import Model, QuerySet

from recommendations.contracts import UNKNOWN, Candidates, Int64Array, Looked, PostView, Query, Standing
from recommendations.models import (
    ErasedPost,
    Member,
    Post,
    PostEmbedding,
    PostStats,
    PrivacySettings,
    RegionStats,
    Seen,
)
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


POST, MEMBER, PRIVACY, SEEN = (
    connection.ops.quote_name(model._meta.db_table) for model in (Post, Member, PrivacySettings, Seen)
)
LOOK = f"""
    SELECT p.id, p.author_id, p.visibility, p.sensitivity, p.removed_at IS NOT NULL,
           a.is_active, s.is_private, {{seen}},
           p.external_id, a.external_id, p.text, p.kind, p.language, p.tags, p.media, CAST(p.created_at AS text)
    FROM {POST} p
    JOIN {MEMBER} a ON a.id = p.author_id
    LEFT JOIN {PRIVACY} s ON s.member_id = a.id
    {{and_seen}}
    WHERE p.id IN ({{marks}})"""
FACTS = 8
"""Columns of `LOOK` that say who may see a post; those behind them are what is shown of it."""
AND_SEEN = f"LEFT JOIN {SEEN} v ON v.post_id = p.id AND v.member_id = %s"
READ_POSTS = 20_000
"""What posts hold is kept decoded for this many of them. Changes the speed, and memory: about 2 KB each."""
KEEP_READ_SECONDS = 600.0
"""Whoever asks for a post's text to be gone finds it gone from a process's memory after this time."""


class Content(NamedTuple):
    """What a post holds, decoded."""

    view: PostView
    created_at: float
    language_id: int
    format_id: int
    tag_ids: list[int]
    folded: str
    """The text as muted words are sought in it."""


class DatabasePosts:
    """Keeps `PostFacts` by reading the rows at this moment, in SQL: this runs on every request."""

    def __init__(self, words: Words) -> None:
        self.words = words
        # Kept by what the row holds, every column of it: a row that changed is decoded anew.
        self._content = lru_cache(READ_POSTS)(self._decoded)
        self._forgotten_at = 0.0

    def read(self, query: Query, post_ids: Int64Array) -> Looked:
        """See `PostFacts.read`. One query, for what a post is judged by and for what is shown of it."""
        candidates = Candidates.unknown(post_ids, np.zeros(len(post_ids), np.uint16))
        if not len(post_ids):
            return Looked(candidates, {})
        if abs(query.now - self._forgotten_at) > KEEP_READ_SECONDS:
            self._content.cache_clear()
            self._forgotten_at = query.now
        asked = post_ids.tolist()
        with connection.cursor() as cursor:
            cursor.execute(*look(query, asked))
            found = {row[0]: row for row in cursor.fetchall()}
        at = [i for i, post_id in enumerate(asked) if post_id in found]
        rows = [found[asked[i]] for i in at]
        contents = [self._content(*row[FACTS:]) for row in rows]
        judge(candidates, at, rows)
        describe(candidates, at, contents)
        if query.muted_words:
            candidates.is_muted[at] = [
                any(word in content.folded for word in query.muted_words) for content in contents
            ]
        else:
            candidates.is_muted[at] = False
        return Looked(candidates, {row[0]: content.view for row, content in zip(rows, contents, strict=True)})

    def _decoded(
        self, post: str, author: str, text: str, kind: str, language: str, tags: str, media: str, created_at: str
    ) -> Content:
        moment, words = moment_of(datetime.fromisoformat(created_at)), orjson.loads(tags)
        return Content(
            PostView(post, author, text, kind, language, words, orjson.loads(media), moment),
            moment.timestamp(),
            self.words.languages.learn(language) if language else UNKNOWN,
            self.words.formats.learn(kind),
            [self.words.tags.learn(word) for word in words],
            text.casefold(),
        )


def mentions(folded: str, words: tuple[str, ...]) -> bool:
    """Return whether a text holds one of *words*, all case-folded."""
    return any(word in folded for word in words) if words else False


def judge(candidates: Candidates, at: list[int], rows: list[tuple[Any, ...]]) -> None:
    """Write, at the positions *at*, what *rows* of `LOOK` say of who may see a post."""
    if not rows:
        return
    _, authors, visibility, sensitivity, removed, active, private, seen, *_ = zip(*rows, strict=True)
    candidates.author_ids[at] = authors
    candidates.visibility[at] = visibility
    candidates.sensitivity[at] = sensitivity
    candidates.is_removed[at] = removed
    candidates.standing[at] = [standing_of(a, p) for a, p in zip(active, private, strict=True)]
    candidates.is_seen[at] = [post is not None for post in seen]


def describe(candidates: Candidates, at: list[int], contents: list[Content]) -> None:
    """Write, at the positions *at*, what posts hold; with all of their tags, since any of them may be muted."""
    candidates.created_at[at] = [content.created_at for content in contents]
    candidates.language_ids[at] = [content.language_id for content in contents]
    candidates.format_ids[at] = [content.format_id for content in contents]
    most = max([candidates.tag_ids.shape[1], *(len(content.tag_ids) for content in contents)])
    if most > candidates.tag_ids.shape[1]:
        object.__setattr__(candidates, "tag_ids", np.full((len(candidates), most), UNKNOWN, np.int32))
    candidates.tag_ids[at] = [
        content.tag_ids + [UNKNOWN] * (most - len(content.tag_ids)) for content in contents
    ] or np.zeros((0, most), np.int32)


def look(query: Query, post_ids: list[int]) -> tuple[str, list[int]]:
    """Return the last look at these posts and its parameters; what the viewer saw is read only if it may be used."""
    marks = ",".join(["%s"] * len(post_ids))
    if not query.uses_history:
        return LOOK.format(seen="NULL", and_seen="", marks=marks), post_ids
    return LOOK.format(seen="v.post_id", and_seen=AND_SEEN, marks=marks), [query.viewer_id, *post_ids]


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
