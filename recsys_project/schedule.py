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
    # Inputs of feeds hold interests: they are kept for days, not for ever.
    "sweep-inputs": {
        "task": "recommendations.sweep_inputs",
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
