"""
Makes a slate, falling back step by step: the chosen engine, the control engine, the trending feed.

An engine that fails again and again is not asked for a while: see `breaker.py`. What comes after the trending feed, the
slate that was good last, is in `slates.py`. A filter that fails loses the slate at any step: no step shows what
could not be checked.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from monitoring import metrics
from recommendations.contracts import (
    BoolArray,
    Origin,
    Policy,
    Query,
    Reason,
    Scored,
    Slate,
    UInt16Array,
    among,
    brought_by,
)
from recommendations.pipeline.run import Pipeline, run
from recommendations.pipeline.stages import FilterError, Trace
from recommendations.ports import VectorError
from recommendations.services import wiring
from recommendations.services.serving.query import Choice

log = logging.getLogger(__name__)

CONTROL, TRENDING = "plain", "trending"
WITH_ENGINE = frozenset({"discovery", "similar"})
NEVER_EMPTY = frozenset({"discovery", "non_personalized"})
"""Feeds of everything there is: empty only if nothing may be shown. Nobody followed is no reason to show strangers."""
TASTE_REASON_SHARE = 0.3
"""Share of the score above which a taste part is given as a reason. Changes what is said, not what is shown."""
LIKED = 0.3
"""Liking for an author or a topic, of 1, from which on it is given as a reason. Changes what is said."""
PART_REASONS = {"author": Reason.AUTHOR, "topic": Reason.TOPIC}


class SlateLost(RuntimeError):  # noqa: N818 -- read as words
    """No step of the fallback could make a slate."""


def rank(query: Query, choice: Choice, trace: Trace) -> Slate:
    """Return a slate for *query*, and say in it which step made it; raise `SlateLost` if none could."""
    attempts = (attempt(query, engine, fallback, trace) for engine, fallback in steps_of(query.feed, choice))
    slate = next((slate for slate in attempts if slate is not None), None)
    if slate is not None and (len(slate) or query.feed not in NEVER_EMPTY):
        return slate
    # The policy may ask for nothing that is popular or new; this step must have something to show.
    plain = replace(query, policy=Policy())
    try:
        popular = make_slate(plain, wiring.feed_pipeline(TRENDING, ""), TRENDING, trace)
    except FilterError:
        raise
    except Exception as error:
        log.exception("fallback_failed", extra={"request_id": str(query.request_id)})
        raise SlateLost from error
    return popular if len(popular) or slate is None else slate


def steps_of(feed: str, choice: Choice) -> list[tuple[str, str]]:
    """Return the engines to try in turn, and the word for each as a fallback; no engine for a feed without taste."""
    if feed not in WITH_ENGINE:
        return [("", "")]
    return [(choice.engine, "")] if choice.engine == CONTROL else [(choice.engine, ""), (CONTROL, CONTROL)]


def attempt(query: Query, engine: str, fallback: str, trace: Trace) -> Slate | None:
    """
    Return what one step makes; None if it failed or is not asked.

    A vector that cannot be used is no fault of the engine, and does not open its breaker.
    """
    breaker = wiring.breakers().get(engine)
    if breaker and not breaker.allows(query.now):
        return None
    try:
        slate = make_slate(query, wiring.feed_pipeline(query.feed, engine), fallback, trace)
    except FilterError:
        raise
    except Exception as error:
        log.exception("engine_failed", extra={"engine": engine, "request_id": str(query.request_id)})
        metrics.PART_FAILURES.labels("engine", engine).inc()
        if breaker and not isinstance(error, VectorError):
            breaker.failed(query.now)
        return None
    finally:
        if breaker:
            metrics.BREAKER_STATE.labels(engine).set(breaker.state(query.now))
    if breaker:
        breaker.succeeded()
    return slate


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

    def say(reason: Reason, where: BoolArray) -> None:
        np.bitwise_or(bits, np.uint16(1 << reason), out=bits, where=where)

    if "taste" in scored.part_names:
        taste = scored.parts[:, scored.part_names.index("taste")]
        positive = np.maximum(scored.parts, 0).sum(axis=1)
        is_taste = taste > TASTE_REASON_SHARE * np.maximum(positive, 1e-9)
        say(Reason.SIMILAR if query.feed == "similar" else Reason.TASTE, is_taste)
    say(Reason.FOLLOWED, among(scored.candidates.author_ids, query.followed_author_ids))
    for name, reason in PART_REASONS.items():
        if name in scored.part_names:
            say(reason, scored.parts[:, scored.part_names.index(name)] > LIKED * getattr(query.policy, name))
    say(Reason.POPULAR, brought_by(origins, Origin.TRENDING))
    say(Reason.AUDITION, (bits == 0) & brought_by(origins, Origin.AUDITION))
    say(Reason.FRESH, (bits == 0) & brought_by(origins, Origin.FRESH))
    return bits
