"""The facts of posts that are not resident, read from the database for filters and scorers."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

import numpy as np

from recommendations.contracts import TAGS_PER_POST, Candidates, Float32Array, Int32Array, Int64Array, Interests
from recommendations.models import Post, PostEmbedding
from recommendations.stores.relational_posts import POST_ROW_FIELDS, PostRow, fill_columns
from recommendations.stores.vocabulary import Vocabularies


@dataclass(frozen=True)
class DatabaseColdPosts:
    """Implements `ColdPosts` with two queries, whatever the number of posts."""

    vocabularies: Vocabularies
    space: str
    model: str

    def read(self, post_ids: Int64Array, interests: Interests, wanted_tag_ids: Int32Array) -> Candidates:
        """See `ColdPosts.read`. The similarity is that of `Engine.score`: the highest of weight · cosine."""
        candidates = Candidates.unknown(post_ids, np.zeros(len(post_ids), np.uint16))
        ids = post_ids.tolist()
        positions = {post_id: position for position, post_id in enumerate(ids)}
        rows = [PostRow(*row) for row in Post.objects.filter(pk__in=ids).values_list(*POST_ROW_FIELDS)]
        wanted = frozenset(wanted_tag_ids.tolist())
        trimmed = [row._replace(tags=self.select_tags(row.tags, wanted)) for row in rows]
        fill_columns(candidates, [positions[row.id] for row in rows], trimmed, self.vocabularies)
        vectors = PostEmbedding.objects.filter(
            post__in=ids, space=self.space, embedding_model=self.model, dimension=interests.positive.shape[1]
        )
        for post_id, vector in vectors.values_list("post_id", "vector"):
            candidates.similarity[positions[post_id]] = max_weighted_cosine_to(
                np.frombuffer(bytes(vector), "<f4"), interests
            )
        return candidates

    def select_tags(self, tags: list[str], wanted: Container[int]) -> list[str]:
        """Return the first `TAGS_PER_POST` tags. A later one that is *wanted* takes the place of the last of them."""
        first, later = tags[:TAGS_PER_POST], tags[TAGS_PER_POST:]
        found = next((tag for tag in later if self.vocabularies.tags.intern(tag) in wanted), None)
        return first if found is None else [*first[:-1], found]


def max_weighted_cosine_to(vector: Float32Array, interests: Interests) -> np.float32:
    """Return the highest of weight · cosine over the positive interests; 0 if there are none."""
    if not len(interests.positive):
        return np.float32(0)
    return np.float32((interests.positive @ vector * interests.positive_weights).max())
