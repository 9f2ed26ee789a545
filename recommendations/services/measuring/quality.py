"""
Quality of the served posts, measured by members' interactions: served nDCG, coverage and click-through rate.

The served nDCG is the mean nDCG (Järvelin and Kekäläinen, TOIS 2002, doi 10.1145/582415.582418) of the slates with at
least one engaged post; each engaged post has gain 1. It is 1 if the engaged posts were ranked first, and less the lower
they were ranked. It measures the ranking of engaged posts, and nothing about posts that were never served.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import cast
from uuid import UUID

import numpy as np
from django.db.models import Sum

from recommendations.models import FeedHour, FeedRequest, Interaction, Post, ServedPage
from recommendations.services.measuring.roll_up import ENGAGEMENT_KINDS, REQUESTS_PER_QUERY
from recommendations.stores.rising_ids import first_id_since

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
MAX_INTERACTIONS = 5_000
"""Maximum number of interactions read, the newest, so that the cost of the score is bounded."""
MAX_PAGES = 5_000


def served_ndcg(*, now: datetime) -> float | None:
    """Return the mean nDCG of the last day's slates with an engaged post, or None if there are none."""
    since = now - DAY
    engagements = Interaction.objects.filter(
        pk__gte=first_id_since(Interaction.objects.all(), "received_at", since),
        received_at__gte=since,
        kind__in=ENGAGEMENT_KINDS,
        request_id__isnull=False,
        undone_at=None,
    )
    newest = engagements.order_by("-pk").values_list("request_id", "member_id", "post_id")[:MAX_INTERACTIONS]
    # A sender can name the request of another member, which then does not count.
    engaged: dict[tuple[UUID, int], set[int]] = defaultdict(set)
    for request_id, member_id, post_id in cast("Iterable[tuple[UUID, int, int]]", newest):
        engaged[request_id, member_id].add(post_id)
    scores = []
    ids = list(dict.fromkeys(request_id for request_id, _ in engaged))
    for start in range(0, len(ids), REQUESTS_PER_QUERY):
        rows = FeedRequest.objects.filter(pk__in=ids[start : start + REQUESTS_PER_QUERY])
        for request_id, member_id, packed in rows.values_list("pk", "member_id", "post_ids"):
            scores.append(ndcg(np.frombuffer(bytes(packed), "<i8"), engaged[request_id, member_id]))
    defined = [score for score in scores if score is not None]
    return float(np.mean(defined)) if defined else None


def ndcg(ranked: np.typing.NDArray[np.int64], engaged: Collection[int]) -> float | None:
    """Return the nDCG of *ranked* (n,) post ids with gain 1 for each *engaged* post, or None if it contains none."""
    gains = np.isin(ranked, list(engaged))
    discounts = 1 / np.log2(np.arange(2, len(ranked) + 2))
    hits = int(gains.sum())
    return float(discounts[gains].sum() / discounts[:hits].sum()) if hits else None


def catalogue_coverage(*, now: datetime) -> float | None:
    """Return the share of all posts that were served in the last hour, or None if there are no posts."""
    total = Post.objects.filter(removed_at=None).count()
    pages = ServedPage.objects.filter(created_at__gt=now - HOUR, created_at__lte=now).order_by("-created_at")
    served: set[int] = set()
    for packed in pages.values_list("post_ids", flat=True)[:MAX_PAGES]:
        served.update(np.frombuffer(bytes(packed), "<i8").tolist())
    return min(1.0, len(served) / total) if total else None


def click_through_rate(*, now: datetime) -> float | None:
    """Return the share of the posts served in the last 24 full hours that got an engagement, or None without posts."""
    end = now.replace(minute=0, second=0, microsecond=0)
    sums = FeedHour.objects.filter(hour__gte=end - DAY, hour__lt=end).aggregate(
        served_count=Sum("served_count"), engagement_count=Sum("engagement_count")
    )
    return sums["engagement_count"] / sums["served_count"] if sums["served_count"] else None
