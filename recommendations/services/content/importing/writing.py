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
from recommendations.services.content.importing.problems import RowError, shown
from recommendations.services.content.safety import sensitivity_of
from recommendations.services.learning.reset import forget_taste
from recommendations.services.vectors.embedding import SPACE, embeddable_text
from recommendations.stores.bulk import Column, insert_columns

Parsed = tuple[int, dict[str, Any]]
"""A row's line and its fields."""
PRIVACY = ("is_private", "is_personalised", "sensitivity", "muted_words", "muted_tags")


@dataclass
class Written:
    """What came of a chunk."""

    new: int = 0
    changed: int = 0
    same: int = 0
    """Rows that the database held already, as they are."""
    errors: list[RowError] = field(default_factory=list)
    added: set[str] = field(default_factory=set)
    """External ids of members or posts that were not there before."""
    altered: set[str] = field(default_factory=set)
    """External ids of those that were, and say something else now."""


def of(fresh: Sequence[Member] | Sequence[Post], touched: Sequence[Member] | Sequence[Post], rows: int) -> Written:
    """Return what came of *rows* rows about members or posts; of several about one, those but the last are `same`."""
    return Written(
        new=len(fresh),
        changed=len(touched),
        same=rows - len(fresh) - len(touched),
        added={row.external_id for row in fresh},
        altered={row.external_id for row in touched},
    )


def write(kind: str, rows: Sequence[Parsed], now: datetime) -> Written:
    """Write *rows* of one kind; rows that name what we don't know become errors."""
    return {
        "members": write_members,
        "posts": write_posts,
        "interactions": write_interactions,
        "follows": write_follows,
    }[kind](rows, now)


# --- members and posts: the newest row wins


def write_members(rows: Sequence[Parsed], now: datetime) -> Written:
    merged = merge(rows)
    existing = {m.external_id: m for m in Member.objects.select_related("privacy").filter(external_id__in=merged)}
    fresh, touched, settings, consents = [], [], [], []
    for external_id, said in merged.items():
        privacy = {name: said.pop(name) for name in PRIVACY if name in said}
        member = existing.get(external_id)
        if member is None:
            member = Member(**{"created_at": now, **said}, changed_at=now)
            fresh.append(member)
            settings.append(PrivacySettings(member=member, **privacy, changed_at=now))
            continue
        is_touched = update(member, said, now)
        if not hasattr(member, "privacy"):
            settings.append(PrivacySettings(member=member, **privacy, changed_at=now))
            is_touched = True
        else:
            consented = member.privacy.is_personalised
            if update(member.privacy, privacy, now):
                member.privacy.save()
                is_touched = True
            if consented != member.privacy.is_personalised:
                consents.append(member.pk)
        if is_touched:
            touched.append(member)
    Member.objects.bulk_create(fresh)
    PrivacySettings.objects.bulk_create(settings)
    save(Member, touched)
    invalidate.members(*(member.pk for member in touched))
    for member_pk in consents:
        forget_taste(member_pk, now)
    return of(fresh, touched, len(rows))


def write_posts(rows: Sequence[Parsed], now: datetime) -> Written:
    authors = ids_of(Member, (said["author"] for _, said in rows))
    known, errors = partition(rows, {"author": authors})
    merged = merge(known)
    existing = {p.external_id: p for p in Post.objects.filter(external_id__in=merged)}
    fresh, touched, reworded = [], [], []
    for external_id, said in merged.items():
        said["author_id"] = authors[said.pop("author")]
        if "safety_labels" in said:
            said["sensitivity"] = sensitivity_of(said["safety_labels"]).value
        post = existing.get(external_id)
        if post is None:
            fresh.append(Post(**said, changed_at=now))
            continue
        before = embeddable_text(post)
        if update(post, said, now):
            touched.append(post)
            if embeddable_text(post) != before:
                reworded.append(post.pk)
    Post.objects.bulk_create(fresh)
    save(Post, touched)
    # The vectors of the old text; new ones are made as for a new post.
    PostEmbedding.objects.filter(post__in=reworded, space=SPACE).delete()
    EmbeddingFailure.objects.filter(post__in=reworded, space=SPACE).delete()
    invalidate.posts([post.pk for post in touched])
    written = of(fresh, touched, len(known))
    written.errors = errors
    return written


