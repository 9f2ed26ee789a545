"""
Whether recommendations are any good, in figures for the people who run the product.

A report covers a number of days before the last full hour and compares them with as many days before. Engagement comes
from the hourly sums (`FeedHour`). What needs the single posts is read from at most `MAX_PAGES` served pages, the newest
ones of each day, so that the cost of a report is bounded and each day counts.

Privacy: a report holds sums only. A figure about fewer than `MIN_MEMBERS` members is left out, because it would say
what single people were shown or did. Only public posts of open accounts are named.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from statistics import fmean
from typing import Any, cast
from uuid import UUID

import numpy as np
from django.db.models import Model, QuerySet, Sum
from django.utils.translation import gettext
from numpy.typing import NDArray

from recommendations.contracts import FeedbackTarget, Origin, Reason
from recommendations.models import (
    FeedHour,
    FeedRequest,
    Interaction,
    InterestProfile,
    Member,
    NegativeFeedback,
    Post,
    PostStats,
    ServedPage,
)
from recommendations.services.measuring.post_previews import public_posts
from recommendations.services.measuring.roll_up import ENGAGEMENT_KINDS
from recommendations.services.measuring.show_less_effect import measure_effect
from recommendations.stores.rising_ids import first_id_since
from values.translation import translatable

DAY = timedelta(days=1)
MAX_DAYS = 28
MIN_MEMBERS = 10
"""The smallest number of members that a figure may be about."""
MAX_PAGES = 5_000
"""Maximum number of served pages that a period reads."""
MAX_INTERACTIONS = 20_000
"""Maximum number of interactions, and of negative feedback, that a period reads: the newest."""
MAX_NEW_POSTS = 5_000
MAX_EFFECTS = 50
"""Maximum number of negative feedback whose effect is measured: the newest."""
NEW_POST_IMPRESSIONS = 20
"""How often a new post must have been served to count as discovered."""
COLD_START_INTERACTIONS = 5
"""A member whose profile was learned from fewer interactions is new to the service."""
LISTED_POSTS = 10
CHUNK = 500
CACHE_SECONDS = 60
"""How long a report is reused. Changes the speed."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure with the one of the period before. None: no data, or too few members."""

    key: str
    title: str
    unit: str
    """"%" for a percentage, else the unit in words."""
    value: float | None
    previous: float | None
    help: str
    """How the figure is computed."""


@dataclass(frozen=True, slots=True)
class DayRow:
    """The sums of 24 hours that begin at *starts_at*."""

    starts_at: datetime
    served_count: int
    engagement_rate: float | None
    """In percent."""
    negative_feedback_count: int | None
    """None if the period's negative feedback is that of too few members."""


@dataclass(frozen=True, slots=True)
class Segment:
    """The pages of one group of members: of a variant, or with a first language."""

    kind: str
    name: str
    member_count: int
    served_count: int
    engagement_rate: float | None
    """In percent."""
    cold_start_share: float | None
    """In percent."""


@dataclass(frozen=True, slots=True)
class ListedPost:
    """A public post, and the members who engaged with it in this period and in the one before."""

    post_id: str
    kind: str
    member_count: int
    previous_member_count: int


@dataclass(frozen=True, slots=True)
class FeedbackEffect:
    """The mean share of what members wanted to see less of among their posts, in percent, before and after."""

    feedback_count: int
    share_before: float
    share_after: float


@dataclass(frozen=True, slots=True)
class ProductReport:
    """A report. The shares of sources and reasons are percentages of the served posts; a post may have several."""

    starts_at: datetime
    ends_at: datetime
    days: int
    page_count: int
    """Served pages that the figures about single posts were computed from."""
    member_count: int | None
    """Members of those pages; None if there are fewer than `MIN_MEMBERS`."""
    figures: Sequence[Figure]
    by_day: Sequence[DayRow]
    sources: Mapping[str, float]
    reasons: Mapping[str, float]
    segments: Sequence[Segment]
    top_posts: Sequence[ListedPost]
    rising_posts: Sequence[ListedPost]
    feedback_by_target: Mapping[str, int]
    feedback_effect: FeedbackEffect | None


