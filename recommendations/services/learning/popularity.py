"""
Count interactions in the popularity of their posts, in total and by region.

Every sum always equals what `bound_weights` gives for all learned interactions of each member with the post, whatever
the order in which they were learned and undone. So a change of a member's interactions adds the difference of both
states: a late event or an undo may change what the member's other interactions add.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np

from recommendations.contracts import POPULARITY_SUMS
from recommendations.models import Interaction, Member, PostStats, RegionStats
from recommendations.services import wiring
from recommendations.services.learning.interests import MIN_POSITIVE_WEIGHT
from recommendations.stores.popularity_sums import HalfLives, add_to_sums, bound_weights

SUM_COLUMNS = (*POPULARITY_SUMS, "summed_at", "changed_at")


class LearnedRow(NamedTuple):
    """The columns of an interaction that its weight in the sums depends on. Tuples are ordered by time, then by id."""

    occurred_at: datetime
    id: int
    member_id: int
    post_id: int
    kind: str


class SumChange(NamedTuple):
    """A weight to add to the sums of a post as of *occurred_at*: what an interaction adds now, minus what it added."""

    post_id: int
    member_id: int
    occurred_at: datetime
    weight: float


def count_interactions(interactions: Sequence[Interaction], now: datetime, sign: int = 1) -> None:
    """
    Add the interactions, which are not learned yet, to the popularity and the counts of their posts.

    A *sign* of -1 removes interactions that are learned. By region, it removes them from the member's current region:
    if the member has moved, the interaction stays in the sums of the old region, where all but the total decay. The
    caller has locked the members' rows, so no other worker learns or removes interactions of these members.
    """
    if not interactions:
        return
    policy = wiring.control_policy()
    changes = find_changes(interactions, policy.interaction_weights, sign)
    count_posts(interactions, changes, policy.interaction_weights, policy.popularity_half_lives, now, sign)
    count_regions(changes, policy.popularity_half_lives, now)


def find_changes(interactions: Sequence[Interaction], weights: Mapping[str, float], sign: int) -> list[SumChange]:
    """Return the changes of the sums if *interactions* are added to what is learned, or removed with a *sign* of -1."""
    of_these = {LearnedRow(*(getattr(row, name) for name in LearnedRow._fields)) for row in interactions}
    pairs = {(row.member_id, row.post_id) for row in of_these}
    learned = Interaction.objects.filter(
        is_learned=True, member__in={member for member, _ in pairs}, post__in={post for _, post in pairs}
    )
    rows = (LearnedRow(*row) for row in learned.order_by().values_list(*LearnedRow._fields))
    before = {row for row in rows if (row.member_id, row.post_id) in pairs}
    after = before | of_these if sign > 0 else before - of_these
    weights_before, weights_after = bound_rows(before, weights), bound_rows(after, weights)
    return [
        SumChange(row.post_id, row.member_id, row.occurred_at, change)
        for row in sorted(before | after)
        if (change := weights_after.get(row, 0.0) - weights_before.get(row, 0.0))
    ]


def bound_rows(rows: Iterable[LearnedRow], weights: Mapping[str, float]) -> dict[LearnedRow, float]:
    """Return what each of *rows* adds to the sums of its post, if these are all of a member's with the post."""
    ordered = sorted(rows)
    added = bound_weights(((row.member_id, row.post_id) for row in ordered), (weights[row.kind] for row in ordered))
    return dict(zip(ordered, added, strict=True))


