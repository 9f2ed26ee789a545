"""
The first page of the admin and its sidebar: every list, grouped by what people do, with the state of each group.

A new model of the admin needs an entry in `GROUPS`; a test fails without it. The sentence of an entry is shown while
the list is empty: it says what the list holds and how rows get there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin
from django.db.models import Count, Q, Sum
from django.http import HttpRequest
from django.urls import reverse
from django.utils.timesince import timesince

from access.models import ApiKey, UsageAlert
from flags.models import Experiment, PendingChange, RolloutPlan
from monitoring.clock import now
from monitoring.models import Alert
from monitoring.views import may_read_metrics
from recommendations.models import (
    EmbeddingFailure,
    EmbeddingModel,
    ErasureReceipt,
    Evaluation,
    FeedHour,
    Job,
    Member,
    Post,
    TrainedModel,
)

EXPIRY_NOTICE = timedelta(days=14)
"""A key that expires within this time is reported."""
RECENT = timedelta(days=1)
"""A job that failed within this time is reported."""


@dataclass(frozen=True, slots=True)
class StateLine:
    """One fact about a group. *tone* is "bad" if somebody should act, else empty. *link* leads to the rows."""

    text: str
    link: str = ""
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Lists that serve one purpose. *lists* has the sentence of each model, by its label."""

    title: str
    icon: str
    lists: Mapping[str, str]
    states: Mapping[str, Callable[[datetime], Iterable[StateLine]]] = field(default_factory=dict)
    """Facts of the group, by the permission that is needed to see them."""


def list_link(label: str, query: str = "") -> str:
    """Return the URL of the list of a model, such as `recommendations.Job`, with a query such as `?state=done`."""
    return reverse(f"admin:{label.lower().replace('.', '_')}_changelist") + query


def age(moment: datetime, at: datetime) -> str:
    """Return how long ago *moment* was, in its largest unit."""
    return f"{timesince(moment, at, depth=1)} ago"


def plural(count: int, one: str, many: str) -> str:
    """Return the count with its noun."""
    return f"{count:,} {one if count == 1 else many}"


def newest_post(at: datetime) -> Iterable[StateLine]:
    """Yield the age of the newest post."""
    created_at = Post.objects.order_by("-created_at").values_list("created_at", flat=True).first()
    yield StateLine(f"Newest post {age(created_at, at)}" if created_at else "No posts yet", list_link(Post._meta.label))


def failed_embeddings(at: datetime) -> Iterable[StateLine]:
    """Yield the number of posts that could not be embedded."""
    if count := EmbeddingFailure.objects.count():
        text = plural(count, "post has no vector", "posts have no vector")
        yield StateLine(text, list_link(EmbeddingFailure._meta.label), "bad")


def newest_member(at: datetime) -> Iterable[StateLine]:
    """Yield the age of the newest member."""
    created_at = Member.objects.order_by("-pk").values_list("created_at", flat=True).first()
    text = f"Newest member {age(created_at, at)}" if created_at else "No members yet"
    yield StateLine(text, list_link(Member._meta.label))


def open_erasures(at: datetime) -> Iterable[StateLine]:
    """Yield the number of erasures that are not finished."""
    count = ErasureReceipt.objects.filter(finished_at=None).count()
    yield StateLine(plural(count, "erasure in progress", "erasures in progress"), list_link(ErasureReceipt._meta.label))


def last_hour(at: datetime) -> Iterable[StateLine]:
    """Yield the pages served and the fallbacks of the last full hour."""
    hour = at.replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    sums = FeedHour.objects.filter(hour=hour).aggregate(
        pages=Sum("page_count", default=0), fallbacks=Sum("fallback_count", default=0)
    )
    link = list_link(FeedHour._meta.label)
    yield StateLine(f"{plural(sums['pages'], 'page', 'pages')} served in the last full hour", link)
    if sums["fallbacks"]:
        yield StateLine(plural(sums["fallbacks"], "slate by a fallback", "slates by a fallback"), link, "bad")


def experiments_and_rollouts(at: datetime) -> Iterable[StateLine]:
    """Yield the number of running experiments and rollout plans."""
    running = Experiment.objects.filter(state=Experiment.State.RUNNING).count()
    link = list_link(Experiment._meta.label, "?state__exact=running")
    yield StateLine(plural(running, "experiment running", "experiments running"), link)
    if rollouts := RolloutPlan.objects.filter(state=RolloutPlan.State.RUNNING).count():
        yield StateLine(plural(rollouts, "rollout running", "rollouts running"), list_link(RolloutPlan._meta.label))


