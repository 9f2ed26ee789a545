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

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import NamedTuple

import numpy as np
from django.db import connection

from recommendations.contracts import MIN_POSITIVE_WEIGHT, POPULARITY_SUMS, BoolArray, Float64Array, Int64Array
from recommendations.models import DampedEngagement, Member, PostStats, RegionStats
from recommendations.services import wiring
from recommendations.services.learning import crowds
from recommendations.services.learning.crowds import AuthorDay
from recommendations.stores.bulk import Column, insert_missing, quote_table, update_columns
from recommendations.stores.interaction_columns import (
    MICROSECONDS,
    InteractionColumns,
    StoredTime,
    find_learned,
    of_pairs,
    on_days,
    stored_time,
    to_microseconds,
    weigh_kinds,
)
from recommendations.stores.popularity_sums import (
    MAX_AUTHOR_DAY_WEIGHT,
    MAX_DAY_WEIGHT,
    MAX_MEMBER_WEIGHT,
    HalfLives,
    add_to_sums,
    bound_weights,
    scale_weights,
)
from recommendations.stores.row_groups import Groups, group_rows
from recommendations.stores.sql import Rows, execute_query, one_of, wanted_rows

NEVER = datetime.fromtimestamp(0, UTC)
"""The time of sums to which nothing has been added."""
FIRST_DAY = NEVER.date()
"""Day 0 of `InteractionColumns.days`."""
LISTED_SHARE = 0.5
"""The admin lists what a member added if less than this share of it counts."""
SELECT_REGION_STATS = f"""
    SELECT r.id, r.post_id, r.region, {{time}}, {", ".join(f"r.{name}" for name in POPULARITY_SUMS)}
    FROM {{wanted}} CROSS JOIN {quote_table(RegionStats)} r
    WHERE r.post_id = wanted.post_id AND r.region = wanted.region
    ORDER BY r.post_id, r.region {{lock}}"""


@dataclass(frozen=True, eq=False)
class GroupedRows:
    """Interactions (n,) in the order of time, and which of them each bound takes together."""

    rows: InteractionColumns
    pairs: Groups
    """By member and post."""
    member_days: Groups
    author_days: Groups
    """By member, day and author of the post."""

    @classmethod
    def of(cls, rows: InteractionColumns) -> GroupedRows:
        """Return the groups of *rows*."""
        return cls(
            rows,
            group_rows(rows.member_ids, rows.post_ids),
            group_rows(rows.member_ids, rows.days),
            group_rows(rows.member_ids, rows.days, rows.author_ids),
        )

    def author_day_keys(self, groups: BoolArray) -> list[AuthorDay]:
        """Return the keys of those author days (g,) for which the mask *groups* (g,) is true."""
        rows = self.rows.select(self.author_days.firsts[groups])
        return list(zip(rows.member_ids.tolist(), to_dates(rows.days), rows.author_ids.tolist(), strict=True))


class Weighing(NamedTuple):
    """The weight of each row (n,) after each bound, in one state of what is learned."""

    is_learned: BoolArray
    """Whether the row is learned in this state. If not, its weights are 0."""
    given: Float64Array
    """By the kind of interaction."""
    of_post: Float64Array
    """After the bound on one post."""
    of_author: Float64Array
    """After the bound on the posts of one author on one day, and the share of a member of a ring."""
    counted: Float64Array
    """After the bound on all posts on one day: what the row adds."""


class SumChanges(NamedTuple):
    """
    Weights to add to the sums of posts as of a time: what an interaction adds now, minus what it added.

    All columns are (n,), in the order of time.
    """

    post_ids: Int64Array
    member_ids: Int64Array
    times: Float64Array
    """Unix seconds."""
    weights: Float64Array

    def select(self, rows: Int64Array) -> SumChanges:
        """Return the changes at these positions (m,)."""
        return SumChanges(self.post_ids[rows], self.member_ids[rows], self.times[rows], self.weights[rows])


