"""
Staff groups of flags: a viewer reads, an editor changes flags, a releaser approves changes and runs rollouts.

The groups are created once, after their permissions exist. Later changes by an administrator are kept.
"""

from __future__ import annotations

from django.contrib.auth.models import Group, Permission

EXPERIMENT_MODELS = ["experiment", "metric", "exclusiongroup", "holdout"]
VIEWER_PERMISSIONS = [
    *("view_flag", "view_segment", "view_rolloutplan", "view_flagchange", "view_pendingchange"),
    *(f"view_{name}" for name in EXPERIMENT_MODELS),
]
EDITOR_PERMISSIONS = [
    *("add_flag", "change_flag", "add_segment", "change_segment"),
    *(f"{verb}_{name}" for verb in ("add", "change") for name in EXPERIMENT_MODELS),
]
RELEASER_PERMISSIONS = ["add_rolloutplan", "change_rolloutplan", "release_flag"]
ROLES = {
    "Flag viewer": VIEWER_PERMISSIONS,
    "Flag editor": [*VIEWER_PERMISSIONS, *EDITOR_PERMISSIONS],
    "Flag releaser": [*VIEWER_PERMISSIONS, *EDITOR_PERMISSIONS, *RELEASER_PERMISSIONS],
}


def create_roles(**_: object) -> None:
    """Create the missing groups."""
    for name, codenames in ROLES.items():
        group, is_new = Group.objects.get_or_create(name=name)
        if is_new:
            group.permissions.set(Permission.objects.filter(content_type__app_label="flags", codename__in=codenames))