def pending_changes(at: datetime) -> Iterable[StateLine]:
    """Yield the number of changes that wait for approval."""
    if count := PendingChange.objects.filter(state=PendingChange.State.PENDING).count():
        text = plural(count, "change waits for approval", "changes wait for approval")
        yield StateLine(text, list_link(PendingChange._meta.label), "bad")


def active_model(at: datetime) -> Iterable[StateLine]:
    """Yield the trained model that ranks, and its age."""
    model = TrainedModel.objects.filter(state=TrainedModel.State.ACTIVE).only("created_at", "kind").first()
    text = f"Active model #{model.pk} trained {age(model.created_at, at)}" if model else "No trained model is active"
    yield StateLine(text, list_link(TrainedModel._meta.label))


def newest_evaluation(at: datetime) -> Iterable[StateLine]:
    """Yield the newest quality score."""
    newest = Evaluation.objects.filter(quality_score__isnull=False).values_list("quality_score", "created_at").first()
    if newest:
        text = f"Quality score {newest[0]:.2f}, measured {age(newest[1], at)}"
        yield StateLine(text, list_link(Evaluation._meta.label))


def embedding_in_progress(at: datetime) -> Iterable[StateLine]:
    """Yield the embedding models that are being built."""
    for name in EmbeddingModel.objects.filter(state=EmbeddingModel.State.BUILDING).values_list("name", flat=True):
        yield StateLine(f"{name} is being built", list_link(EmbeddingModel._meta.label))


def unfinished_jobs(at: datetime) -> Iterable[StateLine]:
    """Yield the number of waiting, running and recently failed jobs."""
    link = list_link(Job._meta.label)
    counts = Job.objects.filter(
        Q(state__in=(Job.State.QUEUED, Job.State.RUNNING)) | Q(state=Job.State.FAILED, created_at__gte=at - RECENT)
    ).aggregate(**{state: Count("pk", filter=Q(state=state)) for state in ("queued", "running", "failed")})
    yield StateLine(f"{counts['queued']:,} waiting, {counts['running']:,} running", link)
    if counts["failed"]:
        yield StateLine(f"{counts['failed']:,} failed in the last day", f"{link}?state__exact=failed", "bad")


def open_alerts(at: datetime) -> Iterable[StateLine]:
    """Yield the number of firing and pending alerts."""
    counts = Alert.objects.filter(state__in=Alert.OPEN_STATES).aggregate(
        firing=Count("pk", filter=Q(state=Alert.State.FIRING)), pending=Count("pk", filter=Q(state=Alert.State.PENDING))
    )
    firing, link = counts["firing"], list_link(Alert._meta.label)
    text = plural(firing, "alert firing", "alerts firing") if firing else "No alert is firing"
    yield StateLine(text, f"{link}?state__exact=firing" if firing else link, "bad" if firing else "")
    if counts["pending"]:
        yield StateLine(f"{counts['pending']:,} pending", f"{link}?state__exact=pending")


def unusual_usage(at: datetime) -> Iterable[StateLine]:
    """Yield the number of usage alerts that nobody has reviewed."""
    if count := UsageAlert.objects.filter(is_reviewed=False).count():
        text = plural(count, "usage alert to review", "usage alerts to review")
        yield StateLine(text, list_link(UsageAlert._meta.label, "?is_reviewed__exact=0"), "bad")


def api_keys(at: datetime) -> Iterable[StateLine]:
    """Yield the number of valid API keys, of those that were never used, and of those that expire soon."""
    valid = Q(expires_at=None) | Q(expires_at__gt=at)
    counts = ApiKey.objects.filter(valid, revoked_at=None).aggregate(
        valid=Count("pk"),
        unused=Count("pk", filter=Q(last_used_at=None)),
        expiring=Count("pk", filter=Q(expires_at__lte=at + EXPIRY_NOTICE)),
    )
    link = list_link(ApiKey._meta.label)
    unused = f", {counts['unused']:,} never used" if counts["unused"] else ""
    yield StateLine(plural(counts["valid"], "valid API key", "valid API keys") + unused, link)
    if counts["expiring"]:
        text = plural(counts["expiring"], "key expires", "keys expire") + f" within {EXPIRY_NOTICE.days} days"
        yield StateLine(text, link, "bad")


