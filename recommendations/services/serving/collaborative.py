"""From a viewer's reactions to the collaborative score parts of a query, and to what each reaction contributes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recommendations.collaborative.nearest import CO_LIKE_PARTS, join_co_likes
from recommendations.collaborative.part_scores import FULL_STRENGTH, PartScores
from recommendations.collaborative.strengths import Strengths, list_posts, weigh_all, weigh_latest
from recommendations.contracts import Affinity, Int64Array
from recommendations.services import wiring

DEFAULT_SCALES = {"item_weights": 1.0, "co_liked": 0.26, "liked_next": 0.02}
"""The scales of parts while no trained model has measured them on the platform. Change the answer until then."""
SIMILAR_WEIGHTS_STRENGTH, SIMILAR_CO_LIKES_STRENGTH = 4 * FULL_STRENGTH, 2 * FULL_STRENGTH
"""
The strength of the post that similar posts are asked for, in item weights and in co-likes. One post stands for a whole
history there, and the scales are those of whole histories. Change the answer.
"""


@dataclass(frozen=True)
class CollaborativeScores:
    """The collaborative parts for some reactions."""

    parts: Mapping[str, PartScores]
    """By name of the part."""
    model_id: int
    """The trained model behind the item weights; 0 if there is none."""

    @property
    def query_fields(self) -> dict[str, Any]:
        """The fields of a `Query` with these parts."""
        affinities = {name: part.affinity for name, part in self.parts.items()}
        return {
            "item_weights": affinities.get("item_weights", Affinity()),
            "co_liked": affinities.get("co_liked", Affinity()),
            "liked_next": affinities.get("liked_next", Affinity()),
            "reaction_parts": self.parts,
            "trained_model_id": self.model_id,
        }


NO_SCORES = CollaborativeScores({}, 0)


def score_reactions(signed_ids: Int64Array) -> CollaborativeScores:
    """
    Return the parts of a member with these reactions (n,), oldest first: a like's id, minus a rejected post's id.

    Raises `DatabaseError`.
    """
    if not len(signed_ids):
        return NO_SCORES
    return score_strengths(weigh_all(signed_ids), weigh_latest(signed_ids))


def score_anchor(post_id: int) -> CollaborativeScores:
    """Return the parts for posts similar to one post. Raises `DatabaseError`."""
    for_co_likes = {part: [(post_id, SIMILAR_CO_LIKES_STRENGTH)] for part in CO_LIKE_PARTS}
    return score_strengths([(post_id, SIMILAR_WEIGHTS_STRENGTH)], for_co_likes)


def score_strengths(for_item_weights: Strengths, for_co_likes: Mapping[str, Strengths]) -> CollaborativeScores:
    """
    Return the parts for the strengths of reactions in item weights and in each part of co-likes.

    Raises `DatabaseError`.
    """
    model = wiring.trained_models().item_weights()
    scales = {**DEFAULT_SCALES, **(model.scales if model else {})}
    nearest = wiring.resident_co_likes().get(list_posts(for_co_likes))
    co_likes = join_co_likes(for_co_likes, nearest)
    parts = {part: co_likes.score(part, scale=scales[part]) for part in for_co_likes}
    if model:
        parts["item_weights"] = model.table.score(for_item_weights, scale=scales["item_weights"])
    return CollaborativeScores(parts, model.model_id if model else 0)
