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
from django.utils.functional import Promise
from django.utils.timesince import timesince
from django.utils.translation import gettext, gettext_lazy, ngettext

from access.models import ApiKey, UsageAlert
from flags.models import Experiment, PendingChange, RolloutPlan
from monitoring.clock import now
from monitoring.models import Alert
from monitoring.number_texts import decimals, grouped, with_count
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
"""A key that expires within this time is reported. The text names the time."""
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

    title: str | Promise
    icon: str
    lists: Mapping[str, str | Promise]
    states: Mapping[str, Callable[[datetime], Iterable[StateLine]]] = field(default_factory=dict)
    """Facts of the group, by the permission that is needed to see them."""


def list_link(label: str, query: str = "") -> str:
    """Return the URL of the list of a model, such as `recommendations.Job`, with a query such as `?state=done`."""
    return reverse(f"admin:{label.lower().replace('.', '_')}_changelist") + query


def age(moment: datetime, at: datetime) -> str:
    """Return how long ago *moment* was, in its largest unit."""
    return gettext("{time} ago").format(time=timesince(moment, at, depth=1))


def newest_post(at: datetime) -> Iterable[StateLine]:
    """Yield the age of the newest post."""
    created_at = Post.objects.order_by("-created_at").values_list("created_at", flat=True).first()
    text = gettext("Newest post {age}").format(age=age(created_at, at)) if created_at else gettext("No posts yet")
    yield StateLine(text, list_link(Post._meta.label))


def failed_embeddings(at: datetime) -> Iterable[StateLine]:
    """Yield the number of posts that could not be embedded."""
    if count := EmbeddingFailure.objects.count():
        text = with_count(ngettext("{n} post has no vector", "{n} posts have no vector", count), count)
        yield StateLine(text, list_link(EmbeddingFailure._meta.label), "bad")


def newest_member(at: datetime) -> Iterable[StateLine]:
    """Yield the age of the newest member."""
    created_at = Member.objects.order_by("-pk").values_list("created_at", flat=True).first()
    text = gettext("Newest member {age}").format(age=age(created_at, at)) if created_at else gettext("No members yet")
    yield StateLine(text, list_link(Member._meta.label))


def open_erasures(at: datetime) -> Iterable[StateLine]:
    """Yield the number of erasures that are not finished."""
    count = ErasureReceipt.objects.filter(finished_at=None).count()
    text = with_count(ngettext("{n} erasure in progress", "{n} erasures in progress", count), count)
    yield StateLine(text, list_link(ErasureReceipt._meta.label))


def last_hour(at: datetime) -> Iterable[StateLine]:
    """Yield the pages served and the fallbacks of the last full hour."""
    hour = at.replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    sums = FeedHour.objects.filter(hour=hour).aggregate(pages=Sum("page_count"), fallbacks=Sum("fallback_count"))
    link = list_link(FeedHour._meta.label)
    pages, fallbacks = sums["pages"], sums["fallbacks"]
    if pages is None:
        yield StateLine(gettext("No page of the last full hour is counted yet"), link)
        return
    served = ngettext("{n} page served in the last full hour", "{n} pages served in the last full hour", pages)
    yield StateLine(with_count(served, pages), link)
    if fallbacks:
        text = ngettext("{n} slate by a fallback", "{n} slates by a fallback", fallbacks)
        yield StateLine(with_count(text, fallbacks), link, "bad")


def experiments_and_rollouts(at: datetime) -> Iterable[StateLine]:
    """Yield the number of running experiments and rollout plans."""
    running = Experiment.objects.filter(state=Experiment.State.RUNNING).count()
    link = list_link(Experiment._meta.label, "?state__exact=running")
    yield StateLine(with_count(ngettext("{n} experiment running", "{n} experiments running", running), running), link)
    if rollouts := RolloutPlan.objects.filter(state=RolloutPlan.State.RUNNING).count():
        text = with_count(ngettext("{n} rollout running", "{n} rollouts running", rollouts), rollouts)
        yield StateLine(text, list_link(RolloutPlan._meta.label))


def pending_changes(at: datetime) -> Iterable[StateLine]:
    """Yield the number of changes that wait for approval."""
    if count := PendingChange.objects.filter(state=PendingChange.State.PENDING).count():
        text = with_count(ngettext("{n} change waits for approval", "{n} changes wait for approval", count), count)
        yield StateLine(text, list_link(PendingChange._meta.label), "bad")


