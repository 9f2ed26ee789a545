"""
Learn interactions: add each to the member's interests and to the post's popularity, exactly once.

The learned values and the `is_learned` mark are written in one transaction, so a crash neither loses an interaction
nor counts it twice. Learning an interaction costs the same for any history: of earlier interactions, only those of the
same member with the same post are read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np
from django.db.models import Exists, OuterRef, Q, QuerySet

from monitoring import metrics
from monitoring.transactions import write_transaction
from recommendations import task_queue
from recommendations.contracts import IMPLICIT_KINDS, Float32Array
from recommendations.models import (
    Interaction,
    InterestProfile,
    Member,
    PostEmbedding,
)
from recommendations.services import invalidate, wiring
from recommendations.services.learning import affinities, co_likes, histories
from recommendations.services.learning.interests import (
    InterestSums,
    SessionVector,
    decay_factor,
)
from recommendations.services.learning.popularity import LearnedRow, count_interactions
from recommendations.services.learning.store_interactions import NEGATIVE_KINDS
from recommendations.services.vectors.embedding import CONTENT_SPACE
from recommendations.stores.relational_viewers import find_consenting, is_known_adult
from recommendations.stores.row_locks import lock_members

MEMBERS_PER_TRANSACTION = 20
INTERACTIONS_PER_TRANSACTION = 5_000
"""Maximum number of interactions learned in one transaction. Changes the speed."""
MAX_PENDING_MEMBERS = 1_000
REBUILD_INTERACTIONS = 2_000
"""Newest interactions of a member that a rebuild reads; older ones weigh almost nothing. Changes the answer."""
MAX_VECTOR_WAIT = timedelta(hours=1)
"""How long an interaction waits for the vector of its post before it is learned without. Changes the answer."""


class PostInteraction(NamedTuple):
    """The columns of an interaction, and of its post, that learning reads: model instances take four times as long."""

    id: int
    member_id: int
    post_id: int
    kind: str
    target: str
    occurred_at: datetime
    is_ignored: bool
    author_id: int
    tags: list[str]
    post_kind: str

    @property
    def learned_row(self) -> LearnedRow:
        """The columns that the post's popularity depends on."""
        return LearnedRow(self.occurred_at, self.id, self.member_id, self.post_id, self.kind, self.author_id)


POST_INTERACTION_COLUMNS = (
    "id", "member_id", "post_id", "kind", "target", "occurred_at", "is_ignored",
    "post__author_id", "post__tags", "post__kind",
)  # fmt: skip


def read_interactions(interactions: QuerySet[Interaction]) -> list[PostInteraction]:
    """Return the interactions with what learning needs of their posts, in the order of the query."""
    return list(map(PostInteraction._make, interactions.values_list(*POST_INTERACTION_COLUMNS)))


@wiring.pin_embedding_models
def learn_interactions(*, member_ids: Sequence[int], now: datetime) -> int:
    """
    Learn the pending interactions of these members, after unlearning undone ones. Return how many were learned.

    The slates of a member who only hid posts are not retired: the page stays, without these posts, until the slate is
    built again.
    """
    count = 0
    changed: set[int] = set()
    for start in range(0, len(member_ids), MEMBERS_PER_TRANSACTION):
        batch = member_ids[start : start + MEMBERS_PER_TRANSACTION]
        unlearn_undone(member_ids=members_with_undos(batch), now=now)
        while learned := learn_batch(batch, now):
            count += len(learned)
            changed.update(row.member_id for row in learned if row.kind not in NEGATIVE_KINDS)
            if len(learned) < INTERACTIONS_PER_TRANSACTION:
                break
    invalidate.retire_slates(sorted(changed))
    return count


def learn_all(*, now: datetime, progress: Callable[[int, int], None]) -> int:
    """Learn all pending interactions in this process, and count their co-likes. Return how many were learned."""
    member_ids = list(pending_interactions(now).values_list("member_id", flat=True).order_by("member_id"))
    count = 0
    for start in range(0, len(member_ids), MEMBERS_PER_TRANSACTION):
        count += learn_interactions(member_ids=member_ids[start : start + MEMBERS_PER_TRANSACTION], now=now)
        progress(min(start + MEMBERS_PER_TRANSACTION, len(member_ids)), len(member_ids))
    co_likes.count_changes(now=now)
    return count


