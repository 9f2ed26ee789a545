"""
The types of values, as annotated types of pydantic: each has a parser, a normal form, limits and a JSON schema.

`read` parses a value by its type. The maximum lengths are those of the database's columns; a test compares them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache, partial
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, TypeAdapter, ValidationError, WithJsonSchema

from values.json_text import parse_json
from values.languages import parse_language
from values.limits import MAX_ID, MAX_LANGUAGE, MAX_MODEL, MAX_SLUG, MAX_WORD
from values.numbers import parse_boolean, parse_number, parse_whole_number
from values.problems import InvalidValueError, quote
from values.slugs import SLUG, parse_slug
from values.text import MAX_TEXT, parse_label, parse_text
from values.times import parse_time
from values.translation import Phrase, phrase, translatable

VECTOR_LENGTHS = (8, 4096)
MAX_COORDINATE = 3.4028234663852886e38
"""Of a vector: the largest float32. Infinity and NaN are not at most this."""
MAX_LIST = 100
"""Items of a list in a post or a member."""
MAX_PREFERENCES = 500
"""Muted words, muted tags and interest tags of a member."""
MAX_MEDIA = 20
MAX_CACHED_PARSERS = 1_000
"""Far more than there are types. Changes the speed and the memory."""
MEDIUM_URL = re.compile(r"https?://|(?:/[\w.~-]+)+\Z", re.ASCII)
"""A path has no second slash at its beginning, which would name another host."""
RESERVED_SEGMENTS = frozenset(
    {
        "feed",
        "seen",
        "preferences",
        "relationships",
        "follow-requests",
        "profile",
        "reset",
        "show-less-effects",
        "similar",
    }
)
"""The segments that URLs have after an id: an id with one of them after a slash would be read as another URL."""


def parse_id(value: object) -> str:
    """
    Return an id of the platform: 1 to 128 characters. A whole number becomes its digits.

    An id may contain slashes, but no part between them that a URL cannot have: an empty one, a dot, two dots, or the
    name of a URL below the id. Spaces at its ends are refused, not removed, because two ids could become one.
    """
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**MAX_ID:
        value = str(value)
    text = parse_label(value, translatable("{value} is not an id"), MAX_ID)
    if text.strip() != text:
        raise InvalidValueError(phrase("{value} has spaces at its ends", value=quote(text)), phrase("Remove them."))
    first, *others = text.split("/")
    if not {"", ".", ".."}.isdisjoint([first, *others]) or not RESERVED_SEGMENTS.isdisjoint(others):
        advice = phrase("Use no / at its ends, no // and no name of a URL after a slash.")
        raise InvalidValueError(phrase("{value} cannot be part of a URL", value=quote(text)), advice)
    return text


def parse_region(value: object) -> str:
    """Return a region, or an empty text for none."""
    return "" if value == "" else parse_slug(value)


def parse_word(value: object) -> str:
    """Return a word or a tag: 1 to 128 characters, without the spaces at its ends."""
    return parse_label(value, translatable("{value} is not a word"), MAX_WORD).strip()


def parse_model(value: object) -> str:
    """Return the name of an embedding model, with its version."""
    return parse_label(value, translatable("{value} is not a name of an embedding model"), MAX_MODEL).strip()


def parse_uuid(value: object) -> UUID:
    """Return a UUID, which may have no dashes."""
    try:
        return value if isinstance(value, UUID) else UUID(value.strip() if isinstance(value, str) else "")
    except ValueError:
        problem, advice = (
            phrase("{value} is not a UUID", value=quote(value)),
            phrase("Give the request_id of the response."),
        )
        raise InvalidValueError(problem, advice) from None


def parse_choice(value: object, names: Mapping[str, Any]) -> Any:
    """Return the value of one of *names*. Letter case makes no difference."""
    name = value.strip().lower() if isinstance(value, str) else ""
    if name not in names:
        advice = phrase("Write one of {names}.", names=", ".join(names))
        raise InvalidValueError(phrase("{value} is not known", value=quote(value)), advice)
    return names[name]


def parse_media(value: object) -> list[dict[str, str]]:
    """Return the media of a post: a list of objects with kind, url and alt."""
    advice = phrase('Write [{"kind": "image", "url": "https://…", "alt": "…"}].')
    if not isinstance(value, list) or len(value) > MAX_MEDIA:
        raise InvalidValueError(
            phrase("{value} is not a list of up to {n} media", value=quote(value), n=MAX_MEDIA), advice
        )
    return [parse_medium(item, advice) for item in value]


def parse_medium(item: object, advice: Phrase) -> dict[str, str]:
    """Return one medium. Null is the same as no such field."""
    item = without_nulls(item)
    if not isinstance(item, dict) or not set(item) <= {"kind", "url", "alt"} or not {"kind", "url"} <= set(item):
        raise InvalidValueError(phrase("{value} is not a medium", value=quote(item)), advice)
    if not MEDIUM_URL.match(str(item["url"])):
        advice = phrase(
            "Give a URL that starts with https://, or a path of the service's own host such as /static/a.png."
        )
        raise InvalidValueError(phrase("{value} is not a URL", value=quote(item["url"])), advice)
    return {"kind": parse_slug(item["kind"]), "url": parse_text(item["url"]), "alt": parse_text(item.get("alt", ""))}


def parse_vector(value: object) -> list[float]:
    """Return a vector: 8 to 4096 finite numbers."""
    low, high = VECTOR_LENGTHS
    if (
        not isinstance(value, list)
        or not low <= len(value) <= high
        or not all(type(number) in (int, float) and abs(number) <= MAX_COORDINATE for number in value)
    ):
        advice = phrase("Give {low} to {high} finite numbers of up to 3.4e38.", low=low, high=high)
        raise InvalidValueError(phrase("{value} is not a vector", value=quote(value)), advice)
    return [float(number) for number in value]


def check_list(value: object, max_length: int) -> object:
    """Return a list of at most *max_length* items. The items of a longer list are not read."""
    if not isinstance(value, list) or len(value) > max_length:
        advice = phrase('Write ["a", "b"] in JSON and a|b in a cell.')
        raise InvalidValueError(phrase("{value} is not a list of up to {n}", value=quote(value), n=max_length), advice)
    return value


def check_object(value: object, max_length: int) -> object:
    """Return an object of at most *max_length* fields, without those that are null. A larger one is not read."""
    if not isinstance(value, dict) or len(value) > max_length:
        advice = phrase('Write {"violence": 0.4} in JSON and violence:0.4|nudity:0.9 in a cell.')
        raise InvalidValueError(
            phrase("{value} is not an object of up to {n} scores", value=quote(value), n=max_length), advice
        )
    return without_nulls(value)


def without_nulls(value: object) -> object:
    """Return an object without the fields that are null; another value as it is."""
    return {name: item for name, item in value.items() if item is not None} if isinstance(value, dict) else value


def without_repetitions(items: list[Any]) -> list[Any]:
    """Return the items, each once, in the order of their first places."""
    return list(dict.fromkeys(items))


def described(parse: Callable[..., Any], **schema: Any) -> tuple[BeforeValidator, WithJsonSchema]:
    """
    Return the annotations of a type: its parser and its JSON schema.

    *parse* takes a value, or a value and pydantic's `ValidationInfo`, whose context has what `read` was given.
    """
    return BeforeValidator(parse), WithJsonSchema(schema)


def list_limits(item: Any, max_length: int = MAX_LIST) -> tuple[BeforeValidator, AfterValidator, WithJsonSchema]:
    """Return the annotations of a list of at most *max_length* items of a type, in which each item occurs once."""
    return (
        BeforeValidator(partial(check_list, max_length=max_length)),
        AfterValidator(without_repetitions),
        WithJsonSchema({"type": "array", "items": json_schema(item), "maxItems": max_length}),
    )


def choice_of(names: Mapping[str, Any]) -> Any:
    """Return the type of a value that is one of *names*, and is parsed to what the name maps to."""
    return Annotated[Any, *described(partial(parse_choice, names=names), type="string", enum=list(names))]


def number_from(low: float, high: float) -> Any:
    """Return the type of a finite number."""
    return Annotated[
        float, *described(partial(parse_number, low=low, high=high), type="number", minimum=low, maximum=high)
    ]


def whole_number_from(low: int, high: int) -> Any:
    """Return the type of a whole number."""
    return Annotated[
        int, *described(partial(parse_whole_number, low=low, high=high), type="integer", minimum=low, maximum=high)
    ]


def list_of(item: Any, max_length: int = MAX_LIST) -> Any:
    """Return the type of a list in which each item occurs once."""
    return Annotated[list[item], *list_limits(item, max_length)]


Id = Annotated[str, *described(parse_id, type="string", minLength=1, maxLength=MAX_ID)]
Word = Annotated[str, *described(parse_word, type="string", minLength=1, maxLength=MAX_WORD)]
Text = Annotated[str, *described(parse_text, type="string", maxLength=MAX_TEXT)]
Slug = Annotated[str, *described(parse_slug, type="string", pattern=f"^{SLUG.pattern}$", maxLength=MAX_SLUG)]
"""A kind of post or a safety label."""
Region = Annotated[str, *described(parse_region, type="string", pattern=f"^({SLUG.pattern})?$", maxLength=MAX_SLUG)]
Language = Annotated[str, *described(parse_language, type="string", minLength=2, maxLength=MAX_LANGUAGE)]
Time = Annotated[datetime, *described(parse_time, type="string", format="date-time")]
Uuid = Annotated[UUID, *described(parse_uuid, type="string", format="uuid")]
Boolean = Annotated[bool, *described(parse_boolean, type="boolean")]
FieldName = Annotated[
    str,
    *described(
        partial(parse_label, refusal=translatable("{value} is not a name"), max_length=MAX_SLUG),
        type="string",
        maxLength=MAX_SLUG,
    ),
]
ModelName = Annotated[str, *described(parse_model, type="string", minLength=1, maxLength=MAX_MODEL)]
MeasuredValue = Annotated[
    float, *described(partial(parse_number, low=-1e9, high=1e9), type="number", minimum=-1e9, maximum=1e9)
]
"""Seconds of a dwell, or stars of a rating."""
VectorNumbers = Annotated[
    list[float], *described(parse_vector, type="array", items={"type": "number"}, minItems=8, maxItems=4096)
]
Media = Annotated[
    list[dict[str, str]], *described(parse_media, type="array", items={"type": "object"}, maxItems=MAX_MEDIA)
]


@lru_cache(MAX_CACHED_PARSERS)
def adapter(value_type: Any) -> TypeAdapter[Any]:
    """Return the parser of a type. It takes a millisecond and 50 KB, so a type must not depend on a request."""
    return TypeAdapter(value_type)


def json_schema(value_type: Any) -> dict[str, Any]:
    """Return the JSON schema of a type."""
    return adapter(value_type).json_schema()


def read(value_type: Any, value: object, *, now: datetime | None = None) -> Any:
    """Return the normal form of *value* at *now*, which `PastTime` needs. Raises `InvalidValueError`."""
    try:
        return adapter(value_type).validate_python(value, context={"now": now})
    except ValidationError as error:
        raise error.errors()[0]["ctx"]["error"] from None


Score = Annotated[float, *described(partial(parse_number, low=0, high=1), type="number", minimum=0, maximum=1)]
SafetyLabels = Annotated[
    dict[Slug, Score],
    BeforeValidator(partial(check_object, max_length=MAX_LIST)),
    WithJsonSchema({"type": "object", "additionalProperties": json_schema(Score)}),
]
"""A score from 0 to 1 for each label."""


def read_cell(value_type: Any, cell: str) -> object:
    """
    Return the JSON value that a cell of a table states. Lists are JSON, or items joined by |; scores are label:score.

    A text that is neither is returned as it is, and its type refuses it.
    """
    kind = json_schema(value_type).get("type")
    if kind not in ("array", "object"):
        return cell
    if cell.lstrip()[:1] in ("[", "{"):
        try:
            return parse_json(cell)
        except (ValueError, RecursionError):
            return cell
    parts = cell.split("|", MAX_LIST)
    if kind == "array":
        return parts
    pairs = [part.partition(":") for part in parts]
    if len(pairs) > MAX_LIST or not all(colon for _, colon, _ in pairs):
        return cell
    return {name: score for name, _, score in pairs}
