"""
What flags are told by recommendations: what guardrails read, what is known of a member, and what to forget.

The readings come from the rows of feeds that were made. A request that was refused has no row: the error rate counts
feeds that neither engine could make.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from django.db.models import Exists, OuterRef, QuerySet

from flags import attributes, gauges, hooks
from flags.gauges import MetricValue
from recommendations.contracts import InteractionKind
from recommendations.models import FeedRequest, Interaction, Member
from recommendations.services import invalidate
from recommendations.services.serving.query import ENGINE_FLAG
from recommendations.services.serving.ranking import CONTROL_ENGINE

ENGAGEMENT_KINDS = [
    InteractionKind.CLICK,
    InteractionKind.LIKE,
    InteractionKind.COMMENT,
    InteractionKind.SHARE,
    InteractionKind.SAVE,
    InteractionKind.FOLLOW,
]
MEMBER_ATTRIBUTES = {
    "languages": "languages the member reads, such as en; best first",
    "region": "such as DE",
    "joined_on": "the day the member joined, such as 2026-01-31",
    "is_active": "true or false",
}


def feed_requests(variant: str, since: datetime, until: datetime) -> QuerySet[FeedRequest]:
    """Return the feeds that were made in that time; of one variant, if it is named."""
    rows = FeedRequest.objects.filter(created_at__gte=since, created_at__lt=until)
    return rows.filter(variant=variant) if variant else rows


def compute_ratio(part: QuerySet[FeedRequest], whole: QuerySet[FeedRequest]) -> MetricValue:
    """Return how much of the whole the part is."""
    samples = whole.count()
    return MetricValue(part.count() / samples if samples else 0.0, samples)


def error_ratio(variant: str, since: datetime, until: datetime) -> MetricValue:
    """Return the share of feeds that no engine could make: something older or popular stood in."""
    whole = feed_requests(variant, since, until)
    return compute_ratio(whole.exclude(fallback__in=["", CONTROL_ENGINE]), whole)


def fallback_ratio(variant: str, since: datetime, until: datetime) -> MetricValue:
    """Return the share of feeds that another engine, or none, had to make."""
    whole = feed_requests(variant, since, until)
    return compute_ratio(whole.exclude(fallback=""), whole)


def latency_p95_ms(variant: str, since: datetime, until: datetime) -> MetricValue:
    """Return the time in ms that 95 of 100 feeds were made in (nearest rank)."""
    whole = feed_requests(variant, since, until).order_by("duration_ms")
    samples = whole.count()
    if not samples:
        return MetricValue(0.0, 0)
    rank = -(-95 * samples // 100) - 1
    return MetricValue(whole.values_list("duration_ms", flat=True)[rank : rank + 1][0], samples)


def engagement_ratio(variant: str, since: datetime, until: datetime) -> MetricValue:
    """Return the share of feeds from which at least one post was opened, liked, shared, saved …"""
    acts = Interaction.objects.filter(
        member=OuterRef("member"),
        request_id=OuterRef("pk"),
        kind__in=ENGAGEMENT_KINDS,
        occurred_at__gte=OuterRef("created_at"),
    )
    whole = feed_requests(variant, since, until)
    return compute_ratio(whole.filter(Exists(acts)), whole)


def member_attributes(unit_id: str) -> Mapping[str, object]:
    """Return what segments may ask of a member; nothing of one who is not known."""
    row = Member.objects.filter(external_id=unit_id).first()
    if row is None:
        return {}
    region = {"region": row.region} if row.region else {}
    return {"languages": row.languages, "is_active": row.is_active, "joined_on": f"{row.created_at:%Y-%m-%d}"} | region


def register_flag_sources() -> None:
    """Let flags know all this."""
    gauges.register_gauge("feed_error_ratio", "feeds that no engine could make, 0 to 1", error_ratio)
    gauges.register_gauge("feed_fallback_ratio", "feeds that another engine had to make, 0 to 1", fallback_ratio)
    gauges.register_gauge("feed_latency_p95_ms", "time in ms to make a feed, 95th percentile", latency_p95_ms)
    gauges.register_gauge(
        "feed_engagement_ratio", "feeds from which something was opened or liked, 0 to 1", engagement_ratio
    )
    attributes.register_attributes("members", MEMBER_ATTRIBUTES, member_attributes)
    hooks.register_turn_off_hook(ENGINE_FLAG, invalidate.invalidate_all_slates)
