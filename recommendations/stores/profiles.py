"""
A viewer's interests: what was learned from interactions, and the member's negative feedback. Every personalized feed
reads both, so they are two raw SQL queries.
"""

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

from recommendations.contracts import EMPTY_IDS, LEARNED_FLOOR, Affinity, Float32Array, Int64Array, Interests
from recommendations.models import InterestProfile, NegativeFeedback, ReactionHistory
from recommendations.stores.relational_posts import as_utc
from recommendations.stores.sql import Rows
from recommendations.stores.vocabulary import Vocabularies

SESSION_SECONDS = 1_800.0
"""The session vector is used this long after the last interaction. Changes the answer."""
AFFINITY_HALF_SUM = 4.0
"""The sum of interaction weights at which an affinity is one half. Changes the answer."""
STATED_SUM = 4.0
"""
What a stated interest in a tag adds to the sum of interaction weights: as much as four likes. Changes the answer.
"""
SHOW_LESS_HALF_LIFE_SECONDS = 90 * 86_400.0
"""The time after which negative feedback counts half. Changes the answer."""

ProfileVersion = tuple[object, ...]
"""The columns of a profile's row that differ after every change of the profile."""
FeedbackRows = Rows
"""Negative feedback about authors, topics and kinds, as rows: target, target key, time."""

PROFILE_TABLE, FEEDBACK_TABLE, HISTORY_TABLE = (
    connection.ops.quote_name(model._meta.db_table) for model in (InterestProfile, NegativeFeedback, ReactionHistory)
)
VERSION_COLUMNS = 3
SELECT_PROFILE = f"""
    SELECT changed_at, interaction_count, reference_at,
           embedding_model, dimension, positive, positive_mass, negative, negative_mass, session, session_at, affinities
    FROM {PROFILE_TABLE} WHERE member_id = %s"""
SELECT_FEEDBACK = (
    f"SELECT target, target_key, created_at FROM {FEEDBACK_TABLE} WHERE member_id = %s AND target <> 'post'"
)
SELECT_REACTIONS = f"SELECT reactions FROM {HISTORY_TABLE} WHERE member_id = %s"


@dataclass(frozen=True, slots=True)
class Taste:
    """A viewer's interests and affinities, in the form that ranking uses."""

    interests: Interests
    author_affinity: Affinity
    topic_affinity: Affinity
    kind_affinity: Affinity


Affinities = tuple[Affinity, Affinity, Affinity]
"""Affinities to authors, topics and kinds."""


@dataclass(frozen=True)
class Profile:
    """What was learned about a member, decoded: unit vectors as rows, and their weights."""

    likes: Float32Array  # (k, d)
    like_weights: Float32Array  # (k,)
    dislikes: Float32Array  # (m, d)
    dislike_weights: Float32Array  # (m,)
    session: Float32Array  # (d,) the interactions of the last half hour; empty if none
    session_at: datetime | None
    affinity_sums: Mapping[str, Mapping[str, float]]
    """Sums of interaction weights: by "author", "topic" and "kind", then by key."""

    @cached_property
    def _learned_affinities(self) -> dict[Vocabularies, Affinities]:
        return {}

    def learned_affinities(self, vocabularies: Vocabularies) -> Affinities:
        """Return the affinities without negative feedback. They are computed once, since a word keeps its number."""
        if vocabularies not in self._learned_affinities:
            self._learned_affinities[vocabularies] = build_affinities(self.affinity_sums, {}, vocabularies)
        return self._learned_affinities[vocabularies]


def profile_version(rows: Rows) -> ProfileVersion | None:
    """Return the version of a profile from the rows of `SELECT_PROFILE`; None if the member has no profile."""
    return rows[0][:VERSION_COLUMNS] if rows else None


def decode_reactions(rows: Rows) -> Int64Array:
    """Return the reactions from the rows of `SELECT_REACTIONS`, oldest first, as in `ReactionHistory`."""
    return np.frombuffer(rows[0][0], "<i8") if rows else EMPTY_IDS


def decode_profile(rows: Rows, model: str, dimension: int) -> Profile | None:
    """Return the profile from the rows of `SELECT_PROFILE`; None if there is none, or it belongs to another model."""
    if not rows:
        return None
    row_model, row_dimension, *row = rows[0][VERSION_COLUMNS:]
    return decode_profile_row(row, dimension) if (row_model, row_dimension) == (model, dimension) else None


