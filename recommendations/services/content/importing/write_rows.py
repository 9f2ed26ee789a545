"""Put a chunk of parsed rows into the database. What is there and says the same is left alone."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import models

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
from recommendations.services.content.importing.problems import RowError, quote_value
from recommendations.services.content.safety import classify_sensitivity
from recommendations.services.learning.reset import forget_taste
from recommendations.services.vectors.embedding import CONTENT_SPACE, embeddable_text
from recommendations.stores.bulk import Column, insert_columns

ParsedRow = tuple[int, dict[str, Any]]
"""A row's line and its fields."""
PRIVACY_FIELDS = ("is_private", "is_personalized", "sensitivity", "muted_words", "muted_tags")


@dataclass
class WriteResult:
    """What came of a chunk."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    """Rows that the database held already, as they are."""
    errors: list[RowError] = field(default_factory=list)
    created_ids: set[str] = field(default_factory=set)
    """External ids of members or posts that were not there before."""
    updated_ids: set[str] = field(default_factory=set)
    """External ids of those that were, and say something else now."""


def build_write_result(
    created: Sequence[Member] | Sequence[Post], updated: Sequence[Member] | Sequence[Post], row_count: int
) -> WriteResult:
    """Return what came of *rows* rows about members or posts; of several about one, those but the last are `same`."""
    return WriteResult(
        created=len(created),
        updated=len(updated),
        unchanged=row_count - len(created) - len(updated),
        created_ids={row.external_id for row in created},
        updated_ids={row.external_id for row in updated},
    )


def write_rows(kind: str, rows: Sequence[ParsedRow], now: datetime) -> WriteResult:
    """Write *rows* of one kind; rows that name what we don't know become errors."""
    return {
        "members": write_members,
        "posts": write_posts,
        "interactions": write_interactions,
        "follows": write_relationships,
    }[kind](rows, now)


# --- members and posts: the newest row wins


def write_members(rows: Sequence[ParsedRow], now: datetime) -> WriteResult:
    merged = merge_rows(rows)
    existing = {m.external_id: m for m in Member.objects.select_related("privacy").filter(external_id__in=merged)}
    fresh, touched, settings, consents = [], [], [], []
    for external_id, said in merged.items():
        privacy = {name: said.pop(name) for name in PRIVACY_FIELDS if name in said}
        member = existing.get(external_id)
        if member is None:
            member = Member(**{"created_at": now, **said}, changed_at=now)
            fresh.append(member)
            settings.append(PrivacySettings(member=member, **privacy, changed_at=now))
            continue
        is_touched = update_row(member, said, now)
        if not hasattr(member, "privacy"):
            settings.append(PrivacySettings(member=member, **privacy, changed_at=now))
            is_touched = True
        else:
            consented = member.privacy.is_personalized
            if update_row(member.privacy, privacy, now):
                member.privacy.save()
                is_touched = True
            if consented != member.privacy.is_personalized:
                consents.append(member.pk)
        if is_touched:
            touched.append(member)
    Member.objects.bulk_create(fresh)
    PrivacySettings.objects.bulk_create(settings)
    save_rows(Member, touched)
    invalidate.invalidate_slates(*(member.pk for member in touched))
    for member_pk in consents:
        forget_taste(member_pk, now)
    return build_write_result(fresh, touched, len(rows))


def write_posts(rows: Sequence[ParsedRow], now: datetime) -> WriteResult:
    authors = ids_by_external_id(Member, (said["author"] for _, said in rows))
    known, errors = split_by_known_references(rows, {"author": authors})
    merged = merge_rows(known)
    existing = {p.external_id: p for p in Post.objects.filter(external_id__in=merged)}
    fresh, touched, reworded = [], [], []
    for external_id, said in merged.items():
        said["author_id"] = authors[said.pop("author")]
        if "safety_labels" in said:
            said["sensitivity"] = classify_sensitivity(said["safety_labels"]).value
        post = existing.get(external_id)
        if post is None:
            fresh.append(Post(**said, changed_at=now))
            continue
        before = embeddable_text(post)
        if update_row(post, said, now):
            touched.append(post)
            if embeddable_text(post) != before:
                reworded.append(post.pk)
    Post.objects.bulk_create(fresh)
    save_rows(Post, touched)
    # The vectors of the old text; new ones are made as for a new post.
    PostEmbedding.objects.filter(post__in=reworded, space=CONTENT_SPACE).delete()
    EmbeddingFailure.objects.filter(post__in=reworded, space=CONTENT_SPACE).delete()
    invalidate.invalidate_posts([post.pk for post in touched])
    written = build_write_result(fresh, touched, len(known))
    written.errors = errors
    return written


