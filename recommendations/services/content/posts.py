"""Read a post as its platform sees it, with its visibility and the embeddings it has."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from recommendations.contracts import Sensitivity, Visibility
from recommendations.models import Post
from recommendations.services.errors import PostNotFound


@dataclass(frozen=True, slots=True)
class PostDetails:
    """All stored data of a post, for its platform only. Never send it to a viewer."""

    id: str
    author_id: str
    text: str
    kind: str
    language: str
    tags: list[str]
    media: list[dict[str, Any]]
    visibility: str
    safety_labels: dict[str, float]
    sensitivity: str
    created_at: datetime
    removed_at: datetime | None
    embeddings: list[dict[str, Any]]
    """The post's vectors: space, embedding_model, version."""


def read_post(*, post_id: str) -> PostDetails:
    """Return the post. Raises `PostNotFound`."""
    post = Post.objects.select_related("author").filter(external_id=post_id).first()
    if post is None:
        raise PostNotFound(post_id)
    return PostDetails(
        id=post.external_id,
        author_id=post.author.external_id,
        text=post.text,
        kind=post.kind,
        language=post.language,
        tags=post.tags,
        media=post.media,
        visibility=Visibility(post.visibility).name.lower(),
        safety_labels=post.safety_labels,
        sensitivity=Sensitivity(post.sensitivity).name.lower(),
        created_at=post.created_at,
        removed_at=post.removed_at,
        embeddings=[
            {"space": vector.space, "embedding_model": vector.embedding_model, "version": vector.version}
            for vector in post.embeddings.defer("vector").order_by("space", "embedding_model")
        ],
    )


def get_post_pk(post_id: str) -> int:
    """Return the primary key of the post. Raises `PostNotFound`."""
    pk = Post.objects.filter(external_id=post_id).values_list("pk", flat=True).first()
    if pk is None:
        raise PostNotFound(post_id)
    return pk
