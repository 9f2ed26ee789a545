"""From a viewer's reactions to the collaborative score parts of a query, and to what each reaction contributes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from recommendations.collaborative.nearest import score_co_likes
from recommendations.collaborative.part_scores import FULL_STRENGTH, PartScores
from recommendations.collaborative.strengths import Strengths, weigh_all, weigh_latest
from recommendations.contracts import Affinity, Int64Array, Query
from recommendations.services import wiring

DEFAULT_SCALES = {"item_weights": 1.0, "co_liked": 0.14, "liked_next": 0.02}
"""The scales of parts while no trained model has measured them on the platform. Change the answer until then."""
SIMILAR_STRENGTHS = {"item_weights": 8 * FULL_STRENGTH, "co_liked": 3 * FULL_STRENGTH, "liked_next": 3 * FULL_STRENGTH}
"""
The strength of the post that similar posts are asked for, in each part. One post stands for a whole history there, and
the scales are those of whole histories. Changes the answer.
"""


@dataclass(frozen=True)
class CollaborativeScores:
    """The collaborative parts for some reactions."""

    parts: Mapping[str, PartScores]
    """By name of the part."""
    model_id: int
    """The trained model behind the item weights; 0 if there is none."""

    def add_to(self, query: Query) -> Query:
        """Return *query* with these parts."""
        affinities = {name: part.affinity for name, part in self.parts.items()}
        return replace(
            query,
            item_weights=affinities.get("item_weights", Affinity()),
            co_liked=affinities.get("co_liked", Affinity()),
            liked_next=affinities.get("liked_next", Affinity()),
            reaction_parts=self.parts,
            trained_model_id=self.model_id,
        )


NO_SCORES = CollaborativeScores({}, 0)


def score_reactions(signed_ids: Int64Array) -> CollaborativeScores:
    """
    Return the parts of a member with these reactions (n,), oldest first: a like's id, minus a rejected post's id.

    Raises `DatabaseError`.
    """
    if not len(signed_ids):
        return NO_SCORES
    latest = weigh_latest(signed_ids)
    return score_strengths({"item_weights": weigh_all(signed_ids), "co_liked": latest, "liked_next": latest})


def score_anchor(post_id: int) -> CollaborativeScores:
    """Return the parts for posts similar to one post. Raises `DatabaseError`."""
    return score_strengths({name: [(post_id, strength)] for name, strength in SIMILAR_STRENGTHS.items()})


def score_strengths(strengths: Mapping[str, Strengths]) -> CollaborativeScores:
    """Return the parts for these strengths of reactions, by name of the part. Raises `DatabaseError`."""
    model = wiring.trained_models().item_weights()
    scales = {**DEFAULT_SCALES, **(model.scales if model else {})}
    co_liked, liked_next = strengths["co_liked"], strengths["liked_next"]
    nearest = wiring.resident_co_likes().get([post_id for post_id, _ in co_liked])
    parts = {
        "co_liked": score_co_likes(co_liked, nearest, "together", scale=scales["co_liked"]),
        "liked_next": score_co_likes(liked_next, nearest, "after", scale=scales["liked_next"]),
    }
    if model:
        parts["item_weights"] = model.table.score(strengths["item_weights"], scale=scales["item_weights"])
    return CollaborativeScores(parts, model.model_id if model else 0)
