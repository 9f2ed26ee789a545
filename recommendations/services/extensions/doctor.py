"""The checks of the deployment checklist (`manage.py doctor`) that are specific to recommendations."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
from django.apps import apps
from django.conf import settings
from django.db import connection
from django.db.models import Model

from flags.models import Experiment, ExperimentPhase, Flag
from monitoring import gauges
from monitoring.doctor import CheckResult, fail_result, pass_result, register_check, warn_result
from monitoring.models import AlertRule
from recommendations.contracts import ENGINE_FLAG
from recommendations.engines.plain import PlainEngine
from recommendations.models import EmbeddingModel, FeedRequest, Post, TrainedModel
from recommendations.services import wiring
from recommendations.stores import change_log as log
from recommendations.stores.qdrant_vectors import is_version_supported

PROJECT_APPS = ("recommendations", "flags", "access", "monitoring")
MIN_EMBEDDED_SHARE = 0.99
MIN_LOAD_FEEDS, LOAD_WINDOW, MAX_LOAD_FEEDS = 1_000, timedelta(days=30), 10_000
"""Number of feeds needed to judge the load, the period, and how many of the newest feeds are read."""
MAX_MODEL_AGE = timedelta(days=3)
TARGET_P95_MS = 500.0
MAX_FALLBACK_SHARE = 0.01
REQUIRED_ALERT_RULES = {"recommendation_generation_time", "heap_used", "cache_hit_rate", "database_query_time"}
RUNBOOK = "docs/rollback.md"


def check_indexes(_now: datetime) -> CheckResult:
    """Every index that the models declare exists in the database."""
    missing = []
    for model in apps.get_models():
        if model._meta.app_label in PROJECT_APPS and model._meta.managed:
            missing += [f"{model._meta.db_table}.{name}" for name in declared_indexes(model) - existing_indexes(model)]
    if missing:
        return fail_result(
            f"Missing in the database: {', '.join(sorted(missing))}.",
            "Run manage.py migrate, or create the indexes again.",
        )
    return pass_result("every index that the models declare exists in the database")


def check_change_log(_now: datetime) -> CheckResult:
    """The triggers of the change log are installed."""
    if log.are_triggers_installed():
        return pass_result("every trigger of the change log is installed")
    return fail_result(
        "Triggers of the change log are missing: processes cache no rows, and feeds are slow.", "Run manage.py migrate."
    )


def declared_indexes(model: type[Model]) -> set[str]:
    """Return the names of a model's indexes, without constraints: SQLite stores check constraints without names."""
    return {index.name for index in model._meta.indexes}


def existing_indexes(model: type[Model]) -> set[str]:
    """Return the names of the indexes of a model's table."""
    with connection.cursor() as cursor:
        constraints = connection.introspection.get_constraints(cursor, model._meta.db_table)
    return {name for name, constraint in constraints.items() if constraint["index"]}


def check_vectors(_now: datetime) -> CheckResult:
    """Posts have vectors, and every post is resident or in the vector index."""
    posts = Post.objects.filter(removed_at__isnull=True).count()
    active = EmbeddingModel.objects.filter(state=EmbeddingModel.State.ACTIVE).first()
    if posts and active is None:
        return fail_result(
            "No embedding model is active.", "Run manage.py embed, or start beat and a maintenance worker."
        )
    if active and active.post_count and active.embedded_count < active.post_count * MIN_EMBEDDED_SHARE:
        return warn_result(
            f"{active.embedded_count:,} of {active.post_count:,} posts have a vector.",
            "Wait, or check Embedding failures in the admin.",
        )
    index = wiring.vector_index()
    if index is None:
        max_posts = settings.ENV.catalogue_max_posts
        if posts > max_posts:
            return fail_result(
                f"{posts - max_posts:,} posts exceed CATALOGUE_MAX_POSTS and are never recommended.",
                "Set QDRANT_URL and run manage.py reindex, or raise CATALOGUE_MAX_POSTS.",
            )
        return pass_result(f"all {posts:,} posts are resident; Qdrant is not needed up to {max_posts:,} posts")
    server = wiring.qdrant_client().info().version  # type: ignore[union-attr]  # an index has a client
    if not is_version_supported(server):
        return warn_result(
            f"Qdrant's version is {server}; the client supports its own and the neighboring minor versions.",
            "Use the version of Qdrant in docker-compose.yml.",
        )
    in_index = index.count()
    if in_index < posts * MIN_EMBEDDED_SHARE:
        return fail_result(f"Qdrant has {in_index:,} of {posts:,} posts.", "Run manage.py reindex --resume.")
    return pass_result(f"Qdrant has {in_index:,} of {posts:,} posts")


def check_trained_models(now: datetime) -> CheckResult:
    """A trained model is active and was trained lately. A young installation has none yet."""
    for kind in TrainedModel.Kind.values:
        active = TrainedModel.objects.filter(kind=kind, state=TrainedModel.State.ACTIVE).first()
        if active is None:
            return warn_result(
                f"No model of {kind} is active.",
                "Run manage.py train, or wait for the training worker until enough likes have been learned.",
            )
        if now - active.created_at > MAX_MODEL_AGE:
            return warn_result(
                f"The active model of {kind} is {(now - active.created_at).days} days old.",
                "See manage.py models for failed trainings, and check the training worker.",
            )
    return pass_result("every kind of trained model is active and recent")


