"""
The main parameters of the feeds, in plain language (Digital Services Act, article 27).

Everything is read from what serves: the components of each feed from its pipeline (`feeds.py`), the weights from the
policies, and the words from `pipeline/signals.py`, which also holds the sentences of explanations. So the page changes
with the feeds and with each version of a policy, and cannot be out of date.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime

from django.utils.translation import gettext

from recommendations.contracts import IMPLICIT_KINDS, InteractionKind, Policy
from recommendations.models import RankingPolicy
from recommendations.pipeline.run import Pipeline
from recommendations.pipeline.signals import (
    FEEDS,
    INTERACTIONS,
    RERANKERS,
    SIGNALS,
    SIMILAR_SIGNALS,
    SIMILAR_SOURCES,
    SOURCES,
    Signal,
)
from recommendations.pipeline.stages import ExplainedFilter
from recommendations.services import policies, wiring
from recommendations.services.errors import UnknownPolicy

ENGINE_PARTS = ("taste", "dislike")
"""The score parts that an engine computes, in each feed that has an engine."""
DEFAULT_VARIANT = "default"
"""The name of the release's own settings, which serve while no policy is active."""
HISTORY_LENGTH = 50


@dataclass(frozen=True, slots=True)
class WeighedSignal:
    """A signal of a feed, and how much it weighs."""

    name: str
    title: str
    text: str
    change: str
    sentence: str
    is_personal: bool
    weight: float
    share: float
    """The weight as a share of the sum of the feed's weights, 0 to 1. A signal is about 0 to 1 before it is weighed."""


@dataclass(frozen=True, slots=True)
class FeedParameters:
    """What decides about a feed."""

    feed: str
    title: str
    text: str
    sources: list[str]
    signals: list[WeighedSignal]
    """Heaviest first."""
    order: list[str]
    """What changes the order after the score."""
    filters: list[str]
    """Why a post is not shown, beside privacy, blocks, removal and safety."""


@dataclass(frozen=True, slots=True)
class PolicyParameters:
    """The feeds of the members who get one variant."""

    variant: str
    version: int
    since: datetime | None
    """When the version was written. None for the release's own settings."""
    feeds: list[FeedParameters]


@dataclass(frozen=True, slots=True)
class InteractionWeight:
    """How much one kind of interaction counts in what is learned."""

    kind: str
    weight: float
    share: float
    needs_adult: bool
    """Whether the kind counts only for members who are known to be adults."""

    @property
    def title(self) -> str:
        """The kind in the active language."""
        return gettext(INTERACTIONS[InteractionKind(self.kind)])


@dataclass(frozen=True, slots=True)
class PolicyVersion:
    """A version of a policy, for the list of changes."""

    variant: str
    version: int
    created_at: datetime
    is_active: bool


@dataclass(frozen=True, slots=True)
class MainParameters:
    """The main parameters of all feeds."""

    version: str
    """A hash of the content in English: it changes with each change, and is the same in each language."""
    policies: list[PolicyParameters]
    interactions: list[InteractionWeight]
    history: list[PolicyVersion]
    """The versions of policies, newest first."""


def describe_main_parameters(*, variant: str = "", version: int = 0) -> MainParameters:
    """
    Return the main parameters of the active policies, or of one *version* of a *variant*, in the active language.

    Raises `UnknownPolicy` if there is no such version.
    """
    chosen = read_version(variant, version) if variant else policies.list_policies()
    described = [
        describe_policy(policy.variant, policy.version, policy.created_at, policy.settings) for policy in chosen
    ] or [describe_policy(DEFAULT_VARIANT, 0, None, asdict(Policy()))]
    interactions = weigh_interactions(wiring.control_policy().interaction_weights)
    version_hash = hash_content(described, interactions)
    return MainParameters(version_hash, list(map(translate_policy, described)), interactions, list_versions())


def translate_policy(policy: PolicyParameters) -> PolicyParameters:
    """Return the parameters with their texts in the active language."""
    return replace(policy, feeds=list(map(translate_feed, policy.feeds)))


