"""
List what a member did with posts.

Only posts that the member may see now are in the list: it names the post, its author and its text.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from django.core import signing
from django.db.models import Q, QuerySet

from recommendations.contracts import PostView
from recommendations.models import Interaction, Post
from recommendations.services.errors import InvalidRequest
from recommendations.services.members.preferences import get_member
from recommendations.services.serving.visibility import select_visible

MAX_INTERACTIONS = 100
"""Maximum number of interactions on a page."""
MAX_SCANNED = 2_000
"""How many interactions in a row may be hidden before a page is short."""
BATCH_SIZE = MAX_INTERACTIONS + 1
SALT = "interactions"
Position = tuple[datetime, int]
"""The time and the primary key of the interaction before it."""


@dataclass(frozen=True, slots=True)
class ListedInteraction:
    """An interaction that was not undone."""

    post: PostView
    kind: str
    target: str
    value: float | None
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class InteractionPage:
    """A page of interactions, newest first."""

    interactions: list[ListedInteraction]
    next_cursor: str | None


def list_interactions(
    *, member_id: str, kinds: Collection[str] = (), limit: int = 20, cursor: str | None = None, now: datetime
) -> InteractionPage:
    """
    Return up to *limit* of the member's interactions of these *kinds* (none: all), after the position of *cursor*.

    Undone interactions are left out, and so are those with a post that is hidden from the member at *now*: as if there
    were none, so that a short page does not tell a hidden post from an erased one. Raises `UnknownMember`,
    `FactsUnavailable`, and `InvalidRequest` for a limit out of range or an invalid cursor.
    """
    if not 1 <= limit <= MAX_INTERACTIONS:
        raise InvalidRequest(f"A page has 1 to {MAX_INTERACTIONS} interactions, not {limit}.", "/limit")
    member = get_member(member_id)
    rows = Interaction.objects.filter(member=member, undone_at=None)
    if kinds:
        rows = rows.filter(kind__in=kinds)
    position = None if cursor is None else read_cursor(cursor)
    shown, end = find_visible(rows.order_by("-occurred_at", "-pk"), position, member.pk, limit + 1, now)
    page = shown[:limit]
    views = read_views({row.post_id for row in page})
    return InteractionPage(
        [
            ListedInteraction(views[row.post_id], row.kind, row.target, row.value, row.occurred_at)
            for row in page
            if row.post_id in views  # it may have been erased meanwhile
        ],
        write_cursor(page[-1] if len(shown) > limit else end),
    )


def find_visible(
    rows: QuerySet[Interaction], position: Position | None, member_id: int, count: int, now: datetime
) -> tuple[list[Interaction], Interaction | None]:
    """
    Return the first *count* rows after *position* whose posts the member may see, and where the search gave up.

    That is the last of `MAX_SCANNED` rows, or None if it ended earlier.
    """
    shown: list[Interaction] = []
    for _ in range(MAX_SCANNED // BATCH_SIZE):
        batch = list(select_after(rows, position)[:BATCH_SIZE])
        visible = select_visible(member_id, {row.post_id for row in batch}, now)
        shown += [row for row in batch if row.post_id in visible]
        if len(batch) < BATCH_SIZE or len(shown) >= count:
            return shown, None
        position = batch[-1].occurred_at, batch[-1].pk
    return shown, batch[-1]


def select_after(rows: QuerySet[Interaction], position: Position | None) -> QuerySet[Interaction]:
    """Return the rows after *position*, or all without one."""
    if position is None:
        return rows
    occurred_at, pk = position
    return rows.filter(Q(occurred_at=occurred_at, pk__lt=pk) | Q(occurred_at__lt=occurred_at))


def read_views(post_ids: Collection[int]) -> dict[int, PostView]:
    """Return the posts by primary key."""
    return {post.pk: build_view(post) for post in Post.objects.filter(pk__in=post_ids).select_related("author")}


def build_view(post: Post) -> PostView:
    """Return a post, read with its author, as entry points return it."""
    return PostView(
        id=post.external_id,
        author_id=post.author.external_id,
        text=post.text,
        kind=post.kind,
        language=post.language,
        tags=post.tags,
        media=post.media,
        created_at=post.created_at,
    )


def write_cursor(row: Interaction | None) -> str | None:
    """Return the cursor of the position after this interaction, or None without one."""
    return signing.dumps([row.occurred_at.isoformat(), row.pk], salt=SALT) if row else None


def read_cursor(cursor: str) -> Position:
    """Return the time and the primary key of the last interaction before the position. Raises `InvalidRequest`."""
    try:
        occurred_at, pk = signing.loads(cursor, salt=SALT)
    except signing.BadSignature:
        raise InvalidRequest("Invalid cursor. Send the next_cursor of the previous page.", "/cursor") from None
    return datetime.fromisoformat(occurred_at), pk
