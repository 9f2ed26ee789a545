"""
Ranks a slate, with fallbacks in turn: the assigned engine, the control engine, the trending feed.

An engine that keeps failing is not tried for a while: see `breaker.py`. The fallback after the trending feed, the last
good slate, is in `slates.py`. If a filter fails, no step returns a slate, because posts that could not be checked must
not be shown.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from monitoring import metrics
from recommendations.collaborative.recorded import pack_contributions
from recommendations.contracts import (
    BoolArray,
    Float32Array,
    Origin,
    Policy,
    Query,
    Reason,
    ScoredCandidates,
    Slate,
    UInt16Array,
    has_origin,
    is_in_sorted,
)
from recommendations.pipeline.run import Pipeline, run_pipeline
from recommendations.pipeline.stages import FilterError, Trace
from recommendations.ports import VectorError
from recommendations.services import wiring
from recommendations.services.serving.query import EngineAssignment

log = logging.getLogger(__name__)

CONTROL_ENGINE, TRENDING_FEED = "plain", "trending"
FEEDS_WITH_ENGINE = frozenset({"discovery", "similar"})
NEVER_EMPTY_FEEDS = frozenset({"discovery", "non_personalized"})
"""
Feeds with candidates from all posts. They are empty only if no post may be shown.

The following feed of a member who follows nobody stays empty instead of showing strangers.
"""
REASON_SHARE = 0.3
"""Fraction of a score's positive parts above which a part is given as a reason. Changes the reasons, not the feed."""
COLLABORATIVE_PARTS = ("item_weights", "co_liked", "liked_next")
AFFINITY_REASON_THRESHOLD = 0.3
"""Affinity for an author or a topic, 0 to 1, above which it is given as a reason. Changes the reasons, not the feed."""
PART_REASONS = {"author": Reason.AUTHOR, "topic": Reason.TOPIC}


class NoSlateError(RuntimeError):
    """Every step of the fallback failed."""


def rank_with_fallback(query: Query, assignment: EngineAssignment, trace: Trace) -> Slate:
    """
    Return a slate for *query* that names the fallback it comes from, and record in *trace* how it was built.

    Raises `NoSlateError` if every step failed, `FilterError` if a filter failed.
    """
    steps = fallback_steps(query.feed, assignment)
    attempts = (attempt(query, engine, fallback, trace) for engine, fallback in steps)
    slate = next((slate for slate in attempts if slate is not None), None)
    if slate is not None and (len(slate) or query.feed not in NEVER_EMPTY_FEEDS):
        return slate
    trending = rank_trending(query, trace)
    return trending if len(trending) or slate is None else slate


def fallback_steps(feed: str, assignment: EngineAssignment) -> list[tuple[str, str]]:
    """Return the engines to try in turn, each with its fallback's name; one without an engine if the feed has none."""
    if feed not in FEEDS_WITH_ENGINE:
        return [("", "")]
    if assignment.engine == CONTROL_ENGINE:
        return [(CONTROL_ENGINE, "")]
    return [(assignment.engine, ""), (CONTROL_ENGINE, CONTROL_ENGINE)]


def rank_trending(query: Query, trace: Trace) -> Slate:
    """Return a slate of the trending feed. Raises `NoSlateError` if it fails, `FilterError` if a filter does."""
    # The member's policy may set trending and new candidates to 0, and this step must return posts.
    default = replace(query, policy=Policy())
    try:
        return create_slate(default, wiring.feed_pipeline(TRENDING_FEED, ""), TRENDING_FEED, trace)
    except FilterError:
        raise
    except Exception as error:
        log.exception("fallback_failed", extra={"request_id": str(query.request_id)})
        raise NoSlateError from error


def attempt(query: Query, engine: str, fallback: str, trace: Trace) -> Slate | None:
    """
    Return the slate of one step; None if it failed, or if the engine's breaker is open.

    A vector that cannot be used is not the engine's failure and does not open its breaker.
    """
    breaker = wiring.breakers().get(engine)
    if breaker and not breaker.allows(query.now):
        return None
    try:
        slate = create_slate(query, wiring.feed_pipeline(query.feed, engine), fallback, trace)
    except FilterError:
        raise
    except Exception as error:
        log.exception("engine_failed", extra={"engine": engine, "request_id": str(query.request_id)})
        metrics.COMPONENT_FAILURES.labels("engine", engine).inc()
        if breaker and not isinstance(error, VectorError):
            breaker.record_failure(query.now)
        return None
    finally:
        if breaker:
            metrics.BREAKER_STATE.labels(engine).set(breaker.state(query.now))
    if breaker:
        breaker.record_success()
    return slate


def create_slate(query: Query, pipeline: Pipeline, fallback: str, trace: Trace) -> Slate:
    """Run *pipeline* for *query* and return its slate."""
    scored = run_pipeline(pipeline, query, trace)
    return Slate(
        request_id=query.request_id,
        engine=pipeline.engine.name if pipeline.engine else "none",
        variant=query.variant,
        policy_version=query.policy_version,
        fallback=fallback,
        built_at=query.now,
        candidate_count=trace.candidate_count,
        post_ids=scored.candidates.post_ids,
        scores=scored.scores,
        origins=scored.candidates.origins,
        reasons=build_reasons(query, scored),
        part_names=scored.part_names,
        parts=scored.parts,
        contributions=pack_contributions(
            query.reaction_parts,
            {name: getattr(query.policy, name) for name in query.reaction_parts},
            scored.candidates.post_ids,
        ),
        trained_model_id=query.trained_model_id,
    )


def build_reasons(query: Query, scored: ScoredCandidates) -> UInt16Array:
    """Return each post's reasons as bits (n,): the largest parts of its score, and its sources."""
    origins = scored.candidates.origins
    bits = np.zeros(len(origins), np.uint16)

    def add(reason: Reason, where: BoolArray) -> None:
        np.bitwise_or(bits, np.uint16(1 << reason), out=bits, where=where)

    positive = np.maximum(scored.parts, 0)
    threshold = REASON_SHARE * np.maximum(positive.sum(axis=1), 1e-9)
    if "taste" in scored.part_names:
        is_mostly_taste = positive[:, scored.part_names.index("taste")] > threshold
        add(Reason.SIMILAR if query.feed == "similar" else Reason.TASTE, is_mostly_taste)
    if "item_weights" in scored.part_names:
        collaborative = [scored.part_names.index(name) for name in COLLABORATIVE_PARTS]
        add(Reason.LIKED, positive[:, collaborative].sum(axis=1) > threshold)
    add(Reason.FOLLOWED, is_in_sorted(scored.candidates.author_ids, query.followed_author_ids))
    for name, reason in PART_REASONS.items():
        if name in scored.part_names:
            add(reason, score_part(scored, name) > AFFINITY_REASON_THRESHOLD * getattr(query.policy, name))
    add(Reason.POPULAR, has_origin(origins, Origin.TRENDING))
    add(Reason.EXPLORATION, (bits == 0) & has_origin(origins, Origin.EXPLORATION))
    add(Reason.FRESH, (bits == 0) & has_origin(origins, Origin.FRESH))
    return bits


def score_part(scored: ScoredCandidates, name: str) -> Float32Array:
    """Return one score part of every candidate, (n,), already weighted."""
    return scored.parts[:, scored.part_names.index(name)]
