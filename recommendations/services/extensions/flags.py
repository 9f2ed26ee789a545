"""
Guardrail gauges and member attributes that recommendations register with flags.

The gauges are computed from the rows of feed requests. A request that ended with an error has no row: the error ratio
counts feeds that neither engine could rank.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from django.db.models import Exists, OuterRef, QuerySet

from flags import attributes, gauges
from flags.attributes import Attribute, AttributeType
from flags.gauges import MetricValue
from recommendations.contracts import ENGINE_FLAG
from recommendations.models import FeedRequest, Interaction, Member, RankingPolicy
from recommendations.services.measuring.roll_up import ENGAGEMENT_KINDS
from recommendations.services.serving.ranking import CONTROL_ENGINE

MEMBER_ATTRIBUTES = {
    "languages": Attribute(AttributeType.TEXTS, "languages the member reads, such as en; best first"),
    "region": Attribute(AttributeType.TEXT, "such as DE"),
    "joined_on": Attribute(AttributeType.TEXT, "the date the member joined, such as 2026-01-31"),
    "is_active": Attribute(AttributeType.BOOLEAN, "whether the account is active"),
}


def feed_requests(variant: str, since: datetime, until: datetime) -> QuerySet[FeedRequest]:
    """Return the feed requests in [since, until), of one variant unless *variant* is empty."""
    rows = FeedRequest.objects.filter(created_at__gte=since, created_at__lt=until)
    return rows.filter(variant=variant) if variant else rows


def compute_ratio(part: QuerySet[FeedRequest], whole: QuerySet[FeedRequest]) -> MetricValue:
    """Return the ratio of the row counts with the number of samples; 0 without samples."""
    samples = whole.count()
    return MetricValue(part.count() / samples if samples else 0.0, samples)


def error_ratio(variant: str, since: datetime, until: datetime) -> MetricValue:
    """Return the share of feeds that no engine ranked: the trending feed or the last good slate was served."""
    whole = feed_requests(variant, since, until)
    return compute_ratio(whole.exclude(fallback__in=["", CONTROL_ENGINE]), whole)


def fallback_ratio(variant: str, since: datetime, until: datetime) -> MetricValue:
    """Return the share of feeds that the chosen engine did not rank."""
    whole = feed_requests(variant, since, until)
    return compute_ratio(whole.exclude(fallback=""), whole)


def latency_p95_ms(variant: str, since: datetime, until: datetime) -> MetricValue:
    """Return the 95th percentile of the time to build a feed, in ms (nearest rank)."""
    whole = feed_requests(variant, since, until).order_by("duration_ms")
    samples = whole.count()
    if not samples:
        return MetricValue(0.0, 0)
    rank = -(-95 * samples // 100) - 1
    return MetricValue(whole.values_list("duration_ms", flat=True)[rank : rank + 1][0], samples)


def engagement_ratio(variant: str, since: datetime, until: datetime) -> MetricValue:
    """Return the share of feeds with at least one interaction of `ENGAGEMENT_KINDS`."""
    engagements = Interaction.objects.filter(
        member=OuterRef("member"),
        request_id=OuterRef("pk"),
        kind__in=ENGAGEMENT_KINDS,
        occurred_at__gte=OuterRef("created_at"),
    )
    whole = feed_requests(variant, since, until)
    return compute_ratio(whole.filter(Exists(engagements)), whole)


def member_attributes(unit_id: str) -> Mapping[str, object]:
    """Return the attributes of a member for segments, or an empty mapping for an unknown member."""
    row = Member.objects.filter(external_id=unit_id).first()
    if row is None:
        return {}
    region = {"region": row.region} if row.region else {}
    return {"languages": row.languages, "is_active": row.is_active, "joined_on": f"{row.created_at:%Y-%m-%d}"} | region


def policy_variants() -> set[str]:
    """Return the variants of feed requests: each has a policy."""
    return set(RankingPolicy.objects.values_list("variant", flat=True))


def register() -> None:
    """Register the gauges, the variants that they can be restricted to, and the attributes."""
    gauges.register_gauge("feed_error_ratio", "share of feeds that no engine ranked, 0 to 1", error_ratio)
    gauges.register_gauge("feed_fallback_ratio", "share of feeds served by a fallback, 0 to 1", fallback_ratio)
    gauges.register_gauge("feed_latency_p95_ms", "95th percentile of the time to build a feed, in ms", latency_p95_ms)
    gauges.register_gauge("feed_engagement_ratio", "share of feeds with an engagement, 0 to 1", engagement_ratio)
    gauges.register_variants(ENGINE_FLAG, policy_variants)
    attributes.register_attributes("members", MEMBER_ATTRIBUTES, member_attributes)
