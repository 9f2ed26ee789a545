"""
Learn interactions: add each to the member's interests and to the post's popularity, exactly once.

The learned values and the `is_learned` mark are written in one transaction, so a crash neither loses an interaction
nor counts it twice. Learning an interaction costs the same for any history: of earlier interactions, only those of the
same member with the same post and on the same days are read.

The interactions of many members are columns, and each step handles all of them at once. So a transaction has as many
statements for a thousand interactions as for one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import orjson
from django.db.models import Exists, OuterRef, Q, QuerySet, TextField
from django.db.models.functions import Cast

from monitoring import metrics
from monitoring.transactions import write_transaction
from recommendations import task_queue
from recommendations.contracts import IMPLICIT_KINDS, BoolArray, Float32Array, Float64Array, Int64Array
from recommendations.models import (
    Interaction,
    InterestProfile,
    Member,
    PostEmbedding,
)
from recommendations.services import invalidate, wiring
from recommendations.services.learning import affinities, co_likes, histories
from recommendations.services.learning.affinities import AffinityKeys, AffinitySums
from recommendations.services.learning.interests import (
    HALF_LIFE_SECONDS,
    Additions,
    InterestSums,
    SessionVector,
    add_to_interests,
    add_to_sessions,
    fractions_left,
)
from recommendations.services.learning.popularity import count_interactions
from recommendations.services.learning.store_interactions import NEGATIVE_KINDS
from recommendations.services.vectors.embedding import CONTENT_SPACE
from recommendations.stores.bulk import upsert_columns
from recommendations.stores.interaction_columns import (
    COLUMN_NAMES,
    InteractionColumns,
    StoredTime,
    read_interactions,
    weigh_kinds,
)
from recommendations.stores.relational_viewers import find_consenting, is_known_adult
from recommendations.stores.row_locks import lock_members
from recommendations.stores.sql import one_of

MEMBERS_PER_TRANSACTION = 100
"""Members whose interactions are learned in one transaction. Changes the speed."""
INTERACTIONS_PER_TRANSACTION = 5_000
"""Maximum number of interactions learned in one transaction. Changes the speed."""
MAX_CACHED_VECTORS = 200
"""Vectors of more posts are read from the database at once: the cache would take longer. Changes the speed."""
MAX_PENDING_MEMBERS = 1_000
REBUILD_INTERACTIONS = 2_000
"""Newest interactions of a member that a rebuild reads; older ones weigh almost nothing. Changes the answer."""
MAX_VECTOR_WAIT = timedelta(hours=1)
"""How long an interaction waits for the vector of its post before it is learned without. Changes the answer."""


@dataclass(frozen=True, eq=False)
class PostInteractions:
    """Interactions (n,), with what learning needs of their posts."""

    columns: InteractionColumns
    has_target: BoolArray
    """Whether the interaction is about something else than the content of the post."""
    post_keys: Mapping[int, AffinityKeys]
    """By post."""

    def __len__(self) -> int:
        return len(self.columns)

    def select(self, rows: BoolArray | Int64Array) -> PostInteractions:
        """Return the rows of a mask (n,), or those at these positions (m,)."""
        return PostInteractions(self.columns.select(rows), self.has_target[rows], self.post_keys)


def read_post_interactions(interactions: QuerySet[Interaction]) -> PostInteractions:
    """Return the interactions with what learning needs of their posts, in the order of the query."""
    names = (*COLUMN_NAMES, StoredTime("occurred_at"), "target", "post__kind", Cast("post__tags", TextField()))
    rows = list(interactions.values_list(*names))
    columns = InteractionColumns.from_rows([row[: len(COLUMN_NAMES) + 1] for row in rows])
    posts = {row[2]: (row[3], row[-1], row[-2]) for row in rows}
    keys = {
        post: affinities.affinity_keys(author, orjson.loads(tags), kind) for post, (author, tags, kind) in posts.items()
    }
    return PostInteractions(columns, np.array([row[-3] != "" for row in rows], np.bool_), keys)


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
        while len(learned := learn_batch(batch, now)):
            count += len(learned)
            changed.update(learned.member_ids[~learned.are_of(NEGATIVE_KINDS)].tolist())
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


def kind_weights() -> Float64Array:
    """Return the current weights of `KINDS`."""
    return weigh_kinds(wiring.control_policy().interaction_weights)


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
    newest = read_post_interactions(learned.order_by("-occurred_at", "-id")[:REBUILD_INTERACTIONS])
    interactions = select_counted(newest.select(np.arange(len(newest))[::-1]), now)
    update_profiles(select_consented([member_id], interactions), now)
    histories.rebuild_history(member_id, kind_weights(), now)
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
    ids = list(undone.values_list("pk", flat=True)[:INTERACTIONS_PER_TRANSACTION])
    unlearned = Interaction.objects.filter(pk__in=one_of(ids))
    count_interactions(read_interactions(unlearned.filter(is_ignored=False)), now, sign=-1)
    unlearned.update(is_learned=False, is_ignored=False)
    if ids:
        # In the same transaction: without the mark, no later run would start the rebuild.
        rebuild_profile(member_id, now)
    return len(ids)


@write_transaction
def learn_batch(member_ids: Sequence[int], now: datetime) -> InteractionColumns:
    """Learn the oldest pending interactions of these members in one transaction. Return them."""
    # Lock the members' rows in a fixed order: two workers neither learn an interaction twice nor deadlock.
    lock_members(member_ids)
    unlearned = learnable_interactions(now).filter(member_id__in=member_ids)
    interactions = read_post_interactions(unlearned.order_by("occurred_at", "id")[:INTERACTIONS_PER_TRANSACTION])
    if len(interactions):
        counted = select_counted(interactions, now)
        consented = select_consented(member_ids, counted)
        update_profiles(consented, now)
        add_reactions(consented)
        count_interactions(counted.columns, now)
        ids, counted_ids = interactions.columns.ids, counted.columns.ids
        Interaction.objects.filter(pk__in=one_of(counted_ids.tolist())).update(is_learned=True)
        if len(ignored_ids := np.setdiff1d(ids, counted_ids)):
            ignored = Interaction.objects.filter(pk__in=one_of(ignored_ids.tolist()))
            ignored.update(is_learned=True, is_ignored=True)
    return interactions.columns


def select_consented(member_ids: Sequence[int], interactions: PostInteractions) -> PostInteractions:
    """Return the interactions of members with consent, and only those after the member's latest reset."""
    members = find_consenting(Member.objects.filter(pk__in=member_ids)).values_list("pk", "interests_reset_at")
    reset_times = {pk: reset_at.timestamp() if reset_at else -np.inf for pk, reset_at in members}
    first_times = [reset_times.get(member_id, np.inf) for member_id in interactions.columns.member_ids.tolist()]
    return interactions.select(interactions.columns.times >= np.array(first_times))


