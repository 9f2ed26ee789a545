"""
The types that every part of the service shares: frozen values and columns.

This module does not import Django and has no logic beyond validation and selection. Candidates are columns, not
objects: a request handles a few thousand candidates in a few milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum, unique
from functools import cache, cached_property
from math import inf
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from values.translation import translatable

Int8Array = NDArray[np.int8]
Int32Array = NDArray[np.int32]
Int64Array = NDArray[np.int64]
UInt16Array = NDArray[np.uint16]
Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

UNKNOWN = -1
"""Marks an unknown fact in a column. A filter drops a post if a fact that it needs is unknown."""

MAX_CLOCK_SKEW = timedelta(minutes=5)
"""How far the clock of a sender may be ahead of the server's."""

CONTENT_SPACE = "content"
ENGINE_FLAG = "wasm_recommendations"
"""The flag that chooses between the WebAssembly engine and the control engine."""
"""The space of the vectors that EMBEDDER computes from the text of posts."""

MAX_COLD_POSTS = 100
"""
Maximum number of non-resident posts in one request. The vector index returns at most this many, and the facts of at
most this many are read from the database. Any further post has no facts and is dropped. Changes the answer.
"""

TAGS_PER_POST = 8
"""Tags of a post that the pipeline uses. The final check uses all of them. Changes the speed."""

BITS = 16
"""Maximum number of members of a `bit_set` enum. Bit sets are uint16 columns in memory, in caches and in tables."""

Bits = TypeVar("Bits", bound=IntEnum)


def bit_set(kind: type[Bits]) -> type[Bits]:
    """
    Return the enum *kind*, whose values are positions in a uint16 bit set.

    Raises `TypeError` if a value is not from 0 to 15, and `ValueError` if two members have the same value. Otherwise
    such a member would be lost from stored bit sets without an error.
    """
    out_of_range = [member.name for member in kind if not 0 <= member < BITS]
    if out_of_range:
        raise TypeError(f"{kind.__name__}: {', '.join(out_of_range)} does not fit. Give values from 0 to {BITS - 1}.")
    return unique(kind)


class Visibility(IntEnum):
    """Who may see a post."""

    PUBLIC = 0
    FOLLOWERS = 1
    UNLISTED = 2
    """Visible to members who have the link. Never recommended."""
    PRIVATE = 3


class Sensitivity(IntEnum):
    """How sensitive a post is, and the most sensitive content that a viewer accepts."""

    SAFE = 0
    SENSITIVE = 1
    ADULT = 2
    FORBIDDEN = 3
    """Hidden from every viewer."""


class AccountStatus(IntEnum):
    """The status of an author's account."""

    OPEN = 0
    PRIVATE = 1
    INACTIVE = 2


class Sender(StrEnum):
    """Who sent an event. An event id is unique per sender and member."""

    PLATFORM = "platform"
    """Keys, staff and imports of the platform: together one sender."""
    MEMBER = "member"
    """The member's own tokens."""


class InteractionKind(StrEnum):
    """The kinds of interaction of a member with a post."""

    VIEW = "view"
    CLICK = "click"
    DWELL = "dwell"
    LIKE = "like"
    COMMENT = "comment"
    SHARE = "share"
    SAVE = "save"
    FOLLOW = "follow"
    """The member followed the author from the post."""
    HIDE = "hide"
    NOT_INTERESTED = "not_interested"
    REPORT = "report"


IMPLICIT_KINDS = (InteractionKind.VIEW, InteractionKind.CLICK, InteractionKind.DWELL)
"""What a member only looked at. Of members who are not known to be adults, nothing is learned from these."""


class FeedbackTarget(StrEnum):
    """What a member wants to see less of, given a post."""

    POST = "post"
    """The post itself, which is never shown again."""
    AUTHOR = "author"
    TOPIC = "topic"
    KIND = "kind"


@bit_set
class Origin(IntEnum):
    """The source of a candidate, as a bit of `Candidates.origins`. The values are stored: add new ones at the end."""

    NEAREST = 0
    FOLLOWED = 1
    TRENDING = 2
    FRESH = 3
    TOPIC = 4
    EXPLORATION = 5
    INDEXED = 6
    """Nearest in the vector index, which also holds non-resident posts."""
    ITEM_WEIGHTS = 7
    CO_LIKED = 8
    LIKED_NEXT = 9


POPULARITY_SUMS = ("hour_sum", "day_sum", "week_sum", "year_sum", "total_sum")
"""The sums of the interactions with a post, by the half-life that a policy has by default. The last never decays."""


MIN_POSITIVE_WEIGHT = 0.5
"""Minimum weight of a positive interaction: it counts as a success of a served post. Changes the answer."""
WEAK_SHARE = 0.25
"""
The share of its weight that an interaction below `MIN_POSITIVE_WEIGHT` has in the popularity of posts. Changes the
answer. Measured on MovieLens small, HR@10/NDCG@10 with each member's last like held out: .057/.032, and .055/.031 if
views have their whole weight.
"""


class PolicyError(ValueError):
    """A ranking policy has an unknown *setting*, or a value outside the range of the setting."""

    def __init__(self, setting: str, problem: str) -> None:
        super().__init__(f"{setting}: {problem}")
        self.setting = setting


