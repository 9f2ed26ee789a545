"""The lines of the deployment checklist that only recommending can answer (`manage.py doctor`)."""

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
from recommendations.engines.plain import PlainEngine
from recommendations.models import EmbeddingModel, FeedRequest, Post
from recommendations.services import wiring
from recommendations.services.serving.query import ENGINE_FLAG
from recommendations.stores import change_log as log

PROJECT_APPS = ("recommendations", "flags", "access", "monitoring")
MIN_EMBEDDED_SHARE = 0.99
MIN_LOAD_FEEDS, LOAD_WINDOW, MAX_LOAD_FEEDS = 1_000, timedelta(days=30), 10_000
"""Feeds that make a load, and how many of the newest are looked at."""
TARGET_P95_MS = 500.0
MAX_FALLBACK_SHARE = 0.01
REQUIRED_ALERT_RULES = {"recommendation_generation_time", "heap_used", "cache_hit_rate", "database_query_time"}
RUNBOOK = "docs/rollback.md"


def check_indexes(_now: datetime) -> CheckResult:
    """Every index and constraint that the models name is in the database."""
    missing = []
    for model in apps.get_models():
        if model._meta.app_label in PROJECT_APPS and model._meta.managed:
            missing += [f"{model._meta.db_table}.{name}" for name in declared_indexes(model) - existing_indexes(model)]
    if missing:
        return fail_result(
            f"Not in the database: {', '.join(sorted(missing))}.", "Run manage.py migrate, or make them again."
        )
    return pass_result("every index that the models name is in the database")


def check_change_log(_now: datetime) -> CheckResult:
    """The triggers that tell processes what changed are in the database."""
    if log.are_triggers_installed():
        return pass_result("Every trigger is there: processes may remember what they read.")
    return fail_result("Triggers are missing: nothing is remembered, and feeds are slow.", "Run manage.py migrate.")


def declared_indexes(model: type[Model]) -> set[str]:
    """Return the names of a model's own indexes; SQLite keeps checks without a name of their own."""
    return {index.name for index in model._meta.indexes}


def existing_indexes(model: type[Model]) -> set[str]:
    """Return the names of a table's indexes."""
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, model._meta.db_table)
    return {name for name, facts in found.items() if facts["index"]}


def check_vectors(_now: datetime) -> CheckResult:
    """Posts have their vectors, and are where they can be found."""
    posts = Post.objects.filter(removed_at__isnull=True).count()
    active = EmbeddingModel.objects.filter(state=EmbeddingModel.State.ACTIVE).first()
    if posts and active is None:
        return fail_result(
            "No embedding model is active.", "Run manage.py embed, or start beat and a maintenance worker."
        )
    if active and active.post_count and active.embedded_count < active.post_count * MIN_EMBEDDED_SHARE:
        return warn_result(
            f"{active.embedded_count:,} of {active.post_count:,} posts have a vector.",
            "Wait, or look at Embedding failures.",
        )
    index = wiring.vector_index()
    if index is None:
        most = settings.ENV.catalogue_max_posts
        if posts > most:
            return fail_result(
                f"{posts - most:,} posts lie beyond CATALOGUE_MAX_POSTS and are never found.",
                "Set QDRANT_URL and run manage.py reindex, or raise CATALOGUE_MAX_POSTS.",
            )
        return pass_result(f"all {posts:,} posts are resident; Qdrant is not needed below {most:,}")
    in_index = index.count()
    if in_index < posts * MIN_EMBEDDED_SHARE:
        return fail_result(f"Qdrant holds {in_index:,} of {posts:,} posts.", "Run manage.py reindex --resume.")
    return pass_result(f"Qdrant holds {in_index:,} of {posts:,} posts")


def check_engine_flag(_now: datetime) -> CheckResult:
    """The flag that chooses the engine is a row, so that it can be turned off."""
    row = Flag.objects.filter(key=ENGINE_FLAG).first()
    if row is None:
        return fail_result(
            f"There is no flag {ENGINE_FLAG}: every member gets control.", "Run manage.py migrate, or add it."
        )
    state = f"on for {row.rollout_percentage:g} %" if row.is_enabled else "off"
    return pass_result(f"{ENGINE_FLAG} is {state}; {Flag.objects.count()} flags in all")


