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

from recommendations.embedders.registry import EmbedderError, get_cross_modal_embedder
from recommendations.models import Post, PostEmbedding
from recommendations.ports import CrossModalEmbedder, VectorError
from recommendations.services.vectors.embedding import embeddable_text
from recommendations.services.vectors.embedding_models import store_vectors

IMAGE_SPACE = "image"
"""The space that IMAGE_EMBEDDER fills."""
BATCH_POSTS = 500


def image_embedder() -> CrossModalEmbedder:
    """Return the model of pictures; raise `EmbedderError` if none is chosen, or its packages are not installed."""
    if not settings.ENV.image_embedder:
        raise EmbedderError("No model here looks at pictures: set IMAGE_EMBEDDER, or send vectors.")
    return get_cross_modal_embedder(settings.ENV.image_embedder)


def store_pictures(*, space: str, post_ids: Sequence[str], pictures: Sequence[bytes], now: datetime) -> list[str]:
    """
    Give each of these posts the vector of its picture (JPEG, PNG or WebP); return the post ids that we don't know.

    Raises `EmbedderError`, `VectorError` for another space, and `ImageError` for bytes that are no picture; then
    nothing is kept.
    """
    if space != IMAGE_SPACE:
        raise VectorError(f"Pictures are looked at in the space {IMAGE_SPACE!r}, not {space!r}.")
    embedder = image_embedder()
    vectors = embedder.embed_images(pictures)
    return store_vectors(
        space=IMAGE_SPACE,
        model=embedder.name,
        post_ids=post_ids,
        vectors=vectors,
        loader=settings.ENV.image_embedder,
        now=now,
    )


def embed_text_posts(*, now: datetime) -> int:
    """Give posts without media their place among the pictures; return how many. Nothing without IMAGE_EMBEDDER."""
    if not settings.ENV.image_embedder:
        return 0
    embedder, done = image_embedder(), 0
    while posts := list(text_posts_without_vector(embedder.name)[:BATCH_POSTS]):
        store_vectors(
            space=IMAGE_SPACE,
            model=embedder.name,
            post_ids=[post.external_id for post in posts],
            vectors=embedder.embed([embeddable_text(post) for post in posts]),
            loader=settings.ENV.image_embedder,
            now=now,
        )
        done += len(posts)
    return done


def text_posts_without_vector(model: str) -> QuerySet[Post]:
    """Return the posts that consist of text and have no vector among the pictures."""
    own = PostEmbedding.objects.filter(post=OuterRef("pk"), space=IMAGE_SPACE, embedding_model=model)
    return Post.objects.filter(~Exists(own), removed_at__isnull=True, media=[]).order_by("pk")
