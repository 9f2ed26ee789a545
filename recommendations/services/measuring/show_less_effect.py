"""Effect of negative feedback: the share of its target among the posts served to the member, before and after."""

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
from recommendations.services.serving.visibility import select_visible

EFFECT_POSTS = 100
"""Number of posts before and after the feedback that the shares are computed from."""
SETTLE_TIME = timedelta(days=1)
"""Age at which the effect of a feedback is added to the metric."""
MEASURE_INTERVAL = timedelta(hours=1)
"""Beat's interval of `measure_show_less`."""


@dataclass(frozen=True, slots=True)
class ShowLessEffect:
    """The effect of one negative feedback. A share is None if no post was served on that side."""

    target: str
    target_key: str
    """The author's id, the tag or the kind."""
    created_at: datetime
    share_before: float | None
    share_after: float | None
    served_before: int
    served_after: int


def show_less_effects(*, member_id: str, now: datetime) -> list[ShowLessEffect]:
    """
    Return the effect of each negative feedback of a member on an author, topic or kind, newest first.

    Feedback that was given on a post that the member may not see now is left out: its target is what the post is about.
    """
    member = get_member(member_id)
    feedback = (
        NegativeFeedback.objects.filter(member=member)
        .exclude(target=FeedbackTarget.POST)
        .order_by("-created_at", "-pk")
    )
    rows = list(feedback)
    visible = select_visible(member.pk, {row.post_id for row in rows}, now)
    return [measure_effect(member, row) for row in rows if row.post_id in visible]


def measure_show_less(*, now: datetime) -> int:
    """
    Observe the effect of each negative feedback that reached the age `SETTLE_TIME` within the last `MEASURE_INTERVAL`.

    Return the number of observations. Each feedback is observed once, if beat runs this every `MEASURE_INTERVAL`.
    """
    until = now - SETTLE_TIME
    feedback = NegativeFeedback.objects.exclude(target=FeedbackTarget.POST).filter(
        created_at__gte=until - MEASURE_INTERVAL, created_at__lt=until
    )
    measured = 0
    for row in feedback.select_related("member").order_by("pk"):
        effect = measure_effect(row.member, row)
        if effect.share_before and effect.share_after is not None:
            metrics.SHOW_LESS_EFFECT.labels(effect.target).observe(effect.share_after / effect.share_before)
            measured += 1
    return measured


def measure_effect(member: Member, feedback: NegativeFeedback) -> ShowLessEffect:
    """Return the shares of the target among the last `EFFECT_POSTS` posts before and the first ones after."""
    pages = ServedPage.objects.filter(member=member).values_list("post_ids", flat=True)
    before = first_post_ids(pages.filter(created_at__lt=feedback.created_at).order_by("-created_at")[:EFFECT_POSTS])
    after = first_post_ids(pages.filter(created_at__gte=feedback.created_at).order_by("created_at")[:EFFECT_POSTS])
    posts = {post.pk: post for post in Post.objects.filter(pk__in={*before, *after}).only("author_id", "tags", "kind")}
    is_match: Callable[[int], bool] = lambda pk: pk in posts and matches_target(posts[pk], feedback)  # noqa: E731
    key = feedback.target_key
    if feedback.target == FeedbackTarget.AUTHOR:
        key = Member.objects.filter(pk=feedback.target_key).values_list("external_id", flat=True).first() or ""
    return ShowLessEffect(
        target=feedback.target,
        target_key=key,
        created_at=feedback.created_at,
        share_before=matching_share(is_match, before),
        share_after=matching_share(is_match, after),
        served_before=len(before),
        served_after=len(after),
    )


def first_post_ids(pages: Iterable[bytes | memoryview]) -> list[int]:
    """Return the first `EFFECT_POSTS` post ids of these pages."""
    ids = chain.from_iterable(np.frombuffer(bytes(page), "<i8").tolist() for page in pages)
    return list(ids)[:EFFECT_POSTS]


def matches_target(post: Post, feedback: NegativeFeedback) -> bool:
    """Return whether the feedback is about this post."""
    if feedback.target == FeedbackTarget.AUTHOR:
        return str(post.author_id) == feedback.target_key
    return (
        feedback.target_key in post.tags
        if feedback.target == FeedbackTarget.TOPIC
        else post.kind == feedback.target_key
    )


def matching_share(is_match: Callable[[int], bool], post_ids: list[int]) -> float | None:
    """Return the fraction of posts for which *is_match* holds, or None for no posts."""
    return sum(map(is_match, post_ids)) / len(post_ids) if post_ids else None