def translate_feed(feed: FeedParameters) -> FeedParameters:
    """Return what decides about a feed, in the active language."""
    return replace(
        feed,
        title=gettext(feed.title),
        text=gettext(feed.text),
        sources=list(map(gettext, feed.sources)),
        signals=list(map(translate_signal, feed.signals)),
        order=list(map(gettext, feed.order)),
        filters=list(map(gettext, feed.filters)),
    )


def translate_signal(signal: WeighedSignal) -> WeighedSignal:
    """Return a signal in the active language. An empty text stays empty."""
    return replace(
        signal,
        title=gettext(signal.title),
        text=gettext(signal.text),
        change=gettext(signal.change) if signal.change else "",
        sentence=gettext(signal.sentence) if signal.sentence else "",
    )


def read_version(variant: str, version: int) -> list[policies.ServedPolicy]:
    """Return one version of a policy, active or not. Raises `UnknownPolicy`."""
    row = RankingPolicy.objects.filter(variant=variant, version=version).first()
    if row is None:
        raise UnknownPolicy(variant)
    return [policies.build_served_policy(row)]


def describe_policy(
    variant: str, version: int, since: datetime | None, settings: Mapping[str, float]
) -> PolicyParameters:
    """Return what decides about each feed under these settings."""
    feeds = [describe_feed(feed, wiring.feed_pipeline(feed, "plain"), settings) for feed in FEEDS]
    return PolicyParameters(variant, version, since, feeds)


def describe_feed(feed: str, pipeline: Pipeline, settings: Mapping[str, float]) -> FeedParameters:
    """Return what decides about a feed, from its pipeline."""
    title, text = FEEDS[feed]
    sources = SIMILAR_SOURCES if feed == "similar" else SOURCES
    return FeedParameters(
        feed=feed,
        title=title,
        text=text,
        sources=[sources[source.origin] for source in pipeline.sources],
        signals=weigh_signals(feed, signal_names(pipeline), settings),
        order=[RERANKERS[reranker.name] for reranker in pipeline.rerankers],
        filters=[check.sentence for check in pipeline.filters if isinstance(check, ExplainedFilter)],
    )


def signal_names(pipeline: Pipeline) -> list[str]:
    """Return the names of the score parts of a feed."""
    return [*(ENGINE_PARTS if pipeline.engine else ()), *(scorer.name for scorer in pipeline.scorers)]


def weigh_signals(feed: str, names: Sequence[str], settings: Mapping[str, float]) -> list[WeighedSignal]:
    """Return the signals with their weights and shares, heaviest first. One that weighs nothing is left out."""
    signals = SIMILAR_SIGNALS if feed == "similar" else SIGNALS
    used = [name for name in names if name in signals and settings[name]]
    total = sum(settings[name] for name in used)
    weighed = [build_signal(name, signals[name], settings[name], settings[name] / total) for name in used]
    return sorted(weighed, key=lambda signal: -signal.weight)


def build_signal(name: str, signal: Signal, weight: float, share: float) -> WeighedSignal:
    """Return a signal with its weight."""
    texts = (signal.title, signal.text, signal.change, signal.sentence)
    return WeighedSignal(name, *texts, signal.is_personal, weight, round(share, 4))


def weigh_interactions(weights: Mapping[str, float]) -> list[InteractionWeight]:
    """Return how much each kind of interaction counts, heaviest first."""
    total = sum(abs(weight) for weight in weights.values()) or 1.0
    return [
        InteractionWeight(kind, weight, round(abs(weight) / total, 4), InteractionKind(kind) in IMPLICIT_KINDS)
        for kind, weight in sorted(weights.items(), key=lambda item: -item[1])
    ]


def list_versions() -> list[PolicyVersion]:
    """Return the newest versions of all policies, newest first."""
    rows = RankingPolicy.objects.order_by("-created_at", "-pk")[:HISTORY_LENGTH]
    return [PolicyVersion(row.variant, row.version, row.created_at, row.is_active) for row in rows]


def hash_content(described: Sequence[PolicyParameters], interactions: Sequence[InteractionWeight]) -> str:
    """Return a hash of what the page says."""
    content = [list(map(asdict, described)), list(map(asdict, interactions))]
    return hashlib.blake2b(json.dumps(content, default=str).encode(), digest_size=6).hexdigest()
