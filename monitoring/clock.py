"""The clock. Only entry points (views, tasks, commands, the admin) read it and pass `now` to the code behind them."""

from datetime import datetime

from django.utils import timezone


def now() -> datetime:
    """Return the current time, aware and in UTC."""
    return timezone.now()  # noqa: TID251 -- the only call in the project
