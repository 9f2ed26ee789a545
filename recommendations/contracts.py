"""
The words that the wings share: frozen values and columns. No Django here, and no logic beyond checking and selecting.

Candidates are columns, not objects: a request handles a few thousand of them in a few milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum, unique
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

Int8Array = NDArray[np.int8]
Int32Array = NDArray[np.int32]
Int64Array = NDArray[np.int64]
UInt16Array = NDArray[np.uint16]
Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

UNKNOWN = -1
"""Stands in a column for a fact that we do not have. Filters take it for a no."""

MAX_CLOCK_SKEW = timedelta(minutes=5)
"""How far a sender's clock may be ahead of ours."""

CONTENT_SPACE = "content"
"""The space of the vectors that EMBEDDER makes of what posts say."""

MAX_COLD_POSTS = 100
"""
Posts that are not resident in one request: the vector index brings no more, and the database is asked for the facts of
no more. One beyond them has no facts and is dropped. Changes the answer.
"""

TAGS_PER_POST = 8
"""Tags of a post that the pipeline looks at; the last look reads all of them. Changes the speed."""

BITS = 16
"""Members that an enum may have whose members are bits: bit sets are uint16 columns, in memory, caches and tables."""

Bits = TypeVar("Bits", bound=IntEnum)


def bit_set(kind: type[Bits]) -> type[Bits]:
    """
    Return the enum *kind*, whose values are positions in a uint16 bit set.

    Raises `TypeError` if a value is outside 0 to 15, and `ValueError` if two members share one: such a member would
    vanish from stored bit sets without an error.
    """
    unfit = [member.name for member in kind if not 0 <= member < BITS]
    if unfit:
        raise TypeError(
            f"{kind.__name__}: {', '.join(unfit)} does not fit: a bit set holds the values 0 to {BITS - 1}."
        )
    return unique(kind)


class Visibility(IntEnum):
    """Who may see a post."""

    PUBLIC = 0
    FOLLOWERS = 1
    UNLISTED = 2
    """Only for those who have its address: never recommended."""
    PRIVATE = 3


class Sensitivity(IntEnum):
    """How sensitive a post is, and how much of it a viewer takes."""

    SAFE = 0
    SENSITIVE = 1
    ADULT = 2
    FORBIDDEN = 3
    """Shown to nobody."""


class AccountStatus(IntEnum):
    """How an author's account stands."""

    OPEN = 0
    PRIVATE = 1
    INACTIVE = 2


class InteractionKind(StrEnum):
    """What a member may do with a post."""

    VIEW = "view"
    CLICK = "click"
    DWELL = "dwell"
    LIKE = "like"
    COMMENT = "comment"
    SHARE = "share"
    SAVE = "save"
    FOLLOW = "follow"
    """Of the post's author, from the post."""
    HIDE = "hide"
    NOT_INTERESTED = "not_interested"
    REPORT = "report"


class FeedbackTarget(StrEnum):
    """What of a post a member wants to see less of."""

    POST = "post"
    """This very post: it is never shown again."""
    AUTHOR = "author"
    TOPIC = "topic"
    KIND = "kind"


@bit_set
class Origin(IntEnum):
    """Which source brought a candidate: the bit of `Candidates.origins`. Stored; add at the end."""

    NEAREST = 0
    FOLLOWED = 1
    TRENDING = 2
    FRESH = 3
    TOPIC = 4
    EXPLORATION = 5
    INDEXED = 6
    """Nearest in the vector index, resident or not."""


class PolicyError(ValueError):
    """A ranking policy has a *setting* that we don't know, or a value out of its range."""

    def __init__(self, setting: str, problem: str) -> None:
        super().__init__(f"{setting}: {problem}")
        self.setting = setting


@dataclass(frozen=True, slots=True)
class Range:
    """What a policy's setting may be."""

    low: float
    high: float
    help: str
    neutral: float
    """The value with which the setting changes nothing: that of stored versions which lack the setting."""


