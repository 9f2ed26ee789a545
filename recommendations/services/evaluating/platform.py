"""The members and posts of a platform that is evaluated, and their rows in files that `manage.py import_data` reads."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from recommendations.contracts import Float32Array, Float64Array
from recommendations.evaluation.interactions import KINDS, Interactions
from recommendations.evaluation.slices import find_first_times

Row = Mapping[str, object]
"""Fields of an imported row, by name (`services/content/importing/fields.py`)."""

UNTIMED_START = 1_700_000_000.0
"""Unix seconds of the first interaction of data without times. The others follow, one a second, in random order."""
MINUTE = 60.0
"""Seconds."""


@dataclass(frozen=True)
class PostVectors:
    """The vectors of posts by an embedding model that a platform uses already."""

    embedder: str
    option: str
    model: str
    posts: tuple[int, ...]
    """Index of the post of each row."""
    vectors: Float32Array  # (n, d)


@dataclass(frozen=True)
class Platform:
    """
    Everything about a platform but its interactions. Indexes of members and posts are those of the interactions.

    A post without `created_at` appears a minute before its first interaction in the training set, as
    `manage.py import_sample` has it; one without interactions is as old as the first interaction of all. So nothing
    about a post is known from what happened after the training set.
    """

    members: Sequence[Row]
    """For each member index, the fields of the member's row except the id."""
    posts: Sequence[Row]
    """For each post index, the fields of the post's row except the id."""
    others: Mapping[str, Row] = field(default_factory=dict)
    """By id, the members who have no interactions, such as authors."""
    relationships: Sequence[Row] = ()
    vectors: PostVectors | None = None
    """None: the scratch platform embeds the texts of the posts."""
    policies: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """The settings of active policies, by variant. Those that are missing are as in a new installation."""


def member_key(index: int) -> str:
    """Return the id of a member on the scratch platform."""
    return f"member:{index}"


def post_key(index: int) -> str:
    """Return the id of a post on the scratch platform."""
    return f"post:{index}"


def fill_times(train: Interactions, seed: int) -> Float64Array:
    """Return the times (n,) of *train* in Unix seconds. Rows without times get times in an order drawn from *seed*."""
    if train.has_times:
        return train.times
    return UNTIMED_START + np.random.default_rng(seed).permutation(len(train)).astype(np.float64)


def member_rows(platform: Platform, oldest: float, now: float) -> Iterator[dict[str, object]]:
    """
    Yield the row of every member as of *now* (Unix seconds). Posts refer to their authors, so all members must exist:
    one who joined later joins now. Where the time is unknown, it is that of the *oldest* interaction. The interactions
    are those that may be learned from, so every member is personalized, and an adult unless the row says otherwise.
    """
    rows = {**platform.others, **{member_key(index): row for index, row in enumerate(platform.members)}}
    for id, row in rows.items():
        consents = {"is_private": False, "is_personalized": True, "is_adult": True}
        yield {"id": id, **consents, **row, "created_at": min(float(str(row.get("created_at", oldest))), now)}


def post_rows(platform: Platform, train: Interactions, times: Float64Array, now: float) -> Iterator[dict[str, object]]:
    """Yield the row of every post that exists at *now* (Unix seconds), oldest first, by what *train* shows of it."""
    oldest = float(times.min(initial=now))
    first = find_first_times(train.posts, times, len(train.post_ids))
    rows = [
        {
            "id": post_key(index),
            "visibility": "public",
            **row,
            "created_at": find_creation(row, float(first[index]), oldest),
        }
        for index, row in enumerate(platform.posts)
    ]
    rows.sort(key=lambda row: float(str(row["created_at"])))
    return (row for row in rows if float(str(row["created_at"])) <= now)


def find_creation(row: Row, first: float, oldest: float) -> float:
    """
    Return when a post appeared, in Unix seconds.

    *first* is the time of its first interaction, NaN without one; *oldest* that of the first interaction of all. A
    known time of creation holds, unless an interaction came before.
    """
    known = row.get("created_at")
    if known is None:
        return (oldest if math.isnan(first) else first) - MINUTE
    return float(str(known)) if math.isnan(first) else min(float(str(known)), first)


def interaction_rows(train: Interactions, times: Float64Array, start: int) -> Iterator[dict[str, object]]:
    """Yield the rows of *train* from *start* on, oldest first."""
    for row in start + np.argsort(times[start:], kind="stable"):
        yield {
            "event_id": f"row:{row}",
            "member_id": member_key(int(train.members[row])),
            "post_id": post_key(int(train.posts[row])),
            "kind": KINDS[train.kinds[row]].value,
            "value": float(train.values[row]),
            "occurred_at": float(times[row]),
        }