class CountChanges(NamedTuple):
    """What to add to the counts of posts, as columns (n,). A post may have several rows."""

    post_ids: Int64Array
    interactions: Int64Array
    positive: Int64Array


def count_interactions(interactions: InteractionColumns, now: datetime, sign: int = 1) -> None:
    """
    Add the interactions, which are not learned yet, to the popularity and the counts of their posts.

    A *sign* of -1 removes interactions that are learned. By region, it removes them from the member's current region:
    if the member has moved, the interaction stays in the sums of the old region, where all but the total decay. The
    caller has locked the members' rows, so no other worker learns or removes interactions of these members.
    """
    if not len(interactions):
        return
    policy = wiring.control_policy()
    learned = find_affected(interactions)
    grouped = GroupedRows.of(learned.union(interactions))
    rows, pairs, author_days = grouped.rows, grouped.pairs, grouped.author_days
    is_of_these, is_before = np.isin(rows.ids, interactions.ids), np.isin(rows.ids, learned.ids)
    is_after = is_before | is_of_these if sign > 0 else is_before & ~is_of_these
    # What members add may change on all days on which they interacted with these posts.
    is_own_pair = pairs.any_of(is_of_these)
    is_on_days = grouped.member_days.any_of(is_own_pair[pairs.numbers])[grouped.member_days.numbers]
    is_positive = weigh_kinds(policy.interaction_weights)[rows.kinds] >= MIN_POSITIVE_WEIGHT
    reacted_before, reacted_after = (
        author_days.any_of(is_learned & is_positive & is_on_days) for is_learned in (is_before, is_after)
    )
    weights = weigh_kinds(policy.popularity_weights)[rows.kinds]
    shares = read_shares(grouped, is_on_days)
    before = weigh_rows(grouped, is_before, weights, shares)
    # Who does not react any more is in no crowd, and has no share.
    after = weigh_rows(grouped, is_after, weights, np.where(reacted_before & ~reacted_after, 1.0, shares))
    changes = find_changes(rows, before, after, is_on_days)
    gained = pairs.any_of(is_after & is_positive).astype(np.int64) - pairs.any_of(is_before & is_positive)
    counts = CountChanges(
        np.concatenate([interactions.post_ids, rows.post_ids[pairs.firsts[is_own_pair]]]),
        np.repeat([sign, 0], [len(interactions), is_own_pair.sum()]),
        np.concatenate([np.zeros(len(interactions), np.int64), gained[is_own_pair]]),
    )
    count_posts(counts, changes, policy.popularity_half_lives, now)
    count_regions(changes, policy.popularity_half_lives, now)
    list_damped(grouped, after, is_own_pair, is_on_days, now)
    is_recent = rows.days[author_days.firsts] >= (crowds.first_day(now) - FIRST_DAY).days
    added = grouped.author_day_keys(reacted_after & ~reacted_before & is_recent)
    removed = grouped.author_day_keys(reacted_before & ~reacted_after)
    crowds.count_crowds(added, removed, find_known_authors(rows.select(is_after), added), now)


def find_known_authors(rows: InteractionColumns, keys: Collection[AuthorDay]) -> dict[int, set[int]]:
    """Return the authors of the posts in *rows*, by member, of the members of *keys*."""
    known: dict[int, set[int]] = defaultdict(set)
    own = rows.select(np.isin(rows.member_ids, [key[0] for key in keys]))
    for member_id, author_id in zip(own.member_ids.tolist(), own.author_ids.tolist(), strict=True):
        known[member_id].add(author_id)
    return known


def to_dates(days: Int64Array) -> list[date]:
    """Return days (n,) since 1970 as dates."""
    dates: list[date] = days.astype("datetime64[D]").tolist()
    return dates


def to_days(dates: Sequence[date]) -> Int64Array:
    """Return dates as days (n,) since 1970."""
    return np.array([(day - FIRST_DAY).days for day in dates], np.int64)


