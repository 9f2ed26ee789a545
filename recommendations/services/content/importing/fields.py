"""The layout of each kind of file and of the API's items: its fields, their types and the required fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Annotated, Any

from pydantic import ValidationInfo

from recommendations.contracts import MAX_CLOCK_SKEW, InteractionKind, Sensitivity, Visibility
from recommendations.services.content.importing.problems import RowError
from recommendations.services.learning.store_interactions import NOT_INTERESTED_TARGETS
from values.names import describe_unknown_name, find_unknown_name
from values.problems import InvalidValueError, quote
from values.times import parse_time
from values.translation import phrase
from values.types import (
    MAX_PREFERENCES,
    Boolean,
    Id,
    Language,
    MeasuredValue,
    Media,
    Region,
    SafetyLabels,
    Slug,
    Text,
    Uuid,
    Word,
    choice_of,
    described,
    list_of,
    read,
    read_cell,
    whole_number_from,
)

FieldTypes = Mapping[str, Any]
"""The type of each field, as in `values.types`."""

SENSITIVITIES = {s.name.lower(): s.value for s in Sensitivity if s is not Sensitivity.FORBIDDEN}
VISIBILITIES = {v.name.lower(): v.value for v in Visibility}
INTERACTION_KINDS = {k.value: k.value for k in InteractionKind}
TARGETS = {target.value: target.value for target in NOT_INTERESTED_TARGETS}
RELATIONSHIP_KINDS = {name: name for name in ("follow", "follow_request", "block", "mute")}
CLEARED_BY_NULL = frozenset({"removed_at", "birth_year", "is_adult"})
"""The fields that null clears. Null in another field is the same as no such field."""
FIRST_BIRTH_YEAR = 1900


@dataclass(frozen=True)
class FileLayout:
    """The fields of one kind of file, or of the items of a request."""

    types: FieldTypes
    required: tuple[str, ...]

    def parse(self, raw: Mapping[str, object], line: int, now: datetime) -> dict[str, object] | RowError:
        """Return the parsed fields of *raw*, a JSON object, at *now*, or the first error."""
        if (unknown := find_unknown_name(raw, self.types)) is not None:
            return RowError(line, unknown[:60], *map(str, describe_unknown_name(unknown, self.types)))
        given = {name: value for name, value in raw.items() if value is not None or name in CLEARED_BY_NULL}
        for name in self.required:
            if name not in given:
                return RowError(line, name, "is missing", f"Give each row {', '.join(self.required)}.")
        parsed = {}
        for name, value in given.items():
            try:
                parsed[name] = None if value is None else read(self.types[name], value, now=now)
            except InvalidValueError as error:
                return RowError(line, name, error.problem, error.advice)
        return parsed

    def read_cells(self, cells: Mapping[str, str]) -> dict[str, object]:
        """Return the cells of a row as JSON values. An empty cell is no value."""
        return {name: read_cell(self.types[name], cell) for name, cell in cells.items() if cell}


def parse_past_time(value: object, info: ValidationInfo[dict[str, datetime]]) -> datetime:
    """Return a time that is at most `MAX_CLOCK_SKEW` after the time of the reading."""
    moment, now = parse_time(value), info.context["now"]
    if moment - now > MAX_CLOCK_SKEW:
        ahead = str(moment - now).split(".")[0]
        advice = phrase(
            "A time may be at most {n} minutes in the future. Check the sender's clock and time zone.",
            n=MAX_CLOCK_SKEW.seconds // 60,
        )
        raise InvalidValueError(phrase("{value} is {time} in the future", value=quote(value), time=ahead), advice)
    return moment


PastTime = Annotated[datetime, *described(parse_past_time, type="string", format="date-time")]


@lru_cache(4)
def file_layouts(year: int) -> dict[str, FileLayout]:
    """
    Return the layout of each kind of file in this year, in which nobody is born later.

    The privacy of an account and the visibility of a post are required: otherwise an account or post would become
    public if the field was omitted by mistake.
    """
    members = {
        "id": Id,
        "is_private": Boolean,
        "languages": list_of(Language),
        "region": Region,
        "birth_year": whole_number_from(FIRST_BIRTH_YEAR, year),
        "is_adult": Boolean,
        "is_active": Boolean,
        "is_personalized": Boolean,
        "sensitivity": choice_of(SENSITIVITIES),
        "muted_words": list_of(Word, MAX_PREFERENCES),
        "muted_tags": list_of(Word, MAX_PREFERENCES),
        "interest_tags": list_of(Word, MAX_PREFERENCES),
        "created_at": PastTime,
    }
    posts = {
        "id": Id,
        "author_id": Id,
        "visibility": choice_of(VISIBILITIES),
        "created_at": PastTime,
        "text": Text,
        "kind": Slug,
        "language": Language,
        "tags": list_of(Word),
        "media": Media,
        "safety_labels": SafetyLabels,
        "removed_at": PastTime,
    }
    interactions = {
        "member_id": Id,
        "post_id": Id,
        "kind": choice_of(INTERACTION_KINDS),
        "occurred_at": PastTime,
        "event_id": Id,
        "target": choice_of(TARGETS),
        "value": MeasuredValue,
        "request_id": Uuid,
    }
    relationships = {
        "source_id": Id,
        "target_id": Id,
        "kind": choice_of(RELATIONSHIP_KINDS),
        "created_at": PastTime,
    }
    return {
        "members": FileLayout(members, ("id", "is_private")),
        "posts": FileLayout(posts, ("id", "author_id", "visibility", "created_at")),
        "interactions": FileLayout(interactions, ("member_id", "post_id", "kind", "occurred_at")),
        "relationships": FileLayout(relationships, ("source_id", "target_id")),
    }


FILE_KINDS = ("members", "posts", "interactions", "relationships")
"""The kinds of file, in import order: each refers to ids of the kinds before it."""
