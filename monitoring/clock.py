"""The clock. Only doors (views, tasks, commands, the admin) read it; everything behind them is handed `now`."""

from datetime import datetime

from django.utils import timezone


def now() -> datetime:
    """Return this moment, in UTC and aware of it."""
    return timezone.now()  # noqa: TID251 -- the one place