def change_shares(shares: Mapping[AuthorDay, float], now: datetime) -> None:
    """
    Change the sums to what they are with these shares of members of rings, and the present ones of all others.

    The caller has locked the members' rows, and stores the shares in the same transaction.
    """
    policy = wiring.control_policy()
    members, dates, _ = zip(*shares, strict=True)
    days = group_rows(np.array(members, np.int64), to_days(dates))
    rows = find_learned(on_days(np.array(members, np.int64)[days.firsts], to_days(dates)[days.firsts]))
    pairs = group_rows(rows.member_ids, rows.post_ids).firsts
    grouped = GroupedRows.of(rows.union(find_learned(of_pairs(rows.member_ids[pairs], rows.post_ids[pairs]))))
    is_on_days = np.isin(grouped.rows.ids, rows.ids)
    present = read_shares(grouped, is_on_days)
    keys = grouped.author_day_keys(np.ones(len(present), np.bool_))
    changed = np.array([shares.get(key, share) for key, share in zip(keys, present.tolist(), strict=True)])
    weights, are_learned = (
        weigh_kinds(policy.popularity_weights)[grouped.rows.kinds],
        np.ones(len(is_on_days), np.bool_),
    )
    before, after = (weigh_rows(grouped, are_learned, weights, known) for known in (present, changed))
    changes = find_changes(grouped.rows, before, after, is_on_days)
    if len(changes.weights):  # their interactions may be deleted
        count_posts(CountChanges(*np.zeros((3, 0), np.int64)), changes, policy.popularity_half_lives, now)
        count_regions(changes, policy.popularity_half_lives, now)


def find_affected(of_these: InteractionColumns) -> InteractionColumns:
    """
    Return the learned rows that decide what members add on the days on which a change by these rows may affect it.

    Those are all rows of the members on these days, and all others of the same members with the same posts.
    """
    pairs, days = (group_rows(of_these.member_ids, column).firsts for column in (of_these.post_ids, of_these.days))
    near = find_learned(
        of_pairs(of_these.member_ids[pairs], of_these.post_ids[pairs]),
        on_days(of_these.member_ids[days], of_these.days[days]),
    )
    rows = near.union(of_these)
    is_of_these = np.isin(rows.ids, of_these.ids)
    by_pair, by_day = (group_rows(rows.member_ids, column) for column in (rows.post_ids, rows.days))
    is_own_pair = by_pair.any_of(is_of_these)[by_pair.numbers]
    others = by_day.firsts[by_day.any_of(is_own_pair) & ~by_day.any_of(is_of_these)]
    near = near.union(find_learned(on_days(rows.member_ids[others], rows.days[others])))
    rows = near.union(of_these)
    by_pair = group_rows(rows.member_ids, rows.post_ids)
    others = by_pair.firsts[~by_pair.any_of(np.isin(rows.ids, of_these.ids))]
    return near.union(find_learned(of_pairs(rows.member_ids[others], rows.post_ids[others])))


def read_shares(grouped: GroupedRows, is_on_days: BoolArray) -> Float64Array:
    """Return what counts of the members' weights by author day (g,). *is_on_days* (n,): the rows that may change."""
    days = grouped.rows.select(grouped.member_days.firsts[grouped.member_days.any_of(is_on_days)])
    shares = crowds.load_shares(np.unique(days.member_ids).tolist(), to_dates(np.unique(days.days)))
    if not shares:
        return np.ones(len(grouped.author_days))
    keys = grouped.author_day_keys(np.ones(len(grouped.author_days), np.bool_))
    return np.array([shares.get(key, 1.0) for key in keys])


def weigh_rows(grouped: GroupedRows, is_learned: BoolArray, weights: Float64Array, shares: Float64Array) -> Weighing:
    """
    Return what each row (n,) adds to the sums of its post, if those of the mask *is_learned* (n,) are learned.

    *weights* (n,) are those of the kinds, and *shares* (g,) those of members of rings by author day. The rows are all
    of each member with the post, and all of the member on the days that the caller looks at.
    """
    given = weights * is_learned
    of_post = bound_weights(grouped.pairs.numbers, given)
    author_days = grouped.author_days.numbers
    of_author = scale_weights(author_days, of_post, MAX_AUTHOR_DAY_WEIGHT) * shares[author_days]
    counted = scale_weights(grouped.member_days.numbers, of_author, MAX_DAY_WEIGHT)
    return Weighing(is_learned, given, of_post, of_author, counted)


