"""The layout of each kind of file: its fields, their parsers and the required fields."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from recommendations.contracts import InteractionKind, Sensitivity, Visibility
from recommendations.services.content.importing import values
from recommendations.services.content.importing.problems import RowError
from recommendations.services.learning.store_interactions import NOT_INTERESTED_TARGETS

Parsers = Mapping[str, Callable[[object], object]]

SENSITIVITIES = {s.name.lower(): s.value for s in Sensitivity if s is not Sensitivity.FORBIDDEN}
VISIBILITIES = {v.name.lower(): v.value for v in Visibility}
INTERACTION_KINDS = {k.value: k.value for k in InteractionKind}
TARGETS = {target.value: target.value for target in NOT_INTERESTED_TARGETS}
RELATIONSHIP_KINDS = {name: name for name in ("follow", "follow_request", "block", "mute")}
parse_word_list = values.list_parser(values.parse_identifier)


@dataclass(frozen=True)
class FileLayout:
    """The fields of one kind of file."""

    parsers: Parsers
    required: tuple[str, ...]

    def parse(self, raw: Mapping[str, object], line: int) -> dict[str, object] | RowError:
        """Return the parsed fields of *raw*, without null values, or the first error."""
        for name in raw:
            if name not in self.parsers:
                return RowError(line, name[:60], "is not a field", f"Use only {', '.join(self.parsers)}.")
        given = {name: value for name, value in raw.items() if value is not None}
        for name in self.required:
            if name not in given:
                return RowError(line, name, "is missing", f"Give each row {', '.join(self.required)}.")
        parsed = {}
        for name, value in given.items():
            try:
                parsed[name] = self.parsers[name](value)
            except ValueError as error:
                return RowError(line, name, *error.args)
        return parsed


def file_layouts(now: datetime) -> dict[str, FileLayout]:
    """
    Return the layout of each kind of file, at *now*.

    The privacy of an account and the visibility of a post are required: otherwise an account or post would become
    public if the field was omitted by mistake.
    """
    parse_past_time = values.time_parser(now)
    members: Parsers = {
        "id": values.parse_identifier,
        "is_private": values.parse_boolean,
        "languages": values.list_parser(values.parse_language),
        "region": values.parse_slug,
        "birth_year": values.number_parser(1900, now.year, whole=True),
        "is_adult": values.parse_boolean,
        "is_active": values.parse_boolean,
        "is_personalized": values.parse_boolean,
        "sensitivity": values.choice_parser(SENSITIVITIES),
        "muted_words": parse_word_list,
        "muted_tags": parse_word_list,
        "interest_tags": parse_word_list,
        "created_at": parse_past_time,
    }
    posts: Parsers = {
        "id": values.parse_identifier,
        "author_id": values.parse_identifier,
        "visibility": values.choice_parser(VISIBILITIES),
        "created_at": parse_past_time,
        "text": values.parse_text,
        "kind": values.parse_slug,
        "language": values.parse_language,
        "tags": parse_word_list,
        "media": values.parse_media,
        "safety_labels": values.parse_safety_labels,
        "removed_at": parse_past_time,
    }
    interactions: Parsers = {
        "member_id": values.parse_identifier,
        "post_id": values.parse_identifier,
        "kind": values.choice_parser(INTERACTION_KINDS),
        "occurred_at": parse_past_time,
        "event_id": values.parse_identifier,
        "target": values.choice_parser(TARGETS),
        "value": values.number_parser(-1e9, 1e9),
        "request_id": values.parse_uuid,
    }
    relationships: Parsers = {
        "source_id": values.parse_identifier,
        "target_id": values.parse_identifier,
        "kind": values.choice_parser(RELATIONSHIP_KINDS),
        "created_at": parse_past_time,
    }
    return {
        "members": FileLayout(members, ("id", "is_private")),
        "posts": FileLayout(posts, ("id", "author_id", "visibility", "created_at")),
        "interactions": FileLayout(interactions, ("member_id", "post_id", "kind", "occurred_at")),
        "relationships": FileLayout(relationships, ("source_id", "target_id")),
    }


FILE_KINDS = ("members", "posts", "interactions", "relationships")
"""The kinds of file, in import order: each refers to ids of the kinds before it."""
