"""
What the product dashboard shows of the posts that it lists.

It is read anew for each page. The report, which is cached, has ids only.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from recommendations.contracts import Sensitivity, Visibility
from recommendations.models import Post
from values.text import excerpt

EXCERPT_LENGTH = 100


@dataclass(frozen=True, slots=True)
class PostPreview:
    """The beginning of a public post."""

    pk: int
    author_id: str
    excerpt: str
    """The beginning of the text's first line; empty for a post without text."""
    media: list[Any]
    """Empty for a sensitive post: the page shows no picture that its reader did not ask for."""


def public_posts() -> QuerySet[Post]:
    """
    Return the posts that everybody may see who accepts their content.

    They are not removed and not forbidden, and their authors are active members with open accounts.
    """
    return Post.objects.filter(
        removed_at=None,
        visibility=Visibility.PUBLIC,
        sensitivity__lt=Sensitivity.FORBIDDEN,
        author__is_active=True,
        author__privacy__is_private=False,
    )


def preview_posts(post_ids: Collection[str]) -> Mapping[str, PostPreview]:
    """Return the previews of the posts that are public now, by id. One statement."""
    columns = ("external_id", "pk", "author__external_id", "text", "media", "sensitivity")
    rows = public_posts().filter(external_id__in=post_ids).values_list(*columns)
    return {
        post_id: PostPreview(
            pk, author_id, excerpt(text, EXCERPT_LENGTH), media if sensitivity == Sensitivity.SAFE and media else []
        )
        for post_id, pk, author_id, text, media, sensitivity in rows
    }
