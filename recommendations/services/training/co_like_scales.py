"""The scales of the co-like parts on this platform: what the last post of a first page typically scores."""

from __future__ import annotations

import numpy as np

from recommendations.collaborative.nearest import CO_LIKE_PARTS, join_co_likes
from recommendations.collaborative.strengths import weigh_latest
from recommendations.contracts import Int32Array, Int64Array
from recommendations.services import wiring
from recommendations.training.held_out import PAGE_LENGTH
from recommendations.training.likes import Likes

MAX_MEMBERS = 500
"""Members whose scores are averaged. Changes the precision, and the time."""
MIN_PAGES = 20
"""Members with a full first page of co-likes that a scale needs; with fewer, the default scale is used."""


def measure_co_like_scales(likes: Likes, members: Int32Array) -> dict[str, float]:
    """
    Return the scale of each co-like part: the mean score of the last post of a first page.

    *members* (c,) are positions of members in *likes*. A part that few members have scores in is left out.
    """
    ends = np.searchsorted(likes.members, members[:MAX_MEMBERS], "right")
    starts = np.searchsorted(likes.members, members[:MAX_MEMBERS], "left")
    histories = [
        likes.post_ids[likes.posts[start:end]] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
    ]
    scales = {}
    for part in CO_LIKE_PARTS:
        lasts = [last for history in histories if (last := score_last_post(history, part)) > 0]
        if len(lasts) >= MIN_PAGES:
            scales[part] = float(np.mean(lasts))
    return scales


def score_last_post(liked_ids: Int64Array, part: str) -> float:
    """Return the `PAGE_LENGTH`-th highest score of a member with these likes, oldest first; 0 if there are fewer."""
    latest = weigh_latest(liked_ids)
    nearest = wiring.resident_co_likes().get([post_id for post_id, _ in latest[part]])
    scores = join_co_likes(latest, nearest).score(part, scale=1.0).affinity
    weights = scores.weights[np.isin(scores.ids, liked_ids, invert=True)]
    return float(np.partition(weights, -PAGE_LENGTH)[-PAGE_LENGTH]) if len(weights) >= PAGE_LENGTH else 0.0