def ranged_field(default: float, low: float, high: float, help: str, *, neutral: float = 0) -> float:
    """
    Return a field of `Policy` that is checked to lie between *low* and *high*.

    *default* is for new versions. *neutral* is for versions that were stored before the setting existed: the value with
    which feeds are ranked as if there were no such setting. That is 0 for a weight or a count of candidates, and for
    another setting the limit that limits nothing or the constant that it replaces. Once released, it is never changed.
    """
    if not low <= neutral <= high:
        raise ValueError(f"{help} Give a neutral value from {low} to {high}, not {neutral}.")
    return field(default=default, metadata={"range": Range(low, high, help, neutral)})


@dataclass(frozen=True, slots=True)
class Policy:
    """
    What a feed is ranked by. Every setting changes the answer.

    A default holds for versions written from now on: each stored version names every setting that there was when it was
    written (`Policy.of`), so that a later release ranks by it as before (`Policy.from_stored`). To give a stored
    variant a new setting's default, write a new version of it.
    """

    taste: float = ranged_field(1.0, 0, 10, "Weight of the similarity to what the viewer liked.")
    cold_taste: float = ranged_field(1.0, 0, 10, "Weight of the similarity of posts too old or cold to be resident.")
    dislike: float = ranged_field(0.5, 0, 10, "Weight of the similarity to what the viewer turned down; subtracted.")
    recency: float = ranged_field(0.15, 0, 10, "Weight of how new the post is.")
    popularity: float = ranged_field(0.25, 0, 10, "Weight of the damped engagement of late.")
    follow: float = ranged_field(0.2, 0, 10, "Weight of being by an author whom the viewer follows.")
    author: float = ranged_field(0.2, 0, 10, "Weight of the viewer's liking for the author.")
    topic: float = ranged_field(0.2, 0, 10, "Weight of the viewer's liking for the post's tags.")
    show_less: float = ranged_field(
        2.0, 0, 10, "Weight of what the viewer wants less of: author, topic, format; subtracted."
    )
    quality: float = ranged_field(0.1, 0, 10, "Weight of the rate of positive acts an impression.")
    exploration: float = ranged_field(0.05, 0, 10, "Bonus of a post that few have met.")
    fatigue: float = ranged_field(0.4, 0, 10, "Weight of having been served lately and passed over; subtracted.")
    fatigue_half_life_hours: float = ranged_field(
        6.0, 0.1, 1000, "Hours after which the fatigue of a post has halved.", neutral=6
    )
    session: float = ranged_field(
        0.8, 0, 1, "Weight of what the viewer did in the last half hour, beside their interests."
    )
    recency_half_life_hours: float = ranged_field(
        72.0, 0.1, 87_600, "Hours after which the recency of a post has halved.", neutral=72
    )
    diversity: float = ranged_field(0.3, 0, 1, "0: by score alone; 1: as unlike each other as can be.")
    author_cap: int = ranged_field(  # type: ignore[assignment]
        3, 1, 1000, "Posts of one author in a slate's visible part.", neutral=1000
    )
    nearest_candidates: int = ranged_field(400, 0, 5000, "Candidates from the nearest to the interests.")  # type: ignore[assignment]
    max_interests: int = ranged_field(  # type: ignore[assignment]
        4, 1, 16, "Interests, heaviest first, whose nearest are sought.", neutral=16
    )
    followed_candidates: int = ranged_field(300, 0, 5000, "Candidates from followed authors.")  # type: ignore[assignment]
    trending_candidates: int = ranged_field(200, 0, 5000, "Candidates from what is popular of late.")  # type: ignore[assignment]
    fresh_candidates: int = ranged_field(100, 0, 5000, "Candidates from what is new.")  # type: ignore[assignment]
    topic_candidates: int = ranged_field(150, 0, 5000, "Candidates from the topics that the viewer likes.")  # type: ignore[assignment]
    exploration_candidates: int = ranged_field(30, 0, 1000, "Candidates from posts that few have met.")  # type: ignore[assignment]
    exploration_share: float = ranged_field(0.05, 0, 0.5, "Share of a slate that is kept for posts that few have met.")
    exploration_max_served: int = ranged_field(  # type: ignore[assignment]
        100, 1, 10_000, "Impressions that end an exploration.", neutral=100
    )
    max_topic_run: int = ranged_field(2, 1, 100, "Posts about one topic in a row.", neutral=100)  # type: ignore[assignment]
    weight_view: float = ranged_field(
        0.2, -10, 10, "What a view says of taste and of the post; of use in `control` only."
    )
    weight_click: float = ranged_field(
        0.5, -10, 10, "What a click says of taste and of the post; of use in `control` only."
    )
    weight_dwell: float = ranged_field(
        0.5, -10, 10, "What a dwell says of taste and of the post; of use in `control` only."
    )
    weight_like: float = ranged_field(
        1.0, -10, 10, "What a like says of taste and of the post; of use in `control` only."
    )
    weight_comment: float = ranged_field(
        1.5, -10, 10, "What a comment says of taste and of the post; of use in `control` only."
    )
    weight_share: float = ranged_field(
        2.0, -10, 10, "What a share says of taste and of the post; of use in `control` only."
    )
    weight_save: float = ranged_field(
        2.0, -10, 10, "What a save says of taste and of the post; of use in `control` only."
    )
    weight_follow: float = ranged_field(
        1.5, -10, 10, "What following the author from a post says of taste and of the post; of use in `control` only."
    )
    weight_hide: float = ranged_field(
        -1.0, -10, 10, "What a hide says of taste and of the post; of use in `control` only."
    )
    weight_not_interested: float = ranged_field(
        -1.5, -10, 10, "What a not-interested without a reason says of taste and of the post; of use in `control` only."
    )
    weight_report: float = ranged_field(
        -2.0, -10, 10, "What a report says of taste and of the post; of use in `control` only."
    )

    @property
    def interaction_weights(self) -> dict[str, float]:
        """What each kind of act weighs. One profile serves every variant, so learning asks the control's policy."""
        return {kind: getattr(self, f"weight_{kind}") for kind in InteractionKind}

    @classmethod
    def from_settings(cls, settings: Mapping[str, object]) -> Policy:
        """Return a new policy of *settings*, others at their default; raise `PolicyError` naming a wrong one."""
        known = {f.name: f for f in fields(cls)}
        values: dict[str, float] = {}
        for name, value in settings.items():
            if name not in known:
                raise PolicyError(name, f"no such setting; there are {', '.join(known)}.")
            span: Range = known[name].metadata["range"]
            if isinstance(value, bool) or not isinstance(value, int | float) or not span.low <= value <= span.high:
                raise PolicyError(name, f"give a number from {span.low} to {span.high}, not {value!r}.")
            if known[name].type == "int" and value != int(value):
                raise PolicyError(name, f"give a whole number, not {value!r}.")
            values[name] = int(value) if known[name].type == "int" else float(value)
        return cls(**values)  # type: ignore[arg-type]

    @classmethod
    def from_stored(cls, settings: Mapping[str, Any]) -> Policy:
        """
        Return the policy of a stored version, which ranks as it did when it was written.

        A setting that it lacks has its neutral value, never its default; one that there is no more is left out. Values
        were checked when they were written: a range that was narrowed since changes none. Raises `PolicyError` for one
        that is no number.
        """
        values: dict[str, float] = {}
        for one in fields(cls):
            value = settings.get(one.name, one.metadata["range"].neutral)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise PolicyError(one.name, f"a number was stored, not {value!r}.")
            values[one.name] = int(value) if one.type == "int" else float(value)
        return cls(**values)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Interests:
    """A viewer's interest vectors at the moment of the request. Rows have unit length; a heavier one counts more."""

    positive: Float32Array  # (k, d)
    positive_weights: Float32Array  # (k,) from 0 to 1, the heaviest is 1
    negative: Float32Array  # (m, d)
    negative_weights: Float32Array  # (m,)

    @classmethod
    def empty(cls, dimension: int) -> Interests:
        """Return the interests of somebody of whom nothing is known."""
        empty, weights = np.zeros((0, dimension), np.float32), np.zeros(0, np.float32)
        return cls(empty, weights, empty, weights)