def merge(rows: Iterable[Parsed]) -> dict[str, dict[str, Any]]:
    """Return the rows by external id, a later one over an earlier."""
    merged: dict[str, dict[str, Any]] = {}
    for _, said in rows:
        merged.setdefault(said["external_id"], {}).update(said)
    return merged


def update(row: models.Model, said: Mapping[str, Any], now: datetime) -> bool:
    """Set on *row* what was said and return whether that changed anything."""
    changed = {name: value for name, value in said.items() if getattr(row, name) != value}
    for name, value in {**changed, "changed_at": now}.items() if changed else ():
        setattr(row, name, value)
    return bool(changed)


def save(model: type[Member] | type[Post], rows: Sequence[Any]) -> None:
    names = [f.name for f in model._meta.concrete_fields if not f.primary_key and f.name != "external_id"]
    if rows:
        model.objects.bulk_update(rows, names, batch_size=50)


# --- interactions and relationships: what is there stays


def write_interactions(rows: Sequence[Parsed], now: datetime) -> Written:
    members = ids_of(Member, (said["member"] for _, said in rows))
    posts = ids_of(Post, (said["post"] for _, said in rows))
    known, errors = partition(rows, {"member": members, "post": posts})
    said = [row for _, row in known]
    columns: dict[str, Column] = {
        "event_id": [row.get("event_id") or derived_event_id(row) for row in said],
        "member_id": [members[row["member"]] for row in said],
        "post_id": [posts[row["post"]] for row in said],
        "kind": [row["kind"] for row in said],
        "value": [row.get("value") for row in said],
        "occurred_at": [row["occurred_at"] for row in said],
        "request_id": [row.get("request_id") for row in said],
    }
    new = insert_columns(Interaction, columns, {"received_at": now})
    return Written(new=new, same=len(said) - new, errors=errors)


def derived_event_id(said: Mapping[str, Any]) -> str:
    """Return an id for an event that came without one: the same act at the same time is the same event."""
    parts = (
        said["member"],
        said["post"],
        said["kind"],
        said["occurred_at"].isoformat(),
        str(said.get("value", "")),
    )
    return "import:" + hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:40]


def write_follows(rows: Sequence[Parsed], now: datetime) -> Written:
    members = ids_of(Member, (said[end] for _, said in rows for end in ("source", "target")))
    known, errors = partition(rows, {"source": members, "target": members})
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
    invalidate.members(*({*columns["source_id"], *columns["target_id"]} if new else ()))
    return Written(new=new, same=len(said) - new, errors=errors)


TABLES: dict[str, tuple[type[models.Model], ...]] = {
    "members": (Member, PrivacySettings),
    "posts": (Post,),
    "interactions": (Interaction,),
    "follows": (Relationship,),
}
"""What each kind of file fills."""


# --- references


def ids_of(model: type[Member] | type[Post], external_ids: Iterable[str]) -> dict[str, int]:
    """Return our id of each external id that we know."""
    found = model.objects.filter(external_id__in=set(external_ids))
    return dict(found.values_list("external_id", "id").order_by())


def partition(
    rows: Sequence[Parsed], references: Mapping[str, Mapping[str, int]]
) -> tuple[list[Parsed], list[RowError]]:
    """Split *rows* into those whose *references* (field to known ids) all exist, and errors for the rest."""
    known, errors = [], []
    for line, said in rows:
        missing = next((name for name, ids in references.items() if said[name] not in ids), None)
        if missing is None:
            known.append((line, said))
            continue
        file = "posts" if missing == "post" else "members"
        advice = f"Bring the {file} first, then this again: what is there already is left alone."
        errors.append(RowError(line, missing, f"{shown(said[missing])} is not known", advice))
    return known, errors
