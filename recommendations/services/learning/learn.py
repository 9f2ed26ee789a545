"""
Take interactions into members' interests and posts' engagement: each exactly once, whatever dies in between.

What is learned and the mark that says so are one transaction. An act costs the same whatever came before it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from monitoring import metrics
from recommendations import task_queue
from recommendations.contracts import ENGAGEMENT_HALF_LIFE_SECONDS, Float32Array
from recommendations.models import (
    Interaction,
    InterestProfile,
    Member,
    PostEmbedding,
    PostStats,
    PrivacySettings,
    RegionStats,
)
from recommendations.services import invalidate, wiring
from recommendations.services.learning import affinities
from recommendations.services.learning.interests import MIN_POSITIVE_WEIGHT, InterestSums, SessionVector, decay_factor
from recommendations.services.vectors.embedding import CONTENT_SPACE

MEMBERS_PER_TRANSACTION = 20
INTERACTIONS_PER_TRANSACTION = 5_000
"""More than this of one batch of members wait for the next transaction. Changes the speed."""
MAX_PENDING_MEMBERS = 1_000
CONTROL_VARIANT = "control"
"""The variant whose policy says what acts weigh: one profile serves them all."""
REBUILD_INTERACTIONS = 2_000
"""A member's newest acts that a rebuild starts from: older ones weigh next to nothing. Changes the answer."""
MAX_VECTOR_WAIT = timedelta(hours=1)
"""An act on a post that has no vector yet waits this long to be learned. Changes the answer."""


@wiring.pin_embedding_models
def learn_interactions(*, member_ids: Sequence[int], now: datetime) -> int:
    """Learn what these members did and was not learned yet. Return how many interactions that were."""
    count = 0
    for start in range(0, len(member_ids), MEMBERS_PER_TRANSACTION):
        some = member_ids[start : start + MEMBERS_PER_TRANSACTION]
        unlearn_undone(member_ids=members_with_undos(some), now=now)
        while learned := learn_batch(some, now):
            count += learned
            if learned < INTERACTIONS_PER_TRANSACTION:
                break
    invalidate.retire_slates(member_ids)
    return count


def learn_all(*, now: datetime, progress: Callable[[int, int], None]) -> int:
    """Learn everything that is pending, here and now. Return how many interactions that were."""
    member_ids = list(pending_interactions(now).values_list("member_id", flat=True).order_by("member_id"))
    count = 0
    for start in range(0, len(member_ids), MEMBERS_PER_TRANSACTION):
        count += learn_interactions(member_ids=member_ids[start : start + MEMBERS_PER_TRANSACTION], now=now)
        progress(min(start + MEMBERS_PER_TRANSACTION, len(member_ids)), len(member_ids))
    return count


def interaction_weights() -> dict[str, float]:
    """Return what each kind of act weighs now."""
    return wiring.policies().get(CONTROL_VARIANT)[0].interaction_weights


def members_with_undos(member_ids: Sequence[int]) -> list[int]:
    """Return those of the members who took back something that was learned."""
    undone = Interaction.objects.filter(member_id__in=member_ids, is_learned=True, undone_at__isnull=False)
    return sorted(set(undone.values_list("member_id", flat=True)))


def learnable_interactions(now: datetime) -> QuerySet[Interaction]:
    """Return what is not learned and can be: the post has its vector, or was waited for long enough."""
    vector = PostEmbedding.objects.filter(
        post=OuterRef("post"), space=CONTENT_SPACE, embedding_model=wiring.embedder().name
    )
    ready = Exists(vector) | Q(received_at__lt=now - MAX_VECTOR_WAIT)
    return Interaction.objects.filter(ready, is_learned=False, undone_at=None)


def pending_interactions(now: datetime) -> QuerySet[Interaction]:
    """Return what can be learned; its values come once each."""
    return learnable_interactions(now).order_by().distinct()