def active_model(at: datetime) -> Iterable[StateLine]:
    """Yield the trained model that ranks, and its age."""
    model = TrainedModel.objects.filter(state=TrainedModel.State.ACTIVE).only("created_at", "kind").first()
    text = gettext("No trained model is active")
    if model:
        text = gettext("Active model #{number} trained {age}").format(number=model.pk, age=age(model.created_at, at))
    yield StateLine(text, list_link(TrainedModel._meta.label))


def newest_evaluation(at: datetime) -> Iterable[StateLine]:
    """Yield the newest quality score."""
    newest = Evaluation.objects.filter(quality_score__isnull=False).values_list("quality_score", "created_at").first()
    if newest:
        score, measured_at = decimals(newest[0], 2), newest[1]
        text = gettext("Quality score {score}, measured {age}").format(score=score, age=age(measured_at, at))
        yield StateLine(text, list_link(Evaluation._meta.label))


def embedding_in_progress(at: datetime) -> Iterable[StateLine]:
    """Yield the embedding models that are being built."""
    for name in EmbeddingModel.objects.filter(state=EmbeddingModel.State.BUILDING).values_list("name", flat=True):
        yield StateLine(gettext("{name} is being built").format(name=name), list_link(EmbeddingModel._meta.label))


def unfinished_jobs(at: datetime) -> Iterable[StateLine]:
    """Yield the number of waiting, running and recently failed jobs."""
    link = list_link(Job._meta.label)
    counts = Job.objects.filter(
        Q(state__in=(Job.State.QUEUED, Job.State.RUNNING)) | Q(state=Job.State.FAILED, created_at__gte=at - RECENT)
    ).aggregate(**{state: Count("pk", filter=Q(state=state)) for state in ("queued", "running", "failed")})
    numbers = {state: grouped(count) for state, count in counts.items()}
    yield StateLine(gettext("{queued} waiting, {running} running").format(**numbers), link)
    if counts["failed"]:
        text = gettext("{failed} failed in the last day").format(**numbers)
        yield StateLine(text, f"{link}?state__exact=failed", "bad")


def open_alerts(at: datetime) -> Iterable[StateLine]:
    """Yield the number of firing and pending alerts."""
    counts = Alert.objects.filter(state__in=Alert.OPEN_STATES).aggregate(
        firing=Count("pk", filter=Q(state=Alert.State.FIRING)), pending=Count("pk", filter=Q(state=Alert.State.PENDING))
    )
    firing, link = counts["firing"], list_link(Alert._meta.label)
    text = gettext("No alert is firing")
    if firing:
        text = with_count(ngettext("{n} alert firing", "{n} alerts firing", firing), firing)
    yield StateLine(text, f"{link}?state__exact=firing" if firing else link, "bad" if firing else "")
    if counts["pending"]:
        yield StateLine(with_count(gettext("{n} pending"), counts["pending"]), f"{link}?state__exact=pending")


def unusual_usage(at: datetime) -> Iterable[StateLine]:
    """Yield the number of usage alerts that nobody has reviewed."""
    if count := UsageAlert.objects.filter(is_reviewed=False).count():
        text = with_count(ngettext("{n} usage alert to review", "{n} usage alerts to review", count), count)
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
    text = with_count(ngettext("{n} valid API key", "{n} valid API keys", counts["valid"]), counts["valid"])
    if counts["unused"]:
        text += ", " + with_count(gettext("{n} never used"), counts["unused"])
    yield StateLine(text, link)
    if expiring := counts["expiring"]:
        text = ngettext("{n} key expires within 14 days", "{n} keys expire within 14 days", expiring)
        yield StateLine(with_count(text, expiring), link, "bad")


