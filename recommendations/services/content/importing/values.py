"""
Parsers of single values: each takes a CSV cell or a JSON value and returns the parsed value.

Each raises `ValueError` with two arguments: the problem and what to do.
"""

import json
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from uuid import UUID

from recommendations.contracts import MAX_CLOCK_SKEW
from recommendations.services.content.importing.problems import quote_value
from recommendations.storable_text import storage_problem

MAX_TEXT = 2**20
MAX_LIST = 100
"""Items of a list of words, languages or labels."""
LANGUAGE_PATTERN = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,4})?")
SLUG_PATTERN = re.compile(r"[-a-zA-Z0-9_]{1,32}")
BOOLEAN_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
MAX_TIMESTAMP = datetime(9000, 1, 1, tzinfo=UTC).timestamp()


def parse_identifier(value: object) -> str:
    """A platform's id: 1 to 128 printable characters. A whole number in JSON becomes its digits."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not 1 <= len(value.strip()) <= 128 or not value.strip().isprintable():
        raise ValueError(f"{quote_value(value)} is not an id", "Give 1 to 128 printable characters.")
    return value.strip()


def parse_text(value: object) -> str:
    """A text of up to `MAX_TEXT` characters, with line breaks, that a database can store."""
    if not isinstance(value, str):
        raise ValueError(f"{quote_value(value)} is not a text", "Put the text in quotes.")
    if len(value) > MAX_TEXT:
        raise ValueError(f"has {len(value):,} characters", f"Shorten it to {MAX_TEXT:,} characters.")
    if problem := storage_problem(value):
        raise ValueError(problem, "Remove it. Write emoji as UTF-8 characters.")
    return value


def parse_boolean(value: object) -> bool:
    """A boolean: true/false, yes/no or 1/0."""
    word = str(value).strip().lower()
    if word not in BOOLEAN_WORDS:
        raise ValueError(f"{quote_value(value)} is neither true nor false", "Write true or false.")
    return BOOLEAN_WORDS[word]


def number_parser(low: float, high: float, *, whole: bool = False) -> Callable[[object], float]:
    """Return a parser of finite numbers from *low* to *high*."""

    def parse(value: object) -> float:
        kind = "whole number" if whole else "number"
        advice = f"Give a {kind} from {low:g} to {high:g}."
        try:
            parsed = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            raise ValueError(f"{quote_value(value)} is not a number", advice) from None
        if isinstance(value, bool) or not math.isfinite(parsed) or not low <= parsed <= high or (whole and parsed % 1):
            raise ValueError(f"{quote_value(value)} cannot be used", advice)
        return int(parsed) if whole else parsed

    return parse


def choice_parser(names: Mapping[str, object]) -> Callable[[object], object]:
    """Return a parser that maps one of *names* to its value."""

    def parse(value: object) -> object:
        name = str(value).strip().lower()
        if name not in names:
            raise ValueError(f"{quote_value(value)} is not known", f"Write one of {', '.join(names)}.")
        return names[name]

    return parse


def time_parser(now: datetime) -> Callable[[object], datetime]:
    """Return a parser of times that are at most `MAX_CLOCK_SKEW` in the future (see `parse_time`)."""

    def parse(value: object) -> datetime:
        moment = parse_time(value)
        if moment - now > MAX_CLOCK_SKEW:
            ahead = str(moment - now).split(".")[0]
            advice = (
                f"A time may be at most {MAX_CLOCK_SKEW.seconds // 60} minutes in the future. "
                "Check the sender's clock and time zone."
            )
            raise ValueError(f"{quote_value(value)} is {ahead} in the future", advice)
        return moment

    return parse


def parse_time(value: object) -> datetime:
    """A time since 1970, in UTC: ISO 8601 with its zone, or Unix seconds."""
    advice = "Write 2026-05-31T18:30:00Z, or seconds since 1970."
    try:
        seconds = None if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        seconds = None
    if seconds is not None:
        if not 0 <= seconds <= MAX_TIMESTAMP:
            advice = "Give seconds since 1970, not milliseconds." if seconds > MAX_TIMESTAMP else advice
            raise ValueError(f"{quote_value(value)} is not a time", advice)
        return datetime.fromtimestamp(seconds, UTC)
    try:
        moment = datetime.fromisoformat(value.strip())  # type: ignore[attr-defined]
        if moment.tzinfo is None:
            raise ValueError(f"{quote_value(value)} has no time zone", "Add Z for UTC, or an offset such as +02:00.")
        moment = moment.astimezone(UTC)
    except (AttributeError, TypeError, OverflowError):
        raise ValueError(f"{quote_value(value)} is not a time", advice) from None
    except ValueError as error:
        if len(error.args) == 2:
            raise
        raise ValueError(f"{quote_value(value)} is not a time", advice) from None
    if moment.year < 1970:
        raise ValueError(f"{quote_value(value)} is before 1970", advice)
    return moment


def parse_language(value: object) -> str:
    """A language tag such as en or pt-BR."""
    if not isinstance(value, str) or not LANGUAGE_PATTERN.fullmatch(value.strip()):
        raise ValueError(f"{quote_value(value)} is not a language", "Write a tag such as en or pt-BR.")
    return value.strip()


def parse_slug(value: object) -> str:
    """A slug: up to 32 letters, digits, dashes and underscores."""
    if not isinstance(value, str) or not SLUG_PATTERN.fullmatch(value.strip()):
        raise ValueError(f"{quote_value(value)} cannot be used", "Write 1 to 32 of a-z, 0-9, - and _.")
    return value.strip()


def list_parser(item: Callable[[object], str]) -> Callable[[object], list[str]]:
    """Return a parser of lists of *item*: an array in JSON, joined by | in CSV. Duplicates are removed."""

    def parse(value: object) -> list[str]:
        parts = value.split("|", MAX_LIST) if isinstance(value, str) else value
        if not isinstance(parts, list) or len(parts) > MAX_LIST:
            raise ValueError(
                f"{quote_value(value)} is not a list of up to {MAX_LIST}", 'Write ["a", "b"] in JSON and a|b in CSV.'
            )
        return list(dict.fromkeys(item(part) for part in parts))

    return parse


def parse_safety_labels(value: object) -> dict[str, float]:
    """Safety labels with scores from 0 to 1: an object in JSON; label:score joined by | in CSV."""
    advice = f'Write {{"violence": 0.4}} in JSON and violence:0.4|nudity:0.9 in CSV, with up to {MAX_LIST} labels.'
    pairs = value
    if isinstance(value, str):
        parts = [part.partition(":") for part in value.split("|", MAX_LIST)]
        if len(parts) > MAX_LIST or not all(colon for _, colon, _ in parts):
            raise ValueError(f"{quote_value(value)} is not a list of labels", advice)
        pairs = {name: score for name, _, score in parts}
    if not isinstance(pairs, dict) or len(pairs) > MAX_LIST:
        raise ValueError(f"{quote_value(value)} is not a list of labels", advice)
    parse_score = number_parser(0, 1)
    return {parse_slug(name): parse_score(score) for name, score in pairs.items()}


def parse_media(value: object) -> list[dict[str, str]]:
    """The media of a post: a list of objects with kind, url and alt. In a CSV cell, the list is JSON."""
    advice = 'Write [{"kind": "image", "url": "https://…", "alt": "…"}].'
    try:
        items = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        items = None
    if not isinstance(items, list) or len(items) > 20:
        raise ValueError(f"{quote_value(value)} is not a list of up to 20 media", advice)
    return [parse_medium(item, advice) for item in items]


def parse_medium(item: object, advice: str) -> dict[str, str]:
    if not isinstance(item, dict) or not set(item) <= {"kind", "url", "alt"} or not {"kind", "url"} <= set(item):
        raise ValueError(f"{quote_value(item)} is not a medium", advice)
    if not str(item["url"]).startswith(("https://", "http://")):
        raise ValueError(f"{quote_value(item['url'])} is not a URL", "Give a URL that starts with https://.")
    return {"kind": parse_slug(item["kind"]), "url": parse_text(item["url"]), "alt": parse_text(item.get("alt", ""))}


def parse_uuid(value: object) -> UUID:
    """A UUID, with or without dashes."""
    try:
        return UUID(str(value).strip())
    except ValueError:
        raise ValueError(f"{quote_value(value)} is not a UUID", "Give the request_id of the feed response.") from None
