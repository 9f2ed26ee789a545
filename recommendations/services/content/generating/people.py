"""Members in clusters of taste, with a language or two, Zipfian activity, and their privacy settings."""

from dataclasses import dataclass

import numpy as np

from recommendations.contracts import (
    BoolArray,
    Float32Array,
    Float64Array,
    Int8Array,
    Int32Array,
    Int64Array,
    Sensitivity,
)
from recommendations.services.content.generating.draws import NONE, SECONDS_PER_DAY, PlatformSize, zipf_shares
from recommendations.services.content.generating.vocabulary import LANGUAGE_SHARES, LANGUAGES, TOPICS

TASTE_CLUSTERS = 16
"""Groups of members with about the same taste."""


@dataclass(frozen=True)
class People:
    """Members, n of them."""

    cluster: Int32Array  # (n,) the group of taste
    tastes: Float32Array  # (n, topics) shares that sum to 1
    language: Int8Array  # (n,) index of LANGUAGES
    second_language: Int8Array  # (n,) NONE for most
    region: Int32Array  # (n,) a random number; which region of the language it means is the caller's
    birth_year: Int32Array  # (n,) NONE where unknown
    is_adult: Int8Array  # (n,) 1, 0, or NONE where unknown
    is_active: BoolArray  # (n,)
    is_private: BoolArray  # (n,)
    is_personalized: BoolArray  # (n,)
    sensitivity: Int8Array  # (n,) Sensitivity that the member takes
    muted_topic: Int8Array  # (n,) NONE for most
    ages: Int64Array  # (n,) seconds since the account was made
    activity: Float64Array  # (n,) shares of the interactions, summing to 1


def make_people(size: PlatformSize) -> People:
    """Return the members. Adult content is taken by known adults only."""
    rng, n = size.random_stream(1), size.members
    clusters = rng.dirichlet(np.full(len(TOPICS), 0.25), TASTE_CLUSTERS)
    cluster = rng.choice(TASTE_CLUSTERS, n, p=zipf_shares(TASTE_CLUSTERS, 0.7)).astype(np.int32)
    own = rng.dirichlet(np.full(len(TOPICS), 0.25), n)
    birth_year = rng.integers(1950, 2016, n).astype(np.int32)
    is_adult = np.where(birth_year <= 2007, 1, 0).astype(np.int8)
    birth_year[rng.random(n) < 0.3] = NONE
    is_adult[rng.random(n) < 0.2] = NONE
    language = rng.choice(len(LANGUAGES), n, p=LANGUAGE_SHARES).astype(np.int8)
    second = rng.choice(len(LANGUAGES), n, p=LANGUAGE_SHARES).astype(np.int8)
    takes = rng.choice(3, n, p=(0.8, 0.15, 0.05)).astype(np.int8)
    return People(
        cluster=cluster,
        tastes=(0.8 * clusters[cluster] + 0.2 * own).astype(np.float32),
        language=language,
        second_language=np.where((rng.random(n) < 0.2) & (second != language), second, NONE).astype(np.int8),
        region=rng.geometric(0.5, n).astype(np.int32) - 1,
        birth_year=birth_year,
        is_adult=is_adult,
        is_active=rng.random(n) >= 0.02,
        is_private=rng.random(n) < 0.08,
        is_personalized=rng.random(n) >= 0.05,
        sensitivity=np.where(is_adult == 1, takes, Sensitivity.SAFE).astype(np.int8),
        muted_topic=np.where(rng.random(n) < 0.05, rng.integers(0, len(TOPICS), n), NONE).astype(np.int8),
        ages=rng.integers(366 * SECONDS_PER_DAY, 5 * 365 * SECONDS_PER_DAY, n),
        activity=rng.permutation(zipf_shares(n, 0.7)),
    )