def select_counted(interactions: PostInteractions, now: datetime) -> PostInteractions:
    """
    Return the interactions that count: all explicit ones, and the implicit ones of members who are known adults.

    What somebody only looked at weighs nothing for members who are not known to be adults, in everything learned.
    """
    is_implicit = interactions.columns.are_of(IMPLICIT_KINDS)
    member_ids = interactions.columns.member_ids
    members = Member.objects.filter(pk__in=np.unique(member_ids[is_implicit]).tolist())
    adults = [
        pk
        for pk, is_adult, birth_year in members.values_list("pk", "is_adult", "birth_year")
        if is_known_adult(is_adult, birth_year, now)
    ]
    return interactions.select(~is_implicit | np.isin(member_ids, adults))


def add_reactions(interactions: PostInteractions) -> None:
    """Add the interactions to the members' reaction histories. One with a target is not about the post itself."""
    histories.add_reactions(interactions.columns.select(~interactions.has_target), kind_weights())


def update_profiles(interactions: PostInteractions, now: datetime) -> None:
    """Add the interactions to the interests of their members."""
    if len(interactions):
        upsert_columns(InterestProfile, build_profiles(interactions, now))


def load_post_vectors(post_ids: Collection[int], now: datetime) -> tuple[Int64Array, Float32Array]:
    """
    Return the posts (p,) that have a vector, by primary key in ascending order, and their vectors (p, d).

    Zero vectors, vectors with NaN or infinity and vectors of another length are left out.
    """
    embedder = wiring.embedder()
    vectors = {}
    if is_cached := len(post_ids) <= MAX_CACHED_VECTORS:
        vectors = wiring.post_vector_cache().get(post_ids, now.timestamp())
        metrics.CACHE_REQUESTS.labels("post_vectors", "hit").inc(len(vectors))
        metrics.CACHE_REQUESTS.labels("post_vectors", "miss").inc(len(post_ids) - len(vectors))
    if missing := set(post_ids) - set(vectors):
        stored = PostEmbedding.objects.filter(
            post_id__in=one_of(sorted(missing)),
            space=CONTENT_SPACE,
            embedding_model=embedder.name,
            dimension=embedder.dimension,
        )
        rows = stored.values_list("post_id", "vector")
        loaded = {post_id: np.frombuffer(row, "<f4") for post_id, row in rows if len(row) == 4 * embedder.dimension}
        if is_cached:
            wiring.post_vector_cache().put(loaded, now.timestamp())
        vectors |= loaded
    ids = np.array(sorted(vectors), np.int64)
    matrix = np.array([vectors[post_id] for post_id in ids.tolist()], np.float32).reshape(len(ids), embedder.dimension)
    is_usable = matrix.any(axis=1) & np.isfinite(matrix).all(axis=1)
    return ids[is_usable], matrix[is_usable]


