"""Write a chunk of parsed rows to the database. Rows that exist with the same values are left unchanged."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

import numpy as np
from django.db import models

from recommendations.contracts import InteractionKind, Sender
from recommendations.models import (
    EmbeddingFailure,
    Interaction,
    Member,
    Post,
    PostEmbedding,
    PrivacySettings,
    Relationship,
)
from recommendations.services import invalidate
from recommendations.services.content.importing.problems import RowError
from recommendations.services.content.safety import classify_sensitivity
from recommendations.services.learning.event_ids import CONTENT_COLUMNS, EventContent, find_recorded, has_same_content
from recommendations.services.learning.reset import delete_learned_interests
from recommendations.services.learning.store_interactions import store_interactions
from recommendations.services.learning.store_relationships import (
    approve_requests_of_open_accounts,
    store_relationships,
)
from recommendations.services.vectors.embedding import CONTENT_SPACE, embeddable_text
from recommendations.stores.bulk import Column
from recommendations.stores.row_locks import lock_members, lock_posts
from values.problems import quote_value

ParsedRow = tuple[int, dict[str, Any]]
"""A row's line number and its fields."""
RowT = TypeVar("RowT", Member, PrivacySettings, Post)
Changes = dict[RowT, set[str]]
"""The names of the changed fields by row. A member is without names if only their settings changed."""
PRIVACY_FIELDS = ("is_private", "is_personalized", "sensitivity", "muted_words", "muted_tags", "interest_tags")


