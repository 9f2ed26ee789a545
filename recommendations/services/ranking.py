"""
Makes a slate, falling back step by step: the chosen engine, the control engine, the trending feed.

A filter that fails loses the slate at any step: no step shows what could not be checked.
"""

from __future__ import annotations

import logging

import numpy as np

from recommendations.contracts import Origin, Query, Reason, Scored, Slate, UInt16Array, brought_by
from recommendations.pipeline.run import Pipeline, run
from recommendations.pipeline.stages import Trace
from recommendations.ports import EngineError, VectorError
from recommendations.services import wiring
from recommendations.services.viewing import Choice

log = logging.getLogger(__name__)

CONTROL = "plain"
TASTE_REASON_SHARE = 0.3
"""Share of the score above which a taste part is given as a reason. Changes what is said, not what is shown."""
LIKED = 0.3
"""Liking for an author or a topic, of 1, from which on it is given as a reason. Changes what is said."""
PART_REASONS = {"author": Reason.AUTHOR, "topic": Reason.TOPIC}


def rank(query: Query, choice: Choice, trace: Trace) -> Slate:
    """Return a slate for *query*, and say in it which step made it."""
    steps = [(choice.engine, "")] if choice.engine == CONTROL else [(choice.engine, ""), (CONTROL, CONTROL)]
    for engine, fallback in steps:
        try:
            return make_slate(query, wiring.feed_pipeline(query.feed, engine), fallback, trace)
        except (EngineError, VectorError):
            log.exception("engine_failed", extra={"engine": engine, "request_id": str(query.request_id)})
    return make_slate(query, wiring.feed_pipeline("trending", CONTROL), "trending", trace)


def make_slate(query: Query, pipeline: Pipeline, fallback: str, trace: Trace) -> Slate:
    """Return what *pipeline* makes of *query*."""
    scored = run(pipeline, query, trace)
    return Slate(
        request_id=query.request_id,
        engine=pipeline.engine.name if pipeline.engine else "none",
        variant=query.variant,
        policy_version=query.policy_version,
        fallback=fallback,
        built_at=query.now,
        candidates=trace.candidates,
        post_ids=scored.candidates.post_ids,
        scores=scored.scores,
        origins=scored.candidates.origins,
        reasons=reasons(query, scored),
        part_names=scored.part_names,
        parts=scored.parts,
    )


def reasons(query: Query, scored: Scored) -> UInt16Array:
    """Return, as bits, why each post is there: what its score is mostly made of, and what brought it."""
    origins = scored.candidates.origins
    bits = np.zeros(len(origins), np.uint16)

    def say(reason: Reason, where: np.typing.NDArray[np.bool_]) -> None:
        bits[where] |= np.uint16(1 << reason)

    if "taste" in scored.part_names:
        taste = scored.parts[:, scored.part_names.index("taste")]
        positive = np.maximum(scored.parts, 0).sum(axis=1)
        is_taste = taste > TASTE_REASON_SHARE * np.maximum(positive, 1e-9)
        say(Reason.SIMILAR if query.feed == "similar" else Reason.TASTE, is_taste)
    say(Reason.FOLLOWED, np.isin(scored.candidates.author_ids, query.followed_author_ids))
    for name, reason in PART_REASONS.items():
        if name in scored.part_names:
            say(reason, scored.parts[:, scored.part_names.index(name)] > LIKED * getattr(query.policy, name))
    say(Reason.POPULAR, brought_by(origins, Origin.TRENDING))
    say(Reason.AUDITION, (bits == 0) & brought_by(origins, Origin.AUDITION))
    say(Reason.FRESH, (bits == 0) & brought_by(origins, Origin.FRESH))
    return bits
