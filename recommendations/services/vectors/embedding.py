"""
Embedding of posts: those without a vector of an embedding model, or given posts.

A post that cannot be embedded does not stop the others. It is retried with growing delays, and finally dead-lettered.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

from django.db.models import Exists, Min, OuterRef, Q, QuerySet

from monitoring.transactions import write_transaction
from recommendations import contracts, task_queue
from recommendations.contracts import Float32Array
from recommendations.models import EmbeddingFailure, Post, PostEmbedding
from recommendations.ports import Embedder
from recommendations.services import invalidate
from recommendations.services.errors import SERVER_ERRORS
from recommendations.stores.bulk import insert_columns, refresh_statistics
from recommendations.stores.row_locks import lock_posts

CONTENT_SPACE = contracts.CONTENT_SPACE
BATCH_POSTS = 1_000
"""Posts per transaction. Changes the speed, and how much work a killed run repeats."""
SLICE_POSTS = 50
"""A failed batch is retried in slices of this size, and a failed slice post by post. Changes the speed."""
MAX_EMBED_ATTEMPTS = 4
"""A post is dead-lettered after this many failures. An operator can retry it in the admin."""
BACKOFF_SECONDS = 60.0
"""Delay before the first retry. Each further failure multiplies it by four."""

Progress = Callable[[int, int], None]
"""Called with the number of processed posts and the total."""


def embed_posts(
    *,
    embedder: Embedder,
    now: datetime,
    post_ids: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> int:
    """
    Embed *post_ids*, whether they have a vector or not. Without *post_ids*, embed every due post without a vector.

    Return the number of embedded posts. Ids that do not exist are skipped. An interrupted run keeps the finished
    batches. Posts that fail are recorded as failures; if every post of a slice fails, the embedder's error is raised.
    """
    total = len(post_ids) if post_ids is not None else posts_due(embedder.name, now).count()
    processed = done = 0
    batches = batches_by_id(post_ids) if post_ids is not None else due_batches(embedder.name, now)
    for posts in batches:
        done += embed_batch(posts, embedder, now)
        processed += len(posts)
        if progress:
            progress(processed, total)
    if done > BATCH_POSTS:
        refresh_statistics(PostEmbedding)
    return done


def embed_batch(posts: Sequence[Post], embedder: Embedder, now: datetime) -> int:
    """Embed *posts*, and record those that fail individually. Return the number of embedded posts."""
    try:
        embed_and_store(posts, embedder, now)
        return len(posts)
    except Exception:
        if len(posts) > SLICE_POSTS:
            slices = [posts[start : start + SLICE_POSTS] for start in range(0, len(posts), SLICE_POSTS)]
            return sum(embed_batch(posts_slice, embedder, now) for posts_slice in slices)
    failed: list[tuple[Post, Exception]] = []
    for post in posts:
        try:
            embed_and_store([post], embedder, now)
        except SERVER_ERRORS:
            raise
        except Exception as error:
            failed.append((post, error))
    if len(failed) == len(posts) > 1:
        # The embedder fails, not the posts: they are not recorded as failures, and the next run retries them.
        raise failed[0][1]
    for post, failure in failed:
        record_embedding_failure(post, embedder.name, type(failure).__name__, now)
    return len(posts) - len(failed)


@write_transaction
def record_embedding_failure(post: Post, model: str, error: str, now: datetime) -> None:
    """Record a failure, and schedule the retry of the post or dead-letter it. Does nothing for an erased post."""
    lock_posts([post.pk])
    if not Post.objects.filter(pk=post.pk).exists():
        return
    row, _ = EmbeddingFailure.objects.get_or_create(
        post=post, space=CONTENT_SPACE, embedding_model=model, defaults={"error": error[:64], "changed_at": now}
    )
    attempts = row.attempts + 1
    delay = timedelta(seconds=BACKOFF_SECONDS * 4 ** (attempts - 1))
    EmbeddingFailure.objects.filter(pk=row.pk).update(
        attempts=attempts,
        retry_at=now + delay if attempts < MAX_EMBED_ATTEMPTS else None,
        error=error[:64],
        changed_at=now,
    )


@write_transaction
def retry_failures(*, failure_ids: Sequence[int], now: datetime) -> int:
    """Reset the attempts of these failures and enqueue the embedding of their posts. Return the number of failures."""
    rows = EmbeddingFailure.objects.filter(pk__in=failure_ids)
    lock_posts(rows.values_list("post", flat=True))
    count = rows.update(attempts=0, retry_at=now, changed_at=now)
    task_queue.enqueue(task_queue.EMBED_POSTS)
    return count


def embedding_lag_seconds(*, model: str, now: datetime) -> float:
    """Return the waiting time of the oldest post without a vector of *model*, without dead-lettered posts."""
    dead_lettered = EmbeddingFailure.objects.filter(
        post=OuterRef("pk"), space=CONTENT_SPACE, embedding_model=model, retry_at=None
    )
    oldest = posts_without_vector(model).filter(~Exists(dead_lettered)).aggregate(oldest=Min("changed_at"))["oldest"]
    return max(0.0, (now - oldest).total_seconds()) if oldest else 0.0


def posts_without_vector(model: str) -> QuerySet[Post]:
    """Return the posts without a vector of *model*, except removed posts."""
    vectors = PostEmbedding.objects.filter(post=OuterRef("pk"), space=CONTENT_SPACE, embedding_model=model)
    return Post.objects.filter(~Exists(vectors), removed_at__isnull=True)


def posts_due(model: str, now: datetime) -> QuerySet[Post]:
    """Return the posts without a vector that are neither dead-lettered nor waiting for a retry."""
    not_due = EmbeddingFailure.objects.filter(Q(retry_at=None) | Q(retry_at__gt=now), post=OuterRef("pk"))
    return posts_without_vector(model).filter(~Exists(not_due.filter(space=CONTENT_SPACE, embedding_model=model)))


def has_posts_to_embed(model: str) -> bool:
    """Return whether a post without a vector is due or waits for a retry. Dead-lettered posts do not count."""
    dead_lettered = EmbeddingFailure.objects.filter(
        post=OuterRef("pk"), space=CONTENT_SPACE, embedding_model=model, retry_at=None
    )
    return posts_without_vector(model).filter(~Exists(dead_lettered)).exists()


def due_batches(model: str, now: datetime) -> Iterator[list[Post]]:
    """Yield the due posts in batches, oldest first."""
    last_pk = 0
    while posts := list(posts_due(model, now).filter(pk__gt=last_pk).order_by("pk")[:BATCH_POSTS]):
        yield posts
        last_pk = posts[-1].pk


def batches_by_id(post_ids: Sequence[int]) -> Iterator[list[Post]]:
    for start in range(0, len(post_ids), BATCH_POSTS):
        yield list(Post.objects.filter(pk__in=post_ids[start : start + BATCH_POSTS]).order_by("pk"))


def embed_and_store(posts: Sequence[Post], embedder: Embedder, now: datetime) -> None:
    """Embed *posts* and store their vectors. Replacing a vector increments its version."""
    store_content_vectors(posts, embedder.embed([embeddable_text(post) for post in posts]), embedder, now)


@write_transaction
def store_content_vectors(posts: Sequence[Post], vectors: Float32Array, embedder: Embedder, now: datetime) -> None:
    """
    Store the vectors (n, d) of *posts*.

    A post that was erased or reworded while it was embedded is left out. It then has no vector, so that the next run
    embeds its new text.
    """
    lock_posts(post.pk for post in posts)
    current = Post.objects.only("text", "tags", "media").in_bulk([post.pk for post in posts])
    packed = {
        post.pk: vector.astype("<f4").tobytes()
        for post, vector in zip(posts, vectors, strict=True)
        if post.pk in current and embeddable_text(current[post.pk]) == embeddable_text(post)
    }
    if not packed:
        return
    previous = PostEmbedding.objects.filter(post__in=packed, space=CONTENT_SPACE, embedding_model=embedder.name)
    versions = dict(previous.values_list("post_id", "version"))
    previous.delete()
    columns = {
        "post_id": list(packed),
        "vector": list(packed.values()),
        "version": [versions.get(post_id, 0) + 1 for post_id in packed],
    }
    constants = {
        "space": CONTENT_SPACE,
        "embedding_model": embedder.name,
        "dimension": embedder.dimension,
        "changed_at": now,
    }
    insert_columns(PostEmbedding, columns, constants)
    EmbeddingFailure.objects.filter(post__in=packed, space=CONTENT_SPACE, embedding_model=embedder.name).delete()
    invalidate.invalidate_posts(list(packed))


def embeddable_text(post: Post) -> str:
    """Return the text to embed: the post's text, its tags that the text does not contain, and its media's alt texts."""
    text = post.text.casefold()
    tags = " ".join(tag for tag in post.tags if tag.casefold() not in text)
    alt_texts = [medium["alt"] for medium in post.media if medium.get("alt")]
    return "\n".join(part for part in (post.text, tags, *alt_texts) if part)