@dataclass(frozen=True, slots=True)
class Range:
    """The allowed range of a policy setting."""

    low: float
    high: float
    help: str
    neutral: float
    """The value with which the setting has no effect. Stored versions without the setting get this value."""
    split_from: str = ""
    """The setting that had the effect of this one before. Stored versions without this one get the value of that."""


def name_setting(name: str) -> str:
    """Return the name of a setting in words, with its unit, in English."""
    words = name.replace("half_life", "half-life").replace("_", " ").capitalize()
    if name.endswith("_hours"):
        return f"{words.removesuffix(' hours')} (hours)"
    return f"{words} (posts)" if name.endswith("_candidates") else words


def ranged_field(
    default: float, low: float, high: float, help: str, *, neutral: float = 0, split_from: str = ""
) -> float:
    """
    Return a field of `Policy` whose values are from *low* to *high*.

    *default* is the value in new versions. *neutral* is the value in versions that were stored before the setting
    existed: with it, feeds are ranked as if the setting did not exist. It is 0 for a weight or a count of candidates.
    For other settings it is the limit that limits nothing, or the constant that the setting replaced. Never change a
    neutral value that has been released: it would change how stored versions rank. *split_from* is the setting above
    that had the effect of this one before, if there was one.
    """
    if not low <= neutral <= high:
        raise ValueError(f"{help} Give a neutral value from {low} to {high}, not {neutral}.")
    return field(default=default, metadata={"range": Range(low, high, help, neutral, split_from)})