def interaction_weights() -> dict[str, float]:
    """Return the current weight of each kind of interaction."""
    return wiring.control_policy().interaction_weights


def members_with_undos(member_ids: Sequence[int]) -> list[int]:
    """Return those of the members with a learned interaction that is now undone."""
    undone = Interaction.objects.filter(member_id__in=member_ids, is_learned=True, undone_at__isnull=False)
    return sorted(set(undone.values_list("member_id", flat=True)))


def learnable_interactions(now: datetime) -> QuerySet[Interaction]:
    """Return unlearned interactions whose post has a vector or that waited for `MAX_VECTOR_WAIT`."""
    vector = PostEmbedding.objects.filter(
        post=OuterRef("post"), space=CONTENT_SPACE, embedding_model=wiring.embedder().name
    )
    ready = Exists(vector) | Q(received_at__lt=now - MAX_VECTOR_WAIT)
    return Interaction.objects.filter(ready, is_learned=False, undone_at=None)


def pending_interactions(now: datetime) -> QuerySet[Interaction]:
    """Return the learnable interactions, unordered, so that selected values are distinct."""
    return learnable_interactions(now).order_by().distinct()


def enqueue_pending_learning(*, now: datetime) -> int:
    """Enqueue interactions that were never learned because a message or worker was lost. Return how many members."""
    member_ids = list(pending_interactions(now).values_list("member_id", flat=True)[:MAX_PENDING_MEMBERS])
    undone = Interaction.objects.filter(is_learned=True, undone_at__isnull=False).order_by()
    member_ids += undone.values_list("member_id", flat=True).distinct()[:MAX_PENDING_MEMBERS]
    for start in range(0, len(member_ids), MEMBERS_PER_TRANSACTION):
        task_queue.enqueue(
            task_queue.LEARN_INTERACTIONS, {"member_ids": member_ids[start : start + MEMBERS_PER_TRANSACTION]}
        )
    return len(member_ids)


@wiring.pin_embedding_models
def rebuild_interests(*, member_id: int, now: datetime) -> int:
    """
    Rebuild a member's interests from the newest `REBUILD_INTERACTIONS` learned interactions. Return how many those are.

    Also rebuilds the member's reaction history, from all of them. The popularity of posts does not change. For a member
    with no more interactions than that, the result equals the profile that was learned one by one, up to float32
    rounding.
    """
    count = rebuild_profile(member_id, now)
    invalidate.retire_slates([member_id])
    return count


@write_transaction
def rebuild_profile(member_id: int, now: datetime) -> int:
    """Write the member's interests and reaction history anew. Return the number of interactions of the interests."""
    lock_members([member_id])
    InterestProfile.objects.filter(member_id=member_id).delete()
    learned = Interaction.objects.filter(member_id=member_id, is_learned=True, is_ignored=False, undone_at=None)
    newest = read_interactions(learned.order_by("-occurred_at", "-id")[:REBUILD_INTERACTIONS])[::-1]
    interactions = select_counted(newest, now)
    update_profiles(select_consented([member_id], interactions), now)
    histories.rebuild_history(member_id, interaction_weights(), now)
    return len(interactions)


@wiring.pin_embedding_models
def unlearn_undone(*, member_ids: Sequence[int], now: datetime) -> None:
    """Remove undone interactions from the popularity of their posts, and from interests by a rebuild."""
    for member_id in member_ids:
        if unlearn_member(member_id, now):
            invalidate.retire_slates([member_id])


@write_transaction
def unlearn_member(member_id: int, now: datetime) -> int:
    """Unlearn a member's undone interactions. Return how many."""
    lock_members([member_id])
    undone = Interaction.objects.filter(member_id=member_id, is_learned=True, undone_at__isnull=False)
    interactions = read_interactions(undone[:INTERACTIONS_PER_TRANSACTION])
    count_interactions([row.learned_row for row in interactions if not row.is_ignored], now, sign=-1)
    Interaction.objects.filter(pk__in=[row.id for row in interactions]).update(is_learned=False, is_ignored=False)
    if interactions:
        # In the same transaction: without the mark, no later run would start the rebuild.
        rebuild_profile(member_id, now)
    return len(interactions)


