"""What was learned of a viewer's taste, and what they asked to see less of: two queries, in SQL as every feed needs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
from django.db import connection

from recommendations.contracts import LEARNED_FLOOR, Affinity, Float32Array, Interests
from recommendations.models import InterestProfile, NegativeFeedback
from recommendations.stores.relational_posts import as_utc
from recommendations.stores.sql import Rows
from recommendations.stores.vocabulary import Vocabularies

SESSION_SECONDS = 1_800.0
"""A session vector is used this long after the last act. Changes the answer."""
AFFINITY_HALF_SUM = 4.0
"""Sum of weights at which a liking is one half. Changes the answer."""
SHOW_LESS_HALF_LIFE_SECONDS = 90 * 86_400.0
"""After this time a wish for less of something counts half. Changes the answer."""

ProfileVersion = tuple[object, ...]
"""What a profile's row says of when and how it changed last."""
FeedbackRows = Rows
"""Wishes for less of an author, a topic or a format, as their rows are: subject, key, moment."""

PROFILE_TABLE, FEEDBACK_TABLE = (
    connection.ops.quote_name(model._meta.db_table) for model in (InterestProfile, NegativeFeedback)
)
VERSION_COLUMNS = 3
SELECT_PROFILE = f"""
    SELECT changed_at, interaction_count, reference_at,
           embedding_model, dimension, positive, positive_mass, negative, negative_mass, session, session_at, affinities
    FROM {PROFILE_TABLE} WHERE member_id = %s"""
SELECT_FEEDBACK = (
    f"SELECT target, target_key, created_at FROM {FEEDBACK_TABLE} WHERE member_id = %s AND target <> 'post'"
)


@dataclass(frozen=True, slots=True)
class Taste:
    """What a viewer likes and dislikes, as ranking uses it."""

    interests: Interests
    author_affinity: Affinity
    topic_affinity: Affinity
    kind_affinity: Affinity


Affinities = tuple[Affinity, Affinity, Affinity]
"""To authors, topics and formats."""


@dataclass(frozen=True)
class Profile:
    """What was learned of a member, decoded: unit rows and their weights."""

    likes: Float32Array  # (k, d)
    like_weights: Float32Array  # (k,)
    dislikes: Float32Array  # (m, d)
    dislike_weights: Float32Array  # (m,)
    session: Float32Array  # (d,) what they did in the last half hour; empty if nothing
    session_at: datetime | None
    affinity_sums: Mapping[str, Mapping[str, float]]
    """By author, topic and format."""

    @cached_property
    def _learned_affinities(self) -> dict[Vocabularies, Affinities]:
        return {}

    def learned_affinities(self, vocabularies: Vocabularies) -> Affinities:
        """Return the affinities of somebody who wishes for less of nothing: made once, as a word keeps its number."""
        if vocabularies not in self._learned_affinities:
            self._learned_affinities[vocabularies] = build_affinities(self.affinity_sums, {}, vocabularies)
        return self._learned_affinities[vocabularies]


def profile_version(rows: Rows) -> ProfileVersion | None:
    """Return what tells one state of a member's interests from another; None: nothing was learned of them."""
    return rows[0][:VERSION_COLUMNS] if rows else None


def decode_profile(rows: Rows, model: str, dimension: int) -> Profile | None:
    """Return what was learned in the space of *model*, by the rows of `READ_PROFILE`; of another, nothing."""
    if not rows:
        return None
    its_model, its_dimension, *row = rows[0][VERSION_COLUMNS:]
    return decode_profile_row(row, dimension) if (its_model, its_dimension) == (model, dimension) else None


def decode_profile_row(row: Sequence[Any], dimension: int) -> Profile:
    """Return the profile of a row, from its vectors on."""
    positive, positive_mass, negative, negative_mass, at_once, session_at, sums = row
    session = np.frombuffer(at_once, "<f4")
    return Profile(
        *decode_interests(positive, positive_mass, dimension),
        *decode_interests(negative, negative_mass, dimension),
        session / np.linalg.norm(session) if len(session) else session,
        as_utc(session_at) if session_at else None,
        json.loads(sums),
    )


def build_taste(
    profile: Profile | None,
    feedback: FeedbackRows,
    now: datetime,
    dimension: int,
    vocabularies: Vocabularies,
    session_weight: float,
) -> Taste:
    """
    Return what is known of a member's taste: from their *profile*, and what they *asked* for less of, as it stands now.

    What they did in the last half hour is one more interest, of weight *session*, the heaviest of the others being 1.
    """
    wishes = show_less_weights(feedback, now)
    if profile is None:
        return Taste(Interests.empty(dimension), *build_affinities({}, wishes, vocabularies))
    likes, weights = profile.likes, profile.like_weights
    is_going_on = profile.session_at is not None and (now - profile.session_at).total_seconds() < SESSION_SECONDS
    if session_weight > 0 and len(profile.session) and is_going_on:
        likes = np.vstack([likes, profile.session])
        weights = np.append(weights, np.float32(session_weight))
    interests = Interests(likes, weights, profile.dislikes, profile.dislike_weights)
    return Taste(
        interests,
        *(
            build_affinities(profile.affinity_sums, wishes, vocabularies)
            if wishes
            else profile.learned_affinities(vocabularies)
        ),
    )


def show_less_weights(feedback: FeedbackRows, now: datetime) -> dict[str, dict[str, float]]:
    """Return how much less the member wants of what, from -1: by subject and key."""
    wishes: dict[str, dict[str, float]] = {}
    for target, target_key, created_at in feedback:
        age = max((now - as_utc(created_at)).total_seconds(), 0.0)
        of_target = wishes.setdefault(target, {})
        of_target[target_key] = min(of_target.get(target_key, 0.0), -(2.0 ** (-age / SHOW_LESS_HALF_LIFE_SECONDS)))
    return wishes


def build_affinities(
    affinity_sums: Mapping[str, Mapping[str, float]],
    show_less: Mapping[str, Mapping[str, float]],
    vocabularies: Vocabularies,
) -> Affinities:
    """Return the affinities to authors, topics and formats; a wish for less of something outweighs what was learned."""
    numbers: dict[str, Callable[[str], int]] = {
        "author": int,
        "topic": vocabularies.tags.intern,
        "kind": vocabularies.kinds.intern,
    }
    made = []
    for subject, number in numbers.items():
        learned = affinity_sums.get(subject, {})
        liked = {
            key: max(value / (math.fabs(value) + AFFINITY_HALF_SUM), LEARNED_FLOOR) for key, value in learned.items()
        }
        liked |= show_less.get(subject, {})
        pairs = sorted((number(key), weight) for key, weight in liked.items())
        ids = np.array([id for id, _ in pairs], np.int64)
        made.append(Affinity(ids, np.array([weight for _, weight in pairs], np.float32)))
    return made[0], made[1], made[2]


def decode_interests(vectors: bytes, mass: bytes, dimension: int) -> tuple[Float32Array, Float32Array]:
    """Return stored sums as unit rows and weights from 0 to 1; a sum that came to nothing is left out."""
    sums = np.frombuffer(vectors, "<f4").reshape(-1, dimension)
    weights = np.frombuffer(mass, "<f4")
    lengths = np.linalg.norm(sums, axis=1)
    kept = (lengths > 1e-6) & (weights > 0)
    if not kept.any():
        return np.zeros((0, dimension), np.float32), np.zeros(0, np.float32)
    return sums[kept] / lengths[kept, None], np.sqrt(weights[kept] / weights[kept].max())
