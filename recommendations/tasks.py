"""
Celery tasks: the entry points of workers. A task reads the clock and calls the service of the same name.

Arguments are ids, never rows. Every task ignores unknown arguments, which a newer release may send.
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from uuid import UUID

from celery import shared_task
from celery.signals import worker_shutting_down
from celery.worker.state import active_requests

from monitoring import clock
from recommendations import task_queue
from recommendations.services import wiring, work
from recommendations.services.learning import co_likes, learn, seen_counts
from recommendations.services.measuring import show_less_effect
from recommendations.services.serving import records, refresh
from recommendations.services.training import schedule
from recommendations.services.vectors import embedding_models, pictures, reindexing

STOP_SECONDS = 5.0
"""Time for the current chunk after a worker was told to stop. Then the chunk returns to the queue."""


@worker_shutting_down.connect
def return_chunks(**_: object) -> None:
    """Stop the chunks of a worker that was told to stop. It would wait for a long one until it is killed."""
    timer = threading.Timer(STOP_SECONDS, interrupt_chunks)
    timer.daemon = True
    timer.start()


def interrupt_chunks() -> None:
    """Make the processes of this worker that process a chunk raise `SystemExit`, which returns it to the queue."""
    for request in tuple(active_requests):
        if request.name == task_queue.PROCESS_CHUNK and request.worker_pid:
            with suppress(ProcessLookupError):
                os.kill(request.worker_pid, signal.SIGTERM)


@shared_task(name=task_queue.PROCESS_CHUNK)
def process_chunk(job_id: str, number: int, **_: object) -> None:
    """Process one chunk of the queue, with the currently active embedding model. `work` chooses the chunk."""
    # To load a model takes seconds. The lease begins after that.
    wiring.sync_embedding_models(clock.now(), must_be_current=True)
    work.process_chunk(job_id=UUID(job_id), number=number, now=clock.now())


@shared_task(name=task_queue.LEARN_INTERACTIONS)
def learn_interactions(member_ids: list[int], **_: object) -> None:
    """Learn these members' interactions. Only the active embedding model may write interests."""
    wiring.sync_embedding_models(clock.now(), must_be_current=True)
    learn.learn_interactions(member_ids=member_ids, now=clock.now())


@shared_task(name=task_queue.EMBED_POSTS)
def embed_posts(**_: object) -> None:
    """Embed the posts that have no vector yet, and activate an embedding model that has finished."""
    embedding_models.embed_due_posts(now=clock.now())
    pictures.embed_text_posts(now=clock.now())


@shared_task(name=task_queue.SYNC_VECTOR_INDEXES)
def sync_vector_indexes(**_: object) -> None:
    """Bring the vector indexes up to date. After a failure, the next run starts from the same moment."""
    now = clock.now()
    wiring.sync_embedding_models(now, must_be_current=True)
    try:
        reindexing.sync_vector_indexes(now=now)
    finally:
        reindexing.observe_lags(now=clock.now())


@shared_task(name=task_queue.MEASURE_DRIFT)
def measure_drift(**_: object) -> None:
    """Compare the vector indexes with the database."""
    now = clock.now()
    wiring.sync_embedding_models(now, must_be_current=True)
    reindexing.measure_drift(now=now)


@shared_task(name=task_queue.RECORD_SERVED)
def record_served(**_: object) -> None:
    """Write the queued records of served slates and pages to the database."""
    records.record_served(now=clock.now())


@shared_task(name=task_queue.REFRESH_SLATE)
def refresh_slate(member_id: int, feed: str, **_: object) -> None:
    """Rebuild a member's slate."""
    refresh.refresh_slate(member_id=member_id, feed=feed, now=clock.now())


@shared_task(name=task_queue.RECONCILE_JOBS)
def reconcile_jobs(**_: object) -> None:
    """Release the chunks of lost workers, and publish lost messages of jobs again."""
    work.reconcile_jobs(now=clock.now())


@shared_task(name=task_queue.ENQUEUE_PENDING)
def enqueue_pending(**_: object) -> None:
    """Enqueue interactions that wait to be learned, and write served pages, if their messages were lost."""
    now = clock.now()
    learn.enqueue_pending_learning(now=now)
    records.record_served(now=now)


@shared_task(name=task_queue.MEASURE_SHOW_LESS)
def measure_show_less(**_: object) -> None:
    """Measure the effect of members' negative feedback."""
    show_less_effect.measure_show_less(now=clock.now())


@shared_task(name=task_queue.COUNT_CO_LIKES)
def count_co_likes(**_: object) -> None:
    """Count the co-likes of newly learned reactions."""
    co_likes.count_changes(now=clock.now())


@shared_task(name=task_queue.COUNT_SEEN)
def count_seen(**_: object) -> None:
    """Add the posts that clients reported as seen to the counts of the posts."""
    seen_counts.count_seen(now=clock.now())


@shared_task(name=task_queue.REQUEST_TRAINING)
def request_training(is_nightly: bool = False, **_: object) -> None:
    """Submit a job for each trained model that is due."""
    schedule.request_due_training(now=clock.now(), is_nightly=is_nightly)
