"""
The data of the running platform for an evaluation: what happened, and what is known of members and posts.

Ids are numbers of the database, and texts of posts are left out where they have a vector. Members who turned
personalization off are left out, with all that they did: nothing may be learned from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import numpy as np
from django.db.models import F, Model, Q, QuerySet

from recommendations.contracts import Sensitivity, Visibility
from recommendations.evaluation.interactions import KINDS, POSITIVE_KINDS, Interactions
from recommendations.evaluation.read_files import DataError, build_tag_matrix
from recommendations.models import EmbeddingModel, Interaction, Member, Post, PostEmbedding, RankingPolicy, Relationship
from recommendations.services.evaluating.data_sets import Data
from recommendations.services.evaluating.platform import Platform, PostVectors, Row, member_key
from recommendations.services.vectors.embedding import CONTENT_SPACE, embeddable_text
from recommendations.stores.relational_viewers import find_consenting, is_known_adult

MAX_INTERACTIONS = 500_000
"""The newest interactions that an evaluation reads. Changes the answer, the memory and the time."""
MAX_POSTS = 50_000
"""The newest posts without an interaction that are ranked beside those with one. Changes the answer and the memory."""
IDS_PER_QUERY = 10_000
"""A statement has 65,535 parameters at most. Changes the speed."""
R = TypeVar("R", bound=Model)
NAME = "the platform"


def export_live_data(*, now: datetime) -> Data:
    """Return what happened on this platform before *now*. Raises `DataError` if nothing did."""
    columns = evaluated_interactions(now).values_list("member_id", "post_id", "kind", "value", "occurred_at", "pk")
    rows = sorted(columns, key=lambda row: (row[4], row[5]))
    if not rows:
        raise DataError(Path(NAME), None, "There are no interactions.", "Import or generate some, or give --files.")
    posts = read_posts({row[1] for row in rows}, now)
    kinds = [KINDS.index(row[2]) for row in rows]
    interactions = Interactions.from_columns(
        [str(row[0]) for row in rows],
        [str(row[1]) for row in rows],
        is_positive=np.isin(kinds, [KINDS.index(kind) for kind in POSITIVE_KINDS]),
        kinds=kinds,
        values=[1.0 if row[3] is None else row[3] for row in rows],
        times=[row[4].timestamp() for row in rows],
        catalogue=[str(pk) for pk in posts],
    )
    ordered = [posts[int(id)] for id in interactions.post_ids]
    tags = build_tag_matrix([post.tags for post in ordered])
    return Data(NAME, interactions, build_live_platform(interactions, ordered, now), tags)


def evaluated_interactions(now: datetime) -> QuerySet[Interaction]:
    """Return the newest interactions before *now* that members let the service learn from, with posts that exist."""
    consenting = find_consenting(Member.objects.filter(is_active=True))
    rows = Interaction.objects.filter(
        Q(member__interests_reset_at=None) | Q(occurred_at__gte=F("member__interests_reset_at")),
        undone_at=None,
        target="",
        occurred_at__lte=now,
        is_ignored=False,
        member__in=consenting,
        post__removed_at=None,
    )
    return rows.order_by("-pk")[:MAX_INTERACTIONS]


def read_posts(interacted: set[int], now: datetime) -> dict[int, Post]:
    """Return the posts with an interaction, and the newest of the others, by primary key."""
    newest = Post.objects.filter(removed_at=None, created_at__lte=now).order_by("-created_at")
    chosen = interacted | set(newest.values_list("pk", flat=True)[:MAX_POSTS])
    return read_rows(Post.objects.all(), chosen)


def read_rows(rows: QuerySet[R], ids: Iterable[int]) -> dict[int, R]:
    """Return the *rows* with these primary keys, by primary key."""
    ordered = sorted(ids)
    found: dict[int, R] = {}
    for start in range(0, len(ordered), IDS_PER_QUERY):
        found |= rows.in_bulk(ordered[start : start + IDS_PER_QUERY])
    return found


def build_live_platform(interactions: Interactions, posts: Sequence[Post], now: datetime) -> Platform:
    """Return what is known of the members and *posts* (in the order of their indexes) of these interactions."""
    index_by_member = {int(id): index for index, id in enumerate(interactions.member_ids)}
    author_ids = {post.author_id for post in posts}
    keys = {pk: f"author:{pk}" for pk in author_ids} | {pk: member_key(i) for pk, i in index_by_member.items()}
    members = read_rows(Member.objects.select_related("privacy"), keys)
    vectors = read_vectors(posts)
    embedded = set(vectors.posts) if vectors else set()
    return Platform(
        members=[build_member_row(members[pk], now) for pk in index_by_member],
        posts=[build_post_row(post, keys[post.author_id], index in embedded) for index, post in enumerate(posts)],
        others={keys[pk]: build_member_row(members[pk], now) for pk in sorted(author_ids - set(index_by_member))},
        relationships=read_relationships(keys, now),
        vectors=vectors,
        policies={row.variant: row.settings for row in RankingPolicy.objects.filter(is_active=True)},
    )


def build_member_row(member: Member, now: datetime) -> Row:
    """Return the fields of the member's row that change what a feed contains."""
    privacy = getattr(member, "privacy", None)
    row: dict[str, object] = {
        "languages": member.languages,
        "is_active": member.is_active,
        "created_at": member.created_at.timestamp(),
        "is_private": privacy is None or privacy.is_private,
        "is_adult": is_known_adult(member.is_adult, member.birth_year, now),
    }
    if member.region:
        row["region"] = member.region
    if privacy is not None:
        row["sensitivity"] = Sensitivity(privacy.sensitivity).name.lower()
        row["muted_tags"] = privacy.muted_tags
        row["interest_tags"] = privacy.interest_tags
    return row