def build_profiles(interactions: PostInteractions, now: datetime) -> dict[str, list[object]]:
    """
    Return the members' profiles with the interactions added, as columns of `InterestProfile`.

    A new embedding model starts a new profile.
    """
    embedder, columns, times = wiring.embedder(), interactions.columns, interactions.columns.times
    member_ids, firsts, members, counts = np.unique(columns.member_ids, True, True, True)
    stored = InterestProfile.objects.filter(embedding_model=embedder.name).in_bulk(member_ids.tolist())
    profiles = [
        stored.get(member_id) or InterestProfile(member_id=member_id, reference_at=datetime.fromtimestamp(time, UTC))
        for member_id, time in zip(member_ids.tolist(), times[firsts].tolist(), strict=True)
    ]
    moments = np.array([profile.reference_at.timestamp() for profile in profiles])
    latest = moments.copy()
    np.maximum.at(latest, members, times)
    weights = kind_weights()[columns.kinds]
    interests, sessions = add_vectors(profiles, interactions, members, weights, now)
    for sums, moment in zip(interests, np.repeat(latest, 2).tolist(), strict=True):
        sums.decay_to(moment)
    positive, negative = interests[::2], interests[1::2]
    return {
        "member_id": member_ids.tolist(),
        "embedding_model": [embedder.name] * len(profiles),
        "dimension": [embedder.dimension] * len(profiles),
        "positive": [sums.vectors.astype("<f4").tobytes() for sums in positive],
        "positive_mass": [sums.mass.astype("<f4").tobytes() for sums in positive],
        "negative": [sums.vectors.astype("<f4").tobytes() for sums in negative],
        "negative_mass": [sums.mass.astype("<f4").tobytes() for sums in negative],
        "session": [one.vector.astype("<f4").tobytes() if one.vector.any() else b"" for one in sessions],
        "session_at": [datetime.fromtimestamp(one.moment, UTC) for one in sessions],
        "affinities": add_affinities(profiles, interactions, members, weights, moments, latest),
        "reference_at": [datetime.fromtimestamp(moment, UTC) for moment in latest.tolist()],
        "interaction_count": [
            profile.interaction_count + count for profile, count in zip(profiles, counts.tolist(), strict=True)
        ],
        "changed_at": [now] * len(profiles),
    }