@dataclass(frozen=True, slots=True)
class PageRow:
    """A served page."""

    request_id: UUID
    member_id: int
    post_ids: NDArray[np.int64]
    created_at: datetime


@dataclass(slots=True)
class Period:
    """What was read about one period."""

    starts_at: datetime
    ends_at: datetime
    pages: list[PageRow]
    members: set[int]
    requests: dict[UUID, tuple[str, NDArray[np.int64], NDArray[np.uint16], NDArray[np.uint16]]]
    """By request: its variant, and the posts, origins and reasons of its slate."""
    cold_members: set[int]
    engaged: list[tuple[UUID | None, int, int, datetime]]
    """Request, member, post and time of engagements, newest first."""
    feedback: list[tuple[int, str, datetime]]
    """Member, target and time."""
    served_count: int = 0
    engagement_count: int = 0
    exposures: Counter[int] = field(default_factory=Counter)

    @property
    def has_enough_feedback(self) -> bool:
        """Return whether the negative feedback is that of nobody, or of enough members to be reported."""
        return not self.feedback or len({member for member, _, _ in self.feedback}) >= MIN_MEMBERS

    @property
    def is_large_enough(self) -> bool:
        """Return whether the pages are those of enough members to be reported."""
        return len(self.members) >= MIN_MEMBERS


def measure_product(*, days: int, now: datetime) -> ProductReport:
    """Return the report of the last *days* times 24 hours, from 1 to `MAX_DAYS`, before the last full hour."""
    end = now.replace(minute=0, second=0, microsecond=0)
    span = DAY * days
    period, before = read_period(end - span, end), read_period(end - 2 * span, end - span)
    public = list_posts(period, before)
    sources, reasons = share_bits(period)
    return ProductReport(
        starts_at=period.starts_at,
        ends_at=end,
        days=days,
        page_count=len(period.pages),
        member_count=len(period.members) if period.is_large_enough else None,
        figures=compare(period, before),
        by_day=list_days(period),
        sources=sources,
        reasons=reasons,
        segments=list_segments(period),
        top_posts=sorted(public, key=lambda post: (-post.member_count, post.post_id))[:LISTED_POSTS],
        rising_posts=select_rising(public),
        feedback_by_target=count_targets(period),
        feedback_effect=measure_feedback_effect(period),
    )


def read_period(start: datetime, end: datetime) -> Period:
    """Read what the figures of a period are computed from."""
    pages = read_pages(start, end)
    members = {page.member_id for page in pages}
    sums = FeedHour.objects.filter(hour__gte=start, hour__lt=end).aggregate(
        served=Sum("served_count", default=0), engaged=Sum("engagement_count", default=0)
    )
    feedback = NegativeFeedback.objects.filter(created_at__gte=start, created_at__lt=end).order_by("-created_at")
    return Period(
        starts_at=start,
        ends_at=end,
        pages=pages,
        members=members,
        requests=read_requests({page.request_id for page in pages}),
        cold_members=members - find_known_members(members),
        engaged=read_engagements(start, end),
        feedback=list(feedback.values_list("member_id", "target", "created_at")[:MAX_INTERACTIONS]),
        served_count=sums["served"],
        engagement_count=sums["engaged"],
        exposures=Counter(post for page in pages for post in page.post_ids.tolist()),
    )


