"""What the database knows of a viewer, in a constant number of queries whatever the history's length."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from recommendations.contracts import EMPTY_IDS, Int64Array, Interests, Sensitivity
from recommendations.models import InterestProfile, Member, Relationship, Seen

SEEN_LIMIT = 5_000
"""Posts seen last that are excluded before ranking; the last look asks about all others. Changes the speed."""
ADULT_YEARS = 18


@dataclass(frozen=True, slots=True)
class Viewer:
    """One member as a viewer. Id arrays are sorted."""

    id: int
    external_id: str
    is_active: bool
    is_personalised: bool
    languages: tuple[str, ...]
    region: str
    max_sensitivity: int
    muted_words: tuple[str, ...]
    muted_tags: tuple[str, ...]
    followed: Int64Array
    blocked: Int64Array
    muted: Int64Array
    seen: Int64Array


def find(member_id: str) -> Member | None:
    """Return the member of this external id with its privacy settings, in one query."""
    return Member.objects.select_related("privacy").filter(external_id=member_id).first()


def read_viewer(member: Member, now: datetime) -> Viewer:
    """Return all that a request needs to know, in two more queries. Without privacy settings: the strictest."""
    privacy = getattr(member, "privacy", None)
    followed, blocked, muted = related(member.pk)
    return Viewer(
        id=member.pk,
        external_id=member.external_id,
        is_active=member.is_active,
        is_personalised=privacy is not None and privacy.is_personalised,
        languages=tuple(member.languages),
        region=member.region,
        max_sensitivity=sensitivity_of(member, now),
        muted_words=tuple(word.casefold() for word in privacy.muted_words) if privacy else (),
        muted_tags=tuple(privacy.muted_tags) if privacy else (),
        followed=followed,
        blocked=blocked,
        muted=muted,
        seen=newest_seen(member.pk),
    )


def sensitivity_of(member: Member, now: datetime) -> int:
    """Return the most sensitive content the member may and wants to see."""
    privacy = getattr(member, "privacy", None)
    wanted = privacy.sensitivity if privacy else Sensitivity.SAFE
    return min(wanted, Sensitivity.ADULT if is_adult(member, now) else Sensitivity.SENSITIVE)


def is_adult(member: Member, now: datetime) -> bool:
    """Return whether the member is known to be of age: the platform says so, or the year of birth leaves no doubt."""
    if member.is_adult is not None:
        return member.is_adult
    return member.birth_year is not None and now.year - member.birth_year > ADULT_YEARS


def related(member_id: int) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Return the members that this one follows, those on either side of a block with it, and those it mutes."""
    kinds = Relationship.Kind
    own = Relationship.objects.filter(source_id=member_id).values_list("kind", "target_id")
    others = Relationship.objects.filter(target_id=member_id, kind=kinds.BLOCK).values_list("kind", "source_id")
    by_kind: dict[str, set[int]] = {kind: set() for kind in kinds.values}
    for kind, other in own.union(others, all=True):
        by_kind[kind].add(other)
    return tuple(as_ids(by_kind[kind]) for kind in (kinds.FOLLOW, kinds.BLOCK, kinds.MUTE))  # type: ignore[return-value]


def as_ids(ids: set[int]) -> Int64Array:
    """Return the ids sorted."""
    return np.array(sorted(ids), np.int64) if ids else EMPTY_IDS


def newest_seen(member_id: int) -> Int64Array:
    """Return the posts that the member saw last, sorted by id."""
    rows = Seen.objects.filter(member_id=member_id).order_by("-seen_at").values_list("post_id", flat=True)
    return np.sort(np.fromiter(rows[:SEEN_LIMIT], np.int64))


def read_interests(member_id: int, model: str, dimension: int) -> Interests:
    """Return what was learned of the member's taste in the space of *model*; nothing if it was learned in another."""
    profile = InterestProfile.objects.filter(member_id=member_id, model=model, dimension=dimension).first()
    if profile is None:
        return Interests.none(dimension)
    positive, positive_weights = as_rows(profile.positive, profile.positive_mass, dimension)
    negative, negative_weights = as_rows(profile.negative, profile.negative_mass, dimension)
    return Interests(positive, positive_weights, negative, negative_weights)


def as_rows(
    vectors: bytes | memoryview, mass: bytes | memoryview, dimension: int
) -> tuple[np.typing.NDArray[np.float32], np.typing.NDArray[np.float32]]:
    """Return stored sums as unit rows and weights from 0 to 1; a sum that came to nothing is left out."""
    sums = np.frombuffer(vectors, "<f4").reshape(-1, dimension)
    weights = np.frombuffer(mass, "<f4")
    lengths = np.linalg.norm(sums, axis=1)
    kept = (lengths > 1e-6) & (weights > 0)
    if not kept.any():
        return np.zeros((0, dimension), np.float32), np.zeros(0, np.float32)
    return sums[kept] / lengths[kept, None], np.sqrt(weights[kept] / weights[kept].max())
