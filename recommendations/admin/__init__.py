"""
The admin, a file for each kind of thing. What only the service writes can be looked at here, and not changed.

Nothing is deleted here: a catalogue would not notice. Posts are removed, members deactivated.
"""

from recommendations.admin import activity, change_log, embedding_models, interests, jobs, members, policies, posts

__all__ = [
    "activity",
    "change_log",
    "embedding_models",
    "interests",
    "jobs",
    "members",
    "policies",
    "posts",
]