def find_changes(rows: InteractionColumns, before: Weighing, after: Weighing, is_on_days: BoolArray) -> SumChanges:
    """Return the changes of the sums from one state to another. Only rows of the mask *is_on_days* can have changed."""
    changes = after.counted - before.counted
    changed = np.flatnonzero(is_on_days & (changes != 0))
    return SumChanges(rows.post_ids[changed], rows.member_ids[changed], rows.times[changed], changes[changed])


def count_posts(counts: CountChanges, changes: SumChanges, half_lives: HalfLives, now: datetime) -> None:
    """Change the sums and the counts of posts. Locks their rows in the order of their ids."""
    post_ids = np.union1d(counts.post_ids, changes.post_ids)
    # Create missing rows before locking: two workers that create the same row would overwrite each other's sums.
    insert_missing(PostStats, {"post_id": post_ids.tolist()}, {"summed_at": NEVER, "changed_at": now})
    stored = PostStats.objects.filter(pk__in=one_of(post_ids.tolist()))
    columns = ("pk", "interaction_count", "positive_count", StoredTime("summed_at"), *POPULARITY_SUMS)
    rows = list(stored.select_for_update().order_by("pk").values_list(*columns))
    change_rows = np.searchsorted(post_ids, counts.post_ids)
    update_columns(
        PostStats,
        [row[0] for row in rows],
        {
            "interaction_count": add_counts([row[1] for row in rows], change_rows, counts.interactions),
            "positive_count": add_counts([row[2] for row in rows], change_rows, counts.positive),
            **add_changes(rows, np.searchsorted(post_ids, changes.post_ids), changes, half_lives),
        },
        {"changed_at": now},
    )


def add_counts(counts: Sequence[int], rows: Int64Array, changes: Int64Array) -> list[int]:
    """Return the counts (m,) with the *changes* (n,) added to those at *rows* (n,). No count is negative."""
    changed = np.array(counts, np.int64)
    np.add.at(changed, rows, changes)
    maxima: list[int] = np.maximum(changed, 0).tolist()
    return maxima


def list_damped(
    grouped: GroupedRows, after: Weighing, is_own_pair: BoolArray, is_on_days: BoolArray, now: datetime
) -> None:
    """
    List again what members added and how much of it counts, for the admin.

    That is by the pairs of the mask *is_own_pair* (g,), and by the days of the rows of the mask *is_on_days* (n,).
    """
    own, of_days = (grouped.rows.select(rows) for rows in (grouped.pairs.firsts[is_own_pair], is_on_days))
    listed = DampedEngagement.objects.filter(member__in=np.unique(of_days.member_ids).tolist())
    if rows := list(listed.values_list("pk", "member_id", "post_id", "day")):
        pairs = set(zip(own.member_ids.tolist(), own.post_ids.tolist(), strict=True))
        days = set(zip(of_days.member_ids.tolist(), to_dates(of_days.days), strict=True))
        outdated = [
            pk
            for pk, member_id, post_id, day in rows
            if ((member_id, post_id) in pairs if post_id else (member_id, day) in days)
        ]
        DampedEngagement.objects.filter(pk__in=outdated).delete()
    DampedEngagement.objects.bulk_create(find_damped(grouped, after, is_own_pair, is_on_days, now))