def count_posts(
    interactions: Sequence[Interaction],
    changes: Sequence[SumChange],
    weights: Mapping[str, float],
    half_lives: HalfLives,
    now: datetime,
    sign: int,
) -> None:
    """Change the sums and the counts of posts. Locks their rows in the order of their ids."""
    first_times = {row.post_id: row.occurred_at for row in reversed(interactions)}
    existing = set(PostStats.objects.filter(pk__in=first_times).values_list("pk", flat=True))
    # Create missing rows before locking: two workers that create the same row would overwrite each other's sums.
    PostStats.objects.bulk_create(
        [
            PostStats(post_id=post_id, summed_at=first_times[post_id], changed_at=now)
            for post_id in sorted(first_times.keys() - existing)
        ],
        ignore_conflicts=True,
    )
    stats = PostStats.objects.select_for_update().order_by("pk").in_bulk(list(first_times))
    rows = list(stats.values())
    change_sums(rows, [row.post_id for row in rows], changes, [change.post_id for change in changes], half_lives)
    counts = Counter(row.post_id for row in interactions)
    positive_counts = Counter(row.post_id for row in interactions if weights[row.kind] >= MIN_POSITIVE_WEIGHT)
    for row in rows:
        row.interaction_count = max(row.interaction_count + sign * counts[row.post_id], 0)
        row.positive_count = max(row.positive_count + sign * positive_counts[row.post_id], 0)
        row.changed_at = now
    PostStats.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["post"],
        update_fields=[*SUM_COLUMNS, "interaction_count", "positive_count"],
    )


def count_regions(changes: Sequence[SumChange], half_lives: HalfLives, now: datetime) -> None:
    """Change the sums of posts in the regions of the members. Locks their rows in the order of posts and regions."""
    regions = dict(
        Member.objects.filter(pk__in={change.member_id for change in changes})
        .exclude(region="")
        .values_list("pk", "region")
    )
    regional = [change for change in changes if change.member_id in regions]
    keys = [(change.post_id, regions[change.member_id]) for change in regional]
    first_times = {key: change.occurred_at for key, change in reversed(list(zip(keys, regional, strict=True)))}
    existing = RegionStats.objects.filter(post__in={post for post, _ in keys}, region__in=set(regions.values()))
    existing_keys = set(existing.values_list("post", "region"))
    RegionStats.objects.bulk_create(
        [
            RegionStats(post_id=key[0], region=key[1], summed_at=first_times[key], changed_at=now)
            for key in sorted(first_times.keys() - existing_keys)
        ],
        ignore_conflicts=True,
    )
    locked = existing.all().select_for_update().order_by("post", "region")
    rows = [row for row in locked if (row.post_id, row.region) in first_times]
    change_sums(rows, [(row.post_id, row.region) for row in rows], regional, keys, half_lives)
    RegionStats.objects.bulk_create(
        [
            RegionStats(
                **{name: getattr(row, name) for name in ("post_id", "region", *POPULARITY_SUMS, "summed_at")},
                changed_at=now,
            )
            for row in rows
        ],
        update_conflicts=True,
        unique_fields=["post", "region"],
        update_fields=SUM_COLUMNS,
    )


def change_sums(
    rows: Sequence[PostStats] | Sequence[RegionStats],
    row_keys: Sequence[Any],
    changes: Sequence[SumChange],
    change_keys: Sequence[Any],
    half_lives: HalfLives,
) -> None:
    """Add *changes* to the sums of *rows*. Both have keys, and each change is for the row with its key."""
    positions = {key: i for i, key in enumerate(row_keys)}
    sums, summed_at = add_to_sums(
        np.array([[getattr(row, name) for name in POPULARITY_SUMS] for row in rows], np.float64).reshape(len(rows), -1),
        np.array([row.summed_at.timestamp() for row in rows], np.float64),
        np.array([positions[key] for key in change_keys], np.int64),
        np.array([change.occurred_at.timestamp() for change in changes], np.float64),
        np.array([change.weight for change in changes], np.float64),
        half_lives,
    )
    for row, values, moment in zip(rows, sums.tolist(), summed_at.tolist(), strict=True):
        row.summed_at = datetime.fromtimestamp(moment, UTC)
        for name, value in zip(POPULARITY_SUMS, values, strict=True):
            setattr(row, name, value)
