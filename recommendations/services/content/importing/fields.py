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
WORD = values.listed(values.identifier)


@dataclass(frozen=True)
class Layout:
    """The fields of one kind of file."""

    parsers: Parsers
    required: tuple[str, ...]

    def parse(self, given: Mapping[str, object], line: int) -> dict[str, object] | RowError:
        """Return the fields that *given* says something of, clean, or the first thing that is wrong."""
        for name in given:
            if name not in self.parsers:
                return RowError(line, name[:60], "is not a field", f"Use only {', '.join(self.parsers)}.")
        said = {name: value for name, value in given.items() if value is not None}
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


def layouts(now: datetime) -> dict[str, Layout]:
    """
    Return the layout of each kind of file, at *now*.

    Whether an account is private and who may see a post must be said: the forgotten would else be public.
    """
    moment = values.moment(now)
    members: Parsers = {
        "external_id": values.identifier,
        "is_private": values.boolean,
        "languages": values.listed(values.language),
        "region": values.slug,
        "birth_year": values.number(1900, now.year, whole=True),
        "is_adult": values.boolean,
        "is_active": values.boolean,
        "is_personalised": values.boolean,
        "sensitivity": values.choice(SENSITIVITIES),
        "muted_words": WORD,
        "muted_tags": WORD,
        "created_at": moment,
    }
    posts: Parsers = {
        "external_id": values.identifier,
        "author": values.identifier,
        "visibility": values.choice(VISIBILITIES),
        "created_at": moment,
        "text": values.text,
        "kind": values.slug,
        "language": values.language,
        "tags": WORD,
        "media": values.media,
        "safety_labels": values.labels,
        "removed_at": moment,
    }
    interactions: Parsers = {
        "member": values.identifier,
        "post": values.identifier,
        "kind": values.choice(INTERACTION_KINDS),
        "occurred_at": moment,
        "event_id": values.identifier,
        "value": values.number(-1e9, 1e9),
        "request_id": values.uuid,
    }
    follows: Parsers = {
        "source": values.identifier,
        "target": values.identifier,
        "kind": values.choice(RELATIONSHIP_KINDS),
        "created_at": moment,
    }
    return {
        "members": Layout(members, ("external_id", "is_private")),
        "posts": Layout(posts, ("external_id", "author", "visibility", "created_at")),
        "interactions": Layout(interactions, ("member", "post", "kind", "occurred_at")),
        "follows": Layout(follows, ("source", "target")),
    }


KINDS = ("members", "posts", "interactions", "follows")
"""The kinds of file, in the order that lets each name what the one before it brought."""
