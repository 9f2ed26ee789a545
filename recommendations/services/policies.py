"""Reads and writes ranking policies. An existing version is never modified: each change writes a new version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from django.db.models import Max

from monitoring.transactions import write_transaction
from recommendations.contracts import Policy, PolicyError
from recommendations.models import RankingPolicy
from recommendations.services.errors import InvalidRequest, UnknownPolicy, VersionConflict


@dataclass(frozen=True, slots=True)
class ServedPolicy:
    """The active policy of a variant."""

    variant: str
    version: int
    settings: dict[str, float]
    """All settings. A setting that was added after this version was written has its neutral value."""
    note: str
    created_at: datetime


def list_policies() -> list[ServedPolicy]:
    """Return the active policies, ordered by variant."""
    return [build_served_policy(row) for row in RankingPolicy.objects.filter(is_active=True)]


def read_policy(*, variant: str) -> ServedPolicy:
    """Return the active policy of *variant*. Raises `UnknownPolicy` if there is none."""
    row = RankingPolicy.objects.filter(variant=variant, is_active=True).first()
    if row is None:
        raise UnknownPolicy(variant)
    return build_served_policy(row)


@write_transaction
def put_policy(*, variant: str, settings: Mapping[str, object], note: str, version: int | None) -> ServedPolicy:
    """
    Write *settings* as a new version of *variant* and activate it. Settings left out get their default.

    *version* is the version that the caller read: 0 if there was none, None to skip the check. Raises
    `VersionConflict` if another version is active, and `InvalidRequest` with a pointer to the invalid setting.
    """
    lock_versions(variant)
    active = RankingPolicy.objects.filter(variant=variant, is_active=True).first()
    current = active.version if active else 0
    if version is not None and version != current:
        raise VersionConflict(variant, current)
    row = create_policy_version(variant=variant, settings=settings, note=note)
    activate_policy(row)
    return build_served_policy(row)


def lock_versions(variant: str) -> None:
    """
    Lock every version of *variant*, before the active one is read.

    A query that locks only the active version would find none while another transaction replaces it: PostgreSQL waits,
    and then drops the row because it is no longer active.
    """
    list(RankingPolicy.objects.select_for_update().filter(variant=variant).order_by("pk").values_list("pk"))


@write_transaction
def create_policy_version(*, variant: str, settings: Mapping[str, object], note: str) -> RankingPolicy:
    """Write a new, inactive version of *variant*. Settings left out get the defaults of this release."""
    try:
        Policy.from_settings(settings)
    except PolicyError as error:
        raise InvalidRequest(str(error), f"/settings/{error.setting}") from error
    lock_versions(variant)
    last = RankingPolicy.objects.filter(variant=variant).aggregate(last=Max("version"))["last"]
    return RankingPolicy.objects.create(variant=variant, version=(last or 0) + 1, settings=dict(settings), note=note)


def copy_version(policy: RankingPolicy) -> RankingPolicy:
    """Write a new version that ranks exactly as *policy*: newer settings do not get their defaults."""
    settings = asdict(Policy.from_stored(policy.settings))
    return create_policy_version(variant=policy.variant, settings=settings, note=f"copy of v{policy.version}")


@write_transaction
def activate_policy(policy: RankingPolicy) -> None:
    """Make *policy* the active version of its variant. Every process uses it within two seconds."""
    lock_versions(policy.variant)
    RankingPolicy.objects.filter(variant=policy.variant, is_active=True).update(is_active=False)
    RankingPolicy.objects.filter(pk=policy.pk).update(is_active=True)


@write_transaction
def activate_copies(versions: Sequence[RankingPolicy]) -> list[RankingPolicy]:
    """Make a copy of each version the active one of its variant. Return the copies. If one cannot be made, none is."""
    for variant in sorted({version.variant for version in versions}):
        lock_versions(variant)
    copies = [copy_version(version) for version in versions]
    for policy in copies:
        activate_policy(policy)
    return copies


def build_served_policy(row: RankingPolicy) -> ServedPolicy:
    """Return the policy with the settings that ranking uses for it."""
    return ServedPolicy(row.variant, row.version, asdict(Policy.from_stored(row.settings)), row.note, row.created_at)
