"""The only writer of ranking policies. A version that exists is never changed: a change is a new version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime

from django.db import IntegrityError, transaction
from django.db.models import Max

from recommendations.contracts import Policy, PolicyError
from recommendations.models import RankingPolicy
from recommendations.services.errors import InvalidRequest, UnknownPolicy, VersionConflict


@dataclass(frozen=True, slots=True)
class ServedPolicy:
    """The policy that a variant is ranked by."""

    variant: str
    version: int
    settings: dict[str, float]
    """Every setting; one that the version does not name, because it is newer, has its neutral value."""
    note: str
    created_at: datetime


def list_policies() -> list[ServedPolicy]:
    """Return the policies that are served, by variant."""
    return [build_served_policy(row) for row in RankingPolicy.objects.filter(is_active=True)]


def read_policy(*, variant: str) -> ServedPolicy:
    """Return the policy that *variant* is ranked by, or raise `UnknownPolicy`."""
    row = RankingPolicy.objects.filter(variant=variant, is_active=True).first()
    if row is None:
        raise UnknownPolicy(variant)
    return build_served_policy(row)


@transaction.atomic
def put_policy(*, variant: str, settings: Mapping[str, object], note: str, version: int | None) -> ServedPolicy:
    """
    Have *variant* ranked by *settings* from now on, others at their default, as a new version.

    *version* is the one that was served when the caller read it; 0: none was; None: whatever is. Raises
    `ChangedMeanwhile` if another one is, and `InvalidRequest` with a pointer to a wrong setting.
    """
    now_served = RankingPolicy.objects.select_for_update().filter(variant=variant, is_active=True).first()
    current = now_served.version if now_served else 0
    if version is not None and version != current:
        raise VersionConflict(variant, current)
    try:
        row = create_policy_version(variant=variant, settings=settings, note=note)
        activate_policy(row)
    except IntegrityError as error:  # PostgreSQL: two who made the same next version at once
        raise VersionConflict(variant, current + 1) from error
    return build_served_policy(row)


def create_policy_version(*, variant: str, settings: Mapping[str, object], note: str) -> RankingPolicy:
    """Write a new version of *variant*, which nobody is served yet, with today's defaults for settings left out."""
    try:
        Policy.from_settings(settings)
    except PolicyError as error:
        raise InvalidRequest(str(error), f"/settings/{error.setting}") from error
    last = RankingPolicy.objects.filter(variant=variant).aggregate(last=Max("version"))["last"]
    with transaction.atomic():
        return RankingPolicy.objects.create(
            variant=variant, version=(last or 0) + 1, settings=dict(settings), note=note
        )


def copy_version(policy: RankingPolicy) -> RankingPolicy:
    """Write a new version that ranks as *policy* does: it has no default that *policy* was not written with."""
    settings = asdict(Policy.from_stored(policy.settings))
    return create_policy_version(variant=policy.variant, settings=settings, note=f"copy of v{policy.version}")


@transaction.atomic
def activate_policy(policy: RankingPolicy) -> None:
    """Have *policy* served in its variant, in place of the one that is; every process obeys within two seconds."""
    RankingPolicy.objects.filter(variant=policy.variant, is_active=True).update(is_active=False)
    RankingPolicy.objects.filter(pk=policy.pk).update(is_active=True)


def build_served_policy(row: RankingPolicy) -> ServedPolicy:
    """Return *row* as it is ranked by."""
    return ServedPolicy(row.variant, row.version, asdict(Policy.from_stored(row.settings)), row.note, row.created_at)
