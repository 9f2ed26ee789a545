"""Whether the flags are other than they were: for who keeps what was made of an answer."""

from __future__ import annotations

from flags.snapshot import flag_snapshot


def flags_version() -> str:
    """
    Return what is another as soon as this process knows of another flag, segment, phase or experiment.

    By itself it says nothing of a unit: what a flag is worth for one may also change with what is known of it.
    """
    return flag_snapshot.current().digest
