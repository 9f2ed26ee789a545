"""Whether showing less of something works: its share of what a member was shown, before they said so and after."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain

import numpy as np

from monitoring import metrics
from recommendations.contracts import FeedbackTarget
from recommendations.models import Member, NegativeFeedback, Post, ServedPage
from recommendations.services.members.preferences import get_member

EFFECT_POSTS = 100
"""Posts on either side of a wish that its effect is measured on."""
SETTLE_TIME = timedelta(days=1)
"""After this time a wish has shown what it does, and goes into the metric."""
MEASURE_INTERVAL = timedelta(hours=1)
"""How often beat measures."""


@dataclass(frozen=True, slots=True)
class ShowLessEffect:
    """What one wish for less did. Shares are None where nothing was shown."""

    target: str
    target_key: str
    """The author's id, the tag or the format."""
    created_at: datetime
    share_before: float | None
    share_after: float | None
    served_before: int
    served_after: int


def show_less_effects(*, member_id: str) -> list[ShowLessEffect]:
    """Return the effect of each of a member's wishes for less of an author, a topic or a format, newest first."""
    member = get_member(member_id)
    wishes = (
        NegativeFeedback.objects.filter(member=member)
        .exclude(target=FeedbackTarget.POST)
        .order_by("-created_at", "-pk")
    )
    return [measure_effect(member, wish) for wish in wishes]


def measure_show_less(*, now: datetime) -> int:
    """Observe, once, the effect of each wish that was made `SETTLED` ago, within the last hour. Return how many."""
    until = now - SETTLE_TIME
    wishes = NegativeFeedback.objects.exclude(target=FeedbackTarget.POST).filter(
        created_at__gte=until - MEASURE_INTERVAL, created_at__lt=until
    )
    measured = 0
    for wish in wishes.select_related("member").order_by("pk"):
        effect = measure_effect(wish.member, wish)
        if effect.share_before and effect.share_after is not None:
            metrics.SHOW_LESS_EFFECT.labels(effect.target).observe(effect.share_after / effect.share_before)
            measured += 1
    return measured


def measure_effect(member: Member, feedback: NegativeFeedback) -> ShowLessEffect:
    """Return the share of what the wish is about among the `POSTS` shown last before it and first after it."""
    pages = ServedPage.objects.filter(member=member).values_list("post_ids", flat=True)
    before = first_post_ids(pages.filter(created_at__lt=feedback.created_at).order_by("-created_at")[:EFFECT_POSTS])
    after = first_post_ids(pages.filter(created_at__gte=feedback.created_at).order_by("created_at")[:EFFECT_POSTS])
    facts = {post.pk: post for post in Post.objects.filter(pk__in={*before, *after}).only("author_id", "tags", "kind")}
    is_about: Callable[[int], bool] = lambda pk: pk in facts and matches_target(facts[pk], feedback)  # noqa: E731
    key = feedback.target_key
    if feedback.target == FeedbackTarget.AUTHOR:
        key = Member.objects.filter(pk=feedback.target_key).values_list("external_id", flat=True).first() or ""
    return ShowLessEffect(
        target=feedback.target,
        target_key=key,
        created_at=feedback.created_at,
        share_before=matching_share(is_about, before),
        share_after=matching_share(is_about, after),
        served_before=len(before),
        served_after=len(after),
    )


def first_post_ids(pages: Iterable[bytes | memoryview]) -> list[int]:
    """Return the first `POSTS` posts of these pages."""
    ids = chain.from_iterable(np.frombuffer(bytes(page), "<i8").tolist() for page in pages)
    return list(ids)[:EFFECT_POSTS]


def matches_target(post: Post, feedback: NegativeFeedback) -> bool:
    """Return whether the post is one that the wish is about."""
    if feedback.target == FeedbackTarget.AUTHOR:
        return str(post.author_id) == feedback.target_key
    return (
        feedback.target_key in post.tags
        if feedback.target == FeedbackTarget.TOPIC
        else post.kind == feedback.target_key
    )


def matching_share(is_match: Callable[[int], bool], post_ids: list[int]) -> float | None:
    """Return the share of posts that are; None of none."""
    return sum(map(is_match, post_ids)) / len(post_ids) if post_ids else None