@dataclass(frozen=True, slots=True)
class Policy:
    """
    The settings that a feed is ranked with. Every setting changes the answer.

    A default applies to new versions only. A stored version names every setting of the release that wrote it
    (`Policy.from_settings`), so that later releases rank with it as before (`Policy.from_stored`). To use the default
    of a new setting in a stored variant, write a new version of the variant.
    """

    taste: float = ranged_field(1.4, 0, 10, "Weight of the similarity to the viewer's positive interests.")
    cold_taste: float = ranged_field(1.4, 0, 10, "Weight of the similarity of posts that are not resident in memory.")
    dislike: float = ranged_field(
        0.5, 0, 10, "Weight of the similarity to posts that the viewer rejected. Lowers the score."
    )
    recency: float = ranged_field(0.05, 0, 10, "Weight of the recency of the post.")
    popularity: float = ranged_field(
        0.01,
        0,
        10,
        "Weight of the popularity of the post of all time, relative to others, in the discovery feed.",
    )
    trending_popularity: float = ranged_field(
        0.125,
        0,
        10,
        "Weight of the popularity of the post of all time in the trending and the non-personalized feed.",
        split_from="popularity",
    )
    year_popularity: float = ranged_field(
        0.03, 0, 10, "Weight of the popularity of the post in the last year, relative to other posts."
    )
    few_likes_popularity: float = ranged_field(
        0.4,
        0,
        10,
        "Further weight of the popularity of all time for a viewer without likes. Divided by (1 + n)² after n likes.",
    )
    trend: float = ranged_field(
        0.5, 0, 10, "Weight of the popularity of the post in the last hour, day and week, relative to other posts."
    )
    item_weights: float = ranged_field(
        0.75, 0, 10, "Weight of what the trained item weights say about the posts that the viewer liked and rejected."
    )
    co_liked: float = ranged_field(
        1.0, 0, 10, "Weight of posts that members liked together with what the viewer liked last."
    )
    liked_next: float = ranged_field(0.2, 0, 10, "Weight of posts that members liked after what the viewer liked last.")
    follow: float = ranged_field(0.2, 0, 10, "Weight of posts by authors whom the viewer follows.")
    author: float = ranged_field(0.5, 0, 10, "Weight of the viewer's affinity for the author.")
    topic: float = ranged_field(0.2, 0, 10, "Weight of the viewer's affinity for the tags of the post.")
    show_less: float = ranged_field(
        2.0, 0, 10, "Weight of negative feedback on the author, topic or kind of post. Lowers the score."
    )
    quality: float = ranged_field(
        0.1, 0, 10, "Weight of the rate of positive interactions each time the post is served."
    )
    exploration: float = ranged_field(0.05, 0, 10, "Bonus for posts that were served to few members.")
    fatigue: float = ranged_field(
        0.4, 0, 10, "Weight of having served the post to the viewer recently. Lowers the score."
    )
    fatigue_half_life_hours: float = ranged_field(
        6.0, 0.1, 1000, "Hours after which the fatigue of a post halves.", neutral=6
    )
    session: float = ranged_field(
        0.8, 0, 1, "Weight of the current session as an interest, where the heaviest other interest has weight 1."
    )
    recency_half_life_hours: float = ranged_field(
        72.0, 0.1, 87_600, "Hours after which the recency of a post halves.", neutral=72
    )
    diversity: float = ranged_field(
        0.2, 0, 1, "Trade-off between score and variety. 0 ranks by score alone, 1 by variety alone."
    )
    author_cap: int = ranged_field(3, 1, 1000, "Maximum number of posts by one author in a slate.", neutral=1000)  # type: ignore[assignment]
    nearest_candidates: int = ranged_field(  # type: ignore[assignment]
        400, 0, 5000, "Maximum number of candidates from the posts nearest to the viewer's interests."
    )
    max_interests: int = ranged_field(  # type: ignore[assignment]
        4, 1, 16, "Number of interests to find nearest posts for, heaviest first.", neutral=16
    )
    followed_candidates: int = ranged_field(300, 0, 5000, "Maximum number of candidates from followed authors.")  # type: ignore[assignment]
    trending_candidates: int = ranged_field(  # type: ignore[assignment]
        200, 0, 5000, "Maximum number of candidates from trending and popular posts."
    )
    fresh_candidates: int = ranged_field(100, 0, 5000, "Maximum number of candidates from the newest posts.")  # type: ignore[assignment]
    topic_candidates: int = ranged_field(
        150, 0, 5000, "Maximum number of candidates from topics that the viewer likes."
    )  # type: ignore[assignment]
    collaborative_candidates: int = ranged_field(  # type: ignore[assignment]
        300, 0, 5000, "Maximum number of candidates from item weights, from co-liked and from next-liked posts, each."
    )
    exploration_candidates: int = ranged_field(  # type: ignore[assignment]
        12, 0, 1000, "Maximum number of candidates from posts that were served to few members."
    )
    exploration_share: float = ranged_field(
        0.05, 0, 0.5, "Share of a slate that is reserved for posts that were served to few members."
    )
    exploration_max_served: int = ranged_field(  # type: ignore[assignment]
        100, 1, 10_000, "Times served, or positive interactions, before a post's exploration ends.", neutral=100
    )
    max_topic_run: int = ranged_field(2, 1, 100, "Maximum number of consecutive posts about one topic.", neutral=100)  # type: ignore[assignment]
    weight_view: float = ranged_field(
        0.2, -10, 10, "Weight of a view in interests and popularity. Read from the control variant only."
    )
    weight_click: float = ranged_field(
        0.5, -10, 10, "Weight of a click in interests and popularity. Read from the control variant only."
    )
    weight_dwell: float = ranged_field(
        0.5, -10, 10, "Weight of a dwell in interests and popularity. Read from the control variant only."
    )
    weight_like: float = ranged_field(
        1.0, -10, 10, "Weight of a like in interests and popularity. Read from the control variant only."
    )
    weight_comment: float = ranged_field(
        1.5, -10, 10, "Weight of a comment in interests and popularity. Read from the control variant only."
    )
    weight_share: float = ranged_field(
        2.0, -10, 10, "Weight of a share in interests and popularity. Read from the control variant only."
    )
    weight_save: float = ranged_field(
        2.0, -10, 10, "Weight of a save in interests and popularity. Read from the control variant only."
    )
    weight_follow: float = ranged_field(
        1.5,
        -10,
        10,
        "Weight of following the author from a post in interests and popularity. Read from the control variant only.",
    )
    weight_hide: float = ranged_field(
        -1.0, -10, 10, "Weight of a hide in interests and popularity. Read from the control variant only."
    )
    weight_not_interested: float = ranged_field(
        -1.5,
        -10,
        10,
        "Weight of a not_interested without a target in interests and popularity. Read from the control variant only.",
    )
    weight_report: float = ranged_field(
        -2.0, -10, 10, "Weight of a report in interests and popularity. Read from the control variant only."
    )

    hour_half_life_hours: float = ranged_field(
        1.0,
        0.1,
        87_600,
        "Hours after which an interaction halves in the hour sum of a post. Read from the control variant only.",
        neutral=1,
    )
    day_half_life_hours: float = ranged_field(
        24.0,
        0.1,
        87_600,
        "Hours after which an interaction halves in the day sum of a post. Read from the control variant only.",
        neutral=24,
    )
    week_half_life_hours: float = ranged_field(
        168.0,
        0.1,
        87_600,
        "Hours after which an interaction halves in the week sum of a post. Read from the control variant only.",
        neutral=168,
    )
    year_half_life_hours: float = ranged_field(
        8760.0,
        0.1,
        876_000,
        "Hours after which an interaction halves in the year sum of a post. Read from the control variant only.",
        neutral=8760,
    )

    @property
    def popularity_half_lives(self) -> tuple[float, ...]:
        """
        Seconds after which each of `POPULARITY_SUMS` halves. Variants share the sums, so the control policy is used.

        A change applies to the decay from then on: what a stored sum had decayed to at its last change stays.
        """
        hours = (self.hour_half_life_hours, self.day_half_life_hours, self.week_half_life_hours)
        return (*(3600 * value for value in (*hours, self.year_half_life_hours)), inf)

    @property
    def popularity_weights(self) -> dict[str, float]:
        """
        The weight of each kind of interaction in the sums of a post.

        It is the weight in interests, except that a negative interaction has none and a weak one, such as a view,
        counts by `WEAK_SHARE`: a post is viewed because it is shown.
        """
        weights = self.interaction_weights
        return {kind: max(w, 0.0) * (1 if w >= MIN_POSITIVE_WEIGHT else WEAK_SHARE) for kind, w in weights.items()}

    @property
    def interaction_weights(self) -> dict[str, float]:
        """The weight of each kind of interaction. Variants share one profile, so learning uses the control policy."""
        return {kind: getattr(self, f"weight_{kind}") for kind in InteractionKind}

    @classmethod
    def from_settings(cls, settings: Mapping[str, object]) -> Policy:
        """
        Return a new policy with these *settings*, and the defaults of the others.

        Raises `PolicyError` with the name of a setting that is unknown, or whose value is outside its range.
        """
        known = {f.name: f for f in fields(cls)}
        values: dict[str, float] = {}
        for name, value in settings.items():
            if name not in known:
                raise PolicyError(name, f"no such setting. The settings are {', '.join(known)}.")
            allowed: Range = known[name].metadata["range"]
            if (
                isinstance(value, bool)
                or not isinstance(value, int | float)
                or not allowed.low <= value <= allowed.high
            ):
                raise PolicyError(name, f"give a number from {allowed.low} to {allowed.high}, not {value!r}.")
            if known[name].type == "int" and value != int(value):
                raise PolicyError(name, f"give a whole number, not {value!r}.")
            values[name] = int(value) if known[name].type == "int" else float(value)
        return cls(**values)  # type: ignore[arg-type]

    @classmethod
    def from_stored(cls, settings: Mapping[str, Any]) -> Policy:
        """
        Return the policy of a stored version, which ranks as it did when it was written.

        A missing setting gets the value of the setting that it was split from, or its neutral value, and never its
        default. A setting that no longer exists is ignored. Values were validated when they were written, so a range
        that was narrowed later does not change them. Raises `PolicyError` if a value is not a number.
        """
        values: dict[str, float] = {}
        for setting in fields(cls):
            allowed = setting.metadata["range"]
            value = settings.get(setting.name, values.get(allowed.split_from, allowed.neutral))
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise PolicyError(setting.name, f"the stored value {value!r} is not a number.")
            values[setting.name] = int(value) if setting.type == "int" else float(value)
        return cls(**values)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Interests:
    """A viewer's interest vectors at the moment of the request. Rows have unit length; heavier interests count more."""

    positive: Float32Array  # (k, d)
    positive_weights: Float32Array  # (k,) from 0 to 1, the heaviest is 1
    negative: Float32Array  # (m, d)
    negative_weights: Float32Array  # (m,)

    @classmethod
    def empty(cls, dimension: int) -> Interests:
        """Return the interests of a viewer without any."""
        empty, weights = np.zeros((0, dimension), np.float32), np.zeros(0, np.float32)
        return cls(empty, weights, empty, weights)