def enqueue_pending_learning(*, now: datetime) -> int:
    """Ask for what was recorded and never learned, because a message or a worker was lost. Return how many members."""
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
    Learn a member's interests anew from the newest `REBUILD_ACTS`; posts' engagement stays. Return how many acts.

    What is learned act by act is the same up to float32's rounding, for a member with no more acts than that.
    """
    with transaction.atomic():
        list(Member.objects.select_for_update(no_key=True).filter(pk=member_id).values_list("pk"))
        InterestProfile.objects.filter(member_id=member_id).delete()
        learned = Interaction.objects.filter(member_id=member_id, is_learned=True, undone_at=None)
        acts = list(learned.select_related("post").order_by("-occurred_at", "-id")[:REBUILD_INTERACTIONS])[::-1]
        update_profiles([member_id], acts, now)
    invalidate.retire_slates([member_id])
    return len(acts)


@wiring.pin_embedding_models
def unlearn_undone(*, member_ids: Sequence[int], now: datetime) -> None:
    """Take back what these members undid: from the counts of the posts, and from their interests by a rebuild."""
    for member_id in member_ids:
        with transaction.atomic():
            list(Member.objects.select_for_update(no_key=True).filter(pk=member_id).values_list("pk"))
            undone = Interaction.objects.filter(member_id=member_id, is_learned=True, undone_at__isnull=False)
            acts = list(undone.select_related("post")[:INTERACTIONS_PER_TRANSACTION])
            count_engagement(acts, now, sign=-1)
            Interaction.objects.filter(pk__in=[act.pk for act in acts]).update(is_learned=False)
            if acts:
                # In the same transaction: once the mark is gone, nothing would ask for the rebuild again.
                rebuild_interests(member_id=member_id, now=now)


@transaction.atomic
def learn_batch(member_ids: Sequence[int], now: datetime) -> int:
    """Learn the oldest of what these members did, in one transaction."""
    # The members' rows are locked in one order, so that two workers neither learn an act twice nor wait in a circle.
    list(Member.objects.select_for_update(no_key=True).filter(pk__in=member_ids).order_by("pk").values_list("pk"))
    unlearned = learnable_interactions(now).filter(member_id__in=member_ids)
    acts = list(unlearned.select_related("post").order_by("occurred_at", "id")[:INTERACTIONS_PER_TRANSACTION])
    if not acts:
        return 0
    update_profiles(member_ids, acts, now)
    count_engagement(acts, now)
    Interaction.objects.filter(pk__in=[act.pk for act in acts]).update(is_learned=True)
    return len(acts)


def update_profiles(member_ids: Sequence[int], interactions: Sequence[Interaction], now: datetime) -> None:
    """Add the acts to their members' interests, but for members who want none learned, or forgot what was before."""
    wanting = dict(
        PrivacySettings.objects.filter(member_id__in=member_ids, is_personalized=True).values_list(
            "member_id", "member__interests_reset_at"
        )
    )
    vectors = load_post_vectors({act.post_id for act in interactions}, now)
    by_member: dict[int, list[Interaction]] = defaultdict(list)
    for act in interactions:
        if act.member_id in wanting and act.occurred_at >= (wanting[act.member_id] or act.occurred_at):
            by_member[act.member_id].append(act)
    profiles = InterestProfile.objects.in_bulk(by_member)
    rows = [
        build_profile(member_id, profiles.get(member_id), acts, vectors, now) for member_id, acts in by_member.items()
    ]
    InterestProfile.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["member"],
        update_fields=[f.name for f in InterestProfile._meta.concrete_fields if not f.primary_key],
    )


def load_post_vectors(post_ids: set[int], now: datetime) -> dict[int, Float32Array]:
    """Return the vectors of these posts that have a usable one."""
    embedder, cache = wiring.embedder(), wiring.post_vector_cache()
    found = cache.get(post_ids, now.timestamp())
    metrics.CACHE_REQUESTS.labels("post_vectors", "hit").inc(len(found))
    if missing := post_ids - set(found):
        metrics.CACHE_REQUESTS.labels("post_vectors", "miss").inc(len(missing))
        rows = PostEmbedding.objects.filter(
            post_id__in=missing, space=CONTENT_SPACE, embedding_model=embedder.name, dimension=embedder.dimension
        )
        read = {post_id: np.frombuffer(vector, "<f4") for post_id, vector in rows.values_list("post_id", "vector")}
        cache.put(read, now.timestamp())
        found |= read
    return {post_id: vector for post_id, vector in found.items() if vector.any() and np.isfinite(vector).all()}


