"""Hypothesis strategies for the inputs of the pipeline. Ids come from small ranges, so that they often match."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from functools import cached_property
from typing import Any
from uuid import UUID

import numpy as np
from hypothesis import strategies as st

from recommendations.contracts import (
    CANDIDATE_COLUMNS,
    UNKNOWN,
    AccountStatus,
    Affinity,
    Candidates,
    FeedFilter,
    Interests,
    Policy,
    Query,
    Sensitivity,
    Visibility,
)

NOW = 1_780_000_000.0
DIMENSION = 4
POSTS, AUTHORS, TAGS, LANGUAGES, KINDS = range(1, 60), range(1, 7), range(7), range(4), range(3)
REGION = 9

POST_IDS, AUTHOR_IDS = st.sampled_from(POSTS), st.sampled_from(AUTHORS)


# Drawing each number would take most of a test's time. So one byte string is drawn, and each byte selects a value.

MOMENTS = [np.nan, NOW, NOW - 1, NOW - 3600, NOW - 86_400, NOW - 1e7, NOW + 60, NOW + 1e9, 0.0, -1e9]
FACTS: dict[str, Sequence[Any]] = {
    "origins": range(128),
    "rows": [UNKNOWN, *range(30)],
    "author_ids": [UNKNOWN, *AUTHORS],
    "created_at": MOMENTS,
    "visibility": [UNKNOWN, *Visibility],
    "sensitivity": [UNKNOWN, *Sensitivity],
    "account_status": [UNKNOWN, *AccountStatus],
    "is_removed": [False, True],
    "is_seen": [False, True],
    "has_muted_word": [False, True],
    "language_ids": [UNKNOWN, *LANGUAGES],
    "tag_ids": [UNKNOWN, *TAGS],
    "engagement": [0, 0.1, 1, 3, 10, 999, 1000, 1001, 1e9, 2.0**100],
    "kind_ids": [UNKNOWN, *KINDS],
    "served_count": [0, 1, 2, 50, 99, 100, 10_000, 10**6],
    "quality": [0.5, 0, 1, 0.25, 0.7, 1 / 3],
    "similarity": [0, -1, 1, 0.3, -0.1, 1 / 3],
}
"""Legal values of every column of `Candidates` except the id: unknown, the limits of the range, and some between."""


@st.composite
def candidates(draw: st.DrawFn, min_size: int = 0, max_size: int = 12) -> Candidates:
    """Draw posts with any legal facts. Their columns and cached properties are read-only."""
    ids = np.array(draw(st.lists(POST_IDS, unique=True, min_size=min_size, max_size=max_size)), np.int64)
    empty = Candidates.unknown(ids, np.zeros(len(ids), np.uint16))
    shapes = {name: getattr(empty, name).shape for name in FACTS}
    picks = drawn_bytes(draw, sum(int(np.prod(shape)) for shape in shapes.values()))
    columns, start = {}, 0
    for name, values in FACTS.items():
        size = int(np.prod(shapes[name]))
        indexes = picks[start : start + size] % len(values)
        columns[name] = np.array(values, getattr(empty, name).dtype)[indexes].reshape(shapes[name])
        start += size
    return read_only(replace(empty, **columns))


def drawn_bytes(draw: st.DrawFn, size: int) -> Any:
    """Draw *size* numbers from 0 to 255."""
    return np.frombuffer(draw(st.binary(min_size=size, max_size=size)), np.uint8).astype(np.int64)


def read_only(value: Any) -> Any:
    """Return *value*, a dataclass, after making its arrays read-only: writing to one raises an error."""
    cached = [name for name, member in vars(type(value)).items() if isinstance(member, cached_property)]
    for name in (*(f.name for f in fields(value)), *cached):
        column = getattr(value, name)
        if isinstance(column, np.ndarray):
            column.setflags(write=False)
    return value


def assert_same_columns(a: Candidates, b: Candidates, *names: str) -> None:
    """Assert that these columns, or all columns, are equal."""
    for name in names or CANDIDATE_COLUMNS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)


@st.composite
def sorted_ids(draw: st.DrawFn, numbers: Sequence[int], dtype: Any = np.int64) -> Any:
    """Draw a sorted array of some of *numbers*, about a quarter of them."""
    return np.array(numbers, dtype)[drawn_bytes(draw, len(numbers)) % 4 == 1]


@st.composite
def affinities(draw: st.DrawFn, numbers: Sequence[int], low: float = -1, high: float = 1) -> Affinity:
    """Draw weights from *low* to *high* of half of *numbers*."""
    picks = drawn_bytes(draw, len(numbers))
    weights = low + (high - low) * (picks >> 1) / 127
    is_named = picks % 2 == 1
    return Affinity(np.array(numbers, np.int64)[is_named], weights[is_named].astype(np.float32))


FEED_FILTERS = st.builds(
    FeedFilter,
    language_ids=sorted_ids(LANGUAGES, np.int32),
    kind_ids=sorted_ids(KINDS, np.int32),
    tag_ids=sorted_ids(TAGS, np.int32),
    since=st.just(0.0) | st.floats(NOW - 1e6, NOW),
)


@st.composite
def interests(draw: st.DrawFn) -> Interests:
    """Draw up to four interests of each sign; the heaviest positive one has weight 1."""

    def draw_side() -> tuple[Any, Any]:
        count = draw(st.integers(0, 4))
        rng = np.random.default_rng(draw(st.integers(0, 2**32)))
        vectors = rng.normal(size=(count, DIMENSION))
        weights = rng.random(count)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
        return vectors.astype(np.float32), (weights / weights.max(initial=1e-9)).astype(np.float32)

    return Interests(*draw_side(), *draw_side())


LIMITS = st.integers(0, 15)
POLICIES = st.builds(
    Policy,
    recency_half_life_hours=st.floats(0.1, 87_600),
    exploration_max_served=st.integers(1, 10_000),
    diversity=st.floats(0, 1),
    author_cap=st.integers(1, 5),
    max_topic_run=st.integers(1, 4),
    exploration_share=st.floats(0, 0.5),
    max_interests=st.integers(1, 4),
    **dict.fromkeys(
        (
            "nearest_candidates",
            "followed_candidates",
            "trending_candidates",
            "fresh_candidates",
            "topic_candidates",
            "exploration_candidates",
        ),
        LIMITS,
    ),
)


def queries() -> st.SearchStrategy[Query]:
    """Return a strategy for read-only queries of viewers with any facts."""
    built = st.builds(
        Query,
        request_id=st.uuids() | st.just(UUID(int=1)),
        viewer_id=AUTHOR_IDS,
        feed=st.just("discovery"),
        size=st.integers(0, 10),
        now=st.just(NOW),
        policy=POLICIES,
        variant=st.just("control"),
        policy_version=st.just(1),
        interests=interests(),
        max_sensitivity=st.sampled_from([0, 1, 2]),
        language_ids=sorted_ids(LANGUAGES, np.int32),
        muted_tag_ids=sorted_ids(TAGS, np.int32),
        region_id=st.sampled_from([UNKNOWN, REGION]),
        author_affinity=affinities(AUTHORS),
        topic_affinity=affinities(TAGS),
        kind_affinity=affinities(KINDS),
        post_fatigue=affinities(POSTS, low=0),
        item_weights=affinities(POSTS),
        co_liked=affinities(POSTS),
        liked_next=affinities(POSTS),
        feed_filter=FEED_FILTERS,
        **dict.fromkeys(("followed_author_ids", "blocked_author_ids", "muted_author_ids"), sorted_ids(AUTHORS)),
        **dict.fromkeys(("excluded_post_ids", "seen_post_ids", "hidden_post_ids"), sorted_ids(POSTS)),
    )
    return built.map(read_only)


def positions(n: int) -> st.SearchStrategy[Any]:
    """Return a strategy for positions below *n*, in any order, with repetitions."""
    lists = st.lists(st.integers(0, n - 1), max_size=2 * n) if n else st.just([])
    return lists.map(lambda drawn: np.array(drawn, np.int64))


assert set(FACTS) | {"post_ids"} == set(CANDIDATE_COLUMNS), "add the legal values of the new column of Candidates here"
