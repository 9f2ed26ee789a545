"""
Damp rings: groups of accounts that exist to like one author's posts.

A member who likes one post looks the same whether they found it or were created for it. A crowd does not: the readers
of a post that spreads are mostly members who also read others. So on one day (UTC) the newcomers among those who react
to an author's posts (`crowds.py`) count together as at most `NEWCOMERS_PER_OTHER` times as many members as the others,
and at least as `FREE_NEWCOMERS`. Each counts the same share of their weight. What the others add is never damped, so
nobody can lower an author's popularity by sending a ring to it.

A newcomer who has interacted with other authors' posts meanwhile is counted with the others, and in full, by the next
run. Where newcomers are most of those who react to most authors, as on a new platform, they say nothing, and nothing is
damped. To have that effect, a ring would have to react to most authors.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime

from django.db.models import F, Q, QuerySet

from monitoring.maintenance import MaintenanceResult
from monitoring.transactions import write_transaction
from recommendations.models import AuthorCrowd, CrowdNewcomer
from recommendations.services.learning import crowds, popularity
from recommendations.services.learning.crowds import AuthorDay
from recommendations.stores.row_locks import lock_members, lock_rows

FREE_NEWCOMERS = 10
"""Newcomers of one author and day that count in full, whoever else reacts. Changes the answer."""
NEWCOMERS_PER_OTHER = 3
"""Changes the answer."""
BATCH_MEMBERS = 50
"""Members per transaction. Changes the speed."""


def damp_rings(*, now: datetime) -> MaintenanceResult:
    """
    Set what counts of each newcomer's weight in every crowd that is, or was, mostly newcomers.

    Each crowd is damped in transactions of its own. What is learned meanwhile counts from the next run on.
    """
    recent = AuthorCrowd.objects.filter(day__gte=crowds.first_day(now))
    if are_most_newcomers(recent):
        return MaintenanceResult(note="most authors have mostly newcomers: nothing is damped")
    are_many = Q(newcomers__gt=FREE_NEWCOMERS) & Q(newcomers__gt=F("others") * NEWCOMERS_PER_OTHER)
    suspect = recent.filter(are_many | Q(share__lt=1))
    changed = sum(damp_crowd(crowd, now) for crowd in suspect.order_by("pk"))
    rings = recent.filter(share__lt=1).count()
    return MaintenanceResult(rows=changed, note=f"rings: {rings}")


def are_most_newcomers(recent: QuerySet[AuthorCrowd]) -> bool:
    """Return whether newcomers outnumber the others in most crowds."""
    return 2 * recent.filter(newcomers__gt=F("others")).count() > recent.count()


def damp_crowd(crowd: AuthorCrowd, now: datetime) -> int:
    """Set the shares of the newcomers of one crowd. Return how many changed."""
    author_id, day = crowd.author_id, crowd.day
    keys, others = read_crowd(crowd)
    newcomers = crowds.find_newcomers(keys, {})
    others += len(keys) - len(newcomers)
    share = min(1.0, max(FREE_NEWCOMERS, NEWCOMERS_PER_OTHER * others) / max(len(newcomers), 1))
    # Every one of them: a member who is a newcomer no longer counts in full.
    shares = {key[0]: share if key in newcomers else None for key in sorted(keys)}
    items = list(shares.items())
    batches = (dict(items[start : start + BATCH_MEMBERS]) for start in range(0, len(items), BATCH_MEMBERS))
    changed = sum(set_shares(author_id, day, batch, now) for batch in batches)
    AuthorCrowd.objects.filter(pk=crowd.pk).update(share=share, changed_at=now)
    return changed


@write_transaction
def read_crowd(crowd: AuthorCrowd) -> tuple[set[AuthorDay], int]:
    """
    Return who is counted as a newcomer in a crowd, and the number of others.

    Learning changes both in one transaction, and locks the crowd's row last. So while this transaction has the lock,
    it reads both from before or after a change, never one of each.
    """
    lock_rows(AuthorCrowd, [crowd.pk])
    rows = CrowdNewcomer.objects.filter(author=crowd.author_id, day=crowd.day)
    keys = {(member_id, crowd.day, crowd.author_id) for member_id in rows.values_list("member_id", flat=True)}
    return keys, sum(AuthorCrowd.objects.filter(pk=crowd.pk).values_list("others", flat=True))


@write_transaction
def set_shares(author_id: int, day: date, shares: Mapping[int, float | None], now: datetime) -> int:
    """
    Set the shares of newcomers, by member, and change the sums. None: the member is no newcomer any more.

    Return how many shares changed.
    """
    lock_members(shares)
    rows = CrowdNewcomer.objects.filter(author=author_id, day=day, member__in=shares)
    before = dict(rows.values_list("member_id", "share"))
    after = {member_id: 1.0 if (share := shares[member_id]) is None else share for member_id in before}
    changed = {member_id: after[member_id] for member_id in before if after[member_id] != before[member_id]}
    if changed:
        popularity.change_shares({(member_id, day, author_id): share for member_id, share in changed.items()}, now)
    for share in set(changed.values()):
        of_share = [member_id for member_id, new in changed.items() if new == share]
        rows.filter(member__in=of_share).update(share=share, changed_at=now)
    left = [member_id for member_id in before if shares[member_id] is None]
    rows.filter(member__in=left).delete()
    if left:
        crowds.add_counts({(author_id, day): (-len(left), len(left))}, now)
    return len(changed)
