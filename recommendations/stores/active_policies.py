"""A process's copy of the active ranking policies: every request needs one, and they change rarely."""

from __future__ import annotations

from time import monotonic

from recommendations.contracts import Policy
from recommendations.models import RankingPolicy

POLICY_REFRESH_SECONDS = 2.0
"""Every process uses a changed policy after this time at most. Changes the answer for that long."""


class ActivePolicies:
    """The active policies by variant, as this process read them last."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, Policy, int]] = {}

    def get(self, variant: str) -> tuple[Policy, int]:
        """Return the variant's active policy and its version, or the defaults and version 0 if it has none."""
        known = self._known.get(variant)
        if known is not None and monotonic() - known[0] < POLICY_REFRESH_SECONDS:
            return known[1:]
        row = RankingPolicy.objects.filter(variant=variant, is_active=True).first()
        policy, version = (Policy.from_stored(row.settings), row.version) if row else (Policy(), 0)
        self._known[variant] = (monotonic(), policy, version)
        return policy, version