def read_pages(start: datetime, end: datetime) -> list[PageRow]:
    """Return the newest pages of each 24 hours, at most `MAX_PAGES` together."""
    days = round((end - start) / DAY)
    rows: list[PageRow] = []
    for number in range(days):
        first = start + DAY * number
        pages = ServedPage.objects.filter(created_at__gte=first, created_at__lt=first + DAY).order_by("-created_at")
        columns = pages.values_list("request_id", "member_id", "post_ids", "created_at")
        rows += [
            PageRow(request, member, np.frombuffer(bytes(packed), "<i8"), at)
            for request, member, packed, at in columns[: MAX_PAGES // days]
        ]
    return rows


def read_requests(
    ids: Collection[UUID],
) -> dict[UUID, tuple[str, NDArray[np.int64], NDArray[np.uint16], NDArray[np.uint16]]]:
    """Return the variant, and the posts, origins and reasons of the slate, of each request that still exists."""
    rows = read_chunks(FeedRequest.objects.all(), "pk", ids, ("pk", "variant", "post_ids", "origins", "reasons"))
    return {
        pk: (
            variant,
            np.frombuffer(bytes(posts), "<i8"),
            np.frombuffer(bytes(origins), "<u2"),
            np.frombuffer(bytes(reasons), "<u2"),
        )
        for pk, variant, posts, origins, reasons in rows
    }


def read_chunks(
    rows: QuerySet[Any, Model], key: str, values: Collection[Any], columns: Sequence[str]
) -> Iterable[tuple[Any, ...]]:
    """Yield the columns of the rows whose *key* is one of the *values*, by statements of `CHUNK` values."""
    ordered = list(values)
    for start in range(0, len(ordered), CHUNK):
        yield from rows.filter(**{f"{key}__in": ordered[start : start + CHUNK]}).values_list(*columns)


def find_known_members(members: Collection[int]) -> set[int]:
    """Return those of the members whose profile was learned from at least `COLD_START_INTERACTIONS` interactions."""
    learned = InterestProfile.objects.filter(interaction_count__gte=COLD_START_INTERACTIONS)
    return {pk for (pk,) in read_chunks(learned, "member_id", members, ("member_id",))}


def read_engagements(start: datetime, end: datetime) -> list[tuple[UUID | None, int, int, datetime]]:
    """Return the request, member, post and time of the newest engagements of the period."""
    every = Interaction.objects.all()
    rows = every.filter(
        pk__gte=first_id_since(every, "received_at", start),
        received_at__gte=start,
        received_at__lt=end,
        kind__in=ENGAGEMENT_KINDS,
        undone_at=None,
    )
    newest = rows.order_by("-pk").values_list("request_id", "member_id", "post_id", "received_at")
    return cast("list[tuple[UUID | None, int, int, datetime]]", list(newest[:MAX_INTERACTIONS]))


def compare(period: Period, before: Period) -> list[Figure]:
    """Return every figure for the period, with its value in the period before."""
    return [
        Figure(key, title, unit, round_figure(compute(period)), round_figure(compute(before)), text.format(**LIMITS))
        for key, title, unit, text, compute in FIGURES
    ]


def round_figure(value: float | None) -> float | None:
    """Return the value with three decimals."""
    return None if value is None else round(value, 3)


def percent(part: float, whole: float) -> float | None:
    """Return the percentage that *part* is of *whole*, or None for an empty whole."""
    return 100 * part / whole if whole else None


def engagement_rate(period: Period) -> float | None:
    """Return the percentage of the served posts that got an engagement."""
    return percent(period.engagement_count, period.served_count)


def coverage(period: Period) -> float | None:
    """Return the percentage of the posts that were served at least once, or None for too few members."""
    total = Post.objects.filter(removed_at=None).count()
    share = percent(len(period.exposures), total) if period.is_large_enough else None
    return None if share is None else min(100.0, share)


def novelty(period: Period) -> float | None:
    """Return the mean self-information of the served posts in bits, or None for too few members."""
    if not period.is_large_enough:
        return None
    members = Member.objects.filter(is_active=True).count()
    likes = dict(read_chunks(PostStats.objects.all(), "post_id", period.exposures, ("post_id", "positive_count")))
    shares = {pk: min(1.0, (likes.get(pk, 0) + 1) / (members + 1)) for pk in period.exposures}
    total = sum(period.exposures.values())
    bits = sum(-np.log2(shares[pk]) * count for pk, count in period.exposures.items())
    return float(bits / total) if total else None


def gini(period: Period) -> float | None:
    """Return the Gini coefficient of how often each post that may be served was served, or None for too few members."""
    if not period.is_large_enough:
        return None
    total = max(Post.objects.filter(removed_at=None).count(), len(period.exposures))
    return compute_gini(np.array(sorted(period.exposures.values()), np.float64), total)


def compute_gini(counts: NDArray[np.float64], total: int) -> float | None:
    """
    Return the Gini coefficient of *counts*, in ascending order, and zeros up to *total* values; None without counts.

    G = Σ (2i - n - 1) xᵢ / (n Σ xᵢ) over the values in ascending order (Gini, 1912). 0: all equal, 1: one has all.
    """
    if not counts.sum():
        return None
    places = np.arange(total - len(counts) + 1, total + 1)
    return float(((2 * places - total - 1) * counts).sum() / (total * counts.sum()))


def new_posts_reached(period: Period) -> float | None:
    """Return the percentage of the period's new public posts that were served `NEW_POST_IMPRESSIONS` times."""
    created = public_posts().filter(created_at__gte=period.starts_at, created_at__lt=period.ends_at)
    new = created.order_by("-created_at")
    counts = list(new.values_list("stats__served_count", flat=True)[:MAX_NEW_POSTS])
    return percent(sum(count is not None and count >= NEW_POST_IMPRESSIONS for count in counts), len(counts))


def cold_start_share(period: Period) -> float | None:
    """Return the percentage of the served posts that new members got, or None for too few members."""
    if not period.is_large_enough:
        return None
    cold = sum(len(page.post_ids) for page in period.pages if page.member_id in period.cold_members)
    return percent(cold, sum(period.exposures.values()))


def negative_feedback_rate(period: Period) -> float | None:
    """Return the number of negative feedback per 1,000 served posts, or None without posts or for too few members."""
    if not period.served_count or not period.has_enough_feedback:
        return None
    return 1_000 * len(period.feedback) / period.served_count


FIGURES: tuple[tuple[str, str, str, str, Callable[[Period], float | None]], ...] = (
    (
        "engagement_rate", translatable("Engagement rate"), "%",
        translatable(
            "Of the posts served in this period, the percentage that got a click, like, comment, share, save or follow "
            "which names the feed request. From the hourly sums of all feeds."
        ),
        engagement_rate,
    ),
    (
        "coverage", translatable("Coverage"), "%",
        translatable(
            "The percentage of all posts that are not removed which were on a page at least once. From a sample of "
            "served pages (at most {max_pages}), so it is a lower bound on a busy platform."
        ),
        coverage,
    ),
    (
        "novelty", translatable("Novelty"), translatable("bits"),
        translatable(
            "The mean of -log2(p) of the served posts, where p is (positive interactions + 1) / (active members + 1). "
            "Higher means less popular posts; one bit more means half as popular."
        ),
        novelty,
    ),
    (
        "gini", translatable("Gini coefficient"), "",
        translatable(
            "How unequally the sampled pages were distributed over all posts: 0 if each was served equally often, 1 if "
            "one post got everything."
        ),
        gini,
    ),
    (
        "new_posts_reached", translatable("New posts discovered"), "%",
        translatable(
            "Of the public posts created in this period (the newest {max_new_posts}), the percentage that has been "
            "served at least {impressions} times until now. Posts of the period before have had more time."
        ),
        new_posts_reached,
    ),
    (
        "cold_start_share", translatable("Cold-start share"), "%",
        translatable(
            "The percentage of the sampled served posts that went to members whose profile was learned from fewer than "
            "{interactions} interactions, by the profiles of now."
        ),
        cold_start_share,
    ),
    (
        "negative_feedback_rate", translatable("Negative feedback"), translatable("per 1,000 served posts"),
        translatable(
            "How often members asked to see less of something, for each 1,000 served posts. At most "
            "{max_interactions} are counted."
        ),
        negative_feedback_rate,
    ),
)  # fmt: skip
"""Key, title, unit, help, and the function that computes it for a period. The help names `LIMITS` in braces."""
LIMITS = {
    "max_pages": f"{MAX_PAGES:,}",
    "max_new_posts": f"{MAX_NEW_POSTS:,}",
    "max_interactions": f"{MAX_INTERACTIONS:,}",
    "impressions": NEW_POST_IMPRESSIONS,
    "interactions": COLD_START_INTERACTIONS,
}
HELP = {key: text for key, _, _, text, _ in FIGURES}


def translate_figure(figure: Figure) -> Figure:
    """Return a figure with its texts in the active language. A report is kept in English."""
    unit = gettext(figure.unit) if figure.unit else ""
    return replace(figure, title=gettext(figure.title), unit=unit, help=gettext(HELP[figure.key]).format(**LIMITS))


def list_days(period: Period) -> list[DayRow]:
    """Return a row for each 24 hours of the period, oldest first."""
    hours = FeedHour.objects.filter(hour__gte=period.starts_at, hour__lt=period.ends_at).order_by()
    sums = hours.values("hour").annotate(served=Sum("served_count"), engaged=Sum("engagement_count"))
    served: Counter[int] = Counter()
    engaged: Counter[int] = Counter()
    for row in sums:
        number = (row["hour"] - period.starts_at) // DAY
        served[number] += row["served"]
        engaged[number] += row["engaged"]
    feedback = Counter((at - period.starts_at) // DAY for _, _, at in period.feedback)
    return [
        DayRow(
            period.starts_at + DAY * number,
            served[number],
            round_figure(percent(engaged[number], served[number])),
            feedback[number] if period.has_enough_feedback else None,
        )
        for number in range(round((period.ends_at - period.starts_at) / DAY))
    ]


def share_bits(period: Period) -> tuple[dict[str, float], dict[str, float]]:
    """Return the percentage of the served posts by source and by reason; empty for too few members."""
    counts = {"origins": np.zeros(16, np.int64), "reasons": np.zeros(16, np.int64)}
    total = 0
    for page in period.pages if period.is_large_enough else ():
        if page.request_id in period.requests:
            _, posts, origins, reasons = period.requests[page.request_id]
            served = np.isin(posts, page.post_ids)
            total += int(served.sum())
            counts["origins"] += count_bits(origins, served)
            counts["reasons"] += count_bits(reasons, served)
    return name_shares(Origin, counts["origins"], total), name_shares(Reason, counts["reasons"], total)


def count_bits(bits: NDArray[np.uint16], served: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return how many of the *served* picks (n,) have each of the 16 bits. A slate without bits counts nothing."""
    if len(bits) != len(served):
        return np.zeros(16, np.int64)
    return ((bits[served][:, None] >> np.arange(16, dtype=np.uint16)) & 1).sum(axis=0).astype(np.int64)


def name_shares(names: type[Origin] | type[Reason], counts: NDArray[np.int64], total: int) -> dict[str, float]:
    """Return the percentage of each name with a count, largest first."""
    shares = {name.name.lower(): round(100 * int(counts[name]) / total, 1) for name in names if counts[name]}
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def list_segments(period: Period) -> list[Segment]:
    """
    Return the segments by variant and by first language that have enough members, largest first.

    Engagement is counted since the oldest engagement that was read, so that no page misses its engagements.
    """
    languages = {
        pk: (values or [""])[0]
        for pk, values in read_chunks(Member.objects.all(), "pk", period.members, ("pk", "languages"))
    }
    since = period.engaged[-1][3] if len(period.engaged) == MAX_INTERACTIONS else period.starts_at
    engaged = Counter((request, member) for request, member, _ in {row[:3] for row in period.engaged})
    groups: dict[tuple[str, str], list[PageRow]] = defaultdict(list)
    for page in period.pages:
        if page.request_id in period.requests:
            groups["variant", period.requests[page.request_id][0]].append(page)
        if languages.get(page.member_id):
            groups["language", languages[page.member_id]].append(page)
    segments = [
        describe_segment(kind, name, pages, [page for page in pages if page.created_at >= since], engaged, period)
        for (kind, name), pages in groups.items()
        if len({page.member_id for page in pages}) >= MIN_MEMBERS
    ]
    return sorted(segments, key=lambda segment: (segment.kind, -segment.served_count, segment.name))


def describe_segment(
    kind: str,
    name: str,
    pages: Sequence[PageRow],
    counted: Sequence[PageRow],
    engaged: Counter[tuple[UUID | None, int]],
    period: Period,
) -> Segment:
    """Return the figures of a segment. Engagement is that of the *counted* pages."""
    served = sum(len(page.post_ids) for page in pages)
    cold = sum(len(page.post_ids) for page in pages if page.member_id in period.cold_members)
    requests = {(page.request_id, page.member_id) for page in counted}
    rate = percent(sum(engaged[key] for key in requests), sum(len(page.post_ids) for page in counted))
    members = len({page.member_id for page in pages})
    return Segment(kind, name, members, served, round_figure(rate), round_figure(percent(cold, served)))


def list_posts(period: Period, before: Period) -> list[ListedPost]:
    """Return the public posts with which at least `MIN_MEMBERS` members engaged."""
    now_counts, earlier = count_members(period), count_members(before)
    enough = {pk: count for pk, count in now_counts.items() if count >= MIN_MEMBERS}
    return [
        ListedPost(external_id, kind, enough[pk], earlier[pk])
        for pk, external_id, kind in read_chunks(public_posts(), "pk", enough, ("pk", "external_id", "kind"))
    ]


def count_members(period: Period) -> Counter[int]:
    """Return the number of members who engaged with each post."""
    return Counter(post for _, post in {(member, post) for _, member, post, _ in period.engaged})


def select_rising(posts: Sequence[ListedPost]) -> list[ListedPost]:
    """Return the posts that gained the most members since the period before, the largest gain first."""
    gained = [post for post in posts if post.member_count > post.previous_member_count]
    gained.sort(key=lambda post: (post.previous_member_count - post.member_count, post.post_id))
    return gained[:LISTED_POSTS]


def count_targets(period: Period) -> dict[str, int]:
    """Return the number of negative feedback by what it is about; empty for too few members."""
    counts = Counter(target for _, target, _ in period.feedback) if period.has_enough_feedback else Counter[str]()
    return dict(counts.most_common())


def measure_feedback_effect(period: Period) -> FeedbackEffect | None:
    """Return the effect of the newest negative feedback of the period, or None for too few members."""
    rows = NegativeFeedback.objects.filter(created_at__gte=period.starts_at, created_at__lt=period.ends_at)
    newest = rows.exclude(target=FeedbackTarget.POST).order_by("-created_at").select_related("member")[:MAX_EFFECTS]
    effects = [(row.member_id, measure_effect(row.member, row)) for row in newest]
    measured = [
        (member, effect.share_before, effect.share_after)
        for member, effect in effects
        if effect.share_before and effect.share_after is not None
    ]
    if len({member for member, _, _ in measured}) < MIN_MEMBERS:
        return None
    before, after = (100 * fmean(row[place] for row in measured) for place in (1, 2))
    return FeedbackEffect(len(measured), round(before, 1), round(after, 1))


class ReportCache:
    """The reports that this process computed last, by number of days. One request computes, the others wait for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reports: dict[int, tuple[datetime, ProductReport]] = {}

    def get(self, *, days: int, now: datetime) -> ProductReport:
        """Return the report, at most `CACHE_SECONDS` old."""
        with self._lock:
            computed_at, report = self._reports.get(days, (None, None))
            if computed_at is None or report is None or abs((now - computed_at).total_seconds()) >= CACHE_SECONDS:
                report = measure_product(days=days, now=now)
                self._reports[days] = (now, report)
            return report


report_cache = ReportCache()