GROUPS = (
    Group(
        gettext_lazy("Content"),
        "article",
        {
            "recommendations.Post": gettext_lazy(
                "Posts appear here when the platform sends them (POST /api/v1/posts), "
                "or when you import a file: manage.py import_data posts FILE."
            ),
            "recommendations.PostStats": gettext_lazy(
                "The popularity of each post. A row appears with the first interaction."
            ),
            "recommendations.RegionStats": gettext_lazy(
                "The popularity of posts in each region. A row appears when a member whose "
                "region is known interacts with a post."
            ),
        },
        {"recommendations.view_post": newest_post, "recommendations.view_embeddingfailure": failed_embeddings},
    ),
    Group(
        gettext_lazy("People"),
        "group",
        {
            "recommendations.Member": gettext_lazy(
                "Members appear here when the platform sends them (POST /api/v1/members), "
                "or when you import a file: manage.py import_data members FILE."
            ),
            "recommendations.PrivacySettings": gettext_lazy(
                "The settings of each member. The platform sends them, or the member "
                "changes them. A member without settings is private."
            ),
            "recommendations.Relationship": gettext_lazy(
                "Follows, follow requests, blocks and mutes. They appear when the platform "
                "or a member sends them (PUT /api/v1/members/…/relationships/…)."
            ),
            "recommendations.Interaction": gettext_lazy(
                "What members did with posts. Send events with POST /api/v1/interactions."
            ),
            "recommendations.NegativeFeedback": gettext_lazy(
                "What members want to see less of. A row appears for each not_interested event."
            ),
            "recommendations.SeenPost": gettext_lazy(
                "Posts that were on a member's screen. Clients report them with POST /api/v1/members/…/seen."
            ),
            "recommendations.Undo": gettext_lazy(
                "Events that took back another event. Send them with POST /api/v1/interactions."
            ),
            "recommendations.InterestProfile": gettext_lazy(
                "What the service has learned about each member. A profile appears some "
                "seconds after a member's first interaction."
            ),
            "recommendations.ReactionHistory": gettext_lazy(
                "The newest likes and rejections of each member, from their interactions."
            ),
            "recommendations.DampedEngagement": gettext_lazy(
                "Members whose many interactions count less than half for popularity. An empty list is good."
            ),
            "recommendations.AuthorCrowd": gettext_lazy(
                "Authors whose posts are liked mostly by new accounts, which then count in part. An empty list is good."
            ),
            "recommendations.CrowdNewcomer": gettext_lazy(
                "The accounts of rings, each with the share that counts. An empty list is good."
            ),
            "recommendations.ErasureReceipt": gettext_lazy(
                "One receipt for each member who was erased (DELETE /api/v1/members/…)."
            ),
        },
        {"recommendations.view_member": newest_member, "recommendations.view_erasurereceipt": open_erasures},
    ),
    Group(
        gettext_lazy("Feeds"),
        "dynamic_feed",
        {
            "recommendations.FeedRequest": gettext_lazy(
                "Each slate that was ranked, with its scores. A worker writes a row seconds after a feed is requested."
            ),
            "recommendations.ServedPage": gettext_lazy(
                "Each page of a feed that was sent. A worker writes a row seconds after it."
            ),
            "recommendations.RankingPolicy": gettext_lazy("The weights and limits of ranking, by variant and version."),
            "recommendations.FeedHour": gettext_lazy(
                "Sums by hour, feed and variant. An hour appears five minutes after its end."
            ),
        },
        {"recommendations.view_feedhour": last_hour},
    ),
    Group(
        gettext_lazy("Flags and experiments"),
        "science",
        {
            "flags.Flag": gettext_lazy("Flags decide which engine and variant a member gets. Add one to begin."),
            "flags.Experiment": gettext_lazy(
                "Comparisons of variants on some of the members. Add a draft, then start it."
            ),
            "flags.RolloutPlan": gettext_lazy(
                "Plans that raise the percentage of a flag step by step. Add one for a flag."
            ),
            "flags.Segment": gettext_lazy("Groups of members that rules of flags name. Add one to use it in a rule."),
            "flags.PendingChange": gettext_lazy(
                "Changes that wait for a second person. A change of a flag that needs approval appears here."
            ),
            "flags.FlagChange": gettext_lazy(
                "The history of flags, segments, plans and experiments. Every change appears here."
            ),
            "flags.Metric": gettext_lazy("What experiments measure, such as likes per member."),
            "flags.ExclusionGroup": gettext_lazy(
                "Groups of experiments that share no member. Add one to run experiments side by side on a flag."
            ),
            "flags.Holdout": gettext_lazy(
                "Members who are in no experiment. Add one to measure all experiments together."
            ),
        },
        {"flags.view_experiment": experiments_and_rollouts, "flags.view_pendingchange": pending_changes},
    ),
    Group(
        gettext_lazy("Models"),
        "model_training",
        {
            "recommendations.TrainedModel": gettext_lazy(
                "Models of what members like together. A worker trains one every night, or run manage.py train."
            ),
            "recommendations.Evaluation": gettext_lazy(
                "How good feeds are, beside simple methods. A worker measures it every "
                "night, or run manage.py evaluate."
            ),
            "recommendations.EmbeddingModel": gettext_lazy(
                "Models that turn posts into vectors. The first appears when the database is migrated."
            ),
            "recommendations.EmbeddingFailure": gettext_lazy(
                "Posts that could not be embedded, with the reason. An empty list is good."
            ),
        },
        {
            "recommendations.view_trainedmodel": active_model,
            "recommendations.view_evaluation": newest_evaluation,
            "recommendations.view_embeddingmodel": embedding_in_progress,
        },
    ),
    Group(
        gettext_lazy("Jobs"),
        "checklist",
        {
            "recommendations.Job": gettext_lazy(
                "Work in the background, such as feeds for all members. Submit one with POST /api/v1/jobs."
            ),
            "recommendations.JobFailure": gettext_lazy(
                "Items of jobs that failed, with the reason. An empty list is good."
            ),
            "recommendations.ImportCheckpoint": gettext_lazy(
                "How far each file was imported. A row appears with manage.py import_data."
            ),
        },
        {"recommendations.view_job": unfinished_jobs},
    ),
    Group(
        gettext_lazy("Alerts"),
        "notifications",
        {
            "monitoring.Alert": gettext_lazy(
                "Rules that were breached, and alerts of Alertmanager. An empty list is good."
            ),
            "monitoring.AlertRule": gettext_lazy("Conditions on metrics that raise an alert. Add one to be notified."),
            "monitoring.Silence": gettext_lazy("Periods without notices. Add one before planned work."),
            "access.UsageAlert": gettext_lazy(
                "Unusual use of the API, such as a caller that tries many ids. An empty list is good."
            ),
        },
        {"monitoring.view_alert": open_alerts, "access.view_usagealert": unusual_usage},
    ),
    Group(
        gettext_lazy("Access"),
        "key",
        {
            "auth.User": gettext_lazy("People who may sign in here. Add a user, then give them a role."),
            "auth.Group": gettext_lazy(
                "Roles: sets of permissions for users. The four roles of the product appear when the "
                "database is migrated."
            ),
            "access.ApiKey": gettext_lazy("Credentials of the platform's servers. Add one; its secret is shown once."),
        },
        {"access.view_apikey": api_keys},
    ),
)
ADVANCED = Group(
    gettext_lazy("Advanced"),
    "settings",
    {
        "recommendations.PostEmbedding": gettext_lazy(
            "The vector of each post. A worker adds it seconds after the post arrives."
        ),
        "recommendations.CoLikes": gettext_lazy(
            "Which posts were liked by the same members. A row appears some seconds after a post is liked."
        ),
        "recommendations.HistoryChange": gettext_lazy(
            "Changes of reaction histories that wait to be counted. Rows stay for seconds."
        ),
        "recommendations.SeenReport": gettext_lazy(
            "Reports of seen posts that wait to be counted, with SEEN_POSTS=reported. Rows stay for a minute."
        ),
        "recommendations.TrainedModelBlock": gettext_lazy(
            "The arrays of trained models. They appear with a trained model."
        ),
        "recommendations.FeedInputs": gettext_lazy(
            "The inputs of a share of the slates, so that they can be ranked again."
        ),
        "recommendations.JobChunk": gettext_lazy("Parts of jobs, which workers claim. They appear with a job."),
        "recommendations.JobFile": gettext_lazy(
            "Exports of members that a job has made. They are deleted after seven days."
        ),
        "recommendations.ErasedPost": gettext_lazy(
            "Numbers of erased posts, so that each process forgets them. They are deleted after seven days."
        ),
        "recommendations.ChangeLogEntry": gettext_lazy(
            "Changes that processes read to keep their memory current. Triggers write them."
        ),
        "recommendations.ChangeLogMark": gettext_lazy(
            "Positions of the change log with their time. A maintenance task writes them."
        ),
        "recommendations.ChangeLogTruncation": gettext_lazy("Up to where the change log was deleted."),
        "monitoring.MaintenanceTask": gettext_lazy(
            "When each maintenance task last ran. A row appears with its first run."
        ),
        "monitoring.MaintenanceRun": gettext_lazy(
            "Runs of maintenance tasks. Beat starts them, or run manage.py maintain."
        ),
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
        {"title": gettext("Product dashboard"), "icon": "insights", "link": reverse("product")},
        {"title": gettext("Operations dashboard"), "icon": "monitoring", "link": reverse("dashboard")},
    ]
    return [{"title": gettext("Dashboards"), "items": dashboards}, *pages] if may_read_metrics(request) else pages
