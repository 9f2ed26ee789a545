"""Whether showing less of something works: its share of what a member was shown, before they said so and after."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain

import numpy as np

from monitoring import metrics
from recommendations.contracts import Subject
from recommendations.models import LessOf, Member, Post, ServedPage
from recommendations.services.members.preferences import member_of

POSTS = 100
"""Posts on either side of a wish that its effect is measured on."""
SETTLED = timedelta(days=1)
"""After this time a wish has shown what it does, and goes into the metric."""
EVERY = timedelta(hours=1)
"""How often beat measures."""


@dataclass(frozen=True, slots=True)
class Effect:
    """What one wish for less did. Shares are None where nothing was shown."""

    subject: str
    key: str
    """The author's id, the tag or the format."""
    since: datetime
    share_before: float | None
    share_after: float | None
    shown_before: int
    shown_after: int


def effects(*, member_id: str) -> list[Effect]:
    """Return the effect of each of a member's wishes for less of an author, a topic or a format, newest first."""
    member = member_of(member_id)
    wishes = LessOf.objects.filter(member=member).exclude(subject=Subject.POST).order_by("-created_at", "-pk")
    return [effect_of(member, wish) for wish in wishes]


def measure_less(*, now: datetime) -> int:
    """Observe, once, the effect of each wish that was made `SETTLED` ago, within the last hour. Return how many."""
    until = now - SETTLED
    wishes = LessOf.objects.exclude(subject=Subject.POST).filter(created_at__gte=until - EVERY, created_at__lt=until)
    measured = 0
    for wish in wishes.select_related("member").order_by("pk"):
        effect = effect_of(wish.member, wish)
        if effect.share_before and effect.share_after is not None:
            metrics.LESS_EFFECT.labels(effect.subject).observe(effect.share_after / effect.share_before)
            measured += 1
    return measured


def effect_of(member: Member, wish: LessOf) -> Effect:
    """Return the share of what the wish is about among the `POSTS` shown last before it and first after it."""
    pages = ServedPage.objects.filter(member=member).values_list("post_ids", flat=True)
    before = shown(pages.filter(created_at__lt=wish.created_at).order_by("-created_at")[:POSTS])
    after = shown(pages.filter(created_at__gte=wish.created_at).order_by("created_at")[:POSTS])
    facts = {post.pk: post for post in Post.objects.filter(pk__in={*before, *after}).only("author_id", "tags", "kind")}
    is_about: Callable[[int], bool] = lambda pk: pk in facts and about(facts[pk], wish)  # noqa: E731
    key = wish.key
    if wish.subject == Subject.AUTHOR:
        key = Member.objects.filter(pk=wish.key).values_list("external_id", flat=True).first() or ""
    return Effect(
        subject=wish.subject,
        key=key,
        since=wish.created_at,
        share_before=share(is_about, before),
        share_after=share(is_about, after),
        shown_before=len(before),
        shown_after=len(after),
    )


def shown(pages: Iterable[bytes | memoryview]) -> list[int]:
    """Return the first `POSTS` posts of these pages."""
    ids = chain.from_iterable(np.frombuffer(bytes(page), "<i8").tolist() for page in pages)
    return list(ids)[:POSTS]


def about(post: Post, wish: LessOf) -> bool:
    """Return whether the post is one that the wish is about."""
    if wish.subject == Subject.AUTHOR:
        return str(post.author_id) == wish.key
    return wish.key in post.tags if wish.subject == Subject.TOPIC else post.kind == wish.key


def share(is_about: Callable[[int], bool], post_ids: list[int]) -> float | None:
    """Return the share of posts that are; None of none."""
    return sum(map(is_about, post_ids)) / len(post_ids) if post_ids else None
