"""
Hourly aggregates of feeds (`FeedHour`), for the dashboard. They stay when the records that they count are deleted.

An hour is rolled up after its end, and once more in the next run: records are written with a short delay. Rolling up an
hour again replaces its rows.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from uuid import UUID

import numpy as np
from django.db.models import Count, OuterRef, Subquery, Sum
from django.db.models.functions import Length

from monitoring.transactions import write_transaction
from recommendations.contracts import InteractionKind
from recommendations.models import FeedHour, FeedRequest, Interaction, ServedPage
from recommendations.stores.rising_ids import first_id_since

HOUR = timedelta(hours=1)
MAX_BACKFILL = timedelta(hours=48)
"""How far back missed hours are rolled up. After a longer outage, the earlier hours have no rows."""
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
    """Roll up every full hour that is missing, and the last one again. Return the number of rows written."""
    end = now.replace(minute=0, second=0, microsecond=0)
    # A clock that was ahead may have left rows of hours that are still to come.
    last = FeedHour.objects.filter(hour__lt=end).order_by("-hour").values_list("hour", flat=True).first()
    start = max(last, end - MAX_BACKFILL) if last else end - MAX_BACKFILL
    hours = int((end - start) / HOUR)
    return sum(roll_up_hour(start + HOUR * number) for number in range(hours))


@write_transaction
def roll_up_hour(hour: datetime) -> int:
    """Roll up one hour, replacing its rows. Return the number of rows written."""
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
    """Return counts and build times of the slates of this hour."""
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
        key: {
            **counts[key],
            "p50_ms": float(np.quantile(durations, 0.5)),
            "p95_ms": float(np.quantile(durations, 0.95)),
        }
        for key, durations in times.items()
    }


def count_pages(hour: datetime) -> dict[FeedKey, dict[str, int]]:
    """Return counts of the pages served in this hour, by their request's key. Pages of erased requests are omitted."""
    request = FeedRequest.objects.filter(pk=OuterRef("request_id")).order_by()
    pages = ServedPage.objects.filter(created_at__gte=hour, created_at__lt=hour + HOUR).order_by()
    rows = (
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
        (row["feed"], row["engine"], row["variant"]): {
            "page_count": row["page_count"],
            "served_count": row["size"] // ID_BYTES,
        }
        for row in rows
    }


def count_engaged_posts(hour: datetime) -> Counter[FeedKey]:
    """
    Return the number of engaged posts by request key in this hour. Each pair of request and post counts once.

    An interaction that names the request of another member does not count.
    """
    engagements = Interaction.objects.filter(
        pk__gte=first_id_since(Interaction.objects.all(), "received_at", hour),
        received_at__gte=hour,
        received_at__lt=hour + HOUR,
        kind__in=ENGAGEMENT_KINDS,
        request_id__isnull=False,
        undone_at=None,
    ).order_by()
    engaged = set(engagements.values_list("request_id", "member_id", "post_id"))
    posts = Counter((request_id, member_id) for request_id, member_id, _ in engaged)
    counts: Counter[FeedKey] = Counter()
    for request, key in feed_keys({request_id for request_id, _ in posts if request_id}):
        counts[key] += posts[request]
    return counts


def feed_keys(request_ids: Iterable[UUID]) -> Iterable[tuple[tuple[UUID, int], FeedKey]]:
    """Yield the id and the member, and the key (feed, engine, variant), of each request that still exists."""
    ids = list(request_ids)
    for start in range(0, len(ids), REQUESTS_PER_QUERY):
        rows = FeedRequest.objects.filter(pk__in=ids[start : start + REQUESTS_PER_QUERY])
        for pk, member_id, *key in rows.values_list("pk", "member_id", "feed", "engine", "variant"):
            yield (pk, member_id), (key[0], key[1], key[2])
