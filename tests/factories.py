"""Factories for database rows. Each function takes the values that matter to a test and fills in the others."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
from django.apps import apps
from django.contrib.auth.models import Group, User

from flags.models import ChangeSubject, Experiment, Flag, Metric
from flags.services import experiments
from flags.services.change import apply_change
from flags.services.record import Actor
from recommendations import roles
from recommendations.contracts import POPULARITY_SUMS
from recommendations.models import (
    ChangeLogEntry,
    Interaction,
    Member,
    Post,
    PostEmbedding,
    PostStats,
    PrivacySettings,
    Relationship,
)
from recommendations.services import wiring
from recommendations.services.vectors.embedding import CONTENT_SPACE, embed_posts

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
_sequence = itertools.count(1)


def staff(*role_names: str, name: str = "") -> User:
    """Create a staff user with these roles, without a password."""
    roles.create_roles(map(apps.get_app_config, roles.ROLE_APPS))  # a test that empties the tables deletes the groups
    user = User.objects.create_user(name or f"staff-{next(_sequence)}", is_staff=True)
    user.groups.set(Group.objects.filter(name__in=role_names))
    return user


def member(name: str = "", *, privacy: bool = True, at: datetime = NOW, **fields) -> Member:
    """Create a member. *fields* may include privacy settings (`is_private`, `muted_words` …)."""
    privacy_fields = {f.name for f in PrivacySettings._meta.concrete_fields} - {"member", "changed_at"}
    settings = {key: fields.pop(key) for key in list(fields) if key in privacy_fields}
    row = Member.objects.create(
        external_id=name or f"member-{next(_sequence)}", **{"created_at": at, "changed_at": at, **fields}
    )
    if privacy:
        PrivacySettings.objects.create(member=row, changed_at=at, **settings)
    return row


def post(author: Member, name: str = "", *, text: str = "", at: datetime = NOW, **fields) -> Post:
    """Create a post from one hour before *at*."""
    name = name or f"post-{next(_sequence)}"
    values = {"created_at": at - timedelta(hours=1), "changed_at": at, "text": text or f"about {name}", **fields}
    return Post.objects.create(external_id=name, author=author, **values)


def posts(author: Member, count: int, **fields) -> list[Post]:
    """Create *count* posts, each one minute older than the previous one."""
    at = fields.pop("at", NOW)
    return [post(author, at=at, created_at=at - timedelta(hours=1, minutes=i), **fields) for i in range(count)]


def relationship(source: Member, kind: str, target: Member) -> Relationship:
    return Relationship.objects.create(source=source, target=target, kind=kind, created_at=NOW)


def follow(source: Member, target: Member) -> Relationship:
    return relationship(source, "follow", target)


def block(source: Member, target: Member) -> Relationship:
    return relationship(source, "block", target)


def mute(source: Member, target: Member) -> Relationship:
    return relationship(source, "mute", target)


def clear_change_log() -> None:
    """Delete the change log. On PostgreSQL, entries of a transaction in progress would be read again and again."""
    ChangeLogEntry.objects.all().delete()


def interaction(member: Member, post: Post, kind: str = "like", *, at: datetime = NOW, **fields) -> Interaction:
    """Create a stored interaction, without learning from it and without marking the post as seen."""
    values = {"event_id": f"event-{next(_sequence)}", "occurred_at": at, "received_at": at, **fields}
    return Interaction.objects.create(member=member, post=post, kind=kind, **values)


def popularity(post: Post, value: float, *, at: datetime = NOW) -> PostStats:
    """Create stats of a post in which every sum has this value."""
    return PostStats.objects.create(post=post, **dict.fromkeys(POPULARITY_SUMS, value), summed_at=at, changed_at=at)


def embedding(post: Post, values, *, at: datetime = NOW) -> PostEmbedding:
    """Give a post this vector, padded with zeros, independent of its text."""
    embedder = wiring.embedder()
    padded = np.zeros(embedder.dimension, "<f4")
    padded[: len(values)] = values
    return PostEmbedding.objects.create(
        post=post,
        space=CONTENT_SPACE,
        embedding_model=embedder.name,
        dimension=embedder.dimension,
        vector=padded.tobytes(),
        changed_at=at,
    )


def embed_all_posts(*, at: datetime = NOW) -> int:
    """Embed every post without a vector."""
    return embed_posts(embedder=wiring.embedder(), now=at)


def flag(key: str, *, at: datetime = NOW, **patch) -> Flag:
    """Create or change a flag through the service: models refuse direct writes."""
    is_new = not Flag.objects.filter(key=key).exists()
    apply_change(key=key, patch=patch, actor=Actor(system="test"), why="a test", now=at, create=is_new)
    return Flag.objects.get(key=key)


def experiment(flag_key: str, key: str = "trial", *, at: datetime = NOW, started: bool = True, **patch) -> Experiment:
    """Create an experiment on a flag with two variants of 50 % each, and start it."""
    variants = [("control", True, False), ("treatment", False, True)]
    defaults = {
        "flag": flag_key,
        "hypothesis": "It does not matter.",
        "goal": "engagements_per_member",
        "variants": [
            {"key": name, "weight": 50, "is_control": is_control, "value": value}
            for name, is_control, value in variants
        ],
    }
    Metric.objects.get_or_create(key="engagements_per_member", defaults={"numerator": ["click", "like"]})
    change = {"actor": Actor(system="test"), "why": "a test", "now": at}
    apply_change(subject=ChangeSubject.EXPERIMENT, key=key, patch=defaults | patch, create=True, **change)
    if started:
        experiments.start(key=key, **change)
    return Experiment.objects.get(key=key)


def other_release(packed: bytes, *, without: Sequence[str] = (), **added: np.ndarray) -> bytes:
    """Return inputs as packed by another release: without the columns and fields *without*, with those in *added*."""
    line, _, body = packed.partition(b"\n")
    head, columns, offset = json.loads(line), [], 0
    for name, dtype, shape in head["columns"]:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        columns += [] if name in without else [([name, dtype, shape], body[offset : offset + size])]
        offset += size
    columns += [([name, column.dtype.str, column.shape], column.tobytes()) for name, column in added.items()]
    for part in ("query", "policy"):
        head[part] = {k: v for k, v in head[part].items() if k not in without} | {"gone": 5}
    head["columns"] = [column for column, _ in columns]
    return json.dumps(head).encode() + b"\n" + b"".join(body for _, body in columns)