def add_vectors(
    profiles: Sequence[InterestProfile],
    interactions: PostInteractions,
    members: Int64Array,
    weights: Float64Array,
    now: datetime,
) -> tuple[list[InterestSums], list[SessionVector]]:
    """
    Return the interests, two for each profile, and the session vectors with the interactions (n,) added.

    *members* (n,) are the positions of their profiles, *weights* (n,) those of their kinds. The first interests of a
    profile are the positive ones, the second the negative ones.
    """
    columns, dimension = interactions.columns, wiring.embedder().dimension
    post_ids, vectors = load_post_vectors(np.unique(columns.post_ids).tolist(), now)
    # `NegativeFeedback` holds what an interaction with a target rejected. The rest of the post is not rated.
    rows = np.flatnonzero(np.isin(columns.post_ids, post_ids) & (weights != 0) & ~interactions.has_target)
    sums = [
        load_sums(vectors, mass, profile.reference_at.timestamp(), dimension)
        for profile in profiles
        for vectors, mass in ((profile.positive, profile.positive_mass), (profile.negative, profile.negative_mass))
    ]
    added = Additions(
        2 * members[rows] + (weights[rows] < 0),
        np.searchsorted(post_ids, columns.post_ids[rows]),
        np.abs(weights[rows]),
        columns.times[rows],
    )
    sessions = [load_session(profile, dimension) for profile in profiles]
    is_positive = weights[rows] > 0
    of_session = Additions(
        members[rows][is_positive],
        added.posts[is_positive],
        added.weights[is_positive],
        added.times[is_positive],
    )
    return add_to_interests(sums, added, vectors), add_to_sessions(sessions, of_session, vectors)


def add_affinities(
    profiles: Sequence[InterestProfile],
    interactions: PostInteractions,
    members: Int64Array,
    weights: Float64Array,
    moments: Float64Array,
    latest: Float64Array,
) -> list[AffinitySums]:
    """
    Return the affinities of the profiles with the interactions (n,) added, at the *latest* times (m,).

    *members* and *weights*: see `add_vectors`. *moments* (m,) are the times of the profiles.
    """
    sums = [
        affinities.decay_affinities(profile.affinities, seconds)
        for profile, seconds in zip(profiles, (latest - moments).tolist(), strict=True)
    ]
    rows = np.flatnonzero(~interactions.has_target)
    age = latest[members[rows]] - interactions.columns.times[rows]
    decayed = weights[rows] * fractions_left(age, HALF_LIFE_SECONDS)
    posts = interactions.columns.post_ids[rows]
    for member, post, weight in zip(members[rows].tolist(), posts.tolist(), decayed.tolist(), strict=True):
        affinities.add_affinity(sums[member], interactions.post_keys[post], weight)
    return [affinities.trim_affinities(one) for one in sums]


def load_session(profile: InterestProfile, dimension: int) -> SessionVector:
    """Return the profile's session vector; a zero vector if it has none of this dimension."""
    vector = np.frombuffer(bytes(profile.session), "<f4")
    if len(vector) != dimension or profile.session_at is None:
        return SessionVector(np.zeros(dimension, np.float32), profile.reference_at.timestamp())
    return SessionVector(vector, profile.session_at.timestamp())


def load_sums(vectors: bytes | memoryview, mass: bytes | memoryview, moment: float, dimension: int) -> InterestSums:
    """Return stored interests as sums."""
    return InterestSums(np.frombuffer(vectors, "<f4").reshape(-1, dimension), np.frombuffer(mass, "<f4"), moment)