GROUPS = (
    Group(
        "Content",
        "article",
        {
            "recommendations.Post": "Posts appear here when the platform sends them (POST /api/v1/posts), "
            "or when you import a file: manage.py import_data posts FILE.",
            "recommendations.PostStats": "The popularity of each post. A row appears with the first interaction.",
            "recommendations.RegionStats": "The popularity of posts in each region. A row appears when a member whose "
            "region is known interacts with a post.",
        },
        {"recommendations.view_post": newest_post, "recommendations.view_embeddingfailure": failed_embeddings},
    ),
    Group(
        "People",
        "group",
        {
            "recommendations.Member": "Members appear here when the platform sends them (POST /api/v1/members), "
            "or when you import a file: manage.py import_data members FILE.",
            "recommendations.PrivacySettings": "The settings of each member. The platform sends them, or the member "
            "changes them. A member without settings is private.",
            "recommendations.Relationship": "Follows, follow requests, blocks and mutes. They appear when the platform "
            "or a member sends them (PUT /api/v1/members/…/relationships/…).",
            "recommendations.Interaction": "What members did with posts. Send events with POST /api/v1/interactions.",
            "recommendations.NegativeFeedback": "What members want to see less of. A row appears for each "
            "not_interested event.",
            "recommendations.SeenPost": "Posts that were on a member's screen. Clients report them with "
            "POST /api/v1/members/…/seen.",
            "recommendations.Undo": "Events that took back another event. Send them with POST /api/v1/interactions.",
            "recommendations.InterestProfile": "What the service has learned about each member. A profile appears some "
            "seconds after a member's first interaction.",
            "recommendations.ReactionHistory": "The newest likes and rejections of each member, from their "
            "interactions.",
            "recommendations.DampedEngagement": "Members whose many interactions count less than half for popularity. "
            "An empty list is good.",
            "recommendations.AuthorCrowd": "Authors whose posts are liked mostly by new accounts, which then count in "
            "part. An empty list is good.",
            "recommendations.CrowdNewcomer": "The accounts of rings, each with the share that counts. An empty list is "
            "good.",
            "recommendations.ErasureReceipt": "One receipt for each member who was erased (DELETE /api/v1/members/…).",
        },
        {"recommendations.view_member": newest_member, "recommendations.view_erasurereceipt": open_erasures},
    ),
    Group(
        "Feeds",
        "dynamic_feed",
        {
            "recommendations.FeedRequest": "Each slate that was ranked, with its scores. A worker writes a row "
            "seconds after a feed is requested.",
            "recommendations.ServedPage": "Each page of a feed that was sent. A worker writes a row seconds after it.",
            "recommendations.RankingPolicy": "The weights and limits of ranking, by variant and version.",
            "recommendations.FeedHour": "Sums by hour, feed and variant. An hour appears five minutes after its end.",
        },
        {"recommendations.view_feedhour": last_hour},
    ),
    Group(
        "Flags and experiments",
        "science",
        {
            "flags.Flag": "Flags decide which engine and variant a member gets. Add one to begin.",
            "flags.Experiment": "Comparisons of variants on some of the members. Add a draft, then start it.",
            "flags.RolloutPlan": "Plans that raise the percentage of a flag step by step. Add one for a flag.",
            "flags.Segment": "Groups of members that rules of flags name. Add one to use it in a rule.",
            "flags.PendingChange": "Changes that wait for a second person. A change of a flag that needs approval "
            "appears here.",
            "flags.FlagChange": "The history of flags, segments, plans and experiments. Every change appears here.",
            "flags.Metric": "What experiments measure, such as likes per member.",
            "flags.ExclusionGroup": "Groups of experiments that share no member. Add one to run experiments side by "
            "side on a flag.",
            "flags.Holdout": "Members who are in no experiment. Add one to measure all experiments together.",
        },
        {"flags.view_experiment": experiments_and_rollouts, "flags.view_pendingchange": pending_changes},
    ),
    Group(
        "Models",
        "model_training",
        {
            "recommendations.TrainedModel": "Models of what members like together. A worker trains one every night, or "
            "run manage.py train.",
            "recommendations.Evaluation": "How good feeds are, beside simple methods. A worker measures it every "
            "night, or run manage.py evaluate.",
            "recommendations.EmbeddingModel": "Models that turn posts into vectors. The first appears when the "
            "database is migrated.",
            "recommendations.EmbeddingFailure": "Posts that could not be embedded, with the reason. An empty list is "
            "good.",
        },
        {
            "recommendations.view_trainedmodel": active_model,
            "recommendations.view_evaluation": newest_evaluation,
            "recommendations.view_embeddingmodel": embedding_in_progress,
        },
    ),
    Group(
        "Jobs",
        "checklist",
        {
            "recommendations.Job": "Work in the background, such as feeds for all members. Submit one with "
            "POST /api/v1/jobs.",
            "recommendations.JobFailure": "Items of jobs that failed, with the reason. An empty list is good.",
            "recommendations.ImportCheckpoint": "How far each file was imported. A row appears with "
            "manage.py import_data.",
        },
        {"recommendations.view_job": unfinished_jobs},
    ),
    Group(
        "Alerts",
        "notifications",
        {
            "monitoring.Alert": "Rules that were breached, and alerts of Alertmanager. An empty list is good.",
            "monitoring.AlertRule": "Conditions on metrics that raise an alert. Add one to be notified.",
            "monitoring.Silence": "Periods without notices. Add one before planned work.",
            "access.UsageAlert": "Unusual use of the API, such as a caller that tries many ids. An empty list is good.",
        },
        {"monitoring.view_alert": open_alerts, "access.view_usagealert": unusual_usage},
    ),
    Group(
        "Access",
        "key",
        {
            "auth.User": "People who may sign in here. Add a user, then give them a role.",
            "auth.Group": "Roles: sets of permissions for users. The four roles of the product appear when the "
            "database is migrated.",
            "access.ApiKey": "Credentials of the platform's servers. Add one; its secret is shown once.",
        },
        {"access.view_apikey": api_keys},
    ),
)
ADVANCED = Group(
    "Advanced",
    "settings",
    {
        "recommendations.PostEmbedding": "The vector of each post. A worker adds it seconds after the post arrives.",
        "recommendations.CoLikes": "Which posts were liked by the same members. A row appears some seconds after a "
        "post is liked.",
        "recommendations.HistoryChange": "Changes of reaction histories that wait to be counted. Rows stay for "
        "seconds.",
        "recommendations.TrainedModelBlock": "The arrays of trained models. They appear with a trained model.",
        "recommendations.FeedInputs": "The inputs of a share of the slates, so that they can be ranked again.",
        "recommendations.JobChunk": "Parts of jobs, which workers claim. They appear with a job.",
        "recommendations.JobFile": "Exports of members that a job has made. They are deleted after seven days.",
        "recommendations.ErasedPost": "Numbers of erased posts, so that each process forgets them. They are deleted "
        "after seven days.",
        "recommendations.ChangeLogEntry": "Changes that processes read to keep their memory current. Triggers write "
        "them.",
        "recommendations.ChangeLogMark": "Positions of the change log with their time. A maintenance task writes them.",
        "recommendations.ChangeLogTruncation": "Up to where the change log was deleted.",
        "monitoring.MaintenanceTask": "When each maintenance task last ran. A row appears with its first run.",
        "monitoring.MaintenanceRun": "Runs of maintenance tasks. Beat starts them, or run manage.py maintain.",
    },
)
"""Rows that the service keeps for itself. People need them when they look for a fault."""


