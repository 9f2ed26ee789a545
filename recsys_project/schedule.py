"""
What beat runs, when, and why. Every entry is safe to run twice at once, and safe to miss.

Beat cannot clean another process's memory: each process keeps its own budget, and beat cleans what is shared.
"""

from datetime import timedelta
from typing import Any

from celery.schedules import crontab

QUEUES = ("interactive", "batch", "maintenance", "analysis")


def maintenance_entry(
    name: str, interval: timedelta, *, at: crontab | None = None, queue: str = "maintenance", scope: str = ""
) -> dict[str, Any]:
    """
    Return the entry of a duty that is recorded, and done by one worker however often it is sent.

    *scope* sets apart those that each queue has for itself.
    """
    return {
        "task": "monitoring.run_maintenance_task",
        "schedule": at or interval,
        "kwargs": {"name": name, "interval_seconds": interval.total_seconds(), "scope": scope},
        "options": {"queue": queue, "expires": min(interval, timedelta(hours=1)).total_seconds()},
    }


SCHEDULE: dict[str, dict[str, Any]] = {
    # A worker may beat and take no tasks: a task through each queue shows that it is worked on (monitoring/workers.py).
    **{
        f"canary-{queue}": {
            "task": "monitoring.canary",
            "schedule": timedelta(minutes=1),
            "kwargs": {"queue": queue},
            "options": {"queue": queue, "expires": 60},
        }
        for queue in QUEUES
    },
    # Something wrong is seen within half a minute, and told once it has been wrong for as long as its rule says.
    "evaluate-alerts": {
        "task": "monitoring.evaluate_alerts",
        "schedule": timedelta(seconds=30),
        "options": {"queue": "maintenance", "expires": 30},
    },
    # Redis may lose a message at the moment of delivery; a job is a row first, so it is published again from its row.
    "reconcile-jobs": {
        "task": "recommendations.reconcile_jobs",
        "schedule": timedelta(seconds=20),
        "options": {"queue": "maintenance", "expires": 20},
    },
    # Whether showing less works: each wish is measured once, a day after it was made.
    "measure-show-less": {
        "task": "recommendations.measure_show_less",
        "schedule": timedelta(hours=1),
        "options": {"queue": "maintenance", "expires": 3600},
    },
    # Removals, new vectors and changed visibilities reach the vector index; nothing to do without QDRANT_URL.
    "sync-vector-indexes": {
        "task": "recommendations.sync_vector_indexes",
        "schedule": timedelta(seconds=30),
        "options": {"queue": "maintenance", "expires": 30},
    },
    # Whether an index has lost or kept what it should not: it reads every id and version, so not often.
    "measure-drift": {
        "task": "recommendations.measure_drift",
        "schedule": timedelta(hours=1),
        "options": {"queue": "maintenance", "expires": 3600},
    },
    # A post that came while no worker ran still gets its embedding.
    "embed-posts": {
        "task": "recommendations.embed_posts",
        "schedule": timedelta(minutes=1),
        "options": {"queue": "maintenance", "expires": 60},
    },
    # A rollout goes up when its phase is over, and comes down within seconds of a breach. Idle, it is one query.
    "advance-rollouts": {
        "task": "flags.advance_rollouts",
        "schedule": timedelta(seconds=10),
        "options": {"queue": "maintenance", "expires": 10},
    },
    # Results for the morning; bandits choose their weights once a day, when a day's acts are in.
    "analyze-experiments": {
        "task": "flags.analyze_experiments",
        "schedule": crontab(hour=3, minute=50),
        "options": {"queue": "analysis", "expires": 3600},
    },
    # What the shared caches hold over their budgets goes, least used first.
    "sweep-caches": maintenance_entry("sweep_caches", timedelta(minutes=5)),
    # Every process has read what is ten minutes old in the change log; only what is new is worth keeping.
    "trim-change-log": maintenance_entry("trim_change_log", timedelta(minutes=2)),
    # A process looks at its memory after each task; an idle one is given this. Beat cannot look into another's.
    **{
        f"check-memory-{queue}": maintenance_entry("check_memory", timedelta(minutes=5), queue=queue, scope=queue)
        for queue in QUEUES
    },
    # The dashboard shows days from these rows, when the records behind them are gone. After the hour has settled.
    "roll-up-hours": maintenance_entry("roll_up_hours", timedelta(hours=1), at=crontab(minute=5)),
    # Records of what members saw and were served are personal: none is kept longer than it is of use. At night, since
    # it deletes; before the database is optimised, so that its room is given back.
    "delete-expired-records": maintenance_entry(
        "delete_expired_records", timedelta(days=1), at=crontab(hour=2, minute=20)
    ),
    # Rows that came and went mislead the planner: a query then takes the wrong index.
    "optimize-database": maintenance_entry("optimize_database", timedelta(days=1), at=crontab(hour=3, minute=20)),
    # An index that differs from the database finds what is gone, or misses what is new; Qdrant's is mended at once.
    "check-index": maintenance_entry("check_index", timedelta(days=1), at=crontab(hour=4, minute=20)),
    # Deleted points slow down every search until their segments are written anew. Sunday night, it reads everything.
    "optimize-index": maintenance_entry(
        "optimize_index", timedelta(days=7), at=crontab(day_of_week="sun", hour=4, minute=50)
    ),
    # A flag that is decided is a branch that somebody must still test. Monday morning, when people can do something.
    "report-stale-flags": maintenance_entry(
        "report_stale_flags", timedelta(days=7), at=crontab(day_of_week="mon", hour=7, minute=5)
    ),
    # What runs, and what somebody should decide. Monday morning, as the flags.
    "send-experiment-digest": maintenance_entry(
        "send_experiment_digest", timedelta(days=7), at=crontab(day_of_week="mon", hour=7, minute=10)
    ),
    # Vectors of models long retired are most of the database, and nobody reads them. Looked at daily, and rarely due.
    "archive-embeddings": maintenance_entry("archive_embeddings", timedelta(days=1), at=crontab(hour=5, minute=20)),
}
