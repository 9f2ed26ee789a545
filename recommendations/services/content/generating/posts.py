"""Posts, mostly by few authors and on the authors' topics, with Zipfian popularity and exponential age."""

from dataclasses import dataclass

import numpy as np

from recommendations.contracts import BoolArray, Float64Array, Int8Array, Int32Array, Int64Array, Visibility
from recommendations.services.content.generating.draws import (
    NONE,
    SECONDS_PER_DAY,
    PlatformSize,
    draw_topics,
    zipf_shares,
)
from recommendations.services.content.generating.people import People
from recommendations.services.content.generating.vocabulary import (
    POST_KIND_SHARES,
    SAFETY_LABEL_SHARES,
    SAFETY_LABELS,
    TOPICS,
)

AUTHORS_SHARE = 0.3
"""Share of the members who write posts."""
POPULARITY_SLOPE = 1.0
"""The r-th most popular post has r ** -POPULARITY_SLOPE of the weight of the first."""


@dataclass(frozen=True)
class Posts:
    """Posts, n of them."""

    author: Int32Array  # (n,) row of People
    topic: Int8Array  # (n,) index of TOPICS
    second_topic: Int8Array  # (n,) NONE for about half
    language: Int8Array  # (n,)
    kind: Int8Array  # (n,) index of POST_KINDS
    visibility: Int8Array  # (n,) Visibility
    label: Int8Array  # (n,) index of SAFETY_LABELS, NONE for most
    label_score: Float64Array  # (n,) 0 to 1
    is_removed: BoolArray  # (n,)
    ages: Int64Array  # (n,) seconds since it was published
    popularity: Float64Array  # (n,) Zipfian weights


def make_posts(size: PlatformSize, people: People) -> Posts:
    """Return the posts, in the languages of their authors."""
    rng, n = size.random_stream(2), size.posts
    authors = max(1, int(size.members * AUTHORS_SHARE))
    author = rng.permutation(size.members)[rng.choice(authors, n, p=zipf_shares(authors, 0.8))]
    labels = rng.choice(len(SAFETY_LABELS) + 1, n, p=(*SAFETY_LABEL_SHARES, 1 - sum(SAFETY_LABEL_SHARES)))
    second = rng.integers(0, len(TOPICS), n)
    topic = draw_topics(rng, people.tastes, author)
    return Posts(
        author=author.astype(np.int32),
        topic=topic,
        second_topic=np.where((rng.random(n) < 0.5) & (second != topic), second, NONE).astype(np.int8),
        language=people.language[author],
        kind=rng.choice(len(POST_KIND_SHARES), n, p=POST_KIND_SHARES).astype(np.int8),
        visibility=rng.choice(list(Visibility), n, p=(0.86, 0.08, 0.03, 0.03)).astype(np.int8),
        label=np.where(labels < len(SAFETY_LABELS), labels, NONE).astype(np.int8),
        label_score=np.round(rng.uniform(0.3, 1, n), 3),
        is_removed=rng.random(n) < 0.01,
        ages=np.minimum(rng.exponential(60 * SECONDS_PER_DAY, n), 365 * SECONDS_PER_DAY).astype(np.int64) + 60,
        popularity=rng.permutation(zipf_shares(n, POPULARITY_SLOPE)),
    )
