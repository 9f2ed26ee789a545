"""What experiments forget of a unit that is erased."""

from typing import Any

from flags.models import Exposure


def erase_unit_exposures(*, unit_id: str) -> None:
    """Delete what tells which variants this unit met. Results that were counted before keep their sums."""
    Exposure.objects.filter(unit_id=unit_id).delete()


def list_unit_exposures(*, unit_id: str) -> list[dict[str, Any]]:
    """Return which variants this unit met, for its own record."""
    rows = Exposure.objects.filter(unit_id=unit_id).order_by("pk").values_list("experiment__key", "variant")
    return [{"experiment": key, "variant": variant} for key, variant in rows]
