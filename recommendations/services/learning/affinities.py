"""
How a member stands to authors, topics and formats: decayed sums of the weights of what they did.

A sum is kept with the profile and stands for its reference moment. Read, it becomes s / (|s| + `HALF_LIKED`): from -1
to 1, and one half at a sum of `HALF_LIKED`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from recommendations.services.learning.interests import decay_factor

AffinitySums = dict[str, dict[str, float]]
"""By subject (`author`, `topic`, `format`) and key (the author's number, the tag, the kind)."""

MAX_AFFINITIES = {"author": 200, "topic": 100, "kind": 16}
"""Sums of a subject that are kept: the strongest. Bounds the row; changes the answer for the weakest."""
MAX_TAGS = 3
"""Tags of a post, the main one first, that an act on it speaks of. Changes the answer."""


def decay_affinities(sums: Mapping[str, Mapping[str, float]], seconds: float) -> AffinitySums:
    """Return the sums as they stand *seconds* later."""
    factor = decay_factor(seconds)
    return {
        subject: {key: value * factor for key, value in sums.get(subject, {}).items()} for subject in MAX_AFFINITIES
    }


def add_affinity(sums: AffinitySums, keys: Iterable[tuple[str, str]], weight: float) -> None:
    """Add one act of *weight* to each of these (subject, key)."""
    for subject, key in keys:
        sums[subject][key] = sums[subject].get(key, 0.0) + weight


def trim_affinities(sums: AffinitySums) -> AffinitySums:
    """Return the strongest of each subject, rounded: a thousandth of an act changes nothing."""
    return {
        subject: {
            key: round(value, 4)
            for key, value in sorted(values.items(), key=lambda item: -abs(item[1]))[: MAX_AFFINITIES[subject]]
        }
        for subject, values in sums.items()
    }


def affinity_keys(author_id: int, tags: Iterable[str], kind: str) -> list[tuple[str, str]]:
    """Return what an act on a post speaks of."""
    topics = [("topic", tag) for tag in list(tags)[:MAX_TAGS]]
    return [("author", str(author_id)), *topics, ("kind", kind)]
