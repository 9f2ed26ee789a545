"""
The schedule of beat, with the reason for each entry. Every entry may run twice at once, and may be missed.

Beat cannot free another process's memory: each process limits its own, and scheduled tasks clean what is shared.
"""

from datetime import timedelta
from typing import Any, NamedTuple

QUEUES = ("interactive", "batch", "maintenance", "analysis", "training")


class ClockTime(NamedTuple):
    """A time of the day, of the hour or of the week, as in a crontab. `recsys_project/celery.py` reads it."""

    minute: int
    hour: int | str = "*"
    day_of_week: str = "*"


def maintenance_entry(
    name: str, interval: timedelta, *, at: ClockTime | None = None, queue: str = "maintenance", scope: str = ""
) -> dict[str, Any]:
    """
    Return the entry of a maintenance task. Its runs are recorded, and one worker runs it even if it is sent twice.

    *scope* distinguishes the runs of a task that each queue runs separately.
    """
    return {
        "task": "monitoring.run_maintenance_task",
        "schedule": at or interval,
        "kwargs": {"name": name, "interval_seconds": interval.total_seconds(), "scope": scope},
        "options": {"queue": queue, "expires": min(interval, timedelta(hours=1)).total_seconds()},
    }


SCHEDULE: dict[str, dict[str, Any]] = {
    # A worker can send heartbeats and run no tasks. A canary task in each queue shows that tasks run
    # (monitoring/workers.py).
    **{
        f"canary-{queue}": {
            "task": "monitoring.canary",
            "schedule": timedelta(minutes=1),
            "kwargs": {"queue": queue},
            "options": {"queue": queue, "expires": 60},
        }
        for queue in QUEUES
    },
    # An alert condition is detected within 30 seconds; the alert fires after the duration of its rule.
    "evaluate-alerts": {
        "task": "monitoring.evaluate_alerts",
        "schedule": timedelta(seconds=30),
        "options": {"queue": "maintenance", "expires": 30},
    },
    # Gives the chunk of a lost worker to another one: within the lease (15 s), this interval, and the time of two
    # messages. In the queue of short tasks, because long chunks may occupy every process of the other queues.
    "reconcile-jobs": {
        "task": "recommendations.reconcile_jobs",
        "schedule": timedelta(seconds=10),
        "options": {"queue": "interactive", "expires": 10},
    },
    # Redis may lose a message during delivery. What it is about is stored as a row first, and published again.
    "enqueue-pending": {
        "task": "recommendations.enqueue_pending",
        "schedule": timedelta(seconds=20),
        "options": {"queue": "maintenance", "expires": 20},
    },
    # Other members' feeds use a like within half a minute: learned in a second, counted here, cached for 20 seconds.
    "count-co-likes": {
        "task": "recommendations.count_co_likes",
        "schedule": timedelta(seconds=10),
        "options": {"queue": "maintenance", "expires": 10},
    },
    # Adds what clients reported as seen to the posts' counts. Does nothing unless SEEN_POSTS is "reported".
    "count-seen": {
        "task": "recommendations.count_seen",
        "schedule": timedelta(minutes=1),
        "options": {"queue": "maintenance", "expires": 60},
    },
    # Measures whether negative feedback takes effect: once for each feedback, a day after it was given.
    "measure-show-less": {
        "task": "recommendations.measure_show_less",
        "schedule": timedelta(hours=1),
        "options": {"queue": "maintenance", "expires": 3600},
    },
    # Sends removals, new vectors and changed visibilities to the vector index. Does nothing without QDRANT_URL.
    "sync-vector-indexes": {
        "task": "recommendations.sync_vector_indexes",
        "schedule": timedelta(seconds=30),
        "options": {"queue": "maintenance", "expires": 30},
    },
    # Counts missing and superfluous points of an index. It reads every id and version, so it runs hourly only.
    "measure-drift": {
        "task": "recommendations.measure_drift",
        "schedule": timedelta(hours=1),
        "options": {"queue": "maintenance", "expires": 3600},
    },
    # Embeds posts that arrived while no worker was running.
    "embed-posts": {
        "task": "recommendations.embed_posts",
        "schedule": timedelta(minutes=1),
        "options": {"queue": "maintenance", "expires": 60},
    },
    # Advances a rollout at the end of its phase, and reverts it within seconds of a breach.
    "advance-rollouts": {
        "task": "flags.advance_rollouts",
        "schedule": timedelta(seconds=10),
        "options": {"queue": "maintenance", "expires": 10},
    },
    # Trains a model when there is enough new to learn from, and every night, when few requests compete for the CPU.
    "request-training": {
        "task": "recommendations.request_training",
        "schedule": ClockTime(minute=35),
        "options": {"queue": "maintenance", "expires": 3600},
    },
    "request-nightly-training": {
        "task": "recommendations.request_training",
        "schedule": ClockTime(hour=1, minute=40),
        "kwargs": {"is_nightly": True},
        "options": {"queue": "maintenance", "expires": 3600},
    },
    # Analyzes experiments every night; bandits update their weights then, once the day's interactions are complete.
    "analyze-experiments": {
        "task": "flags.analyze_experiments",
        "schedule": ClockTime(hour=3, minute=50),
        "options": {"queue": "analysis", "expires": 3600},
    },
    # Evicts entries of the shared caches above their budgets, least recently used first.
    "sweep-caches": maintenance_entry("sweep_caches", timedelta(minutes=5)),
    # Deletes change log entries that every process has read (older than ten minutes).
    "trim-change-log": maintenance_entry("trim_change_log", timedelta(minutes=2)),
    # A process checks its memory after each task. This task makes an idle worker check it too.
    **{
        f"check-memory-{queue}": maintenance_entry("check_memory", timedelta(minutes=5), queue=queue, scope=queue)
        for queue in QUEUES
    },
    # Counts feeds per hour. The dashboard reads these rows after the records behind them are deleted.
    "roll-up-hours": maintenance_entry("roll_up_hours", timedelta(hours=1), at=ClockTime(minute=5)),
    # Deletes personal records (seen, served) after their retention period. Runs before the database is optimized,
    # which frees the space.
    "delete-expired-records": maintenance_entry(
        "delete_expired_records", timedelta(days=1), at=ClockTime(hour=2, minute=20)
    ),
    # Deletes the arrays of trained models that no rollback or approval needs. They are large, and one is added a night.
    "delete-old-models": maintenance_entry("delete_old_models", timedelta(days=1), at=ClockTime(hour=2, minute=40)),
    # Finishes erasures: clears what was written during them, and deletes trained models that contain an erased member.
    "finish-erasures": maintenance_entry("finish_erasures", timedelta(minutes=10)),
    # Damps the popularity that groups of new accounts give to one author's posts: within ten minutes.
    "damp-rings": maintenance_entry("damp_rings", timedelta(minutes=10)),
    # Updates the planner's statistics. Without it, after many inserts and deletes a query may use the wrong index.
    "optimize-database": maintenance_entry("optimize_database", timedelta(days=1), at=ClockTime(hour=3, minute=20)),
    # Weighs all co-likes by how many members like each post now. Between two runs, a pair is weighed when it changes.
    "recount-co-likes": maintenance_entry("recount_co_likes", timedelta(days=1), at=ClockTime(hour=2, minute=50)),
    # Compares the vector index with the database and repairs Qdrant's index.
    "check-index": maintenance_entry("check_index", timedelta(days=1), at=ClockTime(hour=4, minute=20)),
    # Rewrites segments with deleted points, which slow down every search. It reads everything: Sunday night.
    "optimize-index": maintenance_entry(
        "optimize_index", timedelta(days=7), at=ClockTime(day_of_week="sun", hour=4, minute=50)
    ),
    # Reports flags that are decided and still in the code. Monday morning, when people are at work.
    "report-stale-flags": maintenance_entry(
        "report_stale_flags", timedelta(days=7), at=ClockTime(day_of_week="mon", hour=7, minute=5)
    ),
    # Lists running experiments and those that need a decision. Monday morning, like the flags.
    "send-experiment-digest": maintenance_entry(
        "send_experiment_digest", timedelta(days=7), at=ClockTime(day_of_week="mon", hour=7, minute=10)
    ),
    # Ranks held-out likes with the product and its peers, and stores the quality score. It takes minutes of a core and
    # starts a process of its own, so it runs at night, in the queue for analyses.
    "evaluate": maintenance_entry("evaluate", timedelta(days=1), at=ClockTime(hour=1, minute=20), queue="analysis"),
    # Moves vectors of retired embedding models out of the database, where they take most of the space.
    "archive-embeddings": maintenance_entry("archive_embeddings", timedelta(days=1), at=ClockTime(hour=5, minute=20)),
}
