"""
A generated platform whose truth is known: how much each member likes each post.

Members and posts have vectors around the centers of topics, and posts have a quality that all members agree on. A
member likes posts that exist at the moment, with a probability that grows exponentially with the truth: the cosine of
both vectors and the quality. The text and the tags of a post say its topic only. So behavior tells more than content,
and ranking by the truth is the best that any system can do: the peer `truth` is the ceiling of the other rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.sparse import csr_array

from recommendations.contracts import Float64Array
from recommendations.evaluation.interactions import Interactions
from recommendations.evaluation.peers import CaseBatch, Scorer
from recommendations.services.evaluating.data_sets import Data
from recommendations.services.evaluating.platform import Platform

MEMBERS, POSTS, DIMENSION = 600, 2_000, 16
TOPICS = ("history", "cooking", "football", "astronomy", "jazz", "gardening", "chess", "fashion", "sailing", "painting")
MEAN_LIKES, MIN_LIKES = 25, 4
TASTE, QUALITY = 9.0, 0.8
"""How much the cosine and the quality count in the truth."""
DAY = 86_400.0
START = 1_700_000_000.0
"""Unix seconds."""
DAYS = 400


@dataclass(frozen=True, eq=False)  # an array has no hash
class Truth:
    """A peer that ranks by the truth. It learns nothing."""

    truth: Float64Array = field(repr=False)  # (members, posts)

    def fit(self, train: Interactions) -> Scorer:
        """See `Peer`."""
        return lambda batch: self.score(batch)

    def score(self, batch: CaseBatch) -> Float64Array:
        """Return how much the members of the *batch* like each post."""
        return self.truth[batch.members].copy()


def generate_platform(seed: int) -> tuple[Data, Truth]:
    """Return a platform with its interactions, and its truth."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(len(TOPICS), DIMENSION))
    topics = rng.integers(len(TOPICS), size=POSTS)
    post_vectors = to_unit(centers[topics] + rng.normal(size=(POSTS, DIMENSION)))
    shares = rng.dirichlet(np.full(len(TOPICS), 0.2), MEMBERS)
    member_vectors = to_unit(shares @ centers + 0.5 * rng.normal(size=(MEMBERS, DIMENSION)))
    truth = TASTE * member_vectors @ post_vectors.T + QUALITY * rng.normal(size=POSTS)
    created_at = START + np.sort(rng.random(POSTS)) * DAYS * DAY
    created_at[:50] = START  # those that exist when the first member comes
    counts = MIN_LIKES + rng.geometric(1 / (MEAN_LIKES - MIN_LIKES), MEMBERS)
    members = np.repeat(np.arange(MEMBERS), counts)
    times = START + DAY + rng.random(len(members)) * (DAYS - 1) * DAY
    posts = draw_likes(truth, created_at, members, times, rng)
    _, first = np.unique(members * POSTS + posts, return_index=True)
    interactions = Interactions.from_columns(
        [str(member) for member in members[first]],
        [str(post) for post in posts[first]],
        is_positive=np.ones(len(first)),
        times=times[first],
        catalogue=map(str, range(POSTS)),
    )
    rows = [
        {
            "author_id": f"author:{post % 300}",
            "text": f"About {topic}, number {post}",
            "tags": [topic],
            "created_at": at,
        }
        for post, (topic, at) in enumerate(zip(np.array(TOPICS)[topics].tolist(), created_at.tolist(), strict=True))
    ]
    authors = {str(row["author_id"]): {} for row in rows}
    tags = csr_array((np.ones(POSTS), (np.arange(POSTS), topics)), shape=(POSTS, len(TOPICS)))
    return Data("Generated", interactions, Platform([{}] * MEMBERS, rows, authors), tags), Truth(truth)


def draw_likes(
    truth: Float64Array,
    created_at: Float64Array,
    members: np.ndarray,
    times: Float64Array,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return the post (n,) that each of *members* (n,) likes at *times* (n,), of those that exist."""
    liked = np.empty(len(members), np.int64)
    for row, (member, time) in enumerate(zip(members.tolist(), times.tolist(), strict=True)):
        known = np.searchsorted(created_at, time)
        # The highest of truth plus Gumbel noise is a draw whose probabilities grow exponentially with the truth.
        liked[row] = np.argmax(truth[member, :known] + rng.gumbel(size=known))
    return liked


def to_unit(vectors: Float64Array) -> Float64Array:
    """Return *vectors* (n, d) at length 1."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
