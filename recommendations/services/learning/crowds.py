"""
Count who reacts to an author's posts on a day: newcomers and others. `rings.py` compares both.

A newcomer to an author is a member who has interacted with posts of fewer than `OTHER_AUTHORS` other authors, in their
newest `LOOKBACK` interactions. Who is one is decided when the member's first positive interaction with the author's
posts of the day is learned, in the same transaction. So the cost of an event does not depend on how many members react.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, date, datetime, timedelta

from django.db import connection

from recommendations.models import AuthorCrowd, CrowdNewcomer, Interaction

OTHER_AUTHORS = 3
"""Other authors with whom a member who has interacted is no newcomer. Changes the answer."""
LOOKBACK = 100
"""Interactions that show it. Bounds the cost of an event; changes the answer."""
CROWD_DAYS = 7
"""Interactions of earlier days are not counted: no ring is looked for there. Changes the answer."""
ADD_COUNTS = """
    INSERT INTO {crowds} (author_id, day, newcomers, others, share, changed_at) VALUES (%s, %s, %s, %s, 1, %s)
    ON CONFLICT (author_id, day) DO UPDATE SET newcomers = {crowds}.newcomers + excluded.newcomers,
        others = {crowds}.others + excluded.others, changed_at = excluded.changed_at"""

AuthorDay = tuple[int, date, int]
"""A member, a day in UTC and an author."""
NEWCOMER_COLUMNS = ("member_id", "day", "author_id", "share")


def first_day(now: datetime) -> date:
    """Return the first day whose crowds are counted."""
    return now.astimezone(UTC).date() - timedelta(days=CROWD_DAYS)


def load_shares(members: Collection[int], days: Collection[date]) -> dict[AuthorDay, float]:
    """Return what counts of the weight of members of rings, of these members on these days."""
    rows = CrowdNewcomer.objects.filter(member__in=members, day__in=days, share__lt=1)
    return {(member, day, author): share for member, day, author, share in rows.values_list(*NEWCOMER_COLUMNS)}


def count_crowds(
    added: Collection[AuthorDay], removed: Collection[AuthorDay], known: Mapping[int, set[int]], now: datetime
) -> None:
    """
    Count the members who now have, or no longer have, a positive interaction with an author's posts on a day.

    The days of those *added* are not before `first_day`. *known* are authors that the members have interacted with, by
    member. The members' rows are locked.
    """
    left = remove_newcomers(removed)
    first = first_day(now)
    old = [key for key in removed if key[1] >= first]
    newcomers = find_newcomers(added, known)
    CrowdNewcomer.objects.bulk_create(
        [CrowdNewcomer(member_id=m, day=day, author_id=a, changed_at=now) for m, day, a in sorted(newcomers)],
        ignore_conflicts=True,
    )
    changes: dict[tuple[int, date], list[int]] = defaultdict(lambda: [0, 0])
    for keys, are_newcomers, sign in ((added, newcomers, 1), (old, left, -1)):
        for key in keys:
            changes[key[2], key[1]][key not in are_newcomers] += sign
    add_counts(changes, now)


def remove_newcomers(keys: Collection[AuthorDay]) -> set[AuthorDay]:
    """Delete the rows of newcomers among *keys*. Return for which there was one."""
    if not keys:
        return set()
    members, days = {key[0] for key in keys}, {key[1] for key in keys}
    rows = CrowdNewcomer.objects.filter(member__in=members, day__in=days)
    found = {(member, day, author): pk for pk, member, day, author in rows.values_list("pk", *NEWCOMER_COLUMNS[:3])}
    left = found.keys() & set(keys)
    CrowdNewcomer.objects.filter(pk__in=[found[key] for key in left]).delete()
    return left


def add_counts(changes: Mapping[tuple[int, date], Collection[int]], now: datetime) -> None:
    """Add to the numbers of newcomers and others, by author and day, in this order."""
    rows = [
        (author, connection.ops.adapt_datefield_value(day), *numbers, connection.ops.adapt_datetimefield_value(now))
        for (author, day), numbers in sorted(changes.items())
    ]
    if rows:
        with connection.cursor() as cursor:
            crowds = connection.ops.quote_name(AuthorCrowd._meta.db_table)
            cursor.executemany(ADD_COUNTS.format(crowds=crowds), rows)


def find_newcomers(keys: Iterable[AuthorDay], known: Mapping[int, set[int]]) -> set[AuthorDay]:
    """Return those of *keys* whose member is a newcomer to the author. *known*: see `count_crowds`."""
    by_member: dict[int, set[AuthorDay]] = defaultdict(set)
    for key in keys:
        by_member[key[0]].add(key)
    newcomers = set()
    for member_id, own in by_member.items():
        authors = known.get(member_id, set())
        if len(authors) <= OTHER_AUTHORS:
            authors = authors | find_authors(member_id)
        newcomers |= {key for key in own if len(authors - {key[2]}) < OTHER_AUTHORS}
    return newcomers


def find_authors(member_id: int) -> set[int]:
    """Return the authors of the posts of the member's newest `LOOKBACK` interactions."""
    newest = Interaction.objects.filter(member=member_id).order_by("-occurred_at")
    rows = newest.values_list("post__author_id", "undone_at", "is_ignored")[:LOOKBACK]
    return {author for author, undone_at, is_ignored in rows if not undone_at and not is_ignored}
