"""
Give posts their vectors: those that lack one by the current model, or those named.

A post that cannot be embedded does not hold up the others: it is tried again later each time, then parked.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Exists, Min, OuterRef, Q, QuerySet

from recommendations import contracts, task_queue
from recommendations.models import EmbeddingFailure, Post, PostEmbedding
from recommendations.ports import Embedder
from recommendations.services import invalidate
from recommendations.stores.bulk import insert_columns, refresh_statistics

CONTENT_SPACE = contracts.CONTENT_SPACE
BATCH_POSTS = 1_000
"""Posts a transaction. Changes the speed, and how much a killed run does again."""
SLICE_POSTS = 50
"""A batch that fails is done again in slices of so many, and a slice that fails post by post. Changes the speed."""
MAX_EMBED_ATTEMPTS = 4
"""After so many failures a post is parked, and waits for somebody to ask for another try."""
BACKOFF_SECONDS = 60.0
"""A post waits so long after its first failure, four times as long after each further one."""

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
    Embed *post_ids*, whether they have a vector or not, or else every post without one by *embedder* that is due.

    Return how many were embedded. Ids that no longer exist are passed over. Work that was done stays done if
    cut off. Posts that fail are noted; the embedder's own error goes through if it fails for every post of a slice.
    """
    gone, done, total = 0, 0, len(post_ids) if post_ids is not None else posts_due(embedder.name, now).count()
    batches = batches_by_id(post_ids) if post_ids is not None else due_batches(embedder.name, now)
    for posts in batches:
        done += embed_batch(posts, embedder, now)
        gone += len(posts)
        if progress:
            progress(gone, total)
    if done > BATCH_POSTS:
        refresh_statistics(PostEmbedding)
    return done


def embed_batch(posts: Sequence[Post], embedder: Embedder, now: datetime) -> int:
    """Embed *posts*, and note those that fail by themselves. Return how many have their vector."""
    try:
        embed_and_store(posts, embedder, now)
        return len(posts)
    except Exception:
        if len(posts) > SLICE_POSTS:
            slices = [posts[at : at + SLICE_POSTS] for at in range(0, len(posts), SLICE_POSTS)]
            return sum(embed_batch(part, embedder, now) for part in slices)
    failed: list[tuple[Post, Exception]] = []
    for post in posts:
        try:
            embed_and_store([post], embedder, now)
        except Exception as error:
            failed.append((post, error))
    if len(failed) == len(posts) > 1:
        # It is the model that fails, not the posts: they are not to blame, and the next run tries again.
        raise failed[0][1]
    for post, problem in failed:
        record_embedding_failure(post, embedder.name, type(problem).__name__, now)
    return len(posts) - len(failed)


def record_embedding_failure(post: Post, model: str, error: str, now: datetime) -> None:
    """Count a failure; the post is tried again after a while, and parked in the end."""
    row, _ = EmbeddingFailure.objects.get_or_create(
        post=post, space=CONTENT_SPACE, embedding_model=model, defaults={"error": error, "changed_at": now}
    )
    row.attempts += 1
    wait = timedelta(seconds=BACKOFF_SECONDS * 4 ** (row.attempts - 1))
    row.retry_at = now + wait if row.attempts < MAX_EMBED_ATTEMPTS else None
    row.error, row.changed_at = error[:64], now
    row.save()


def retry_failures(*, failure_ids: Sequence[int], now: datetime) -> int:
    """Have posts that failed embedded again, from the first attempt on. Return how many."""
    rows = EmbeddingFailure.objects.filter(pk__in=failure_ids)
    count = rows.update(attempts=0, retry_at=now, changed_at=now)
    task_queue.enqueue(task_queue.EMBED_POSTS)
    return count


def embedding_lag_seconds(*, model: str, now: datetime) -> float:
    """Return how long the oldest post without a vector by *model* has waited; parked ones are left out."""
    parked = EmbeddingFailure.objects.filter(
        post=OuterRef("pk"), space=CONTENT_SPACE, embedding_model=model, retry_at=None
    )
    oldest = posts_without_vector(model).filter(~Exists(parked)).aggregate(oldest=Min("changed_at"))["oldest"]
    return max(0.0, (now - oldest).total_seconds()) if oldest else 0.0


def posts_without_vector(model: str) -> QuerySet[Post]:
    """Return the posts without a vector by *model*; a removed post needs none."""
    own = PostEmbedding.objects.filter(post=OuterRef("pk"), space=CONTENT_SPACE, embedding_model=model)
    return Post.objects.filter(~Exists(own), removed_at__isnull=True)


def posts_due(model: str, now: datetime) -> QuerySet[Post]:
    """Return what is lacking without the posts that are parked, or whose next attempt is later."""
    later = EmbeddingFailure.objects.filter(Q(retry_at=None) | Q(retry_at__gt=now), post=OuterRef("pk"))
    return posts_without_vector(model).filter(~Exists(later.filter(space=CONTENT_SPACE, embedding_model=model)))


def due_batches(model: str, now: datetime) -> Iterator[list[Post]]:
    """Yield what is due in batches, oldest first."""
    last = 0
    while posts := list(posts_due(model, now).filter(pk__gt=last).order_by("pk")[:BATCH_POSTS]):
        yield posts
        last = posts[-1].pk


def batches_by_id(post_ids: Sequence[int]) -> Iterator[list[Post]]:
    for start in range(0, len(post_ids), BATCH_POSTS):
        yield list(Post.objects.filter(pk__in=post_ids[start : start + BATCH_POSTS]).order_by("pk"))


def embed_and_store(posts: Sequence[Post], embedder: Embedder, now: datetime) -> None:
    """Write the vectors of *posts*; a vector made anew counts its version up."""
    vectors = embedder.embed([embeddable_text(post) for post in posts])
    ids = [post.pk for post in posts]
    with transaction.atomic():
        earlier = PostEmbedding.objects.filter(post__in=ids, space=CONTENT_SPACE, embedding_model=embedder.name)
        versions = dict(earlier.values_list("post_id", "version"))
        earlier.delete()
        columns = {
            "post_id": ids,
            "vector": [vector.astype("<f4").tobytes() for vector in vectors],
            "version": [versions.get(post_id, 0) + 1 for post_id in ids],
        }
        same = {
            "space": CONTENT_SPACE,
            "embedding_model": embedder.name,
            "dimension": embedder.dimension,
            "changed_at": now,
        }
        insert_columns(PostEmbedding, columns, same)
        EmbeddingFailure.objects.filter(post__in=ids, space=CONTENT_SPACE, embedding_model=embedder.name).delete()
        invalidate.invalidate_posts(ids)


def embeddable_text(post: Post) -> str:
    """Return what a post says: its text, the tags that the text lacks, and the descriptions of its media."""
    said = post.text.casefold()
    tags = " ".join(tag for tag in post.tags if tag.casefold() not in said)
    described = [medium["alt"] for medium in post.media if medium.get("alt")]
    return "\n".join(part for part in (post.text, tags, *described) if part)
