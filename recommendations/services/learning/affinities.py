"""
A member's affinities to authors, topics and kinds of post: decayed sums of the weights of their interactions.

The profile stores a sum s as it stands at the profile's reference time. `stores/profiles.py` converts it to an
affinity s / (|s| + `AFFINITY_HALF_SUM`): from -1 to 1, and one half at a sum of `AFFINITY_HALF_SUM`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from recommendations.services.learning.interests import decay_factor

AffinitySums = dict[str, dict[str, float]]
"""By target (`author`, `topic`, `kind`) and key (the author's primary key, the tag, the kind of post)."""

AffinityKeys = Sequence[tuple[str, str]]
"""The targets and keys of a post."""

MAX_AFFINITIES = {"author": 200, "topic": 100, "kind": 16}
"""Stored sums per target: the strongest. Bounds the row's size; changes the answer for the weakest."""
MAX_TAGS = 3
"""Tags of a post, the main one first, that an interaction with the post counts for. Changes the answer."""


def decay_affinities(sums: Mapping[str, Mapping[str, float]], seconds: float) -> AffinitySums:
    """Return the sums decayed by *seconds*, with an entry for every target."""
    factor = decay_factor(seconds)
    return {target: {key: value * factor for key, value in sums.get(target, {}).items()} for target in MAX_AFFINITIES}


def add_affinity(sums: AffinitySums, keys: AffinityKeys, weight: float) -> None:
    """Add one interaction of *weight* to the sum of each (target, key)."""
    for target, key in keys:
        sums[target][key] = sums[target].get(key, 0.0) + weight


def trim_affinities(sums: AffinitySums) -> AffinitySums:
    """Return the strongest sums of each target, rounded to four decimals: a smaller difference changes no ranking."""
    return {
        target: {
            key: round(value, 4)
            for key, value in sorted(values.items(), key=lambda item: -abs(item[1]))[: MAX_AFFINITIES[target]]
        }
        for target, values in sums.items()
    }


def affinity_keys(author_id: int, tags: Iterable[str], kind: str) -> AffinityKeys:
    """Return the (target, key) pairs that an interaction with a post counts for: author, first tags, kind."""
    topics = [("topic", tag) for tag in list(tags)[:MAX_TAGS]]
    return [("author", str(author_id)), *topics, ("kind", kind)]
