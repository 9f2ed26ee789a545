"""Posts as the database has them now: what changed since, and the facts that the last look needs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple, TypeVar

import numpy as np
from django.db.models import Model, QuerySet

from recommendations.contracts import UNKNOWN, BoolArray, Candidates, Int64Array, Query, Standing
from recommendations.models import Member, Post, PostEmbedding, PostStats, Seen
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


def stats_since(since: datetime | None, also: Int64Array) -> Iterator[tuple[int, float, datetime]]:
    """Yield post id, engagement and its moment: of stats that changed at or after *since*, and of the posts *also*."""
    for rows in since_or_of(PostStats.objects.all(), since, also):
        yield from rows.values_list("post_id", "engagement", "engagement_at").iterator(CHUNK_ROWS)


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


class DatabasePosts:
    """Keeps `PostFacts` by reading the rows at this moment."""

    def __init__(self, words: Words) -> None:
        self.words = words

    def read(self, query: Query, post_ids: Int64Array) -> Candidates:
        """See `PostFacts.read`. Two queries, and the texts only if the viewer mutes words."""
        fields = (*FIELDS, "text") if query.muted_words else FIELDS
        found = {row[0]: row for row in Post.objects.filter(pk__in=post_ids.tolist()).values_list(*fields)}
        seen = set(
            Seen.objects.filter(member_id=query.viewer_id, post_id__in=post_ids.tolist()).values_list(
                "post_id", flat=True
            )
        )
        candidates = Candidates.unknown(post_ids, np.zeros(len(post_ids), np.uint16))
        at = [i for i, post_id in enumerate(post_ids.tolist()) if post_id in found]
        rows = [found[int(post_ids[i])] for i in at]
        fill(candidates, at, [PostRow(*row[: len(FIELDS)]) for row in rows], self.words)
        candidates.is_seen[at] = [row[0] in seen for row in rows]
        candidates.is_muted[at] = mentions(rows, query.muted_words)
        return candidates


def mentions(rows: list[tuple[object, ...]], words: tuple[str, ...]) -> BoolArray:
    """Return which rows' text, their last field, holds one of *words* (case-folded)."""
    if not words:
        return np.zeros(len(rows), np.bool_)
    return np.array([any(word in str(row[-1]).casefold() for word in words) for row in rows], np.bool_)


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
    candidates.tag_ids[at] = words.tags.table([row.tags for row in rows], candidates.tag_ids.shape[1])