def check_variants(_now: datetime) -> CheckResult:
    """A running experiment has at least two variants whose shares make a whole."""
    running = ExperimentPhase.objects.filter(ended_at=None, experiment__state=Experiment.State.RUNNING).select_related(
        "experiment"
    )
    wrong = [phase.experiment.key for phase in running if not is_whole([v["share"] for v in phase.variants])]
    if wrong:
        return fail_result(
            f"Variants do not add up: {', '.join(wrong)}.", "Pause it, mend its shares, start a new phase."
        )
    if not running:
        return warn_result("No experiment runs.", "Start one in the admin, unless all members shall have the same.")
    return pass_result(f"{len(running)} running: {', '.join(phase.experiment.key for phase in running)}")


def is_whole(shares: list[float]) -> bool:
    """Return whether these are at least two shares of one whole, given as parts of 1 or of 100."""
    return len(shares) >= 2 and min(abs(sum(shares) - whole) for whole in (1.0, 100.0)) < 1e-6


def check_alert_thresholds(_now: datetime) -> CheckResult:
    """The thresholds that every deployment needs are watched, and somebody is told."""
    on = dict(AlertRule.objects.filter(is_enabled=True).values_list("name", "metric"))
    if missing := sorted(REQUIRED_ALERT_RULES - set(on)):
        return fail_result(f"Not watched: {', '.join(missing)}.", "Turn them on under Alert rules in the admin.")
    if blind := sorted(name for name, reading in on.items() if reading not in gauges.gauge_names()):
        return fail_result(
            f"Nothing reads what these rules watch: {', '.join(blind)}.", "Mend or turn off these alert rules."
        )
    env = settings.ENV
    if not (env.alert_emails or env.alert_webhook_url or env.alertmanager_url):
        return warn_result(
            f"{len(on)} rules are watched, and nobody is told.",
            "Set ALERT_EMAILS, ALERT_WEBHOOK_URL or ALERTMANAGER_URL; until then look at /dashboard/.",
        )
    return pass_result(f"{len(on)} rules are watched, and told")


def check_rollback(_now: datetime) -> CheckResult:
    """The way back is written down, and the engine that it leads to works here."""
    if not (settings.BASE_DIR / RUNBOOK).is_file():
        return fail_result(f"{RUNBOOK} is not part of this installation.", "Deploy the documents with the code.")
    wiring.engine(PlainEngine.name)
    return pass_result(f"written down in {RUNBOOK}; the control engine is there to go back to")


def check_load(now: datetime) -> CheckResult:
    """The feeds made lately, real or of a load test, were many and quick."""
    rows = FeedRequest.objects.filter(created_at__gte=now - LOAD_WINDOW).order_by("-created_at")
    found = list(rows.values_list("duration_ms", "fallback")[:MAX_LOAD_FEEDS])
    if len(found) < MIN_LOAD_FEEDS:
        return warn_result(
            f"{len(found):,} feeds were made within {LOAD_WINDOW.days} days; {MIN_LOAD_FEEDS:,} are needed to judge.",
            "Run a batch of feeds, or benchmarks/feed.py against this database.",
        )
    p95 = float(np.quantile([duration for duration, _ in found], 0.95))
    fallbacks = sum(1 for _, fallback in found if fallback) / len(found)
    said = f"{len(found):,} feeds: p95 {p95:.0f} ms, {fallbacks:.2%} by a fallback"
    if p95 > TARGET_P95_MS or fallbacks > MAX_FALLBACK_SHARE:
        return fail_result(
            f"{said}; targets are {TARGET_P95_MS:.0f} ms and {MAX_FALLBACK_SHARE:.0%}.",
            "Find the slow stage on /dashboard/.",
        )
    return pass_result(said)


def register_doctor_checks() -> None:
    """Add these lines."""
    for title, ask in (
        ("Database indexes optimized for recommendation queries", check_indexes),
        ("Change log kept by the database", check_change_log),
        ("Vector database (Qdrant) configured and populated", check_vectors),
        ("Feature flag system configured", check_engine_flag),
        ("A/B test variants configured", check_variants),
        ("Alert thresholds configured", check_alert_thresholds),
        ("Rollback procedures documented", check_rollback),
        ("Load testing completed", check_load),
    ):
        register_check(title, ask)