@dataclass(frozen=True, slots=True)
class SpaceTaste:
    """
    A viewer's interests in one extra space of an engine. `Engine.score` adds one score part for it.

    Extra spaces are for collaborative factors: the viewer's factors are the interest, and the posts' factors are the
    vectors of the space.
    """

    space: str
    """Name of the extra space."""
    interests: Float32Array  # (k, d) of any length, d of that space
    weights: Float32Array  # (k,)


EMPTY_IDS: Int64Array = np.zeros(0, np.int64)


COMPARE_MAX_IDS, SEARCH_MAX_VALUES, TABLE_MAX_SPARSITY = 8, 4096, 16
"""
Limits of the strategies of `is_in_sorted`: the most ids to compare one by one, the most values to search for, and the
largest ratio of the table's size to the number of values. Change the speed, never the answer.
"""


def is_in_sorted(values: NDArray[np.integer], sorted_ids: NDArray[np.integer]) -> BoolArray:
    """
    Return a mask, in the shape of *values*, of the values that are in *sorted_ids* (n,), which must be sorted.

    Filters run this over every resident post on each request, so it has four strategies; `np.isin` alone takes ten
    times as long as the first three. Up to `COMPARE_MAX_IDS` ids are compared one after the other. Up to
    `SEARCH_MAX_VALUES` values are looked up by binary search. Otherwise, if the ids lie close together, a table with an
    entry for every integer in their span answers each value with one look-up. Ids that are spread out would need a
    table far larger than the data, and fall back to `np.isin`.
    """
    if not len(sorted_ids):
        return np.zeros(values.shape, np.bool_)
    if len(sorted_ids) <= COMPARE_MAX_IDS:
        first, *rest = sorted_ids.tolist()
        is_in = np.equal(values, first)
        for id in rest:
            is_in |= values == id
        return is_in
    if values.size <= SEARCH_MAX_VALUES:
        return np.equal(sorted_ids[np.minimum(np.searchsorted(sorted_ids, values), len(sorted_ids) - 1)], values)
    below, span = int(sorted_ids[0]) - 1, int(sorted_ids[-1] - sorted_ids[0]) + 1
    if span > TABLE_MAX_SPARSITY * values.size:
        return np.isin(values, sorted_ids)
    # The table has one more entry at each end, always False: mode="clip" sends all values outside the span there.
    table = np.zeros(span + 2, np.bool_)
    table[sorted_ids - below] = True
    return table.take(values - below, mode="clip")