def every_group() -> tuple[Group, ...]:
    """Return the groups in order, with `ADVANCED` last."""
    return (*GROUPS, ADVANCED)


def attach_sentences() -> None:
    """Give each admin page the sentence of its empty list. Call it once all pages are registered."""
    sentences = {label: text for group in every_group() for label, text in group.lists.items()}
    for model, page in admin.site._registry.items():
        page.empty_text = sentences.get(model._meta.label, "")  # type: ignore[attr-defined]


def readable_lists(request: HttpRequest) -> dict[str, dict[str, Any]]:
    """Return the lists that the user may open, as Django describes them, by the label of the model."""
    models = (model for app in admin.site.get_app_list(request) for model in app["models"])
    return {model["model"]._meta.label: model for model in models if model["admin_url"]}


def index_context(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add the groups and the links of the first page to its context. `UNFOLD` names this function."""
    at, lists = now(), readable_lists(request)
    groups = [
        {
            "title": group.title,
            "icon": group.icon,
            "states": [
                line
                for permission, states in group.states.items()
                if request.user.has_perm(permission)
                for line in states(at)
            ],
            "lists": [lists[label] for label in group.lists if label in lists],
        }
        for group in every_group()
    ]
    *shown, advanced = groups
    context |= {"groups": [group for group in shown if group["lists"]], "advanced": advanced["lists"]}
    return context | {"may_read_metrics": may_read_metrics(request)}


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the sidebar: the dashboards, then the lists of each group that the user may open."""
    lists = readable_lists(request)
    pages = [
        {
            "title": group.title,
            "collapsible": True,
            "items": [
                {"title": lists[label]["name"], "link": lists[label]["admin_url"]}
                for label in group.lists
                if label in lists
            ],
        }
        for group in every_group()
    ]
    dashboards = [
        {"title": "Product dashboard", "icon": "insights", "link": reverse("product")},
        {"title": "Operations dashboard", "icon": "monitoring", "link": reverse("dashboard")},
    ]
    return [{"title": "Dashboards", "items": dashboards}, *pages] if may_read_metrics(request) else pages
