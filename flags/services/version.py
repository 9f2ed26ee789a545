"""The version of the flags, for caches of results that depend on flags."""

from __future__ import annotations

from flags.snapshot import flag_snapshot


def flags_version() -> str:
    """
    Return a digest that changes when this process loads a changed flag, segment, phase or experiment.

    The digest does not depend on a unit: a flag's value for a unit may also change with the unit's attributes.
    """
    return flag_snapshot.current().digest