LEARNED_FLOOR = -0.5
"""Learned affinities are never below this; only negative feedback is. Changes the answer."""


@dataclass(frozen=True, slots=True)
class Affinity:
    """A viewer's affinity for authors, topics, kinds or posts, as a sparse vector: 0 for every other id."""

    ids: Int64Array = field(default_factory=lambda: EMPTY_IDS)  # (n,) sorted
    weights: Float32Array = field(default_factory=lambda: np.zeros(0, np.float32))  # (n,) negative: show less

    @property
    def is_learned(self) -> bool:
        """Whether every weight was learned, so none comes from negative feedback."""
        return not len(self.ids) or bool(self.weights.min() >= LEARNED_FLOOR)

    def restrict_to(self, ids: Int64Array) -> Affinity:
        """Return the affinity for *ids* (n,) only."""
        is_kept = is_in_sorted(self.ids, np.sort(ids))
        return Affinity(self.ids[is_kept], self.weights[is_kept])

    def weights_of(self, ids: NDArray[np.integer]) -> Float32Array:
        """Return the weight of each of *ids*, in their shape. The weight of `UNKNOWN` is 0."""
        if not len(self.ids):
            return np.zeros(ids.shape, np.float32)
        table_end = int(self.ids[-1]) + 1
        if table_end < ids.size and self.ids[0] >= 0:
            # A table is faster than so many searches. Its last entry is 0: larger ids and UNKNOWN (-1) read it.
            table = np.zeros(table_end + 1, np.float32)
            table[self.ids] = self.weights
            return table.take(np.minimum(ids, table_end))
        indexes = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(self.ids[indexes] == ids, self.weights[indexes], np.float32(0))


@dataclass(frozen=True)
class Contributions:
    """How much each reaction (r,) contributes to a score part of each of some posts (n,), as whole numbers."""

    source_ids: Int64Array  # (r,) the post of each reaction
    totals: Int64Array  # (r, n)
    unit: float
    """The part of a post, before its weight, is float32(unit · the sum of its column), exact but for that rounding."""


class ReactionPart(Protocol):
    """A score part that is a sum over a member's reactions."""

    def contributions(self, post_ids: Int64Array) -> Contributions:
        """Return the contributions to the part of each of *post_ids* (n,), each post once."""
        ...


@dataclass(frozen=True, slots=True)
class FeedFilter:
    """The filters of one request, in internal ids. An empty filter accepts every post."""

    language_ids: Int32Array = field(default_factory=lambda: np.zeros(0, np.int32))  # (n,) sorted
    kind_ids: Int32Array = field(default_factory=lambda: np.zeros(0, np.int32))  # (n,) sorted
    tag_ids: Int32Array = field(default_factory=lambda: np.zeros(0, np.int32))  # (n,) sorted
    late_tagged_post_ids: Int64Array = field(default_factory=lambda: EMPTY_IDS)  # (n,) sorted
    """Resident posts with one of the tags behind their first `TAGS_PER_POST`, which `Candidates.tag_ids` lacks."""
    since: float = 0.0
    """Unix seconds; older posts are dropped. 0: no limit."""
    key: str = ""
    """The part of a slate's cache key that identifies the filters; empty if there are none."""


NON_PERSONALIZED = "non_personalized"
"""The feed that does not use the viewer's history."""


@dataclass(frozen=True)
class Query:
    """One request: its viewer, its feed, and the facts of the viewer that the pipeline uses. Id arrays are sorted."""

    request_id: UUID
    viewer_id: int
    feed: str
    size: int
    """Number of posts in the slate, including the reserve."""
    now: float
    """Unix seconds."""
    policy: Policy
    variant: str
    policy_version: int
    interests: Interests
    is_personalized: bool = True
    """Whether the viewer lets feeds use what they did. If not, no feed reads it, whatever the feed."""
    excluded_post_ids: Int64Array = field(default_factory=lambda: EMPTY_IDS)
    """Posts that must not be in the slate: those of earlier pages, or the post that a similar feed starts from."""
    max_sensitivity: int = Sensitivity.SAFE
    language_ids: Int32Array = field(default_factory=lambda: np.zeros(0, np.int32))
    """Languages that the viewer reads; empty: any."""
    followed_author_ids: Int64Array = field(default_factory=lambda: EMPTY_IDS)
    blocked_author_ids: Int64Array = field(default_factory=lambda: EMPTY_IDS)
    """Authors on either side of a block."""
    muted_author_ids: Int64Array = field(default_factory=lambda: EMPTY_IDS)
    muted_tag_ids: Int32Array = field(default_factory=lambda: np.zeros(0, np.int32))
    muted_words: tuple[str, ...] = ()
    """In the form of `values.text.fold`."""
    seen_post_ids: Int64Array = field(default_factory=lambda: EMPTY_IDS)
    hidden_post_ids: Int64Array = field(default_factory=lambda: EMPTY_IDS)
    """Posts that the viewer hid, reported or rejected."""
    region_id: int = UNKNOWN
    author_affinity: Affinity = field(default_factory=Affinity)
    topic_affinity: Affinity = field(default_factory=Affinity)
    """By tag id."""
    kind_affinity: Affinity = field(default_factory=Affinity)
    """By kind id."""
    like_count: int = 0
    """How many posts the viewer liked, at most as many as their reaction history has."""
    post_fatigue: Affinity = field(default_factory=Affinity)
    """The fatigue of recently served posts, 0 to 1."""
    item_weights: Affinity = field(default_factory=Affinity)
    """By post id: what the trained item weights say about the viewer's reactions. 1 is typical for a first page."""
    co_liked: Affinity = field(default_factory=Affinity)
    """By post id: co-likes with the viewer's latest reactions, in the same measure."""
    liked_next: Affinity = field(default_factory=Affinity)
    """By post id: likes after the viewer's latest reactions, in the same measure."""
    reaction_parts: Mapping[str, ReactionPart] = field(default_factory=dict)
    """By name of a collaborative part: what the viewer's reactions contribute to it."""
    trained_model_id: int = 0
    """The id of the trained model behind `item_weights`; 0 if there was none."""
    feed_filter: FeedFilter = field(default_factory=FeedFilter)

    @property
    def feed_key(self) -> str:
        """The key of this query's slate among the cached slates of the viewer."""
        return f"{self.feed}:{self.feed_filter.key}" if self.feed_filter.key else self.feed

    @property
    def uses_history(self) -> bool:
        """Whether the feed may use the viewer's history. If not, the history is not read."""
        return self.is_personalized and self.feed != NON_PERSONALIZED


