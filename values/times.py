"""Times: RFC 3339 with an offset, or a number of seconds or milliseconds since 1970."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from values.numbers import read_number
from values.problems import InvalidValueError, quote
from values.translation import phrase, translatable

RFC_3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ]((?:[01]\d|2[0-3]):[0-5]\d):([0-5]\d|60)(\.\d+)?([Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)
ADVICE = translatable(
    "Write RFC 3339 with an offset, such as 2026-05-31T18:30:00Z, or the seconds or milliseconds since 1970."
)
SECONDS = (100_000_000, 4_102_444_800)
"""
The numbers that are seconds: 1973 to 2100. A smaller one is more likely a date without separators, such as 20260531,
or a number that is no time.
"""
MILLISECONDS = (946_684_800_000, 4_102_444_800_000)
"""The numbers that are milliseconds: 2000 to 2100. Dates without separators, such as 202605311830, are below."""
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(2200, 1, 1, tzinfo=UTC)


def parse_time(value: object) -> datetime:
    """Return a time from 1970 to 2199, in UTC."""
    if isinstance(value, datetime) and value.tzinfo:
        return check_range(value.isoformat(), value)
    if (number := read_number(value)) is not None:
        return from_number(value, number)
    match = RFC_3339.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise time_error(value)
    date, minutes, seconds, fraction, offset = match.groups()
    # datetime has no leap second: 23:59:60, in UTC, is the second after 23:59:59.
    leap = timedelta(seconds=1 if seconds == "60" else 0)
    text = f"{date}T{minutes}:{'59' if leap else seconds}{(fraction or '')[:7]}{offset.upper()}"
    try:
        moment = datetime.fromisoformat(text).astimezone(UTC) + leap
    except (ValueError, OverflowError):
        raise time_error(value) from None
    if leap and (moment.hour, moment.minute) != (0, 0):
        raise time_error(value)
    return check_range(value, moment)


def from_number(value: object, number: float) -> datetime:
    """Return the time of a number of seconds or milliseconds."""
    if SECONDS[0] <= number < SECONDS[1]:
        return datetime.fromtimestamp(number, UTC)
    if MILLISECONDS[0] <= number < MILLISECONDS[1]:
        return datetime.fromtimestamp(number / 1000, UTC)
    raise time_error(value)


def check_range(value: object, moment: datetime) -> datetime:
    """Return *moment* in UTC if it is within the years that the service accepts."""
    if not EARLIEST <= moment < LATEST:
        raise time_error(value)
    return moment.astimezone(UTC)


def time_error(value: object) -> InvalidValueError:
    """Return the error of a value that is no time."""
    return InvalidValueError(phrase("{value} is not a time", value=quote(value)), phrase(ADVICE))