@dataclass(frozen=True, slots=True)
class SpaceTaste:
    """
    A viewer's interests in one extra space of an engine: `Engine.score` adds one part to the score for it.

    It is for collaborative factors: the viewer's factors are the interest, the posts' factors the vectors of the space.
    """

    space: str
    """Name of the extra space."""
    interests: Float32Array  # (k, d) of any length, d of that space
    weights: Float32Array  # (k,)


EMPTY_IDS: Int64Array = np.zeros(0, np.int64)


COMPARE_MAX_IDS, SEARCH_MAX_VALUES, TABLE_MAX_SPARSITY = 8, 4096, 16
"""Change the speed of `among` only: how many ids, how many values, and how many ids that are missing a value."""


def is_in_sorted(values: NDArray[np.integer], sorted_ids: NDArray[np.integer]) -> BoolArray:
    """
    Return which of *values* are one of *ids*, which are sorted, in their shape.

    For a few ids a comparison each is the fastest; for few values a search; for many of both a table over the span of
    the ids, if they lie close. np.isin takes ten times as long as each.
    """
    if not len(sorted_ids):
        return np.zeros(values.shape, np.bool_)
    if len(sorted_ids) <= COMPARE_MAX_IDS:
        first, *others = sorted_ids.tolist()
        found = np.equal(values, first)
        for id in others:
            found |= values == id
        return found
    if values.size <= SEARCH_MAX_VALUES:
        return np.equal(sorted_ids[np.minimum(np.searchsorted(sorted_ids, values), len(sorted_ids) - 1)], values)
    below, span = int(sorted_ids[0]) - 1, int(sorted_ids[-1] - sorted_ids[0]) + 1
    if span > TABLE_MAX_SPARSITY * values.size:
        return np.isin(values, sorted_ids)
    # The first and the last entry answer for all that lies outside.
    table = np.zeros(span + 2, np.bool_)
    table[sorted_ids - below] = True
    return table.take(values - below, mode="clip")


