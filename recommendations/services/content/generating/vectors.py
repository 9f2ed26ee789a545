"""Vectors of generated posts without a model: near the centroid of the topic, so likeness has a meaning."""

from collections.abc import Iterator

import numpy as np

from recommendations.contracts import Float32Array
from recommendations.services.content.generating.draws import NONE, Size
from recommendations.services.content.generating.posts import Posts
from recommendations.services.content.generating.vocabulary import TOPICS

BLOCK = 4096
"""Rows made at once. Part of what the seed means: changing it changes the vectors."""
SECOND_TOPIC = 0.4
NOISE = 0.8


def make_vectors(size: Size, posts: Posts, dimension: int) -> Iterator[Float32Array]:
    """Yield unit vectors (up to BLOCK, dimension) float32 in the order of the posts."""
    centroids = size.stream(8).normal(size=(len(TOPICS), dimension)) / np.sqrt(dimension)
    for block, start in enumerate(range(0, len(posts.ages), BLOCK)):
        rng = np.random.default_rng([size.seed, 9, block])
        topic, second = posts.topic[start : start + BLOCK], posts.second_topic[start : start + BLOCK]
        vectors = centroids[topic] + SECOND_TOPIC * centroids[second] * (second != NONE)[:, None]
        vectors += NOISE * rng.normal(size=vectors.shape) / np.sqrt(dimension)
        yield (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
