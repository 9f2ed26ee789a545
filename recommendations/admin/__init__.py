"""
The admin, a file for each kind of thing. What only the service writes can be looked at here, and not changed.

Nothing is deleted here: a catalogue would not notice. Posts are removed, members deactivated.
"""

from recommendations.admin import activity, changes, people, policies, posts, spaces, tastes, work

__all__ = ["activity", "changes", "people", "policies", "posts", "spaces", "tastes", "work"]
