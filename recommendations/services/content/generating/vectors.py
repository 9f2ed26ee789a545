"""Vectors of generated posts, without a model: near the centroid of the topic, so that similarity is meaningful."""

from collections.abc import Iterator

import numpy as np

from recommendations.contracts import Float32Array
from recommendations.services.content.generating.draws import NONE, PlatformSize
from recommendations.services.content.generating.posts import Posts
from recommendations.services.content.generating.vocabulary import TOPICS

BLOCK_POSTS = 4096
"""Rows drawn per random stream. Changes the vectors that a seed gives."""
SECOND_TOPIC_WEIGHT = 0.4
NOISE_WEIGHT = 0.8


def make_vectors(size: PlatformSize, posts: Posts, dimension: int) -> Iterator[Float32Array]:
    """Yield unit vectors, float32 (up to `BLOCK_POSTS`, dimension), in the order of the posts."""
    centroids = size.random_stream(8).normal(size=(len(TOPICS), dimension)) / np.sqrt(dimension)
    for block, start in enumerate(range(0, len(posts.ages), BLOCK_POSTS)):
        rng = np.random.default_rng([size.seed, 9, block])
        topic, second = posts.topic[start : start + BLOCK_POSTS], posts.second_topic[start : start + BLOCK_POSTS]
        vectors = centroids[topic] + SECOND_TOPIC_WEIGHT * centroids[second] * (second != NONE)[:, None]
        vectors += NOISE_WEIGHT * rng.normal(size=vectors.shape) / np.sqrt(dimension)
        yield (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
