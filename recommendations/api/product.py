"""The product report as JSON, and as a page beside the operator's dashboard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.formats import date_format, number_format
from django.utils.translation import gettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from rest_framework import serializers
from rest_framework.response import Response

from access.inputs import Request
from access.permissions import session_may
from access.scopes import STAFF_PERMISSIONS, Scope, single_scope
from access.typed_fields import TypedField
from access.views import APIView, takes
from monitoring.clock import now
from monitoring.views import may_read_metrics
from recommendations.api import openapi
from recommendations.services.measuring.post_previews import PostPreview, preview_posts
from recommendations.services.measuring.product import (
    MAX_DAYS,
    MIN_MEMBERS,
    DayRow,
    Figure,
    ListedPost,
    ProductReport,
    report_cache,
    translate_figure,
)
from values.types import whole_number_from

SHOWN_DAYS = (1, 7, 28)
"""The time ranges of the page."""
DEFAULT_DAYS = 7
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 640, 190, 76, 16, 30
"""Units of a plot, and its margins for the labels."""


class ProductReportQuery(serializers.Serializer):
    """Query parameters of the product report."""

    days = TypedField(
        whole_number_from(1, MAX_DAYS), default=DEFAULT_DAYS, help_text="Length of the period in times of 24 hours."
    )


class FigureOut(serializers.Serializer):
    """A figure of the period, and of the period before."""

    key = serializers.SlugField()
    title = serializers.CharField()
    unit = serializers.CharField(help_text='"%" for a percentage, else the unit in words; empty: none.')
    value = serializers.FloatField(allow_null=True, help_text="null: no data, or too few members.")
    previous = serializers.FloatField(allow_null=True)
    help = serializers.CharField(help_text="How the figure is computed.")


class DayRowOut(serializers.Serializer):
    """The sums of 24 hours."""

    starts_at = serializers.DateTimeField()
    served_count = serializers.IntegerField()
    engagement_rate = serializers.FloatField(allow_null=True, help_text="In percent.")
    negative_feedback_count = serializers.IntegerField(allow_null=True)


class SegmentOut(serializers.Serializer):
    """The pages of the members with one variant or one first language."""

    kind = serializers.ChoiceField(choices=["variant", "language"])
    name = serializers.CharField()
    member_count = serializers.IntegerField()
    served_count = serializers.IntegerField()
    engagement_rate = serializers.FloatField(allow_null=True, help_text="In percent.")
    cold_start_share = serializers.FloatField(allow_null=True, help_text="In percent.")


class ListedPostOut(serializers.Serializer):
    """A public post, and the members who engaged with it."""

    post_id = serializers.CharField()
    kind = serializers.CharField()
    member_count = serializers.IntegerField()
    previous_member_count = serializers.IntegerField(help_text="In the period before.")


class FeedbackEffectOut(serializers.Serializer):
    """The share of what members wanted to see less of, before and after, in percent."""

    feedback_count = serializers.IntegerField()
    share_before = serializers.FloatField()
    share_after = serializers.FloatField()


class ProductReportOut(serializers.Serializer):
    """Whether recommendations are any good. Sums only; nothing about fewer than ten members."""

    starts_at = serializers.DateTimeField()
    ends_at = serializers.DateTimeField(help_text="The last full hour.")
    days = serializers.IntegerField()
    page_count = serializers.IntegerField(help_text="Served pages in the sample.")
    member_count = serializers.IntegerField(allow_null=True, help_text="Members in the sample. null: too few.")
    figures = FigureOut(many=True)
    by_day = DayRowOut(many=True, help_text="Oldest first.")
    sources = serializers.DictField(
        child=serializers.FloatField(), help_text="Percentage of the served posts by source. A post may have several."
    )
    reasons = serializers.DictField(
        child=serializers.FloatField(), help_text="Percentage of the served posts by reason. A post may have several."
    )
    segments = SegmentOut(many=True)
    top_posts = ListedPostOut(many=True)
    rising_posts = ListedPostOut(many=True)
    feedback_by_target = serializers.DictField(child=serializers.IntegerField())
    feedback_effect = FeedbackEffectOut(allow_null=True)


class ProductReportView(APIView):
    """The product report."""

    scopes = single_scope(Scope.METRICS_READ)

    @openapi.describe_endpoint(
        400,
        responses={200: ProductReportOut},
        operation_id="read_product_report",
        summary="Read whether recommendations are any good",
        tags=["product"],
    )
    @takes(query=ProductReportQuery())
    def get(self, request: Request) -> Response:
        """Return engagement, coverage, novelty and more, with the period before. A report is kept for a minute."""
        report = report_cache.get(days=request.inputs.query["days"], now=now())
        return Response(ProductReportOut(asdict(report)).data)


@never_cache
@require_safe
def product_page(request: HttpRequest, days: int = DEFAULT_DAYS) -> HttpResponse:
    """Return the page to staff who may read metrics, or redirect to the sign-in page. Only `SHOWN_DAYS` have one."""
    if not may_read_metrics(request):
        if request.user.is_staff:
            raise PermissionDenied
        return redirect_to_login(request.get_full_path())
    if days not in SHOWN_DAYS:
        raise Http404
    report = report_cache.get(days=days, now=now())
    lists = {gettext("Top posts"): report.top_posts, gettext("Rising posts"): report.rising_posts}
    context = build_context(report) | {
        "post_lists": [(title, describe_posts(posts, request)) for title, posts in lists.items()],
        "has_explorer": session_may(request, STAFF_PERMISSIONS[Scope.FEEDS_READ]),
    }
    return render(request, "recommendations/product.html", context)


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of this server."""

    url: str
    alt: str


