"""
What beat runs, when, and why. Every entry is safe to run twice at once, and safe to miss.

Beat cannot clean another process's memory: each process keeps its own budget, and beat cleans what is shared.
"""

from datetime import timedelta

SCHEDULE = {
    # A worker may beat and take no tasks: a task through each queue shows that it is worked on (monitoring/workers.py).
    **{
        f"canary-{queue}": {
            "task": "monitoring.canary",
            "schedule": timedelta(minutes=1),
            "kwargs": {"queue": queue},
            "options": {"queue": queue, "expires": 60},
        }
        for queue in ("interactive", "batch", "maintenance")
    },
    # Redis may lose a message at the moment of delivery; a job is a row first, so it is published again from its row.
    "reconcile-jobs": {
        "task": "recommendations.reconcile_jobs",
        "schedule": timedelta(seconds=20),
        "options": {"queue": "maintenance", "expires": 20},
    },
    # Whether showing less works: each wish is measured once, a day after it was made.
    "measure-less": {
        "task": "recommendations.measure_less",
        "schedule": timedelta(hours=1),
        "options": {"queue": "maintenance", "expires": 3600},
    },
    # Inputs of feeds hold interests: they are kept for days, not for ever.
    "sweep-inputs": {
        "task": "recommendations.sweep_inputs",
        "schedule": timedelta(hours=1),
        "options": {"queue": "maintenance", "expires": 3600},
    },
    # Removals, new vectors and changed visibilities reach the vector index; nothing to do without QDRANT_URL.
    "follow-index": {
        "task": "recommendations.follow_index",
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
    # What the shared caches hold over their budgets goes, least used first.
    "sweep-caches": {
        "task": "recommendations.sweep_caches",
        "schedule": timedelta(minutes=5),
        "options": {"queue": "maintenance", "expires": 300},
    },
}

# A process looks at its memory after each task; one that is idle is given this one. Beat cannot look into another's.
SCHEDULE |= {
    f"check-memory-{queue}": {
        "task": "recommendations.check_memory",
        "schedule": timedelta(minutes=5),
        "options": {"queue": queue, "expires": 300},
    }
    for queue in ("interactive", "batch", "maintenance")
}