def build_profile(
    member_id: int,
    profile: InterestProfile | None,
    interactions: Sequence[Interaction],
    vectors: dict[int, Float32Array],
    now: datetime,
) -> InterestProfile:
    """Return the member's profile with the acts added, in the order they happened."""
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
    latest = max(moment, *(act.occurred_at.timestamp() for act in interactions))
    weights = interaction_weights()
    liked = affinities.decay_affinities(profile.affinities, latest - moment)
    for act in interactions:
        weight, at = weights[act.kind], act.occurred_at.timestamp()
        if act.target:
            continue  # It is about the author, the topic or the format, and says nothing else: see `LessOf`.
        subjects = affinities.affinity_keys(act.post.author_id, act.post.tags, act.post.kind)
        affinities.add_affinity(liked, subjects, weight * decay_factor(latest - at))
        vector = vectors.get(act.post_id)
        if vector is None or not weight:
            continue
        (positive if weight > 0 else negative).add(vector, abs(weight), at)
        if weight > 0:
            session.add(vector, weight, at)
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
        affinities=affinities.trim_affinities(liked),
        reference_at=datetime.fromtimestamp(latest, UTC),
        interaction_count=profile.interaction_count + len(interactions),
        changed_at=now,
    )


def load_session(profile: InterestProfile, dimension: int) -> SessionVector:
    """Return what the profile keeps of the last half hour."""
    vector = np.frombuffer(bytes(profile.session), "<f4")
    if len(vector) != dimension or profile.session_at is None:
        return SessionVector(np.zeros(dimension, np.float32), profile.reference_at.timestamp())
    return SessionVector(vector.copy(), profile.session_at.timestamp())


def load_sums(vectors: bytes | memoryview, mass: bytes | memoryview, moment: float, dimension: int) -> InterestSums:
    """Return stored interests as sums that can be added to."""
    return InterestSums(
        np.frombuffer(vectors, "<f4").reshape(-1, dimension).copy(), np.frombuffer(mass, "<f4").copy(), moment
    )


def count_engagement(interactions: Sequence[Interaction], now: datetime, sign: int = 1) -> None:
    """
    Add the acts to the engagement of their posts, everywhere and by region; a turning down does not lower it.

    A *sign* of -1 takes them out again: by region from that which the member has now. Who has moved since leaves the
    act where it was counted, and it fades there.
    """
    regions = dict(
        Member.objects.filter(pk__in={act.member_id for act in interactions})
        .exclude(region="")
        .values_list("pk", "region")
    )
    post_ids = sorted({act.post_id for act in interactions})
    stats = PostStats.objects.select_for_update().order_by("pk").in_bulk(post_ids)
    there = RegionStats.objects.select_for_update().filter(post__in=post_ids, region__in=set(regions.values()))
    nearby = {(row.post_id, row.region): row for row in there.order_by("pk")}
    weights = interaction_weights()
    for act in interactions:
        row = stats.setdefault(act.post_id, PostStats(post_id=act.post_id, engagement_at=act.occurred_at))
        add_engagement(row, act, now, sign * max(weights[act.kind], 0.0))
        row.interaction_count = max(row.interaction_count + sign, 0)
        row.positive_count = max(row.positive_count + sign * (weights[act.kind] >= MIN_POSITIVE_WEIGHT), 0)
        if region := regions.get(act.member_id):
            key = (act.post_id, region)
            own = RegionStats(post_id=act.post_id, region=region, engagement_at=act.occurred_at)
            add_engagement(nearby.setdefault(key, own), act, now, sign * max(weights[act.kind], 0.0))
    sums = ["engagement", "engagement_at", "changed_at"]
    PostStats.objects.bulk_create(
        stats.values(),
        update_conflicts=True,
        unique_fields=["post"],
        update_fields=[*sums, "interaction_count", "positive_count"],
    )
    RegionStats.objects.bulk_create(
        [RegionStats(**{name: getattr(row, name) for name in ("post_id", "region", *sums)}) for row in nearby.values()],
        update_conflicts=True,
        unique_fields=["post", "region"],
        update_fields=sums,
    )


def add_engagement(row: PostStats | RegionStats, interaction: Interaction, now: datetime, weight: float) -> None:
    """Add one act of this weight to a decayed sum, which then stands for the later of their moments."""
    moment = max(row.engagement_at, interaction.occurred_at)
    row.engagement *= engagement_decay_factor((moment - row.engagement_at).total_seconds())
    row.engagement += weight * engagement_decay_factor((moment - interaction.occurred_at).total_seconds())
    row.engagement = max(row.engagement, 0.0)
    row.engagement_at, row.changed_at = moment, now


def engagement_decay_factor(seconds: float) -> float:
    """Return what is left of an act's engagement after *seconds*."""
    return float(2.0 ** (-seconds / ENGAGEMENT_HALF_LIFE_SECONDS))