@dataclass(frozen=True, slots=True)
class IndexFilter:
    """
    The filters that a vector index applies itself, before it selects the k nearest posts.

    A post passes if it is public, or if it is for followers and the viewer follows its author.
    """

    max_sensitivity: int = Sensitivity.SAFE
    language_ids: Int32Array = field(default_factory=lambda: np.zeros(0, np.int32))
    """Empty: any. A post of unknown language always passes."""
    excluded_author_ids: Int64Array = field(default_factory=lambda: EMPTY_IDS)
    followed_author_ids: Int64Array = field(default_factory=lambda: EMPTY_IDS)
    author_cap: int = 0
    """Maximum number of posts by one author; 0: no limit."""

    @classmethod
    def for_query(cls, query: Query, *, author_cap: int = 0) -> IndexFilter:
        """Return the filters for the viewer of *query*, as far as an index can apply them."""
        return cls(
            max_sensitivity=query.max_sensitivity,
            language_ids=query.language_ids,
            excluded_author_ids=np.unique(
                np.concatenate([query.blocked_author_ids, query.muted_author_ids, [query.viewer_id]])
            ).astype(np.int64),
            followed_author_ids=query.followed_author_ids,
            author_cap=author_cap,
        )


RowSelector = Int64Array | Int32Array | BoolArray | slice
"""Positions, a mask, or a slice."""


def select_rows(column: NDArray[Any], selector: RowSelector) -> NDArray[Any]:
    """Return the selected rows of *column*. For positions, `take` is ten times as fast as indexing a 2-d column."""
    if isinstance(selector, slice) or selector.dtype == np.bool_:
        return column[selector]
    return column.take(selector, axis=0)


