"""The receivers of the signals of sign-in."""

from __future__ import annotations

from access.sign_in import lockout, second_factor


def register() -> None:
    """Connect them."""
    lockout.connect_signals()
    second_factor.connect_signals()
