"""Set-up of flags in every process, after all apps are loaded."""

from __future__ import annotations

from openfeature import api

from flags import tasks  # noqa: F401 -- registers the Celery tasks by name in every process
from flags.provider import FlagProvider


def register_provider() -> None:
    """Make `FlagProvider` the OpenFeature provider of this process."""
    api.set_provider(FlagProvider())
