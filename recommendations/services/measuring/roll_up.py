"""
Hours of feeds rolled up into a few rows each, which stay when the records are gone: the dashboard's days.

An hour is counted when it is over, and once more in the next run, since records are written a moment after what they
record. Counting it again gives the same rows.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

import numpy as np
from django.db import transaction
from django.db.models import Count, OuterRef, Subquery, Sum
from django.db.models.functions import Length

from recommendations.contracts import InteractionKind
from recommendations.models import FeedHour, FeedRequest, Interaction, ServedPage

HOUR = timedelta(hours=1)
MAX_BACKFILL = timedelta(hours=48)
"""A service that stood still for longer lacks the hours before."""
REQUESTS_PER_QUERY = 500
ENGAGEMENT_KINDS = (
    InteractionKind.CLICK,
    InteractionKind.LIKE,
    InteractionKind.COMMENT,
    InteractionKind.SHARE,
    InteractionKind.SAVE,
    InteractionKind.FOLLOW,
)
ID_BYTES = 8

FeedKey = tuple[str, str, str]
"""Feed, engine, variant."""


def roll_up(*, now: datetime) -> int:
    """Count every hour that is over and not yet counted, and the one counted last again. Return the rows written."""
    end = now.replace(minute=0, second=0, microsecond=0)
    last = FeedHour.objects.order_by("-hour").values_list("hour", flat=True).first()
    start = max(last, end - MAX_BACKFILL) if last else end - MAX_BACKFILL
    hours = int((end - start) / HOUR)
    return sum(roll_up_hour(start + HOUR * number) for number in range(hours))


@transaction.atomic
def roll_up_hour(hour: datetime) -> int:
    """Count one hour, in place of what was counted of it before."""
    slates, pages, engaged = count_slates(hour), count_pages(hour), count_engaged_posts(hour)
    FeedHour.objects.filter(hour=hour).delete()
    rows = [
        FeedHour(
            hour=hour,
            feed=key[0],
            engine=key[1],
            variant=key[2],
            engagement_count=engaged[key],
            **slates.get(key, {}),
            **pages.get(key, {}),
        )
        for key in sorted({*slates, *pages, *engaged})
    ]
    FeedHour.objects.bulk_create(rows)
    return len(rows)


def count_slates(hour: datetime) -> dict[FeedKey, dict[str, float]]:
    """Return counts and times of the slates made in this hour."""
    rows = FeedRequest.objects.filter(created_at__gte=hour, created_at__lt=hour + HOUR).annotate(
        size=Length("post_ids")
    )
    times: dict[FeedKey, list[float]] = defaultdict(list)
    counts: dict[FeedKey, Counter[str]] = defaultdict(Counter)
    columns = rows.values_list("feed", "engine", "variant", "duration_ms", "fallback", "size")
    for feed, engine, variant, duration, fallback, size in columns.iterator(chunk_size=5_000):
        key = (feed, engine, variant)
        times[key].append(duration)
        counts[key].update(slate_count=1, fallback_count=bool(fallback), empty_count=not size)
    return {
        key: {**counts[key], "p50_ms": float(np.quantile(took, 0.5)), "p95_ms": float(np.quantile(took, 0.95))}
        for key, took in times.items()
    }


def count_pages(hour: datetime) -> dict[FeedKey, dict[str, int]]:
    """Return counts of the pages served in this hour, by what made their slates; erased requests are left out."""
    request = FeedRequest.objects.filter(pk=OuterRef("request_id"))
    pages = ServedPage.objects.filter(created_at__gte=hour, created_at__lt=hour + HOUR).order_by()
    found = (
        pages.annotate(
            feed=Subquery(request.values("feed")),
            engine=Subquery(request.values("engine")),
            variant=Subquery(request.values("variant")),
        )
        .filter(feed__isnull=False)
        .values("feed", "engine", "variant")
        .annotate(page_count=Count("pk"), size=Sum(Length("post_ids")))
    )
    return {
        (row["feed"], row["engine"], row["variant"]): {"page_count": row["page_count"], "served_count": row["size"] // ID_BYTES}
        for row in found
    }


def count_engaged_posts(hour: datetime) -> Counter[FeedKey]:
    """Return how many posts of each variant's requests were acted on in this hour; twice on one is once."""
    acts = Interaction.objects.filter(
        pk__gte=first_interaction_id_since(hour),
        received_at__gte=hour,
        received_at__lt=hour + HOUR,
        kind__in=ENGAGEMENT_KINDS,
        request_id__isnull=False,
        undone_at=None,
    ).order_by()
    acted_on = set(acts.values_list("request_id", "post_id"))
    posts = Counter(request_id for request_id, _ in acted_on if request_id)
    counts: Counter[FeedKey] = Counter()
    for request_id, key in feed_keys(posts):
        counts[key] += posts[request_id]
    return counts


def first_interaction_id_since(moment: datetime) -> int:
    """
    Return the id of about the first interaction received at *moment* or later.

    Their ids rise with time, and no index goes by it: looking twenty times for one row is better than reading all.
    """
    low, high = 0, Interaction.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    while low < high:
        middle = (low + high) // 2
        row = Interaction.objects.filter(pk__gt=middle).order_by("pk").values_list("received_at", "pk").first()
        if row is None or row[0] >= moment:
            high = middle
        else:
            low = row[1]
    return low


def feed_keys(request_ids: Iterable[UUID]) -> Iterable[tuple[UUID, FeedKey]]:
    """Yield feed, engine and variant of each request that is there."""
    ids = list(request_ids)
    for start in range(0, len(ids), REQUESTS_PER_QUERY):
        rows = FeedRequest.objects.filter(pk__in=ids[start : start + REQUESTS_PER_QUERY])
        for pk, feed, engine, variant in rows.values_list("pk", "feed", "engine", "variant"):
            yield pk, (feed, engine, variant)
