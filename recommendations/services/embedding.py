"""Give posts their vectors: those that lack one by the current model, or those named."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from recommendations.models import Post, PostEmbedding
from recommendations.ports import Embedder
from recommendations.services.bulk import insert_columns, refresh_statistics

SPACE = "content"
BATCH_POSTS = 1_000
"""Posts a transaction. Changes the speed, and how much a killed run does again."""

Progress = Callable[[int, int], None]
"""Called with posts done and posts in all."""


def embed_posts(
    *,
    embedder: Embedder,
    now: datetime,
    post_ids: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> int:
    """
    Embed *post_ids*, whether they have a vector or not, or else every post without one by *embedder*.

    Return how many were embedded. Ids that no longer exist are passed over. Work that was done stays done if
    cut off.
    """
    done, total = 0, len(post_ids) if post_ids is not None else lacking(embedder.name).count()
    batches = named(post_ids) if post_ids is not None else unembedded(embedder.name)
    for posts in batches:
        keep_vectors(posts, embedder, now)
        done += len(posts)
        if progress:
            progress(done, total)
    if done > BATCH_POSTS:
        refresh_statistics(PostEmbedding)
    return done


def lacking(model: str) -> QuerySet[Post]:
    """Return the posts without a vector by *model*; a removed post needs none."""
    own = PostEmbedding.objects.filter(post=OuterRef("pk"), space=SPACE, model=model)
    return Post.objects.filter(~Exists(own), removed_at__isnull=True)


def unembedded(model: str) -> Iterator[list[Post]]:
    """Yield what is lacking in batches, oldest first."""
    last = 0
    while posts := list(lacking(model).filter(pk__gt=last).order_by("pk")[:BATCH_POSTS]):
        yield posts
        last = posts[-1].pk


def named(post_ids: Sequence[int]) -> Iterator[list[Post]]:
    for start in range(0, len(post_ids), BATCH_POSTS):
        yield list(Post.objects.filter(pk__in=post_ids[start : start + BATCH_POSTS]).order_by("pk"))


def keep_vectors(posts: Sequence[Post], embedder: Embedder, now: datetime) -> None:
    """Write the vectors of *posts*; a vector made anew counts its version up."""
    vectors = embedder.embed([embeddable_text(post) for post in posts])
    ids = [post.pk for post in posts]
    with transaction.atomic():
        earlier = PostEmbedding.objects.filter(post__in=ids, space=SPACE, model=embedder.name)
        versions = dict(earlier.values_list("post_id", "version"))
        earlier.delete()
        columns = {
            "post_id": ids,
            "vector": [vector.astype("<f4").tobytes() for vector in vectors],
            "version": [versions.get(post_id, 0) + 1 for post_id in ids],
        }
        same = {"space": SPACE, "model": embedder.name, "dimension": embedder.dimension, "changed_at": now}
        insert_columns(PostEmbedding, columns, same)


def embeddable_text(post: Post) -> str:
    """Return what a post says: its text, the tags that the text lacks, and the descriptions of its media."""
    said = post.text.casefold()
    tags = " ".join(tag for tag in post.tags if tag.casefold() not in said)
    described = [medium["alt"] for medium in post.media if medium.get("alt")]
    return "\n".join(part for part in (post.text, tags, *described) if part)
