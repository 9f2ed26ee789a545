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

from recommendations.contracts import MIN_POSITIVE_WEIGHT, POPULARITY_SUMS
from recommendations.models import Interaction, Member, PostStats, RegionStats
from recommendations.services import wiring
from recommendations.stores.bulk import update_columns
from recommendations.stores.popularity_sums import HalfLives, add_to_sums, bound_weights

NEVER = datetime.fromtimestamp(0, UTC)
"""The time of sums to which nothing has been added."""


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
    changes = find_changes(interactions, policy.popularity_weights, sign)
    count_posts(interactions, changes, policy.interaction_weights, policy.popularity_half_lives, now, sign)
    count_regions(changes, policy.popularity_half_lives, now)


def find_changes(interactions: Sequence[Interaction], weights: Mapping[str, float], sign: int) -> list[SumChange]:
    """Return the changes of the sums if *interactions* are added to what is learned, or removed with a *sign* of -1."""
    of_these = {LearnedRow(row.occurred_at, row.pk, row.member_id, row.post_id, row.kind) for row in interactions}
    pairs = {(row.member_id, row.post_id) for row in of_these}
    learned = Interaction.objects.filter(
        is_learned=True,
        is_ignored=False,
        member__in={member for member, _ in pairs},
        post__in={post for _, post in pairs},
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
    counts = Counter(row.post_id for row in interactions)
    positive_counts = Counter(row.post_id for row in interactions if weights[row.kind] >= MIN_POSITIVE_WEIGHT)
    missing = counts.keys() - set(PostStats.objects.filter(pk__in=counts).values_list("pk", flat=True))
    # Create missing rows before locking: two workers that create the same row would overwrite each other's sums.
    PostStats.objects.bulk_create(
        [PostStats(post_id=post_id, summed_at=NEVER, changed_at=now) for post_id in sorted(missing)],
        ignore_conflicts=True,
    )
    locked = PostStats.objects.select_for_update().filter(pk__in=counts).order_by("pk")
    rows = list(locked.values_list("pk", "interaction_count", "positive_count", "summed_at", *POPULARITY_SUMS))
    ids = [row[0] for row in rows]
    columns = {
        "interaction_count": [max(row[1] + sign * counts[row[0]], 0) for row in rows],
        "positive_count": [max(row[2] + sign * positive_counts[row[0]], 0) for row in rows],
        **add_changes(rows, ids, changes, [change.post_id for change in changes], half_lives),
    }
    update_columns(PostStats, ids, columns, {"changed_at": now})


def count_regions(changes: Sequence[SumChange], half_lives: HalfLives, now: datetime) -> None:
    """Change the sums of posts in the regions of the members. Locks their rows in the order of posts and regions."""
    member_ids = {change.member_id for change in changes}
    regions = dict(Member.objects.filter(pk__in=member_ids).exclude(region="").values_list("pk", "region"))
    regional = [change for change in changes if change.member_id in regions]
    if not regional:
        return
    change_keys = [(change.post_id, regions[change.member_id]) for change in regional]
    stored = RegionStats.objects.filter(post__in={post for post, _ in change_keys}, region__in=set(regions.values()))
    missing = set(change_keys) - set(stored.values_list("post_id", "region"))
    RegionStats.objects.bulk_create(
        [
            RegionStats(post_id=post_id, region=region, summed_at=NEVER, changed_at=now)
            for post_id, region in sorted(missing)
        ],
        ignore_conflicts=True,
    )
    locked = stored.all().select_for_update().order_by("post_id", "region")
    columns_read = ("pk", "post_id", "region", "summed_at", *POPULARITY_SUMS)
    changed = set(change_keys)
    rows = [row for row in locked.values_list(*columns_read) if row[1:3] in changed]
    row_keys = [row[1:3] for row in rows]
    columns = add_changes(rows, row_keys, regional, change_keys, half_lives)
    update_columns(RegionStats, [row[0] for row in rows], columns, {"changed_at": now})


def add_changes(
    rows: Sequence[tuple[Any, ...]],
    row_keys: Sequence[Any],
    changes: Sequence[SumChange],
    change_keys: Sequence[Any],
    half_lives: HalfLives,
) -> dict[str, list[Any]]:
    """
    Return the columns of sums, and of their time, of *rows* after the *changes*.

    A row ends with its time and its sums. Each change is for the row with its key.
    """
    positions = {key: i for i, key in enumerate(row_keys)}
    first_sum = -len(POPULARITY_SUMS)
    sums, summed_at = add_to_sums(
        np.array([row[first_sum:] for row in rows], np.float64),
        np.array([row[first_sum - 1].timestamp() for row in rows]),
        np.array([positions[key] for key in change_keys], np.int64),
        np.array([change.occurred_at.timestamp() for change in changes], np.float64),
        np.array([change.weight for change in changes], np.float64),
        half_lives,
    )
    times = [datetime.fromtimestamp(moment, UTC) for moment in summed_at.tolist()]
    return {"summed_at": times, **dict(zip(POPULARITY_SUMS, sums.T.tolist(), strict=True))}