def merge_rows(rows: Iterable[ParsedRow]) -> dict[str, dict[str, Any]]:
    """Return the rows by external id, a later one over an earlier."""
    merged: dict[str, dict[str, Any]] = {}
    for _, said in rows:
        merged.setdefault(said["external_id"], {}).update(said)
    return merged


def update_row(row: models.Model, values: Mapping[str, Any], now: datetime) -> bool:
    """Set on *row* what was said and return whether that changed anything."""
    changed = {name: value for name, value in values.items() if getattr(row, name) != value}
    for name, value in {**changed, "changed_at": now}.items() if changed else ():
        setattr(row, name, value)
    return bool(changed)


def save_rows(model: type[Member] | type[Post], rows: Sequence[Any]) -> None:
    names = [f.name for f in model._meta.concrete_fields if not f.primary_key and f.name != "external_id"]
    if rows:
        model.objects.bulk_update(rows, names, batch_size=50)


# --- interactions and relationships: what is there stays


def write_interactions(rows: Sequence[ParsedRow], now: datetime) -> WriteResult:
    members = ids_by_external_id(Member, (said["member"] for _, said in rows))
    posts = ids_by_external_id(Post, (said["post"] for _, said in rows))
    known, errors = split_by_known_references(rows, {"member": members, "post": posts})
    said = [row for _, row in known]
    columns: dict[str, Column] = {
        "event_id": [row.get("event_id") or derive_event_id(row) for row in said],
        "member_id": [members[row["member"]] for row in said],
        "post_id": [posts[row["post"]] for row in said],
        "kind": [row["kind"] for row in said],
        "value": [row.get("value") for row in said],
        "occurred_at": [row["occurred_at"] for row in said],
        "request_id": [row.get("request_id") for row in said],
    }
    new = insert_columns(Interaction, columns, {"received_at": now})
    return WriteResult(created=new, unchanged=len(said) - new, errors=errors)


def derive_event_id(values: Mapping[str, Any]) -> str:
    """Return an id for an event that came without one: the same act at the same time is the same event."""
    parts = (
        values["member"],
        values["post"],
        values["kind"],
        values["occurred_at"].isoformat(),
        str(values.get("value", "")),
    )
    return "import:" + hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:40]


def write_relationships(rows: Sequence[ParsedRow], now: datetime) -> WriteResult:
    members = ids_by_external_id(Member, (said[end] for _, said in rows for end in ("source", "target")))
    known, errors = split_by_known_references(rows, {"source": members, "target": members})
    selves = [line for line, said in known if said["source"] == said["target"]]
    advice = "Name two different members."
    errors += [RowError(line, "target", "is the member itself", advice) for line in selves]
    said = [row for _, row in known if row["source"] != row["target"]]
    columns: dict[str, Column] = {
        "source_id": [members[row["source"]] for row in said],
        "target_id": [members[row["target"]] for row in said],
        "kind": [row.get("kind", Relationship.Kind.FOLLOW.value) for row in said],
        "created_at": [row.get("created_at", now) for row in said],
    }
    new = insert_columns(Relationship, columns)
    invalidate.invalidate_slates(*({*columns["source_id"], *columns["target_id"]} if new else ()))
    return WriteResult(created=new, unchanged=len(said) - new, errors=errors)


TABLES: dict[str, tuple[type[models.Model], ...]] = {
    "members": (Member, PrivacySettings),
    "posts": (Post,),
    "interactions": (Interaction,),
    "follows": (Relationship,),
}
"""What each kind of file fills."""


# --- references


def ids_by_external_id(model: type[Member] | type[Post], external_ids: Iterable[str]) -> dict[str, int]:
    """Return our id of each external id that we know."""
    found = model.objects.filter(external_id__in=set(external_ids))
    return dict(found.values_list("external_id", "id").order_by())


def split_by_known_references(
    rows: Sequence[ParsedRow], references: Mapping[str, Mapping[str, int]]
) -> tuple[list[ParsedRow], list[RowError]]:
    """Split *rows* into those whose *references* (field to known ids) all exist, and errors for the rest."""
    known, errors = [], []
    for line, said in rows:
        missing = next((name for name, ids in references.items() if said[name] not in ids), None)
        if missing is None:
            known.append((line, said))
            continue
        file = "posts" if missing == "post" else "members"
        advice = f"Bring the {file} first, then this again: what is there already is left alone."
        errors.append(RowError(line, missing, f"{quote_value(said[missing])} is not known", advice))
    return known, errors