@dataclass
class WriteResult:
    """The results of a chunk."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    """Rows that already existed with the same values."""
    errors: list[RowError] = field(default_factory=list)
    created_ids: set[str] = field(default_factory=set)
    """External ids of created members or posts."""
    updated_ids: set[str] = field(default_factory=set)
    """External ids of updated members or posts."""


def build_write_result(
    created: Sequence[Member] | Sequence[Post], updated: Sequence[Member] | Sequence[Post], row_count: int
) -> WriteResult:
    """Return the results of *row_count* rows. Of several rows with one id, all but the last count as unchanged."""
    return WriteResult(
        created=len(created),
        updated=len(updated),
        unchanged=row_count - len(created) - len(updated),
        created_ids={row.external_id for row in created},
        updated_ids={row.external_id for row in updated},
    )


def write_rows(kind: str, rows: Sequence[ParsedRow], now: datetime) -> WriteResult:
    """Write *rows* of one kind of file. Rows that refer to unknown members or posts become errors."""
    return {
        "members": write_members,
        "posts": write_posts,
        "interactions": write_interactions,
        "relationships": write_relationships,
    }[kind](rows, now)


# --- members and posts: the last row wins


def write_members(rows: Sequence[ParsedRow], now: datetime) -> WriteResult:
    merged = merge_rows(rows)
    lock_members(ids_by_external_id(Member, merged).values())
    existing = {m.external_id: m for m in Member.objects.select_related("privacy").filter(external_id__in=merged)}
    created, new_settings, changed_consents = [], [], []
    member_changes: Changes[Member] = {}
    privacy_changes: Changes[PrivacySettings] = {}
    for external_id, columns in merged.items():
        privacy = {name: columns.pop(name) for name in PRIVACY_FIELDS if name in columns}
        member = existing.get(external_id)
        if member is None:
            member = Member(**{"created_at": now, **columns}, changed_at=now)
            created.append(member)
            new_settings.append(PrivacySettings(member=member, **privacy, changed_at=now))
            continue
        if changed := set_changed(member, columns, now):
            member_changes[member] = changed
        if not hasattr(member, "privacy"):
            new_settings.append(PrivacySettings(member=member, **privacy, changed_at=now))
            member_changes.setdefault(member, set())
        elif changed := set_changed(member.privacy, privacy, now):
            privacy_changes[member.privacy] = changed
            member_changes.setdefault(member, set())
            if "is_personalized" in changed:
                changed_consents.append(member.pk)
    Member.objects.bulk_create(created)
    PrivacySettings.objects.bulk_create(new_settings)
    save_changes(Member, member_changes)
    save_changes(PrivacySettings, privacy_changes)
    updated = list(member_changes)
    invalidate.invalidate_slates(*(member.pk for member in updated))
    approve_requests_of_open_accounts(row.pk for row in updated)
    for member_pk in changed_consents:
        delete_learned_interests(member_pk, now)
    return build_write_result(created, updated, len(rows))


def write_posts(rows: Sequence[ParsedRow], now: datetime) -> WriteResult:
    author_pks = ids_by_external_id(Member, (fields["author_id"] for _, fields in rows))
    valid_rows, errors = split_by_known_references(rows, {"author_id": author_pks})
    merged = merge_rows(valid_rows)
    lock_posts(ids_by_external_id(Post, merged).values())
    existing = {p.external_id: p for p in Post.objects.filter(external_id__in=merged)}
    created, reworded_pks = [], []
    changes: Changes[Post] = {}
    for external_id, columns in merged.items():
        columns["author_id"] = author_pks[columns["author_id"]]
        if "safety_labels" in columns:
            columns["sensitivity"] = classify_sensitivity(columns["safety_labels"]).value
        post = existing.get(external_id)
        if post is None:
            created.append(Post(**columns, changed_at=now))
            continue
        old_text = embeddable_text(post)
        if changed := set_changed(post, columns, now):
            changes[post] = changed
            if embeddable_text(post) != old_text:
                reworded_pks.append(post.pk)
    Post.objects.bulk_create(created)
    save_changes(Post, changes)
    updated = list(changes)
    # Delete the vectors of the old text. The post is then embedded like a new post.
    PostEmbedding.objects.filter(post__in=reworded_pks, space=CONTENT_SPACE).delete()
    EmbeddingFailure.objects.filter(post__in=reworded_pks, space=CONTENT_SPACE).delete()
    invalidate.invalidate_posts([post.pk for post in updated])
    result = build_write_result(created, updated, len(valid_rows))
    result.errors = errors
    return result


def merge_rows(rows: Iterable[ParsedRow]) -> dict[str, dict[str, Any]]:
    """Return model columns by external id. A later row overrides an earlier row with the same id."""
    merged: dict[str, dict[str, Any]] = {}
    for _, fields in rows:
        columns = {name: value for name, value in fields.items() if name != "id"} | {"external_id": fields["id"]}
        merged.setdefault(fields["id"], {}).update(columns)
    return merged


def set_changed(row: models.Model, values: Mapping[str, Any], now: datetime) -> set[str]:
    """Set *values* on *row*, without saving it. Return the names of the fields that changed."""
    changed = {name: value for name, value in values.items() if getattr(row, name) != value}
    for name, value in {**changed, "changed_at": now}.items() if changed else ():
        setattr(row, name, value)
    return {*changed, "changed_at"} if changed else set()


def save_changes(model: type[models.Model], changes: Mapping[Any, set[str]]) -> None:
    """Save the changed fields of rows, which the caller has locked, in one statement for each set of fields."""
    rows_by_fields: dict[tuple[str, ...], list[models.Model]] = defaultdict(list)
    for row, names in changes.items():
        if names:
            rows_by_fields[tuple(sorted(names))].append(row)
    for fields, rows in rows_by_fields.items():
        model._default_manager.bulk_update(rows, fields, batch_size=50)


# --- interactions and relationships: existing rows stay unchanged


def write_interactions(rows: Sequence[ParsedRow], now: datetime) -> WriteResult:
    member_pks = ids_by_external_id(Member, (fields["member_id"] for _, fields in rows))
    post_pks = ids_by_external_id(Post, (fields["post_id"] for _, fields in rows))
    known_rows, errors = split_by_known_references(rows, {"member_id": member_pks, "post_id": post_pks})
    own_posts = find_own_posts(known_rows)
    lines, items = [], []
    for line, fields in known_rows:
        if fields.get("target") and fields["kind"] != InteractionKind.NOT_INTERESTED:
            advice = "Give a target only with the kind not_interested."
            errors.append(RowError(line, "target", f"does not apply to a {fields['kind']}", advice))
        elif fields["kind"] == InteractionKind.FOLLOW and (fields["member_id"], fields["post_id"]) in own_posts:
            advice = "Give a post by another member: members cannot follow themselves."
            errors.append(RowError(line, "post_id", f"{quote_value(fields['post_id'])} is the member's own", advice))
        else:
            lines.append(line)
            items.append(fields)
    columns: dict[str, Column] = {
        "event_id": [item.get("event_id") or derive_event_id(item) for item in items],
        "member_id": [member_pks[item["member_id"]] for item in items],
        "post_id": [post_pks[item["post_id"]] for item in items],
        "kind": [item["kind"] for item in items],
        "target": [item.get("target", "") for item in items],
        "value": [item.get("value") for item in items],
        "occurred_at": [item["occurred_at"] for item in items],
        "request_id": [item.get("request_id") for item in items],
    }
    stored = store_interactions(columns, now, approves_follows=True)
    repeated = [row for row in np.flatnonzero(~stored.is_new).tolist() if items[row].get("event_id")]
    conflicts = find_conflicts(columns, repeated)
    advice = "Give each interaction an id of its own, or none."
    errors += [RowError(lines[row], "event_id", "is the id of another interaction", advice) for row in conflicts]
    unchanged = len(items) - stored.count - len(conflicts)
    return WriteResult(created=stored.count, unchanged=unchanged, errors=errors)


def find_conflicts(columns: Mapping[str, Any], repeated: Sequence[int]) -> list[int]:
    """Return which of the rows *repeated*, whose event ids were recorded before, differ from what was recorded."""
    keys = {row: (columns["event_id"][row], columns["member_id"][row]) for row in repeated}
    contents = {row: EventContent(*(columns[name][row] for name in CONTENT_COLUMNS)) for row in repeated}
    recorded = find_recorded(keys.values(), Sender.PLATFORM)
    # A recorded event is absent if its member was erased since.
    return [row for row, content in contents.items() if not has_same_content(content, recorded.get(keys[row], content))]


def find_own_posts(rows: Sequence[ParsedRow]) -> set[tuple[str, str]]:
    """Return (member id, post id) of the posts of the follow interactions that the member wrote, by platform id."""
    post_ids = {fields["post_id"] for _, fields in rows if fields["kind"] == InteractionKind.FOLLOW}
    posts = Post.objects.filter(external_id__in=post_ids)
    return {*posts.values_list("author__external_id", "external_id")}


def derive_event_id(values: Mapping[str, Any]) -> str:
    """
    Return an id for an event without one, derived from its values: equal values give the same event.

    A target changes the id only if it is given: ids that were derived before imports had targets stay the same.
    """
    parts = (
        values["member_id"],
        values["post_id"],
        values["kind"],
        values["occurred_at"].isoformat(),
        str(values.get("value", "")),
        *([values["target"]] if values.get("target") else []),
    )
    return "import:" + hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:40]


def write_relationships(rows: Sequence[ParsedRow], now: datetime) -> WriteResult:
    member_pks = ids_by_external_id(Member, (fields[name] for _, fields in rows for name in ("source_id", "target_id")))
    valid_rows, errors = split_by_known_references(rows, {"source_id": member_pks, "target_id": member_pks})
    self_lines = [line for line, fields in valid_rows if fields["source_id"] == fields["target_id"]]
    advice = "Name two different members."
    errors += [RowError(line, "target_id", "is the same member as source_id", advice) for line in self_lines]
    items = [fields for _, fields in valid_rows if fields["source_id"] != fields["target_id"]]
    lock_members(member_pks[item[name]] for item in items for name in ("source_id", "target_id"))
    columns: dict[str, Column] = {
        "source_id": [member_pks[item["source_id"]] for item in items],
        "target_id": [member_pks[item["target_id"]] for item in items],
        "kind": [item.get("kind", Relationship.Kind.FOLLOW.value) for item in items],
        "created_at": [item.get("created_at", now) for item in items],
    }
    created = store_relationships(columns, approves_follows=True)
    return WriteResult(created=created, unchanged=len(items) - created, errors=errors)


TABLES: dict[str, tuple[type[models.Model], ...]] = {
    "members": (Member, PrivacySettings),
    "posts": (Post,),
    "interactions": (Interaction,),
    "relationships": (Relationship,),
}
"""The tables that each kind of file writes to."""


# --- references


def ids_by_external_id(model: type[Member] | type[Post], external_ids: Iterable[str]) -> dict[str, int]:
    """Return the primary keys of existing members or posts by external id."""
    rows = model.objects.filter(external_id__in=set(external_ids))
    return dict(rows.values_list("external_id", "id").order_by())


def split_by_known_references(
    rows: Sequence[ParsedRow], references: Mapping[str, Mapping[str, int]]
) -> tuple[list[ParsedRow], list[RowError]]:
    """Split *rows* into rows whose *references* (field to known ids) all exist, and errors for the others."""
    valid_rows, errors = [], []
    for line, fields in rows:
        missing = next((name for name, ids in references.items() if fields[name] not in ids), None)
        if missing is None:
            valid_rows.append((line, fields))
            continue
        kind = "posts" if missing == "post_id" else "members"
        advice = f"Add the {kind} first, then send this again: rows that already exist stay unchanged."
        errors.append(RowError(line, missing, f"{quote_value(fields[missing])} is not known", advice))
    return valid_rows, errors
