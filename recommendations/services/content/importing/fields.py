"""What each kind of file holds: its fields, how each is read, and which must be there."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from recommendations.contracts import InteractionKind, Sensitivity, Visibility
from recommendations.services.content.importing import values
from recommendations.services.content.importing.problems import RowError

Parsers = Mapping[str, Callable[[object], object]]

SENSITIVITIES = {s.name.lower(): s.value for s in Sensitivity if s is not Sensitivity.FORBIDDEN}
VISIBILITIES = {v.name.lower(): v.value for v in Visibility}
INTERACTION_KINDS = {k.value: k.value for k in InteractionKind}
RELATIONSHIP_KINDS = {name: name for name in ("follow", "block", "mute")}
parse_word_list = values.list_parser(values.parse_identifier)


@dataclass(frozen=True)
class FileLayout:
    """The fields of one kind of file."""

    parsers: Parsers
    required: tuple[str, ...]

    def parse(self, raw: Mapping[str, object], line: int) -> dict[str, object] | RowError:
        """Return the fields that *given* says something of, clean, or the first thing that is wrong."""
        for name in raw:
            if name not in self.parsers:
                return RowError(line, name[:60], "is not a field", f"Use only {', '.join(self.parsers)}.")
        said = {name: value for name, value in raw.items() if value is not None}
        for name in self.required:
            if name not in said:
                return RowError(line, name, "is missing", f"Give each row {', '.join(self.required)}.")
        parsed = {}
        for name, value in said.items():
            try:
                parsed[name] = self.parsers[name](value)
            except ValueError as error:
                return RowError(line, name, *error.args)
        return parsed


def file_layouts(now: datetime) -> dict[str, FileLayout]:
    """
    Return the layout of each kind of file, at *now*.

    Whether an account is private and who may see a post must be said: the forgotten would else be public.
    """
    moment = values.time_parser(now)
    members: Parsers = {
        "external_id": values.parse_identifier,
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
        "created_at": moment,
    }
    posts: Parsers = {
        "external_id": values.parse_identifier,
        "author": values.parse_identifier,
        "visibility": values.choice_parser(VISIBILITIES),
        "created_at": moment,
        "text": values.parse_text,
        "kind": values.parse_slug,
        "language": values.parse_language,
        "tags": parse_word_list,
        "media": values.parse_media,
        "safety_labels": values.parse_safety_labels,
        "removed_at": moment,
    }
    interactions: Parsers = {
        "member": values.parse_identifier,
        "post": values.parse_identifier,
        "kind": values.choice_parser(INTERACTION_KINDS),
        "occurred_at": moment,
        "event_id": values.parse_identifier,
        "value": values.number_parser(-1e9, 1e9),
        "request_id": values.parse_uuid,
    }
    follows: Parsers = {
        "source": values.parse_identifier,
        "target": values.parse_identifier,
        "kind": values.choice_parser(RELATIONSHIP_KINDS),
        "created_at": moment,
    }
    return {
        "members": FileLayout(members, ("external_id", "is_private")),
        "posts": FileLayout(posts, ("external_id", "author", "visibility", "created_at")),
        "interactions": FileLayout(interactions, ("member", "post", "kind", "occurred_at")),
        "follows": FileLayout(follows, ("source", "target")),
    }


FILE_KINDS = ("members", "posts", "interactions", "follows")
"""The kinds of file, in the order that lets each name what the one before it brought."""