def check_engine_flag(_now: datetime) -> CheckResult:
    """The flag that chooses the engine exists, so that an operator can turn it off."""
    row = Flag.objects.filter(key=ENGINE_FLAG).first()
    if row is None:
        return fail_result(
            f"The flag {ENGINE_FLAG} does not exist: every member gets control.",
            "Run manage.py migrate, or create the flag in the admin.",
        )
    state = f"on for {row.rollout_percentage:g} %" if row.is_enabled else "off"
    return pass_result(f"{ENGINE_FLAG} is {state}; {Flag.objects.count()} flags in all")


def check_variants(_now: datetime) -> CheckResult:
    """Every running experiment has at least two variants whose shares add up to 1 or 100."""
    running = ExperimentPhase.objects.filter(ended_at=None, experiment__state=Experiment.State.RUNNING).select_related(
        "experiment"
    )
    invalid = [
        phase.experiment.key for phase in running if not is_whole([variant["share"] for variant in phase.variants])
    ]
    if invalid:
        return fail_result(
            f"The shares of the variants do not add up: {', '.join(invalid)}.",
            "Pause the experiment, correct its shares, and start a new phase.",
        )
    if not running:
        return warn_result("No experiment is running.", "Start one in the admin, if you want to compare variants.")
    return pass_result(f"{len(running)} running: {', '.join(phase.experiment.key for phase in running)}")


def is_whole(shares: list[float]) -> bool:
    """Return whether these are at least two shares that add up to 1 or to 100."""
    return len(shares) >= 2 and min(abs(sum(shares) - whole) for whole in (1.0, 100.0)) < 1e-6


def check_alert_thresholds(_now: datetime) -> CheckResult:
    """The required alert rules are enabled, every rule's metric exists, and a notification channel is configured."""
    metrics_by_rule = dict(AlertRule.objects.filter(is_enabled=True).values_list("name", "metric"))
    if missing := sorted(REQUIRED_ALERT_RULES - set(metrics_by_rule)):
        return fail_result(
            f"Required alert rules are not enabled: {', '.join(missing)}.",
            "Enable them under Alert rules in the admin.",
        )
    registered = gauges.gauge_names()
    if unknown := sorted(name for name, metric in metrics_by_rule.items() if metric not in registered):
        return fail_result(
            f"The metric of these alert rules does not exist: {', '.join(unknown)}.",
            "Correct the rules' metrics, or disable the rules.",
        )
    env = settings.ENV
    if not (env.alert_emails or env.alert_webhook_url or env.alertmanager_url):
        return warn_result(
            f"{len(metrics_by_rule)} alert rules are enabled, but no notification channel is configured.",
            "Set ALERT_EMAILS, ALERT_WEBHOOK_URL or ALERTMANAGER_URL. Until then, watch /dashboard/.",
        )
    return pass_result(f"{len(metrics_by_rule)} alert rules are enabled, and notices are sent")


def check_rollback(_now: datetime) -> CheckResult:
    """The rollback runbook is deployed, and the control engine can be created."""
    if not (settings.BASE_DIR / RUNBOOK).is_file():
        return fail_result(f"{RUNBOOK} is not deployed.", "Deploy the documents with the code.")
    wiring.engine(PlainEngine.name)
    return pass_result(f"{RUNBOOK} is deployed, and the control engine works")


def check_load(now: datetime) -> CheckResult:
    """Recent feeds, real or from a load test, were numerous and fast enough."""
    rows = FeedRequest.objects.filter(created_at__gte=now - LOAD_WINDOW).order_by("-created_at")
    feeds = list(rows.values_list("duration_ms", "fallback")[:MAX_LOAD_FEEDS])
    if len(feeds) < MIN_LOAD_FEEDS:
        return warn_result(
            f"{len(feeds):,} feeds were built in {LOAD_WINDOW.days} days; {MIN_LOAD_FEEDS:,} are needed.",
            "Run a batch of feeds, or benchmarks/feed.py against this database.",
        )
    p95 = float(np.quantile([duration for duration, _ in feeds], 0.95))
    fallbacks = sum(1 for _, fallback in feeds if fallback) / len(feeds)
    message = f"{len(feeds):,} feeds: p95 {p95:.0f} ms, {fallbacks:.2%} by a fallback"
    if p95 > TARGET_P95_MS or fallbacks > MAX_FALLBACK_SHARE:
        return fail_result(
            f"{message}; the targets are {TARGET_P95_MS:.0f} ms and {MAX_FALLBACK_SHARE:.0%}.",
            "Find the slow stage on /dashboard/.",
        )
    return pass_result(message)


def register() -> None:
    """Register these checks."""
    for title, check in (
        ("Database indexes optimized for recommendation queries", check_indexes),
        ("Change log triggers installed", check_change_log),
        ("Vector database (Qdrant) configured and populated", check_vectors),
        ("Collaborative models trained", check_trained_models),
        ("Feature flag system configured", check_engine_flag),
        ("A/B test variants configured", check_variants),
        ("Alert thresholds configured", check_alert_thresholds),
        ("Rollback possible", check_rollback),
        ("Recent feeds fast enough", check_load),
    ):
        register_check(title, check)