LEARNED_FLOOR = -0.5
"""No affinity that was merely learned is below this; a wish for less of something is. Changes the answer."""


@dataclass(frozen=True, slots=True)
class Affinity:
    """How a viewer stands to some authors, topics, formats or posts; 0 for those that are not named."""

    ids: Int64Array = field(default_factory=lambda: EMPTY_IDS)  # (n,) sorted
    weights: Float32Array = field(default_factory=lambda: np.zeros(0, np.float32))  # (n,) from -1 (less of it) to 1

    @property
    def is_learned(self) -> bool:
        """Whether every weight was learned: none is a wish for less."""
        return not len(self.ids) or bool(self.weights.min() >= LEARNED_FLOOR)

    def weights_of(self, ids: NDArray[np.integer]) -> Float32Array:
        """Return the weight of each of *ids*, in their shape; the one of `UNKNOWN` is 0."""
        if not len(self.ids):
            return np.zeros(ids.shape, np.float32)
        beyond = int(self.ids[-1]) + 1
        if beyond < ids.size and self.ids[0] >= 0:
            # A table is the faster to make than so many searches. Its last entry is for what is unknown or beyond it.
            table = np.zeros(beyond + 1, np.float32)
            table[self.ids] = self.weights
            return table.take(np.minimum(ids, beyond))
        at = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        return np.where(self.ids[at] == ids, self.weights[at], np.float32(0))


@dataclass(frozen=True, slots=True)
class FeedFilter:
    """What one request wants of the posts it brings, in numbers; empty: any."""

    language_ids: Int32Array = field(default_factory=lambda: np.zeros(0, np.int32))  # (n,) sorted
    kind_ids: Int32Array = field(default_factory=lambda: np.zeros(0, np.int32))  # (n,) sorted
    tag_ids: Int32Array = field(default_factory=lambda: np.zeros(0, np.int32))  # (n,) sorted
    since: float = 0.0
    """Unix seconds: no older post."""
    key: str = ""
    """What tells its slates from those of other requests; empty if it wants anything."""


NON_PERSONALIZED = "non_personalized"
"""The feed that uses nothing that its viewer did."""


