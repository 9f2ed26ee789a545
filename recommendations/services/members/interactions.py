"""
List what a member did with posts.

Only posts that the member may see now are in the list: it names the post, its author and its text.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from django.core import signing
from django.db.models import Q

from recommendations.contracts import PostView
from recommendations.models import Interaction, Post
from recommendations.services.errors import InvalidRequest
from recommendations.services.members.preferences import get_member
from recommendations.services.serving.visibility import select_visible

MAX_INTERACTIONS = 100
"""Maximum number of interactions on a page."""
SALT = "interactions"


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

    Undone interactions are left out, and so are those with a post that is hidden from the member at *now*; a page with
    fewer than *limit* interactions may have a next one. Raises `UnknownMember`, `FactsUnavailable`, and
    `InvalidRequest` for a limit out of range or an invalid cursor.
    """
    if not 1 <= limit <= MAX_INTERACTIONS:
        raise InvalidRequest(f"A page has 1 to {MAX_INTERACTIONS} interactions, not {limit}.", "/limit")
    member = get_member(member_id)
    rows = Interaction.objects.filter(member=member, undone_at=None)
    if kinds:
        rows = rows.filter(kind__in=kinds)
    if cursor is not None:
        occurred_at, pk = read_cursor(cursor)
        rows = rows.filter(Q(occurred_at=occurred_at, pk__lt=pk) | Q(occurred_at__lt=occurred_at))
    found = list(rows.order_by("-occurred_at", "-pk")[: limit + 1])
    page = found[:limit]
    visible = select_visible(member.pk, {row.post_id for row in page}, now)
    views = {post.pk: build_view(post) for post in Post.objects.filter(pk__in=visible).select_related("author")}
    return InteractionPage(
        [
            ListedInteraction(views[row.post_id], row.kind, row.target, row.value, row.occurred_at)
            for row in page
            if row.post_id in views
        ],
        write_cursor(page[-1]) if len(found) > limit else None,
    )


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


def write_cursor(row: Interaction) -> str:
    """Return the cursor of the position after this interaction."""
    return signing.dumps([row.occurred_at.isoformat(), row.pk], salt=SALT)


def read_cursor(cursor: str) -> tuple[datetime, int]:
    """Return the time and the primary key of the last interaction before the position. Raises `InvalidRequest`."""
    try:
        occurred_at, pk = signing.loads(cursor, salt=SALT)
    except signing.BadSignature:
        raise InvalidRequest("Invalid cursor. Send the next_cursor of the previous page.", "/cursor") from None
    return datetime.fromisoformat(occurred_at), pk
