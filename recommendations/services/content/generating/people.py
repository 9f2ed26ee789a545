"""Members in clusters of taste, with one or two languages, Zipfian activity and privacy settings."""

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
"""Number of groups of members with similar tastes."""


@dataclass(frozen=True)
class People:
    """Members, n of them."""

    cluster: Int32Array  # (n,) index of the taste cluster
    tastes: Float32Array  # (n, topics) shares that sum to 1
    language: Int8Array  # (n,) index of LANGUAGES
    second_language: Int8Array  # (n,) NONE for most
    region: Int32Array  # (n,) a random number that the caller maps to a region of the language
    birth_year: Int32Array  # (n,) NONE where unknown
    is_adult: Int8Array  # (n,) 1, 0, or NONE where unknown
    is_active: BoolArray  # (n,)
    is_private: BoolArray  # (n,)
    is_personalized: BoolArray  # (n,)
    sensitivity: Int8Array  # (n,) highest Sensitivity that the member accepts
    muted_topic: Int8Array  # (n,) NONE for most
    ages: Int64Array  # (n,) seconds since the account was created
    activity: Float64Array  # (n,) shares of the interactions, summing to 1


def make_people(size: PlatformSize) -> People:
    """Return the members. Only known adults accept sensitive or adult content."""
    rng, n = size.random_stream(1), size.members
    clusters = rng.dirichlet(np.full(len(TOPICS), 0.25), TASTE_CLUSTERS)
    cluster = rng.choice(TASTE_CLUSTERS, n, p=zipf_shares(TASTE_CLUSTERS, 0.7)).astype(np.int32)
    individual = rng.dirichlet(np.full(len(TOPICS), 0.25), n)
    birth_year = rng.integers(1950, 2016, n).astype(np.int32)
    is_adult = np.where(birth_year <= 2007, 1, 0).astype(np.int8)
    birth_year[rng.random(n) < 0.3] = NONE
    is_adult[rng.random(n) < 0.2] = NONE
    language = rng.choice(len(LANGUAGES), n, p=LANGUAGE_SHARES).astype(np.int8)
    second = rng.choice(len(LANGUAGES), n, p=LANGUAGE_SHARES).astype(np.int8)
    sensitivity = rng.choice(3, n, p=(0.8, 0.15, 0.05)).astype(np.int8)
    return People(
        cluster=cluster,
        tastes=(0.8 * clusters[cluster] + 0.2 * individual).astype(np.float32),
        language=language,
        second_language=np.where((rng.random(n) < 0.2) & (second != language), second, NONE).astype(np.int8),
        region=rng.geometric(0.5, n).astype(np.int32) - 1,
        birth_year=birth_year,
        is_adult=is_adult,
        is_active=rng.random(n) >= 0.02,
        is_private=rng.random(n) < 0.08,
        is_personalized=rng.random(n) >= 0.05,
        sensitivity=np.where(is_adult == 1, sensitivity, Sensitivity.SAFE).astype(np.int8),
        muted_topic=np.where(rng.random(n) < 0.05, rng.integers(0, len(TOPICS), n), NONE).astype(np.int8),
        ages=rng.integers(366 * SECONDS_PER_DAY, 5 * 365 * SECONDS_PER_DAY, n),
        activity=rng.permutation(zipf_shares(n, 0.7)),
    )
