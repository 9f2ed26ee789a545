"""Scopes of keys and tokens. Each view declares the scope that each of its methods requires."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from values.translation import translatable


class Scope(StrEnum):
    """A permission of a key or token."""

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
    Scope.FEEDS_READ: translatable("Read feeds, similar posts, search results and explanations."),
    Scope.INTERACTIONS_WRITE: translatable("Record interactions and seen posts of members."),
    Scope.PROFILE_READ: translatable("Read a member's preferences, interactions and profile file."),
    Scope.PROFILE_WRITE: translatable(
        "Change a member's preferences and relationships, import profile files, reset interests."
    ),
    Scope.MEMBERS_READ: translatable("List and read members."),
    Scope.MEMBERS_WRITE: translatable("Create, update and erase members."),
    Scope.POSTS_READ: translatable("Read posts with all their fields, whatever their visibility."),
    Scope.POSTS_WRITE: translatable("Create, update and remove posts, and store their vectors."),
    Scope.JOBS_READ: translatable("Read jobs and their results. An export contains all stored data of a member."),
    Scope.JOBS_WRITE: translatable("Submit, cancel and retry jobs. Some jobs erase or export members."),
    Scope.FLAGS_READ: translatable("Read and evaluate flags."),
    Scope.FLAGS_WRITE: translatable("Change flags."),
    Scope.POLICIES_READ: translatable("Read ranking policies. With feeds:read, preview feeds that they would rank."),
    Scope.POLICIES_WRITE: translatable("Change ranking policies."),
    Scope.METRICS_READ: translatable(
        "Read the results of experiments, the effects of negative feedback and the product report."
    ),
    Scope.TOKENS_MINT: translatable(
        "Mint short-lived tokens for members, with any of the scopes that a member token may have."
    ),
}

MEMBER_SCOPES = frozenset(
    {Scope.FEEDS_READ, Scope.INTERACTIONS_WRITE, Scope.PROFILE_READ, Scope.PROFILE_WRITE, Scope.FLAGS_READ}
)
"""Scopes that a member token may have: those that concern only the member's own data."""
MEMBER_WRITE_SCOPES = frozenset({Scope.INTERACTIONS_WRITE, Scope.PROFILE_WRITE})
"""Scopes of member tokens that change something. Requests that need one have a rate limit of their own."""

STAFF_PERMISSIONS: Mapping[Scope, str] = {
    Scope.FEEDS_READ: "recommendations.view_feedrequest",
    Scope.INTERACTIONS_WRITE: "recommendations.add_interaction",
    Scope.PROFILE_READ: "recommendations.view_interestprofile",
    Scope.PROFILE_WRITE: "recommendations.change_privacysettings",
    Scope.MEMBERS_READ: "recommendations.view_member",
    Scope.MEMBERS_WRITE: "recommendations.change_member",
    Scope.POSTS_READ: "recommendations.view_post",
    Scope.POSTS_WRITE: "recommendations.change_post",
    Scope.JOBS_READ: "recommendations.view_job",
    Scope.JOBS_WRITE: "recommendations.change_job",
    Scope.FLAGS_READ: "flags.view_flag",
    Scope.FLAGS_WRITE: "flags.change_flag",
    Scope.POLICIES_READ: "recommendations.view_rankingpolicy",
    Scope.POLICIES_WRITE: "recommendations.add_rankingpolicy",
    Scope.METRICS_READ: "monitoring.read_metrics",
    Scope.TOKENS_MINT: "access.mint_token",
}
"""
The Django permission that a session needs where a key needs the scope. A view's `staff_permissions` may name another.

They are the permissions of the admin pages, so a user may do the same in the admin and in the API.
"""

READ_METHODS = ("GET", "HEAD")
WRITE_METHODS = ("POST", "PUT", "PATCH", "DELETE")


def read_write_scopes(reads: Scope, writes: Scope) -> dict[str, Scope]:
    """Return the scopes of a view whose GET and HEAD require *reads* and whose other methods require *writes*."""
    return dict.fromkeys(READ_METHODS, reads) | dict.fromkeys(WRITE_METHODS, writes)


def single_scope(scope: Scope) -> dict[str, Scope]:
    """Return the scopes of a view whose methods all require *scope*."""
    return read_write_scopes(scope, scope)
