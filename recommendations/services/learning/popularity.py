"""
Count interactions in the popularity of their posts, in total and by region.

What one member adds is bounded three times (`stores/popularity_sums.py` has the bounds): on one post; on all posts of
one author on one day; on all posts on one day. The days are those of the interactions, in UTC. A group of members who
like one author's posts in a short time is damped with each of its members. A group of accounts that each like one or
two posts is found by who else reacts to them, and then each member of it has a share (`rings.py`).

Every sum always equals what `weigh_rows` gives for all learned interactions of each member and the current shares,
whatever the order in which they were learned and undone. So a change of a member's interactions adds the difference of
both states: a late event or an undo may change what the member's other interactions of the same days add.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import reduce
from operator import or_
from typing import Any, NamedTuple, TypeVar

import numpy as np
from django.db.models import Q

from recommendations.contracts import MIN_POSITIVE_WEIGHT, POPULARITY_SUMS
from recommendations.models import DampedEngagement, Interaction, Member, PostStats, RegionStats
from recommendations.services import wiring
from recommendations.services.learning import crowds
from recommendations.services.learning.crowds import AuthorDay
from recommendations.stores.bulk import update_columns
from recommendations.stores.popularity_sums import (
    MAX_AUTHOR_DAY_WEIGHT,
    MAX_DAY_WEIGHT,
    MAX_MEMBER_WEIGHT,
    HalfLives,
    add_to_sums,
    bound_weights,
    scale_weights,
)

NEVER = datetime.fromtimestamp(0, UTC)
"""The time of sums to which nothing has been added."""
LISTED_SHARE = 0.5
"""The admin lists what a member added if less than this share of it counts."""
CONDITIONS_PER_QUERY = 50
"""Days that one query reads. Changes the speed."""
COLUMNS = ("occurred_at", "id", "member_id", "post_id", "kind", "post__author_id")

Pair = tuple[int, int]
"""A member and a post."""
MemberDay = tuple[int, date]
"""A member and a day in UTC."""
Key = TypeVar("Key", bound=Hashable)


class LearnedRow(NamedTuple):
    """The columns of an interaction that its weight in the sums depends on. Tuples are ordered by time, then by id."""

    occurred_at: datetime
    id: int
    member_id: int
    post_id: int
    kind: str
    author_id: int

    @property
    def pair(self) -> Pair:
        """The member and the post."""
        return self.member_id, self.post_id

    @property
    def member_day(self) -> MemberDay:
        """The member and the day."""
        return self.member_id, self.occurred_at.astimezone(UTC).date()

    @property
    def author_day(self) -> AuthorDay:
        """The member, the day and the author."""
        return (*self.member_day, self.author_id)


class SumChange(NamedTuple):
    """A weight to add to the sums of a post as of *occurred_at*: what an interaction adds now, minus what it added."""

    post_id: int
    member_id: int
    occurred_at: datetime
    weight: float


def count_interactions(interactions: Sequence[LearnedRow], now: datetime, sign: int = 1) -> None:
    """
    Add the interactions, which are not learned yet, to the popularity and the counts of their posts.

    A *sign* of -1 removes interactions that are learned. By region, it removes them from the member's current region:
    if the member has moved, the interaction stays in the sums of the old region, where all but the total decay. The
    caller has locked the members' rows, so no other worker learns or removes interactions of these members.
    """
    if not interactions:
        return
    policy = wiring.control_policy()
    of_these = set(interactions)
    days, before = find_affected(of_these)
    after = before | of_these if sign > 0 else before - of_these
    reacted_before, reacted_after = (
        {row.author_day for row in rows if row.member_day in days and is_positive(row, policy.interaction_weights)}
        for rows in (before, after)
    )
    left = reacted_before - reacted_after
    shares = crowds.load_shares(days)
    weighed_before = weigh_rows(before, policy.popularity_weights, shares)
    # Who does not react any more is in no crowd, and has no share.
    shares_after = {key: share for key, share in shares.items() if key not in left}
    weighed_after = weigh_rows(after, policy.popularity_weights, shares_after)
    changes = find_changes(weighed_before, weighed_after, days)
    positive_changes = count_positive(after, policy.interaction_weights)
    positive_changes.subtract(count_positive(before, policy.interaction_weights))
    counts = Counter(row.post_id for row in interactions)
    count_posts(counts, positive_changes, changes, policy.popularity_half_lives, now, sign)
    count_regions(changes, policy.popularity_half_lives, now)
    list_damped(weighed_after, {row.pair for row in of_these}, days, now)
    known: dict[int, set[int]] = defaultdict(set)
    for row in after:
        known[row.member_id].add(row.author_id)
    crowds.count_crowds(reacted_after - reacted_before, left, known, now)


def is_positive(row: LearnedRow, weights: Mapping[str, float]) -> bool:
    """Return whether an interaction is in favor of its post."""
    return weights[row.kind] >= MIN_POSITIVE_WEIGHT


def change_shares(shares: Mapping[AuthorDay, float], now: datetime) -> None:
    """
    Change the sums to what they are with these shares of members of rings, and the present ones of all others.

    The caller has locked the members' rows, and stores the shares in the same transaction.
    """
    policy = wiring.control_policy()
    days = {(member_id, day) for member_id, day, _ in shares}
    rows = find_learned(set(), days)
    rows |= find_learned({row.pair for row in rows}, set())
    present = crowds.load_shares(days)
    before, after = (weigh_rows(rows, policy.popularity_weights, known) for known in (present, {**present, **shares}))
    changes = find_changes(before, after, days)
    if changes:  # their interactions may be deleted
        count_posts(Counter(), Counter(), changes, policy.popularity_half_lives, now, 1)
        count_regions(changes, policy.popularity_half_lives, now)


def find_affected(of_these: set[LearnedRow]) -> tuple[set[MemberDay], set[LearnedRow]]:
    """
    Return the days on which a change by these rows may affect what members add, and the learned rows that decide it.

    Those are all rows of the members on these days, and all others of the same members with the same posts.
    """
    pairs, own_days = {row.pair for row in of_these}, {row.member_day for row in of_these}
    near = find_learned(pairs, own_days)
    days = own_days | {row.member_day for row in near if row.pair in pairs}
    near |= find_learned(set(), days - own_days)
    return days, near | find_learned({row.pair for row in near} - pairs, set())


def find_learned(pairs: Collection[Pair], days: Collection[MemberDay]) -> set[LearnedRow]:
    """Return the learned interactions of these members with these posts, and of these members on these days."""
    by_day: dict[date, set[int]] = defaultdict(set)
    for member_id, day in days:
        by_day[day].add(member_id)
    conditions = [
        Q(member__in=members, occurred_at__gte=start_of(day), occurred_at__lt=start_of(day, 1))
        for day, members in sorted(by_day.items())
    ]
    if pairs:
        conditions.append(Q(member__in={member for member, _ in pairs}, post__in={post for _, post in pairs}))
    learned = Interaction.objects.filter(is_learned=True, is_ignored=False).order_by()
    found: set[LearnedRow] = set()
    for start in range(0, len(conditions), CONDITIONS_PER_QUERY):
        rows = learned.filter(reduce(or_, conditions[start : start + CONDITIONS_PER_QUERY])).values_list(*COLUMNS)
        found.update(LearnedRow(*row) for row in rows)
    return {row for row in found if row.pair in pairs or row.member_day in days}


def start_of(day: date, later: int = 0) -> datetime:
    """Return when the day begins that is *later* days after *day*, in UTC."""
    return datetime.combine(day + timedelta(days=later), time(), UTC)


class Weighing(NamedTuple):
    """Rows in the order of time, and the weight of each after each bound."""

    rows: list[LearnedRow]
    given: list[float]
    """By the kind of interaction."""
    of_post: list[float]
    """After the bound on one post."""
    of_author: list[float]
    """After the bound on the posts of one author on one day, and the share of a member of a ring."""
    counted: list[float]
    """After the bound on all posts on one day: what the row adds."""


def weigh_rows(rows: Iterable[LearnedRow], weights: Mapping[str, float], shares: Mapping[AuthorDay, float]) -> Weighing:
    """
    Return what each of *rows* adds to the sums of its post. *shares* are those of members of rings.

    The rows are all of each member with the post, and all of the member on the days that the caller looks at.
    """
    ordered = sorted(rows)
    given = [weights[row.kind] for row in ordered]
    of_post = bound_weights((row.pair for row in ordered), given)
    author_days = [row.author_day for row in ordered]
    bounded = scale_weights(author_days, of_post, MAX_AUTHOR_DAY_WEIGHT)
    of_author = [weight * shares.get(key, 1.0) for key, weight in zip(author_days, bounded, strict=True)]
    counted = scale_weights([row.member_day for row in ordered], of_author, MAX_DAY_WEIGHT)
    return Weighing(ordered, given, of_post, of_author, counted)


def find_changes(before: Weighing, after: Weighing, days: Collection[MemberDay]) -> list[SumChange]:
    """Return the changes of the sums from one state to another. Only rows of *days* can have changed."""
    added = dict(zip(before.rows, before.counted, strict=True))
    adds = dict(zip(after.rows, after.counted, strict=True))
    return [
        SumChange(row.post_id, row.member_id, row.occurred_at, change)
        for row in sorted(added.keys() | adds.keys())
        if row.member_day in days
        if (change := adds.get(row, 0.0) - added.get(row, 0.0))
    ]


def count_positive(rows: Iterable[LearnedRow], weights: Mapping[str, float]) -> Counter[int]:
    """Return how many members have a positive interaction with each post."""
    pairs = {row.pair for row in rows if is_positive(row, weights)}
    return Counter(post_id for _, post_id in pairs)


def count_posts(
    counts: Counter[int],
    positive_changes: Counter[int],
    changes: Sequence[SumChange],
    half_lives: HalfLives,
    now: datetime,
    sign: int,
) -> None:
    """Change the sums and the counts of posts. Locks their rows in the order of their ids."""
    post_ids = counts.keys() | {change.post_id for change in changes}
    missing = post_ids - set(PostStats.objects.filter(pk__in=post_ids).values_list("pk", flat=True))
    # Create missing rows before locking: two workers that create the same row would overwrite each other's sums.
    PostStats.objects.bulk_create(
        [PostStats(post_id=post_id, summed_at=NEVER, changed_at=now) for post_id in sorted(missing)],
        ignore_conflicts=True,
    )
    locked = PostStats.objects.select_for_update().filter(pk__in=post_ids).order_by("pk")
    rows = list(locked.values_list("pk", "interaction_count", "positive_count", "summed_at", *POPULARITY_SUMS))
    ids = [row[0] for row in rows]
    columns = {
        "interaction_count": [max(row[1] + sign * counts[row[0]], 0) for row in rows],
        "positive_count": [max(row[2] + positive_changes[row[0]], 0) for row in rows],
        **add_changes(rows, ids, changes, [change.post_id for change in changes], half_lives),
    }
    update_columns(PostStats, ids, columns, {"changed_at": now})


def list_damped(after: Weighing, pairs: Collection[Pair], days: Collection[MemberDay], now: datetime) -> None:
    """List again what the members of *pairs* and *days* added and how much of it counts, for the admin."""
    listed = DampedEngagement.objects.filter(member__in={member_id for member_id, _ in days})
    outdated = [
        pk
        for pk, member_id, post_id, day in listed.values_list("pk", "member_id", "post_id", "day")
        if ((member_id, post_id) in pairs if post_id else (member_id, day) in days)
    ]
    DampedEngagement.objects.filter(pk__in=outdated).delete()
    DampedEngagement.objects.bulk_create(find_damped(after, pairs, days, now))


def find_damped(
    after: Weighing, pairs: Collection[Pair], days: Collection[MemberDay], now: datetime
) -> list[DampedEngagement]:
    """Return a row for each bound that leaves less than `LISTED_SHARE` of what a member added."""
    last_days = {row.pair: row.member_day[1] for row in after.rows}
    of_posts = add_up((row.pair, weight) for row, weight in zip(after.rows, after.given, strict=True))
    of_authors = add_up((row.author_day, weight) for row, weight in zip(after.rows, after.of_post, strict=True))
    of_days = add_up((row.member_day, weight) for row, weight in zip(after.rows, after.of_author, strict=True))
    found: list[tuple[dict[str, Any], float, float]] = [
        *(
            ({"member_id": member, "post_id": post, "day": last_days[member, post]}, given, MAX_MEMBER_WEIGHT)
            for (member, post), given in of_posts.items()
            if (member, post) in pairs
        ),
        *(
            ({"member_id": member, "day": day, "author_id": author}, given, MAX_AUTHOR_DAY_WEIGHT)
            for (member, day, author), given in of_authors.items()
            if (member, day) in days
        ),
        *(
            ({"member_id": member, "day": day}, given, MAX_DAY_WEIGHT)
            for (member, day), given in of_days.items()
            if (member, day) in days
        ),
    ]
    return [
        DampedEngagement(**subject, given=given, counted=bound, changed_at=now)
        for subject, given, bound in found
        if bound < LISTED_SHARE * given
    ]


def add_up(weights: Iterable[tuple[Key, float]]) -> dict[Key, float]:
    """Return the sum of the weights of each key."""
    sums: dict[Key, float] = defaultdict(float)
    for key, weight in weights:
        sums[key] += weight
    return sums


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