@dataclass(frozen=True)
class Query:
    """One request: who asks, for what, and all that we know of the viewer. Id arrays are sorted."""

    request_id: UUID
    viewer_id: int
    feed: str
    size: int
    """Posts to rank: what is shown and the reserve behind it."""
    now: float
    """Unix seconds."""
    policy: Policy
    variant: str
    policy_version: int
    interests: Interests
    excluded_post_ids: Int64Array = field(default_factory=lambda: EMPTY_IDS)
    """Posts that this request must not bring: what an earlier page held, the post that similar ones are asked for."""
    max_sensitivity: int = Sensitivity.SAFE
    language_ids: Int32Array = field(default_factory=lambda: np.zeros(0, np.int32))
    """Languages the viewer reads; empty: any."""
    followed_author_ids: Int64Array = field(default_factory=lambda: EMPTY_IDS)
    blocked_author_ids: Int64Array = field(default_factory=lambda: EMPTY_IDS)
    """Authors on either side of a block."""
    muted_author_ids: Int64Array = field(default_factory=lambda: EMPTY_IDS)
    muted_tag_ids: Int32Array = field(default_factory=lambda: np.zeros(0, np.int32))
    muted_words: tuple[str, ...] = ()
    """Case-folded."""
    seen_post_ids: Int64Array = field(default_factory=lambda: EMPTY_IDS)
    hidden_post_ids: Int64Array = field(default_factory=lambda: EMPTY_IDS)
    """Posts that the viewer hid, reported or turned down."""
    region_id: int = UNKNOWN
    author_affinity: Affinity = field(default_factory=Affinity)
    topic_affinity: Affinity = field(default_factory=Affinity)
    """By tag number."""
    kind_affinity: Affinity = field(default_factory=Affinity)
    """By format number."""
    post_fatigue: Affinity = field(default_factory=Affinity)
    """Posts that were served lately, and how tired of each the viewer may be, 0 to 1."""
    feed_filter: FeedFilter = field(default_factory=FeedFilter)

    @property
    def feed_key(self) -> str:
        """What the slate of this query is kept as, among those of its viewer."""
        return f"{self.feed}:{self.feed_filter.key}" if self.feed_filter.key else self.feed

    @property
    def uses_history(self) -> bool:
        """Whether the feed may use what its viewer did; if not, it is not even read."""
        return self.feed != NON_PERSONALIZED


@dataclass(frozen=True, slots=True)
class IndexFilter:
    """
    Which posts a vector index shall look among: those filters that it can apply itself, before it counts to k.

    A post is wanted if it is public, or its author is among the followed and it is for followers.
    """

    max_sensitivity: int = Sensitivity.SAFE
    language_ids: Int32Array = field(default_factory=lambda: np.zeros(0, np.int32))
    """Empty: any. A post of unknown language is wanted in any case."""
    excluded_author_ids: Int64Array = field(default_factory=lambda: EMPTY_IDS)
    followed_author_ids: Int64Array = field(default_factory=lambda: EMPTY_IDS)
    author_cap: int = 0
    """Posts of one author at most; 0: as many as there are."""

    @classmethod
    def for_query(cls, query: Query, *, author_cap: int = 0) -> IndexFilter:
        """Return what the viewer of *query* may be shown, as far as an index can tell."""
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
"""Positions, a mask, or a stretch."""


def select_rows(column: NDArray[Any], selector: RowSelector) -> NDArray[Any]:
    """Return these rows of *column*. For positions, an index takes ten times as long where a row is several numbers."""
    if isinstance(selector, slice) or selector.dtype == np.bool_:
        return column[selector]
    return column.take(selector, axis=0)


