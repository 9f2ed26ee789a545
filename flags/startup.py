"""What flags set up in every process, once all apps are known."""

from __future__ import annotations

from openfeature import api

from flags import tasks  # noqa: F401 -- who asks for a task finds it by name in every process
from flags.provider import FlagProvider


def register_provider() -> None:
    """Answer what is asked through OpenFeature."""
    api.set_provider(FlagProvider())
