"""Fill the database with a generated social platform of any size, from a seed (see `services/content/generating/`)."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from django.db import transaction

from recommendations.models import Interaction, Member, Post, PostEmbedding, PrivacySettings, Relationship
from recommendations.services.content.generating.draws import NONE, PlatformSize
from recommendations.services.content.generating.interactions import INTERACTION_KINDS, Interactions, make_interactions
from recommendations.services.content.generating.people import People, make_people
from recommendations.services.content.generating.posts import Posts, make_posts
from recommendations.services.content.generating.relationships import (
    Relationships,
    make_blocks,
    make_follows,
    make_mutes,
)
from recommendations.services.content.generating.texts import make_tags, make_texts
from recommendations.services.content.generating.vectors import BLOCK_POSTS, make_vectors
from recommendations.services.content.generating.vocabulary import (
    LANGUAGES,
    POST_KINDS,
    REGIONS,
    SAFETY_LABELS,
    TOPICS,
)
from recommendations.services.content.safety import classify_sensitivity
from recommendations.services.learning.store_interactions import store_interactions
from recommendations.services.learning.store_relationships import store_relationships
from recommendations.services.vectors.embedding import CONTENT_SPACE
from recommendations.stores.bulk import Column, insert_columns, refresh_statistics

INTERACTIONS_PER_STEP = 100_000

Progress = Callable[[str, int, int], None]
"""Called with the name of the rows being inserted, the number inserted and the total."""


class DatabaseNotEmptyError(RuntimeError):
    """The database already contains members."""


@dataclass(frozen=True)
class VectorSettings:
    """The embedding model name and dimension of vectors generated from topics, without a model."""

    embedding_model: str
    dimension: int


def generate(
    *, size: PlatformSize, now: datetime, vectors: VectorSettings | None, append: bool = False, progress: Progress
) -> None:
    """
    Insert a platform of *size* with times up to *now*, in one transaction.

    With *vectors*, posts get vectors near the centroid of their topic, stored under that embedding model's name. This
    is fast, but such vectors must not be mixed with the model's own. Raises `DatabaseNotEmptyError` if there are
    members and *append* is false, or if this seed was inserted before.
    """
    check_database_accepts(size.seed, append)
    # Draw everything before the first write: SQLite has one writer, and other writers wait for it.
    people = make_people(size)
    posts = make_posts(size, people)
    blocks, mutes = make_blocks(size, people), make_mutes(size, people)
    follows = make_follows(size, people, posts, blocks)
    interactions = make_interactions(size, people, posts, follows, blocks)
    with transaction.atomic():
        member_ids = insert_people(size, people, now)
        progress("members", size.members, size.members)
        post_ids = insert_posts(size, posts, member_ids, now)
        progress("posts", size.posts, size.posts)
        if vectors:
            insert_vectors(size, posts, post_ids, vectors, now, progress)
        for kind, relationships in (("block", blocks), ("mute", mutes), ("follow", follows)):
            insert_relationships(kind, relationships, member_ids, now)
        progress("relationships", size.follows, size.follows)
        insert_interactions(size, interactions, member_ids, post_ids, now, progress)
        refresh_statistics(Member, PrivacySettings, Post, PostEmbedding, Relationship, Interaction)


def check_database_accepts(seed: int, append: bool) -> None:
    """Raise `DatabaseNotEmptyError` if the platform cannot be inserted into this database."""
    if Member.objects.filter(external_id__startswith=f"g{seed}-m").exists():
        raise DatabaseNotEmptyError(f"The database already contains members of seed {seed}. Choose another --seed.")
    if not append and Member.objects.exists():
        raise DatabaseNotEmptyError(
            "The database already contains members. Point DATABASE_URL at an empty database, "
            "or use --append to add a generated platform to the existing rows."
        )


def insert_people(size: PlatformSize, people: People, now: datetime) -> np.ndarray:
    """Insert members and their privacy settings. Return the primary keys (n,), in the order of the rows."""
    names = [f"g{size.seed}-m{row:07d}" for row in range(size.members)]
    second_languages = people.second_language.tolist()
    languages = [
        [LANGUAGES[first]] if second == NONE else [LANGUAGES[first], LANGUAGES[second]]
        for first, second in zip(people.language.tolist(), second_languages, strict=True)
    ]
    regions = [REGIONS[language] for language in people.language.tolist()]
    columns: dict[str, Column] = {
        "external_id": names,
        "languages": languages,
        "region": [r[min(n, len(r) - 1)] for r, n in zip(regions, people.region.tolist(), strict=True)],
        "birth_year": [None if year == NONE else year for year in people.birth_year.tolist()],
        "is_adult": [None if adult == NONE else bool(adult) for adult in people.is_adult.tolist()],
        "is_active": people.is_active,
        "created_at": moments_before(now, people.ages),
    }
    insert_columns(Member, columns, {"changed_at": now})
    ids = ids_by_row(Member, f"g{size.seed}-m", names)
    privacy: dict[str, Column] = {
        "member_id": ids,
        "is_private": people.is_private,
        "is_personalized": people.is_personalized,
        "sensitivity": people.sensitivity,
        "muted_tags": [[] if topic == NONE else [TOPICS[topic]] for topic in people.muted_topic.tolist()],
    }
    insert_columns(PrivacySettings, privacy, {"changed_at": now})
    return ids


def insert_posts(size: PlatformSize, posts: Posts, member_ids: np.ndarray, now: datetime) -> np.ndarray:
    """Insert posts, oldest first, so that primary keys grow with time. Return the keys (n,), in row order."""
    order = np.argsort(-posts.ages, kind="stable")
    names = [f"g{size.seed}-p{row:08d}" for row in range(size.posts)]
    texts, all_tags = list(make_texts(size, posts)), list(make_tags(posts))
    labels = [
        {} if label == NONE else {SAFETY_LABELS[label]: score}
        for label, score in zip(posts.label.tolist(), posts.label_score.tolist(), strict=True)
    ]
    columns: dict[str, Column] = {
        "external_id": [names[row] for row in order],
        "author_id": member_ids[posts.author[order]],
        "text": [texts[row] for row in order],
        "kind": [POST_KINDS[kind] for kind in posts.kind[order].tolist()],
        "language": [LANGUAGES[language] for language in posts.language[order].tolist()],
        "tags": [all_tags[row] for row in order],
        "created_at": moments_before(now, posts.ages[order]),
        "visibility": posts.visibility[order],
        "safety_labels": [labels[row] for row in order],
        "sensitivity": [classify_sensitivity(labels[row]).value for row in order],
        "removed_at": [now if removed else None for removed in posts.is_removed[order].tolist()],
    }
    insert_columns(Post, columns, {"changed_at": now})
    return ids_by_row(Post, f"g{size.seed}-p", names)


def insert_vectors(
    size: PlatformSize, posts: Posts, post_ids: np.ndarray, vectors: VectorSettings, now: datetime, progress: Progress
) -> None:
    constants = {
        "space": CONTENT_SPACE,
        "embedding_model": vectors.embedding_model,
        "dimension": vectors.dimension,
        "changed_at": now,
    }
    done = 0
    for block in make_vectors(size, posts, vectors.dimension):
        packed = [row.tobytes() for row in block.astype("<f4")]
        insert_columns(PostEmbedding, {"post_id": post_ids[done : done + BLOCK_POSTS], "vector": packed}, constants)
        done += len(block)
        progress("vectors", done, size.posts)


def insert_relationships(kind: str, relationships: Relationships, member_ids: np.ndarray, now: datetime) -> None:
    columns: dict[str, Column] = {
        "source_id": member_ids[relationships.source],
        "target_id": member_ids[relationships.target],
        "kind": [kind] * len(relationships.source),
        "created_at": moments_before(now, relationships.ages),
    }
    store_relationships(columns, approves_follows=True)


def insert_interactions(
    size: PlatformSize,
    interactions: Interactions,
    member_ids: np.ndarray,
    post_ids: np.ndarray,
    now: datetime,
    progress: Progress,
) -> None:
    """Insert the interactions, oldest first, in steps of `INTERACTIONS_PER_STEP` to bound the memory."""
    count = len(interactions.member)
    for start in range(0, count, INTERACTIONS_PER_STEP):
        step = slice(start, start + INTERACTIONS_PER_STEP)
        rows = range(start, min(start + INTERACTIONS_PER_STEP, count))
        columns: dict[str, Column] = {
            "event_id": [f"g{size.seed}-i{row:09d}" for row in rows],
            "member_id": member_ids[interactions.member[step]],
            "post_id": post_ids[interactions.post[step]],
            "kind": [INTERACTION_KINDS[kind] for kind in interactions.kind[step].tolist()],
            "value": [None if value != value else value for value in interactions.seconds[step].tolist()],
            "occurred_at": moments_before(now, interactions.ages[step]),
        }
        store_interactions(columns, now, approves_follows=True)
        progress("interactions", rows[-1] + 1, count)


def moments_before(now: datetime, ages: np.ndarray) -> np.ndarray:
    """Return the times *ages* (n,) seconds before *now*, as datetime64 (n,) in UTC."""
    return np.datetime64(now.astimezone(UTC).replace(tzinfo=None), "s") - ages.astype("timedelta64[s]")


def ids_by_row(model: type[Member] | type[Post], prefix: str, names: list[str]) -> np.ndarray:
    """Return the primary keys (n,) of the rows whose external ids are *names*."""
    rows = model.objects.filter(external_id__startswith=prefix)
    ids = dict(rows.values_list("external_id", "id").order_by())
    return np.array([ids[name] for name in names], np.int64)