@dataclass(frozen=True)
class Candidates:
    """Posts on their way to being recommended, one column per fact, all of length n. `UNKNOWN` where we don't know."""

    post_ids: Int64Array  # (n,)
    origins: UInt16Array  # (n,) bit set of `Origin`: the sources that brought the post
    rows: Int32Array  # (n,) row of the resident catalogue
    author_ids: Int64Array  # (n,)
    created_at: Float64Array  # (n,) Unix seconds
    visibility: Int8Array  # (n,) Visibility
    sensitivity: Int8Array  # (n,) Sensitivity
    account_status: Int8Array  # (n,) Standing of the author
    is_removed: BoolArray  # (n,)
    is_seen: BoolArray  # (n,) told by the last look, beyond the ids that the query holds
    has_muted_word: BoolArray  # (n,) holds a muted word; told by the last look, which reads the texts
    language_ids: Int32Array  # (n,)
    tag_ids: Int32Array  # (n, t)
    engagement: Float32Array  # (n,) decayed sum, at the moment of the query
    kind_ids: Int32Array  # (n,) the post's kind (text, image, film …) as a number
    served_count: Float32Array  # (n,) how often it was served
    quality: Float32Array  # (n,) 0 to 1, 0.5 where nothing is known
    similarity: Float32Array  # (n,) weight · cosine with the interests; filled in for posts that are not resident

    @classmethod
    def unknown(cls, post_ids: Int64Array, origins: UInt16Array) -> Candidates:
        """Return candidates of which nothing is known but the id and the origin."""
        n = len(post_ids)
        return cls(
            post_ids=post_ids,
            origins=origins,
            rows=np.full(n, UNKNOWN, np.int32),
            author_ids=np.full(n, UNKNOWN, np.int64),
            created_at=np.full(n, np.nan),
            visibility=np.full(n, UNKNOWN, np.int8),
            sensitivity=np.full(n, UNKNOWN, np.int8),
            account_status=np.full(n, UNKNOWN, np.int8),
            is_removed=np.ones(n, np.bool_),
            is_seen=np.ones(n, np.bool_),
            has_muted_word=np.ones(n, np.bool_),
            language_ids=np.full(n, UNKNOWN, np.int32),
            tag_ids=np.full((n, TAGS_PER_POST), UNKNOWN, np.int32),
            engagement=np.zeros(n, np.float32),
            kind_ids=np.full(n, UNKNOWN, np.int32),
            served_count=np.zeros(n, np.float32),
            quality=np.full(n, 0.5, np.float32),
            similarity=np.zeros(n, np.float32),
        )

    def __len__(self) -> int:
        return len(self.post_ids)

    @property
    def topic_ids(self) -> Int32Array:
        """The main tag (n,) of each post."""
        return self.tag_ids[:, 0]

    # What follows from the columns alone is worked out once: those of all resident posts serve many requests.

    @cached_property
    def is_visible_to_all(self) -> BoolArray:
        """Whether each post (n,) is public and its author open to all."""
        return (self.visibility == Visibility.PUBLIC) & (self.account_status == AccountStatus.OPEN)

    @cached_property
    def followers_only(self) -> tuple[Int64Array, Int64Array]:
        """The positions of the posts that followers of their author see, and others don't, and those authors."""
        visible = (self.visibility == Visibility.PUBLIC) | (self.visibility == Visibility.FOLLOWERS)
        known = (self.account_status == AccountStatus.OPEN) | (self.account_status == AccountStatus.PRIVATE)
        at = np.flatnonzero(visible & known & ~self.is_visible_to_all)
        return at, self.author_ids[at]

    @cached_property
    def has_author(self) -> BoolArray:
        """Whether it is known who wrote each post (n,)."""
        return self.author_ids >= 0

    def take(self, selector: RowSelector, **columns: NDArray[Any]) -> Candidates:
        """
        Return the candidates at these positions, or where this mask is true, with these *columns* for their own.

        A column is taken when it is first asked for: most are not, each time that an order changes.
        """
        taken = object.__new__(Candidates)
        taken.__dict__.update(columns, _of=self, _which=selector)
        return taken

    if not TYPE_CHECKING:  # A checker would take any misspelt column for one.

        def __getattr__(self, name: str) -> NDArray[Any]:
            if name not in CANDIDATE_COLUMNS or "_of" not in self.__dict__:
                raise AttributeError(f"Candidates have no {name!r}")
            column = select_rows(getattr(self._of, name), self._which)
            self.__dict__[name] = column
            return column


CANDIDATE_COLUMNS = tuple(f.name for f in fields(Candidates))


ENGAGEMENT_HALF_LIFE_SECONDS = 14 * 86_400.0
"""After this time an act counts half in a post's engagement and in a member's interests. Changes the answer."""


