"""
Pictures become vectors here, by the model that IMAGE_EMBEDDER names, and posts without media join them by their text.

The platform sends the bytes; they are looked at once and not kept. Nothing is fetched: a server that opens addresses
which its members wrote can be sent anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.conf import settings
from django.db.models import Exists, OuterRef, QuerySet

from recommendations.embedders.choosing import EmbedderError, cross_modal_named
from recommendations.models import Post, PostEmbedding
from recommendations.ports import CrossModalEmbedder, VectorError
from recommendations.services.vectors.embedding import embeddable_text
from recommendations.services.vectors.embedding_models import store_vectors

SPACE = "image"
"""The space that IMAGE_EMBEDDER fills."""
BATCH_POSTS = 500


def image_embedder() -> CrossModalEmbedder:
    """Return the model of pictures; raise `EmbedderError` if none is chosen, or its packages are not installed."""
    if not settings.ENV.image_embedder:
        raise EmbedderError("No model here looks at pictures: set IMAGE_EMBEDDER, or send vectors.")
    return cross_modal_named(settings.ENV.image_embedder)


def store_pictures(*, space: str, post_ids: Sequence[str], pictures: Sequence[bytes], now: datetime) -> list[str]:
    """
    Give each of these posts the vector of its picture (JPEG, PNG or WebP); return the post ids that we don't know.

    Raises `EmbedderError`, `VectorError` for another space, and `ImageError` for bytes that are no picture; then
    nothing is kept.
    """
    if space != SPACE:
        raise VectorError(f"Pictures are looked at in the space {SPACE!r}, not {space!r}.")
    embedder = image_embedder()
    vectors = embedder.embed_images(pictures)
    return store_vectors(
        space=SPACE,
        model=embedder.name,
        post_ids=post_ids,
        vectors=vectors,
        loader=settings.ENV.image_embedder,
        now=now,
    )


def place_texts(*, now: datetime) -> int:
    """Give posts without media their place among the pictures; return how many. Nothing without IMAGE_EMBEDDER."""
    if not settings.ENV.image_embedder:
        return 0
    embedder, done = image_embedder(), 0
    while posts := list(unplaced(embedder.name)[:BATCH_POSTS]):
        store_vectors(
            space=SPACE,
            model=embedder.name,
            post_ids=[post.external_id for post in posts],
            vectors=embedder.embed([embeddable_text(post) for post in posts]),
            loader=settings.ENV.image_embedder,
            now=now,
        )
        done += len(posts)
    return done


def unplaced(model: str) -> QuerySet[Post]:
    """Return the posts that consist of text and have no vector among the pictures."""
    own = PostEmbedding.objects.filter(post=OuterRef("pk"), space=SPACE, model=model)
    return Post.objects.filter(~Exists(own), removed_at__isnull=True, media=[]).order_by("pk")
