"""Erases and lists the exposures of a unit, for erasure and export of a member."""

from datetime import datetime
from typing import Any

from flags.models import Exposure


def erase_unit_exposures(*, unit_id: str, until: datetime) -> int:
    """Delete the unit's exposures up to a time. Results that were computed keep their totals. Return how many."""
    return Exposure.objects.filter(unit_id=unit_id, exposed_at__lte=until).delete()[0]


def list_unit_exposures(*, unit_id: str) -> list[dict[str, Any]]:
    """Return the experiments and variants that the unit was exposed to, for the member's export."""
    rows = Exposure.objects.filter(unit_id=unit_id).order_by("pk").values_list("experiment__key", "variant")
    return [{"experiment": key, "variant": variant} for key, variant in rows]