@write_transaction
def learn_batch(member_ids: Sequence[int], now: datetime) -> list[PostInteraction]:
    """Learn the oldest pending interactions of these members in one transaction. Return them."""
    # Lock the members' rows in a fixed order: two workers neither learn an interaction twice nor deadlock.
    lock_members(member_ids)
    unlearned = learnable_interactions(now).filter(member_id__in=member_ids)
    interactions = read_interactions(unlearned.order_by("occurred_at", "id")[:INTERACTIONS_PER_TRANSACTION])
    if not interactions:
        return []
    counted = select_counted(interactions, now)
    consented = select_consented(member_ids, counted)
    update_profiles(consented, now)
    add_reactions(consented)
    count_interactions([row.learned_row for row in counted], now)
    counted_ids = {row.id for row in counted}
    ignored_ids = [row.id for row in interactions if row.id not in counted_ids]
    Interaction.objects.filter(pk__in=counted_ids).update(is_learned=True)
    Interaction.objects.filter(pk__in=ignored_ids).update(is_learned=True, is_ignored=True)
    return interactions


def select_consented(
    member_ids: Sequence[int], interactions: Sequence[PostInteraction]
) -> dict[int, list[PostInteraction]]:
    """Return the interactions by member: only of those with consent, and only those after their latest reset."""
    reset_times = dict(
        find_consenting(Member.objects.filter(pk__in=member_ids)).values_list("pk", "interests_reset_at")
    )
    by_member: dict[int, list[PostInteraction]] = defaultdict(list)
    for row in interactions:
        if row.member_id in reset_times and row.occurred_at >= (reset_times[row.member_id] or row.occurred_at):
            by_member[row.member_id].append(row)
    return by_member


def select_counted(interactions: Sequence[PostInteraction], now: datetime) -> list[PostInteraction]:
    """
    Return the interactions that count: all explicit ones, and the implicit ones of members who are known adults.

    What somebody only looked at weighs nothing for members who are not known to be adults, in everything learned.
    """
    members = Member.objects.filter(pk__in={row.member_id for row in interactions if row.kind in IMPLICIT_KINDS})
    adults = {
        pk
        for pk, is_adult, birth_year in members.values_list("pk", "is_adult", "birth_year")
        if is_known_adult(is_adult, birth_year, now)
    }
    return [row for row in interactions if row.kind not in IMPLICIT_KINDS or row.member_id in adults]


def add_reactions(by_member: Mapping[int, Sequence[PostInteraction]]) -> None:
    """Add the interactions to the members' reaction histories. One with a target is not about the post itself."""
    weights = interaction_weights()
    histories.add_reactions(
        {
            member_id: [(row.post_id, weights[row.kind], row.occurred_at.timestamp()) for row in own if not row.target]
            for member_id, own in by_member.items()
        }
    )


def update_profiles(by_member: Mapping[int, Sequence[PostInteraction]], now: datetime) -> None:
    """Add the interactions to the members' interests."""
    vectors = load_post_vectors({row.post_id for own in by_member.values() for row in own}, now)
    profiles = InterestProfile.objects.in_bulk(by_member)
    rows = [
        build_profile(member_id, profiles.get(member_id), own_interactions, vectors, now)
        for member_id, own_interactions in by_member.items()
    ]
    InterestProfile.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["member"],
        update_fields=[f.name for f in InterestProfile._meta.concrete_fields if not f.primary_key],
    )


