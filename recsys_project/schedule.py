"""
What beat runs, when, and why. Every entry is safe to run twice at once, and safe to miss.

Beat cannot clean another process's memory: each process keeps its own budget, and beat cleans what is shared.
"""

from datetime import timedelta

SCHEDULE = {
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
    # A rollout goes up when its phase is over, and comes down within seconds of a breach. Idle, it is one query.
    "advance-rollouts": {
        "task": "flags.advance_rollouts",
        "schedule": timedelta(seconds=10),
        "options": {"queue": "maintenance", "expires": 10},
    },
}
