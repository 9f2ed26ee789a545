"""
Embedding of pictures with the model that IMAGE_EMBEDDER configures, and of posts without media by their text.

The platform sends the picture's bytes; they are embedded and not stored. Nothing is fetched from URLs: a server that
opens URLs from members can be abused to reach internal addresses (server-side request forgery).
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
    """Return the picture embedder. Raises `EmbedderError` if none is configured, or its packages are not installed."""
    if not settings.ENV.image_embedder:
        raise EmbedderError("No picture embedder is configured: set IMAGE_EMBEDDER, or send vectors.")
    return get_cross_modal_embedder(settings.ENV.image_embedder)


def store_pictures(*, space: str, post_ids: Sequence[str], pictures: Sequence[bytes], now: datetime) -> list[str]:
    """
    Embed the picture (JPEG, PNG or WebP) of each of these posts. Return the unknown post ids.

    Raises, and stores nothing: `EmbedderError` without an embedder, `VectorError` for another space, `ImageError` for
    bytes that are not a picture.
    """
    if space != IMAGE_SPACE:
        raise VectorError(f"Send pictures to the space {IMAGE_SPACE!r}, not {space!r}.")
    embedder = image_embedder()
    if not pictures:
        return []
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
    """Embed the text of posts without media into the image space. Return their number; 0 without IMAGE_EMBEDDER."""
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
    """Return the posts without media that have no vector of *model* in the image space."""
    vectors = PostEmbedding.objects.filter(post=OuterRef("pk"), space=IMAGE_SPACE, embedding_model=model)
    return Post.objects.filter(~Exists(vectors), removed_at__isnull=True, media=[]).order_by("pk")
