"""
The roles of staff: groups of Django permissions for the admin, the API and the dashboard (docs/access.md).

A migration creates the groups. An administrator may change them; later migrations keep the changes. Staff without a
role may do nothing but sign in, and superusers may do everything. No role may mint tokens or write interactions, which
act in a member's name, nor manage users and keys.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.apps import AppConfig
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Group, Permission
from django.db.models import Q

ROLE_APPS = ("recommendations", "flags", "access", "monitoring")
EXPERIMENT_MODELS = ("experiment", "metric", "exclusiongroup", "holdout")


def name_permissions(app: str, verbs: str, models: Iterable[str]) -> set[str]:
    """Return `app.verb_model` for each of the verbs, separated by spaces, and each model."""
    return {f"{app}.{verb}_{model}" for verb in verbs.split() for model in models}


VIEWER = {
    "monitoring.read_metrics",
    *name_permissions(
        "monitoring", "view", ("alert", "alertrule", "maintenancerun", "maintenancetask", "notice", "silence")
    ),
    *name_permissions("flags", "view", ("flag", "segment", "rolloutplan", "flagchange", "pendingchange")),
    *name_permissions("flags", "view", EXPERIMENT_MODELS),
    *name_permissions("recommendations", "view", ("rankingpolicy", "job", "jobchunk", "feedhour", "evaluation")),
    *name_permissions("recommendations", "view", ("embeddingmodel", "trainedmodel", "trainedmodelblock")),
    *name_permissions("recommendations", "view", ("changelogentry", "changelogmark", "changelogtruncation")),
    *name_permissions("recommendations", "view", ("importcheckpoint", "erasedpost")),
    "access.view_usagealert",
}
EDITOR = {
    *VIEWER,
    *name_permissions("flags", "add change", ("flag", "segment", *EXPERIMENT_MODELS)),
    *name_permissions("recommendations", "view", ("member", "post", "postembedding", "embeddingfailure", "poststats")),
    *name_permissions("recommendations", "view", ("regionstats", "colikes", "feedrequest", "servedpage")),
    *name_permissions("recommendations", "view", ("jobfailure",)),
    "recommendations.change_post",
    *name_permissions("monitoring", "add change", ("silence",)),
    "monitoring.change_alert",
    "access.change_usagealert",
}
RELEASER = {
    *EDITOR,
    *name_permissions("flags", "add change", ("rolloutplan",)),
    "flags.release_flag",
    *name_permissions("recommendations", "add change", ("rankingpolicy",)),
    *name_permissions("recommendations", "change", ("job", "trainedmodel", "embeddingfailure")),
    *name_permissions("monitoring", "add change delete", ("alertrule",)),
}
PRIVACY_OFFICER = {
    *VIEWER,
    *name_permissions("recommendations", "view change", ("member", "privacysettings", "post")),
    *name_permissions("recommendations", "view add change delete", ("relationship",)),
    *name_permissions("recommendations", "view", ("interaction", "undo", "negativefeedback", "seenpost", "servedpage")),
    *name_permissions("recommendations", "view", ("feedrequest", "feedinputs", "interestprofile", "reactionhistory")),
    *name_permissions("recommendations", "view", ("jobfile", "jobfailure", "postembedding", "erasurereceipt")),
    *name_permissions("recommendations", "delete", ("member", "post")),
    "recommendations.export_member",
    "recommendations.change_job",
}
ROLES = {"Viewer": VIEWER, "Editor": EDITOR, "Releaser": RELEASER, "Privacy officer": PRIVACY_OFFICER}
"""The permissions of each group, by its name."""


def create_roles(app_configs: Iterable[AppConfig]) -> None:
    """Create the missing groups. *app_configs* are those of `ROLE_APPS`, whose permissions are created before."""
    for app_config in app_configs:
        create_permissions(app_config, verbosity=0)
    for role, names in ROLES.items():
        group, is_new = Group.objects.get_or_create(name=role)
        if is_new:
            group.permissions.set(find_permissions(names))


def find_permissions(names: Iterable[str]) -> list[Permission]:
    """Return the permissions with these names, such as `flags.view_flag`. Raises `LookupError` if one is missing."""
    condition = Q()
    for app, _, codename in (name.partition(".") for name in names):
        condition |= Q(content_type__app_label=app, codename=codename)
    found = list(Permission.objects.filter(condition).select_related("content_type"))
    missing = set(names) - {f"{row.content_type.app_label}.{row.codename}" for row in found}
    if missing:
        raise LookupError(f"There are no permissions {', '.join(sorted(missing))}.")
    return found
