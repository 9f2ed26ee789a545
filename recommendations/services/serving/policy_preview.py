"""Preview a ranking policy that is not stored: how it would change the feeds of a few members."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils.translation import gettext

from recommendations.contracts import Policy
from recommendations.models import Interaction
from recommendations.services.errors import ServiceError
from recommendations.services.serving.final_check import Pick
from recommendations.services.serving.preview import preview_feed
from values.problems import InvalidValueError
from values.types import Id, read

MAX_PREVIEWS = 3
"""Members of one preview. Each member's feed is ranked twice."""
PREVIEW_SIZE = 10
RECENT_INTERACTIONS = 200
"""Newest interactions among which members are looked for, if a preview names none."""


@dataclass(frozen=True, slots=True)
class PreviewedPick:
    """A pick of the new order, with how it differs from the order that is served."""

    pick: Pick
    movement: str
    """`new`, `up 3`, `down 1`, or empty if the post stays where it is."""


@dataclass(frozen=True, slots=True)
class PolicyPreview:
    """The first posts of one member's discovery feed, as served now and as the policy would rank them."""

    member_id: str
    served: Sequence[Pick] = ()
    previewed: Sequence[PreviewedPick] = ()
    problem: str = ""
    """Why there are no feeds, or empty."""


def preview_policy(policy: Policy, *, variant: str, member_ids: Sequence[str], now: datetime) -> list[PolicyPreview]:
    """
    Return a preview for each of *member_ids*; without ids, for the members who interacted last.

    Both feeds are ranked with the engine that serves the member. Nothing is cached or recorded.
    """
    return [preview_member(policy, variant, member_id, now) for member_id in member_ids or find_recent_members()]


def find_recent_members() -> list[str]:
    """Return the ids of up to `MAX_PREVIEWS` active members, those with the newest interactions first."""
    newest = Interaction.objects.order_by("-pk")[:RECENT_INTERACTIONS]
    rows = newest.values_list("member__external_id", "member__is_active")
    return list(dict.fromkeys(member_id for member_id, is_active in rows if is_active))[:MAX_PREVIEWS]


def preview_member(policy: Policy, variant: str, member_id: str, now: datetime) -> PolicyPreview:
    """Return the preview of one member. *member_id* may be any text."""
    try:
        member_id = read(Id, member_id)
        served = preview_feed(member_id=member_id, variant=variant, limit=PREVIEW_SIZE, now=now).picks
        previewed = preview_feed(member_id=member_id, variant=variant, policy=policy, limit=PREVIEW_SIZE, now=now).picks
    except ServiceError as error:
        return PolicyPreview(member_id, problem=str(error))
    except InvalidValueError as error:
        return PolicyPreview(member_id, problem=error.translate(gettext))
    ranks = {pick.post.id: rank for rank, pick in enumerate(served)}
    marked = [
        PreviewedPick(pick, describe_movement(ranks.get(pick.post.id), rank)) for rank, pick in enumerate(previewed)
    ]
    return PolicyPreview(member_id, served, marked)


def describe_movement(before: int | None, after: int) -> str:
    """Return how a post moves from the rank *before*, or None if it was not there, to the rank *after*."""
    if before is None:
        return "new"
    if before == after:
        return ""
    return f"up {before - after}" if after < before else f"down {after - before}"