def build_post_row(post: Post, author: str, has_vector: bool) -> Row:
    """Return the fields of the post's row. Its text is needed only to embed it."""
    row: dict[str, object] = {
        "author_id": author,
        "visibility": Visibility(post.visibility).name.lower(),
        "created_at": post.created_at.timestamp(),
        "kind": post.kind,
        "tags": post.tags,
        "safety_labels": post.safety_labels,
    }
    if post.language:
        row["language"] = post.language
    if not has_vector:
        row["text"] = embeddable_text(post)
    return row


def read_relationships(keys: dict[int, str], now: datetime) -> list[Row]:
    """Return the relationships between members with a key, as of *now*. Requests to follow have no effect on feeds."""
    rows = (
        Relationship.objects.filter(created_at__lte=now).exclude(kind=Relationship.Kind.FOLLOW_REQUEST).order_by("pk")
    )
    columns = rows.values_list("source_id", "target_id", "kind", "created_at")
    return [
        {"source_id": keys[source], "target_id": keys[target], "kind": kind, "created_at": created_at.timestamp()}
        for source, target, kind, created_at in columns.iterator()
        if source in keys and target in keys
    ]


def read_vectors(posts: Sequence[Post]) -> PostVectors | None:
    """Return the vectors of *posts* by the active embedding model; None if no model is active."""
    model = EmbeddingModel.objects.filter(space=CONTENT_SPACE, state=EmbeddingModel.State.ACTIVE).first()
    if model is None:
        return None
    index_by_post = {post.pk: index for index, post in enumerate(posts)}
    rows = PostEmbedding.objects.filter(space=CONTENT_SPACE, embedding_model=model.name, dimension=model.dimension)
    found = [
        (index_by_post[pk], np.frombuffer(bytes(vector), "<f4"))
        for pk, vector in rows.values_list("post_id", "vector").iterator()
        if pk in index_by_post
    ]
    if not found:
        return None
    indexes, vectors = zip(*found, strict=True)
    return PostVectors(model.embedder, model.option, model.name, indexes, np.stack(vectors))


def active_versions() -> dict[str, int]:
    """Return the active version of each variant's policy."""
    return dict(RankingPolicy.objects.filter(is_active=True).values_list("variant", "version"))