@dataclass(frozen=True, slots=True)
class PostRow:
    """A post of a list. Readers who may not read posts get no preview and no picture."""

    post: ListedPost
    preview: PostPreview | None = None
    picture: Picture | None = None


def describe_posts(posts: Sequence[ListedPost], request: HttpRequest) -> list[PostRow]:
    """Return the rows of the posts that are still public: the report may be a minute old."""
    previews = preview_posts([post.post_id for post in posts])
    public = [post for post in posts if post.post_id in previews]
    if not session_may(request, STAFF_PERMISSIONS[Scope.POSTS_READ]):
        return [PostRow(post) for post in public]
    return [
        PostRow(post, preview, find_picture(preview.media, request))
        for post in public
        for preview in (previews[post.post_id],)
    ]


def find_picture(media: Sequence[Any], request: HttpRequest) -> Picture | None:
    """Return the first picture that this server has, or None: the page loads nothing from other hosts."""
    for medium in media:
        fields = medium if isinstance(medium, dict) else {}
        kind, url = str(fields.get("kind", "")), str(fields.get("url", ""))
        is_path = url.startswith("/") and not url.startswith("//")
        if kind.startswith("image") and (is_path or url.startswith(f"{request.scheme}://{request.get_host()}/")):
            return Picture(url, str(fields.get("alt", "")))
    return None


@dataclass(frozen=True, slots=True)
class Card:
    """A figure as text."""

    key: str
    title: str
    value: str
    unit: str
    comparison: str
    help: str


@dataclass(frozen=True, slots=True)
class Bar:
    """A percentage as a bar. *width* is in percent of the longest bar."""

    name: str
    value: float
    width: float


@dataclass(frozen=True, slots=True)
class Dot:
    """A point of a plot, in SVG units."""

    x: float
    y: float
    text: str


@dataclass(frozen=True, slots=True)
class DayPlot:
    """A line over the days, with a label for its largest value."""

    title: str
    summary: str
    line: str
    dots: Sequence[Dot]
    top_label: str
    first_label: str
    last_label: str


def build_context(report: ProductReport) -> dict[str, object]:
    """Return the part of the template's context that is the same for all readers."""
    return {
        "report": report,
        "ranges": SHOWN_DAYS,
        "min_members": MIN_MEMBERS,
        "cards": [describe_figure(translate_figure(figure)) for figure in report.figures],
        "plots": [
            draw_days(
                gettext("Engagement rate by day, %"), report.by_day, [row.engagement_rate for row in report.by_day]
            ),
            draw_days(
                gettext("Posts served by day"), report.by_day, [float(row.served_count) for row in report.by_day]
            ),
        ],
        "shares": [
            (gettext("By source"), draw_bars(report.sources)),
            (gettext("By reason"), draw_bars(report.reasons)),
        ],
    }


def describe_figure(figure: Figure) -> Card:
    """Return the figure as text, compared with the period before."""
    return Card(
        figure.key,
        figure.title,
        format_value(figure.value, ""),
        figure.unit if figure.value is not None else "",
        compare_with_before(figure),
        figure.help,
    )


def format_value(value: float | None, unit: str) -> str:
    """Return a number with at most two decimals and its unit."""
    if value is None:
        return "–"
    rounded = round(value, 2)
    number = number_format(int(rounded) if rounded.is_integer() else rounded)
    return f"{number} {unit}" if unit else number


def compare_with_before(figure: Figure) -> str:
    """Return a sentence that compares the two periods."""
    if figure.value is None:
        return gettext("No data, or too few members")
    if figure.previous is None:
        return gettext("No data for the period before")
    difference = round(figure.value - figure.previous, 2)
    before = format_value(figure.previous, figure.unit)
    if not difference:
        return gettext("As in the period before ({value})").format(value=before)
    unit = gettext("percentage points") if figure.unit == "%" else ""
    change = format_value(abs(difference), unit)
    if difference > 0:
        return gettext("▲ {change} more than before ({value})").format(change=change, value=before)
    return gettext("▼ {change} less than before ({value})").format(change=change, value=before)


def draw_bars(shares: Mapping[str, float]) -> list[Bar]:
    """Return a bar for each share, with its name in words."""
    longest = max(shares.values(), default=1.0)
    return [Bar(name.replace("_", " "), value, round(100 * value / longest, 1)) for name, value in shares.items()]


def draw_days(title: str, rows: Sequence[DayRow], values: Sequence[float | None]) -> DayPlot | None:
    """Return the plot of a value by day, or None if fewer than two days have one."""
    known = [(number, value) for number, value in enumerate(values) if value is not None]
    top = max((value for _, value in known), default=0.0)
    if len(known) < 2 or not top:
        return None
    step = (WIDTH - LEFT - 12) / (len(rows) - 1)
    dots = [
        Dot(
            round(LEFT + number * step, 1),
            round(HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM), 1),
            f"{format_day(rows[number])}: {format_value(value, '')}",
        )
        for number, value in known
    ]
    return DayPlot(
        title,
        f"{title}. " + "; ".join(dot.text for dot in dots),
        " ".join(f"{dot.x},{dot.y}" for dot in dots),
        dots,
        format_value(top, ""),
        format_day(rows[0]),
        format_day(rows[-1]),
    )


def format_day(row: DayRow) -> str:
    """Return the first day of a row in the form of the active language."""
    return date_format(row.starts_at, "SHORT_DATE_FORMAT")