@dataclass(frozen=True)
class Candidates:
    """Posts in the pipeline: one column for each fact, all of length n. `UNKNOWN` marks a fact that is unknown."""

    post_ids: Int64Array  # (n,)
    origins: UInt16Array  # (n,) bit set of `Origin`: the sources of the post
    rows: Int32Array  # (n,) row of the resident catalogue
    author_ids: Int64Array  # (n,)
    created_at: Float64Array  # (n,) Unix seconds
    visibility: Int8Array  # (n,) Visibility
    sensitivity: Int8Array  # (n,) Sensitivity
    account_status: Int8Array  # (n,) AccountStatus of the author
    is_removed: BoolArray  # (n,)
    is_seen: BoolArray  # (n,) set by the final check, in addition to query.seen_post_ids
    has_muted_word: BoolArray  # (n,) set by the final check, which reads the texts
    language_ids: Int32Array  # (n,)
    tag_ids: Int32Array  # (n, t)
    popularity: Float32Array  # (n,) 0 to 1, of all time; 0 if unknown
    year_popularity: Float32Array  # (n,) 0 to 1; 0 if unknown
    trend: Float32Array  # (n,) 0 to 1, popularity at the moment of the query; 0 if unknown
    kind_ids: Int32Array  # (n,) id of the kind (text, image, film …)
    served_count: Float32Array  # (n,) how often the post was served
    quality: Float32Array  # (n,) 0 to 1; 0.5 if unknown
    similarity: Float32Array  # (n,) weight · cosine with the interests, for non-resident posts; otherwise 0

    @classmethod
    def unknown(cls, post_ids: Int64Array, origins: UInt16Array) -> Candidates:
        """
        Return candidates with these ids and origins. Every other fact is unknown, so most filters drop them.

        A column of unknown facts is created when it is first read: most are replaced before.
        """
        unknown = object.__new__(cls)
        unknown.__dict__.update(post_ids=post_ids, origins=origins)
        return unknown

    def __len__(self) -> int:
        return len(self.post_ids)

    @property
    def topic_ids(self) -> Int32Array:
        """The main tag (n,) of each post."""
        return self.tag_ids[:, 0]

    # Cached, because the candidates of all resident posts serve many requests.

    @cached_property
    def is_visible_to_all(self) -> BoolArray:
        """Whether each post (n,) is public and its author's account is open."""
        return (self.visibility == Visibility.PUBLIC) & (self.account_status == AccountStatus.OPEN)

    @cached_property
    def followers_only(self) -> tuple[Int64Array, Int64Array]:
        """The positions of the posts that only followers of the author may see, and the ids of those authors."""
        is_visible = (self.visibility == Visibility.PUBLIC) | (self.visibility == Visibility.FOLLOWERS)
        is_active = (self.account_status == AccountStatus.OPEN) | (self.account_status == AccountStatus.PRIVATE)
        positions = np.flatnonzero(is_visible & is_active & ~self.is_visible_to_all)
        return positions, self.author_ids[positions]

    @cached_property
    def has_author(self) -> BoolArray:
        """Whether the author of each post (n,) is known."""
        return self.author_ids >= 0

    def take(self, selector: RowSelector, **columns: NDArray[Any]) -> Candidates:
        """
        Return the selected candidates. *columns* replace the columns of the same names.

        The result is lazy. It stores a reference to these candidates and the selector, and `__getattr__` copies a
        column when it is first read. Each change of order calls `take`, and most columns are never read before the next
        change, so copying all of them would be wasted work. The danger: a column of these candidates that is changed in
        place after `take` also changes in the result, if the result has not read it yet. Use `replace` instead.
        """
        taken = object.__new__(Candidates)
        taken.__dict__.update(columns, _source=self, _selector=selector)
        return taken

    # With `__getattr__`, a type checker would accept any misspelled column.
    if not TYPE_CHECKING:  # pragma: no branch - TYPE_CHECKING is always false at run time

        def __getattr__(self, name: str) -> NDArray[Any]:
            if name in CANDIDATE_COLUMNS and "_source" in self.__dict__:
                column = select_rows(getattr(self._source, name), self._selector)
            elif name in UNKNOWN_FACTS:
                column = np.full((len(self), *UNKNOWN_FACTS[name].shape), UNKNOWN_FACTS[name])
            else:
                raise AttributeError(f"Candidates have no column {name!r}")
            self.__dict__[name] = column
            return column


CANDIDATE_COLUMNS = tuple(f.name for f in fields(Candidates))
UNKNOWN_FACTS: Mapping[str, Any] = {
    "rows": np.int32(UNKNOWN),
    "author_ids": np.int64(UNKNOWN),
    "created_at": np.float64(np.nan),
    "visibility": np.int8(UNKNOWN),
    "sensitivity": np.int8(UNKNOWN),
    "account_status": np.int8(UNKNOWN),
    "is_removed": np.True_,
    "is_seen": np.True_,
    "has_muted_word": np.True_,
    "language_ids": np.int32(UNKNOWN),
    "tag_ids": np.full(TAGS_PER_POST, UNKNOWN, np.int32),
    "popularity": np.float32(0),
    "year_popularity": np.float32(0),
    "trend": np.float32(0),
    "kind_ids": np.int32(UNKNOWN),
    "served_count": np.float32(0),
    "quality": np.float32(0.5),
    "similarity": np.float32(0),
}
"""The value of each column of `Candidates`, except ids and origins, for a post whose fact is unknown."""


@dataclass(frozen=True)
class ScoredCandidates:
    """Candidates with their scores. A score is the sum of its parts."""

    candidates: Candidates
    scores: Float32Array  # (n,)
    part_names: tuple[str, ...]
    parts: Float32Array  # (n, p)

    def take(self, selector: Int64Array | slice) -> ScoredCandidates:
        """Return the candidates at these positions, in this order."""
        return ScoredCandidates(
            self.candidates.take(selector), self.scores[selector], self.part_names, select_rows(self.parts, selector)
        )


@dataclass(frozen=True, slots=True)
class PostView:
    """A post as entry points return it. Ids are the platform's."""

    id: str
    author_id: str
    text: str
    kind: str
    language: str
    tags: list[str]
    media: list[dict[str, Any]]
    created_at: datetime


@dataclass(frozen=True)
class CurrentPosts:
    """Posts as they are in the database at one moment: the facts for the filters, and the views to serve."""

    candidates: Candidates
    views: dict[int, PostView]
    """By post id; without posts that no longer exist."""
    facts_version: Any = None
    """Opaque version of the facts, for `PostFacts.is_current`."""