def load_post_vectors(post_ids: set[int], now: datetime) -> dict[int, Float32Array]:
    """Return the vectors (d,) of the posts by primary key, without zero vectors and vectors with NaN or infinity."""
    embedder, cache = wiring.embedder(), wiring.post_vector_cache()
    vectors = cache.get(post_ids, now.timestamp())
    metrics.CACHE_REQUESTS.labels("post_vectors", "hit").inc(len(vectors))
    if missing := post_ids - set(vectors):
        metrics.CACHE_REQUESTS.labels("post_vectors", "miss").inc(len(missing))
        rows = PostEmbedding.objects.filter(
            post_id__in=missing, space=CONTENT_SPACE, embedding_model=embedder.name, dimension=embedder.dimension
        )
        loaded = {post_id: np.frombuffer(vector, "<f4") for post_id, vector in rows.values_list("post_id", "vector")}
        cache.put(loaded, now.timestamp())
        vectors |= loaded
    return {post_id: vector for post_id, vector in vectors.items() if vector.any() and np.isfinite(vector).all()}


def build_profile(
    member_id: int,
    profile: InterestProfile | None,
    interactions: Sequence[PostInteraction],
    vectors: dict[int, Float32Array],
    now: datetime,
) -> InterestProfile:
    """Return the profile with the interactions, ordered by time, added. A new embedding model starts a new profile."""
    embedder = wiring.embedder()
    if profile is None or profile.embedding_model != embedder.name:
        moment = interactions[0].occurred_at.timestamp()
        profile = InterestProfile(member_id=member_id, reference_at=interactions[0].occurred_at)
        positive, negative = (
            InterestSums.empty(embedder.dimension, moment),
            InterestSums.empty(embedder.dimension, moment),
        )
    else:
        moment = profile.reference_at.timestamp()
        positive = load_sums(profile.positive, profile.positive_mass, moment, embedder.dimension)
        negative = load_sums(profile.negative, profile.negative_mass, moment, embedder.dimension)
    session = load_session(profile, embedder.dimension)
    latest = max(moment, *(row.occurred_at.timestamp() for row in interactions))
    weights = interaction_weights()
    affinity_sums = affinities.decay_affinities(profile.affinities, latest - moment)
    for row in interactions:
        weight, occurred_at = weights[row.kind], row.occurred_at.timestamp()
        if row.target:
            continue  # `NegativeFeedback` holds what the member rejected; the rest of the post is not rated.
        keys = affinities.affinity_keys(row.author_id, row.tags, row.post_kind)
        affinities.add_affinity(affinity_sums, keys, weight * decay_factor(latest - occurred_at))
        vector = vectors.get(row.post_id)
        if vector is None or not weight:
            continue
        (positive if weight > 0 else negative).add(vector, abs(weight), occurred_at)
        if weight > 0:
            session.add(vector, weight, occurred_at)
    positive.decay_to(latest)
    negative.decay_to(latest)
    return InterestProfile(
        member_id=member_id,
        embedding_model=embedder.name,
        dimension=embedder.dimension,
        positive=positive.vectors.astype("<f4").tobytes(),
        positive_mass=positive.mass.astype("<f4").tobytes(),
        negative=negative.vectors.astype("<f4").tobytes(),
        negative_mass=negative.mass.astype("<f4").tobytes(),
        session=session.vector.astype("<f4").tobytes() if session.vector.any() else b"",
        session_at=datetime.fromtimestamp(session.moment, UTC),
        affinities=affinities.trim_affinities(affinity_sums),
        reference_at=datetime.fromtimestamp(latest, UTC),
        interaction_count=profile.interaction_count + len(interactions),
        changed_at=now,
    )


def load_session(profile: InterestProfile, dimension: int) -> SessionVector:
    """Return the profile's session vector; a zero vector if it has none of this dimension."""
    vector = np.frombuffer(bytes(profile.session), "<f4")
    if len(vector) != dimension or profile.session_at is None:
        return SessionVector(np.zeros(dimension, np.float32), profile.reference_at.timestamp())
    return SessionVector(vector.copy(), profile.session_at.timestamp())


def load_sums(vectors: bytes | memoryview, mass: bytes | memoryview, moment: float, dimension: int) -> InterestSums:
    """Return stored interests as mutable sums."""
    return InterestSums(
        np.frombuffer(vectors, "<f4").reshape(-1, dimension).copy(), np.frombuffer(mass, "<f4").copy(), moment
    )