@dataclass(frozen=True)
class ScoredCandidates:
    """Candidates with their score and the parts it is the sum of."""

    candidates: Candidates
    scores: Float32Array  # (n,)
    part_names: tuple[str, ...]
    parts: Float32Array  # (n, p)

    def take(self, selector: Int64Array | slice) -> ScoredCandidates:
        """Return those at these positions, in this order."""
        return ScoredCandidates(
            self.candidates.take(selector), self.scores[selector], self.part_names, select_rows(self.parts, selector)
        )


@dataclass(frozen=True, slots=True)
class PostView:
    """A post as it leaves the service. Ids are the platform's."""

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
    """Posts as the database has them at one moment: the facts to judge them by, and what would be shown of them."""

    candidates: Candidates
    views: dict[int, PostView]
    """By post id; what is gone is not in it."""
    facts_version: Any = None
    """What the store went by, for it to tell later whether it still holds."""


@dataclass(frozen=True)
class Slate:
    """A ranked list for one viewer, with a reserve behind the visible picks; what the cache keeps."""

    request_id: UUID
    engine: str
    variant: str
    policy_version: int
    fallback: str
    """The step of the fallback that made it; empty if none was needed."""
    built_at: float
    candidate_count: int
    """How many candidates it was ranked from."""
    post_ids: Int64Array  # (n,)
    scores: Float32Array  # (n,)
    origins: UInt16Array  # (n,)
    reasons: UInt16Array  # (n,) bit set of `Reason`
    part_names: tuple[str, ...] = ()
    parts: Float32Array = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    """(n, p); empty when the slate comes from the cache, which keeps none."""

    def __len__(self) -> int:
        return len(self.post_ids)

    @cached_property
    def has_parts(self) -> bool:
        """Whether the parts of the scores came along."""
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
class CachedNeighbors:
    """A cached answer to a vector query, and the posts that changed since it was made."""

    post_ids: Int64Array  # (n,) best first
    cosines: Float32Array  # (n,)
    changed_post_ids: Int64Array  # (m,) sorted; any post, in the answer or not


@dataclass(frozen=True, slots=True)
class SweepResult:
    """What one sweep of a cache removed, and what is left."""

    expired: int
    """Entries that had outlived their time."""
    evicted: int
    """Entries removed because there were more than the budget allows."""
    entries: int
    size_bytes: int
    """An estimate; 0 only if the cache is empty."""


@bit_set
class Reason(IntEnum):
    """Why a pick is in the slate: the bit of `Slate.reasons`."""

    TASTE = 0
    FOLLOWED = 1
    POPULAR = 2
    FRESH = 3
    SIMILAR = 4
    TOPIC = 5
    AUTHOR = 6
    EXPLORATION = 7


REASON_SENTENCES: dict[Reason, str] = {
    Reason.TASTE: "Like posts you enjoyed",
    Reason.FOLLOWED: "By someone you follow",
    Reason.POPULAR: "Popular at the moment",
    Reason.FRESH: "New",
    Reason.SIMILAR: "Like the post you are looking at",
    Reason.TOPIC: "About a topic you like",
    Reason.AUTHOR: "By someone whose posts you enjoy",
    Reason.EXPLORATION: "New, and looking for its audience",
}
if unsaid := sorted(reason.name for reason in set(Reason) - set(REASON_SENTENCES)):
    raise TypeError(f"REASON_SENTENCES: add a sentence for {', '.join(unsaid)}.")


@cache
def reasons_of(bits: int) -> tuple[Reason, ...]:
    """Return the reasons whose bits are set."""
    return tuple(reason for reason in Reason if bits >> reason & 1)


@cache
def origins_of(bits: int) -> tuple[Origin, ...]:
    """Return the origins whose bits are set."""
    return tuple(origin for origin in Origin if bits >> origin & 1)


def sum_parts(parts: Float32Array) -> Float32Array:
    """Return the sum (n,) of each row's *parts* (n, p), from left to right; NumPy adds eight or more otherwise."""
    if not parts.shape[1]:
        return np.zeros(len(parts), np.float32)
    running: Float32Array = np.cumsum(parts, axis=1, dtype=np.float32)
    return running[:, -1]


def has_origin(origins: UInt16Array, origin: Origin) -> BoolArray:
    """Return which candidates this source brought."""
    return (origins >> np.uint16(origin) & np.uint16(1)).astype(np.bool_)