@dataclass(frozen=True)
class Slate:
    """A ranked list for one viewer, with a reserve after the visible picks. This is the unit that the cache stores."""

    request_id: UUID
    engine: str
    variant: str
    policy_version: int
    fallback: str
    """The fallback step that built the slate; empty if none was needed."""
    built_at: float
    candidate_count: int
    """How many candidates the slate was ranked from."""
    post_ids: Int64Array  # (n,)
    scores: Float32Array  # (n,)
    origins: UInt16Array  # (n,)
    reasons: UInt16Array  # (n,) bit set of `Reason`
    part_names: tuple[str, ...] = ()
    parts: Float32Array = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    """(n, p); empty for a slate from the cache, which does not store parts."""
    contributions: bytes = b""
    """What the viewer's reactions contributed to each pick (`collaborative/recorded.py`); empty as *parts* is."""
    trained_model_id: int = 0
    """The trained model that the slate was ranked with; 0 for none, and for a slate from the cache."""

    def __len__(self) -> int:
        return len(self.post_ids)

    @cached_property
    def has_parts(self) -> bool:
        """Whether the slate has the parts of its scores."""
        return self.parts.shape[0] == len(self.post_ids) and bool(self.part_names)

    def take(self, selector: Int64Array | BoolArray) -> Slate:
        """Return the slate with the picks at these positions, in this order."""
        parts = self.parts[selector] if self.has_parts else self.parts
        return replace(
            self,
            post_ids=self.post_ids[selector],
            scores=self.scores[selector],
            origins=self.origins[selector],
            reasons=self.reasons[selector],
            parts=parts,
        )


@dataclass(frozen=True, slots=True)
class ServedSlate:
    """A slate as it was first served: what cursors and explanations need of it before a worker records it."""

    record: bytes
    """The record that a worker writes (`services/serving/records.py`), with the score parts."""
    earlier_post_ids: Int64Array = field(default_factory=lambda: EMPTY_IDS)
    """(n,) sorted; the posts that the reader had passed in earlier slates."""
    page_post_ids: Int64Array = field(default_factory=lambda: EMPTY_IDS)
    """(m,) the posts of the first page."""


@dataclass(frozen=True, slots=True)
class CachedNeighbors:
    """A cached answer to a vector query, and the posts that have changed since."""

    post_ids: Int64Array  # (n,) best first
    cosines: Float32Array  # (n,)
    changed_post_ids: Int64Array  # (m,) sorted; posts that are in the answer or not


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """Records of served slates and pages that one worker writes."""

    id: str
    records: list[bytes]


@dataclass(frozen=True, slots=True)
class SweepResult:
    """What one sweep of a cache removed, and what remains."""

    expired: int
    """Entries whose time to live had ended."""
    evicted: int
    """Entries removed because the cache exceeded its budget."""
    entries: int
    size_bytes: int
    """An estimate. 0 only if the cache is empty."""


@bit_set
class Reason(IntEnum):
    """Why a pick is in the slate, as a bit of `Slate.reasons`. The values are stored: add new ones at the end."""

    TASTE = 0
    FOLLOWED = 1
    POPULAR = 2
    FRESH = 3
    SIMILAR = 4
    TOPIC = 5
    AUTHOR = 6
    EXPLORATION = 7
    LIKED = 8


REASON_SENTENCES: dict[Reason, str] = {
    Reason.TASTE: translatable("Like posts you enjoyed"),
    Reason.FOLLOWED: translatable("By someone you follow"),
    Reason.POPULAR: translatable("Popular"),
    Reason.FRESH: translatable("New"),
    Reason.SIMILAR: translatable("Like the post you are looking at"),
    Reason.TOPIC: translatable("About a topic you like"),
    Reason.AUTHOR: translatable("By someone whose posts you enjoy"),
    Reason.EXPLORATION: translatable("Not yet widely seen"),
    Reason.LIKED: translatable("Liked by people who like what you like"),
}


class EmptyReason(StrEnum):
    """Why a page has no posts."""

    END_OF_FEED = "end_of_feed"
    NO_FOLLOWS = "no_follows"
    REQUEST_FILTERS = "request_filters"
    NO_MATCH = "no_match"
    NO_POSTS = "no_posts"


EMPTY_SENTENCES: dict[EmptyReason, str] = {
    EmptyReason.END_OF_FEED: translatable("There are no more posts. New ones appear on the first page."),
    EmptyReason.NO_FOLLOWS: translatable("The member follows nobody yet."),
    EmptyReason.REQUEST_FILTERS: translatable("No post that the member may see passes the filters of the request."),
    EmptyReason.NO_MATCH: translatable("No post that the member may see is similar."),
    EmptyReason.NO_POSTS: translatable("There is no post that the member may see and has not seen yet."),
}


@cache
def reasons_of(bits: int) -> tuple[Reason, ...]:
    """Return the reasons whose bits are set."""
    return tuple(reason for reason in Reason if bits >> reason & 1)


@cache
def origins_of(bits: int) -> tuple[Origin, ...]:
    """Return the origins whose bits are set."""
    return tuple(origin for origin in Origin if bits >> origin & 1)


def sum_parts(parts: Float32Array) -> Float32Array:
    """Return the sum (n,) of each row of *parts* (n, p), left to right. `np.sum` uses another order for 8 or more."""
    if not parts.shape[1]:
        return np.zeros(len(parts), np.float32)
    running: Float32Array = np.cumsum(parts, axis=1, dtype=np.float32)
    return running[:, -1]


def has_origin(origins: UInt16Array, origin: Origin) -> BoolArray:
    """Return a mask (n,) of the candidates that this source returned."""
    return (origins >> np.uint16(origin) & np.uint16(1)).astype(np.bool_)