def decode_profile_row(row: Sequence[Any], dimension: int) -> Profile:
    """Return the profile of a row of `SELECT_PROFILE`, given from its column `positive` on."""
    positive, positive_mass, negative, negative_mass, session_vector, session_at, sums = row
    session = np.frombuffer(session_vector, "<f4")
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
    stated_tags: Sequence[str] = (),
) -> Taste:
    """
    Return a member's interests and affinities at *now*, from the *profile* and the negative *feedback*.

    The session vector (the interactions of the last half hour) becomes one more interest, of weight *session_weight*.
    The heaviest of the others has weight 1. *stated_tags* are what the member says they like; negative feedback about
    a tag replaces it.
    """
    show_less = show_less_weights(feedback, now)
    sums = add_stated_tags(profile.affinity_sums if profile else {}, stated_tags)
    if profile is None:
        return Taste(Interests.empty(dimension), *build_affinities(sums, show_less, vocabularies))
    likes, weights = profile.likes, profile.like_weights
    is_session_active = profile.session_at is not None and (now - profile.session_at).total_seconds() < SESSION_SECONDS
    if session_weight > 0 and len(profile.session) and is_session_active:
        likes = np.vstack([likes, profile.session])
        weights = np.append(weights, np.float32(session_weight))
    interests = Interests(likes, weights, profile.dislikes, profile.dislike_weights)
    return Taste(
        interests,
        *(
            build_affinities(sums, show_less, vocabularies)
            if show_less or stated_tags
            else profile.learned_affinities(vocabularies)
        ),
    )


def add_stated_tags(
    sums: Mapping[str, Mapping[str, float]], stated_tags: Sequence[str]
) -> Mapping[str, Mapping[str, float]]:
    """Return the affinity *sums* with `STATED_SUM` added to that of each of *stated_tags*."""
    if not stated_tags:
        return sums
    topics = dict(sums.get("topic", {}))
    topics |= {tag: topics.get(tag, 0.0) + STATED_SUM for tag in stated_tags}
    return {**sums, "topic": topics}


def show_less_weights(feedback: FeedbackRows, now: datetime) -> dict[str, dict[str, float]]:
    """Return the weight of negative feedback by target and key: -1 at first, then halved every half-life."""
    weights: dict[str, dict[str, float]] = {}
    for target, target_key, created_at in feedback:
        age = max((now - as_utc(created_at)).total_seconds(), 0.0)
        target_weights = weights.setdefault(target, {})
        target_weights[target_key] = min(
            target_weights.get(target_key, 0.0), -(2.0 ** (-age / SHOW_LESS_HALF_LIFE_SECONDS))
        )
    return weights


def build_affinities(
    affinity_sums: Mapping[str, Mapping[str, float]],
    show_less: Mapping[str, Mapping[str, float]],
    vocabularies: Vocabularies,
) -> Affinities:
    """
    Return the affinities to authors, topics and kinds, each from -1 to 1.

    A learned affinity is sum / (|sum| + `AFFINITY_HALF_SUM`), at least `LEARNED_FLOOR`. Negative feedback replaces it.
    """
    key_numbers: dict[str, Callable[[str], int]] = {
        "author": int,
        "topic": vocabularies.tags.intern,
        "kind": vocabularies.kinds.intern,
    }
    affinities = []
    for target, key_number in key_numbers.items():
        sums = affinity_sums.get(target, {})
        weights = {
            key: max(value / (math.fabs(value) + AFFINITY_HALF_SUM), LEARNED_FLOOR) for key, value in sums.items()
        }
        weights |= show_less.get(target, {})
        pairs = sorted((key_number(key), weight) for key, weight in weights.items())
        ids = np.array([id for id, _ in pairs], np.int64)
        affinities.append(Affinity(ids, np.array([weight for _, weight in pairs], np.float32)))
    return affinities[0], affinities[1], affinities[2]


def decode_interests(vectors: bytes, mass: bytes, dimension: int) -> tuple[Float32Array, Float32Array]:
    """Return stored sums as unit rows (n, d) and weights (n,) from 0 to 1. Sums of about length 0 are left out."""
    sums = np.frombuffer(vectors, "<f4").reshape(-1, dimension)
    weights = np.frombuffer(mass, "<f4")
    lengths = np.linalg.norm(sums, axis=1)
    is_usable = (lengths > 1e-6) & (weights > 0)
    if not is_usable.any():
        return np.zeros((0, dimension), np.float32), np.zeros(0, np.float32)
    return sums[is_usable] / lengths[is_usable, None], np.sqrt(weights[is_usable] / weights[is_usable].max())
