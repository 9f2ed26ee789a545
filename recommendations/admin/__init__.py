"""
The admin, one file per topic. Rows that only the service writes are read-only.

The admin deletes no posts or members, because the catalogues would not notice. Posts are removed, members deactivated.
"""

from recommendations.admin import (
    activity,
    change_log,
    collaborative,
    embedding_models,
    erasures,
    evaluations,
    export_rows,
    interests,
    jobs,
    members,
    policies,
    posts,
    trained_models,
)

__all__ = [
    "activity",
    "change_log",
    "collaborative",
    "embedding_models",
    "erasures",
    "evaluations",
    "export_rows",
    "interests",
    "jobs",
    "members",
    "policies",
    "posts",
    "trained_models",
]
