"""What a key or token may be allowed. Each address of the API names the one that each of its methods needs."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Scope(StrEnum):
    """Something that a caller may be allowed to do."""

    FEEDS_READ = "feeds:read"
    INTERACTIONS_WRITE = "interactions:write"
    PROFILE_READ = "profile:read"
    PROFILE_WRITE = "profile:write"
    MEMBERS_READ = "members:read"
    MEMBERS_WRITE = "members:write"
    POSTS_READ = "posts:read"
    POSTS_WRITE = "posts:write"
    JOBS_READ = "jobs:read"
    JOBS_WRITE = "jobs:write"
    FLAGS_READ = "flags:read"
    FLAGS_WRITE = "flags:write"
    POLICIES_READ = "policies:read"
    POLICIES_WRITE = "policies:write"
    METRICS_READ = "metrics:read"
    TOKENS_MINT = "tokens:mint"


SCOPE_HELP: Mapping[Scope, str] = {
    Scope.FEEDS_READ: "Read feeds, similar posts, search, and why a post was shown.",
    Scope.INTERACTIONS_WRITE: "Say what members did and saw.",
    Scope.PROFILE_READ: "Read what a member wants and allows, and their profile file.",
    Scope.PROFILE_WRITE: "Change a member's preferences, ties and profile file; forget their taste.",
    Scope.MEMBERS_READ: "List members and read their records.",
    Scope.MEMBERS_WRITE: "Make, change and erase members.",
    Scope.POSTS_READ: "Read posts as they are kept, whoever may see them.",
    Scope.POSTS_WRITE: "Make, change and take down posts; store their vectors.",
    Scope.JOBS_READ: "Look at jobs and fetch what they made. An export holds all that is kept about a member.",
    Scope.JOBS_WRITE: "Ask for jobs, cancel them, try them again. Some erase or export members.",
    Scope.FLAGS_READ: "Read flags, and ask what a unit gets.",
    Scope.FLAGS_WRITE: "Change flags.",
    Scope.POLICIES_READ: "Read ranking policies.",
    Scope.POLICIES_WRITE: "Change ranking policies.",
    Scope.METRICS_READ: "Read the results of experiments and the measures of feedback.",
    Scope.TOKENS_MINT: "Make short-lived tokens for members, with any of the scopes that a member may have.",
}

MEMBER_SCOPES = frozenset(
    {Scope.FEEDS_READ, Scope.INTERACTIONS_WRITE, Scope.PROFILE_READ, Scope.PROFILE_WRITE, Scope.FLAGS_READ}
)
"""What a member's token may hold: what concerns the member alone."""

READ_METHODS = ("GET", "HEAD")
WRITE_METHODS = ("POST", "PUT", "PATCH", "DELETE")


def read_write_scopes(reads: Scope, writes: Scope) -> dict[str, Scope]:
    """Return the scopes of a view whose GET needs *reads* and whose other methods need *writes*."""
    return dict.fromkeys(READ_METHODS, reads) | dict.fromkeys(WRITE_METHODS, writes)


def single_scope(scope: Scope) -> dict[str, Scope]:
    """Return the scopes of a view all of whose methods need *scope*."""
    return read_write_scopes(scope, scope)