def find_damped(
    grouped: GroupedRows, after: Weighing, is_own_pair: BoolArray, is_on_days: BoolArray, now: datetime
) -> list[DampedEngagement]:
    """Return a row for each bound that leaves less than `LISTED_SHARE` of what a member added. See `list_damped`."""
    rows, found = grouped.rows, []
    for groups, is_wanted, names, weights, bound in (
        (grouped.pairs, is_own_pair, ("post_id",), after.given, MAX_MEMBER_WEIGHT),
        (
            grouped.author_days,
            grouped.author_days.any_of(is_on_days),
            ("author_id",),
            after.of_post,
            MAX_AUTHOR_DAY_WEIGHT,
        ),
        (grouped.member_days, grouped.member_days.any_of(is_on_days), (), after.of_author, MAX_DAY_WEIGHT),
    ):
        given = np.bincount(groups.numbers, weights)
        last_rows = np.zeros(len(groups), np.int64)
        last_rows[groups.numbers[after.is_learned]] = np.flatnonzero(after.is_learned)
        is_damped = is_wanted & (bound < LISTED_SHARE * given)
        damped = rows.select(last_rows[is_damped])
        subjects = {"post_id": damped.post_ids, "author_id": damped.author_ids}
        for row, (member_id, day, weight) in enumerate(
            zip(damped.member_ids.tolist(), to_dates(damped.days), given[is_damped].tolist(), strict=True)
        ):
            subject = {name: subjects[name][row].item() for name in names}
            found.append(
                DampedEngagement(member_id=member_id, day=day, **subject, given=weight, counted=bound, changed_at=now)
            )
    return found


def count_regions(changes: SumChanges, half_lives: HalfLives, now: datetime) -> None:
    """Change the sums of posts in the regions of the members. Locks their rows in the order of posts and regions."""
    members = Member.objects.filter(pk__in=np.unique(changes.member_ids).tolist()).exclude(region="")
    regions = dict(members.values_list("pk", "region"))
    names = sorted(set(regions.values()))
    numbers = {member_id: names.index(region) for member_id, region in regions.items()}
    region_numbers = np.array([numbers.get(member_id, -1) for member_id in changes.member_ids.tolist()], np.int64)
    regional = np.flatnonzero(region_numbers >= 0)
    if not len(regional):
        return
    changes = changes.select(regional)
    groups = group_rows(region_numbers[regional], changes.post_ids)
    post_ids = changes.post_ids[groups.firsts].tolist()
    post_regions = [names[number] for number in region_numbers[regional[groups.firsts]].tolist()]
    key = {"post_id": post_ids, "region": post_regions}
    insert_missing(RegionStats, key, {"summed_at": NEVER, "changed_at": now})
    rows = lock_region_stats(key)
    positions = {row[1:3]: position for position, row in enumerate(rows)}
    change_rows = np.array([positions[pair] for pair in zip(post_ids, post_regions, strict=True)], np.int64)
    sums = add_changes(rows, change_rows[groups.numbers], changes, half_lives)
    update_columns(RegionStats, [row[0] for row in rows], sums, {"changed_at": now})


def lock_region_stats(key: Mapping[str, Sequence[int] | Sequence[str]]) -> Rows:
    """Lock the rows of these posts and regions, in their order. Return the id, the post, the region, the time, sums."""
    table, parameters = wanted_rows(key)
    lock = "FOR UPDATE OF r" if connection.vendor == "postgresql" else ""
    query = SELECT_REGION_STATS.format(time=stored_time("r.summed_at"), wanted=table, lock=lock)
    return execute_query(query, parameters)


def add_changes(rows: Rows, change_rows: Int64Array, changes: SumChanges, half_lives: HalfLives) -> dict[str, Column]:
    """
    Return the columns of sums, and of their time, of *rows* after the *changes* (n,) to those at *change_rows* (n,).

    A row ends with its time, as `to_microseconds` reads it, and its sums.
    """
    first_sum = -len(POPULARITY_SUMS)
    sums, summed_at = add_to_sums(
        np.array([row[first_sum:] for row in rows], np.float64),
        to_microseconds([row[first_sum - 1] for row in rows]) / MICROSECONDS,
        change_rows,
        changes.times,
        changes.weights,
        half_lives,
    )
    times = np.rint(summed_at * MICROSECONDS).astype("datetime64[us]")
    return {"summed_at": times, **dict(zip(POPULARITY_SUMS, sums.T.tolist(), strict=True))}
