"""
How good what was served is, by what members did with it: quality, coverage, click-through.

Quality is the mean nDCG (Järvelin and Kekäläinen, TOIS 2002, doi 10.1145/582415.582418) of the slates of which some
post was acted on, gain 1 for each such post: 1 if they came first, less the further down they were. It says how well
what was liked was ranked, and nothing of what was never shown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from datetime import datetime, timedelta
from uuid import UUID

import numpy as np
from django.db.models import Sum

from recommendations.models import FeedHour, FeedRequest, Interaction, Post, ServedPage
from recommendations.services.measuring.roll_up import ENGAGEMENT_KINDS, REQUESTS_PER_QUERY, first_interaction_id_since

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
MAX_INTERACTIONS = 5_000
"""At most so many are looked at, the newest, so that the score costs the same on any platform."""
MAX_PAGES = 5_000


def quality_score(*, now: datetime) -> float | None:
    """Return the mean nDCG of the last day's slates that somebody acted on; None if nobody did."""
    since = now - DAY
    acts = Interaction.objects.filter(
        pk__gte=first_interaction_id_since(since),
        received_at__gte=since,
        kind__in=ENGAGEMENT_KINDS,
        request_id__isnull=False,
        undone_at=None,
    )
    liked: dict[UUID, set[int]] = defaultdict(set)
    for request_id, post_id in acts.order_by("-pk").values_list("request_id", "post_id")[:MAX_INTERACTIONS]:
        if request_id:
            liked[request_id].add(post_id)
    scores = []
    ids = list(liked)
    for start in range(0, len(ids), REQUESTS_PER_QUERY):
        rows = FeedRequest.objects.filter(pk__in=ids[start : start + REQUESTS_PER_QUERY]).values_list("pk", "post_ids")
        scores += [ndcg(np.frombuffer(bytes(packed), "<i8"), liked[pk]) for pk, packed in rows]
    found = [score for score in scores if score is not None]
    return float(np.mean(found)) if found else None


def ndcg(ranked: np.typing.NDArray[np.int64], engaged: Collection[int]) -> float | None:
    """Return the nDCG of *ranked* (n,) post ids, gain 1 for each of *liked*; None if none of them is in it."""
    gains = np.isin(ranked, list(engaged))
    discounts = 1 / np.log2(np.arange(2, len(ranked) + 2))
    hits = int(gains.sum())
    return float(discounts[gains].sum() / discounts[:hits].sum()) if hits else None


def catalogue_coverage(*, now: datetime) -> float | None:
    """Return the share of posts that were on some page of the last hour; None without posts."""
    total = Post.objects.filter(removed_at=None).count()
    pages = ServedPage.objects.filter(created_at__gt=now - HOUR, created_at__lte=now).order_by("-created_at")
    shown: set[int] = set()
    for packed in pages.values_list("post_ids", flat=True)[:MAX_PAGES]:
        shown.update(np.frombuffer(bytes(packed), "<i8").tolist())
    return min(1.0, len(shown) / total) if total else None


def click_through_rate(*, now: datetime) -> float | None:
    """Return the share of posts shown in the last full 24 hours that were acted on; None if none was shown."""
    end = now.replace(minute=0, second=0, microsecond=0)
    sums = FeedHour.objects.filter(hour__gte=end - DAY, hour__lt=end).aggregate(
        served_count=Sum("served_count"), engagement_count=Sum("engagement_count")
    )
    return sums["engagement_count"] / sums["served_count"] if sums["served_count"] else None
