"""Chooses the real parts, by the settings. A process makes each once, when first asked for, never before a fork."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from functools import wraps
from typing import Any, ClassVar, Generic, ParamSpec, TypeVar, cast

import redis
from django.conf import settings
from django.db import DatabaseError
from qdrant_client import QdrantClient

from recommendations import feeds
from recommendations.contracts import SPACE
from recommendations.embedders.choosing import EmbedderError, cross_modal_named, embedder_named
from recommendations.engines.plain import PlainEngine
from recommendations.engines.wasm_simd import WasmEngine
from recommendations.pipeline.run import Pipeline
from recommendations.ports import (
    CrossModalEmbedder,
    Embedder,
    Engine,
    EngineError,
    NeighbourCache,
    RecordQueue,
    ServedHistory,
    SlateCache,
    VectorCache,
    VectorIndexError,
)
from recommendations.services.breaker import Breaker
from recommendations.stores.active_models import ActiveModel, ActiveModels
from recommendations.stores.cold_posts import DatabaseColdPosts
from recommendations.stores.policies import Policies
from recommendations.stores.qdrant_vectors import QdrantVectors
from recommendations.stores.redis_neighbours import RedisNeighbours
from recommendations.stores.redis_records import RedisRecords
from recommendations.stores.redis_served import RedisServed
from recommendations.stores.redis_slates import RedisSlates
from recommendations.stores.redis_vectors import RedisVectors
from recommendations.stores.remembering import RememberingEngine
from recommendations.stores.resident_catalogue import OVERLAP, ResidentCatalogue, ResidentSpace
from recommendations.stores.resident_facts import ResidentFacts
from recommendations.stores.resident_profiles import ResidentProfiles
from recommendations.stores.resident_vectors import ResidentVectors
from recommendations.stores.sealing import Seal
from recommendations.stores.vocabulary import Words

log = logging.getLogger(__name__)

R = TypeVar("R")
P = ParamSpec("P")

REDIS_TIMEOUT_SECONDS = 1.0
"""A Redis that does not answer costs a request this much and its cache, not more."""

QDRANT_TIMEOUT_SECONDS = 1
"""A vector index that does not answer costs a request this much and its candidates, not more."""


class PerProcess(Generic[R]):
    """A part that a process makes when it first asks for it, and keeps; a forked child makes its own."""

    every: ClassVar[list[PerProcess[Any]]] = []

    def __init__(self, make: Callable[[], R]) -> None:
        self._make = make
        self._made: dict[int, R] = {}
        self.every.append(self)

    def __call__(self) -> R:
        """Return this process's part."""
        process = os.getpid()
        if process not in self._made:
            self._made.setdefault(process, self._make())
        return self._made[process]

    def if_made(self) -> R | None:
        """Return this process's part if anybody has asked for it."""
        return self._made.get(os.getpid())

    def forget(self) -> None:
        """Make the part anew at its next use."""
        self._made.clear()


def per_process(make: Callable[[], R]) -> PerProcess[R]:
    """Return *make* with its value kept for this process."""
    return PerProcess(make)


@dataclass(frozen=True)
class Serving:
    """What compares vectors, all of the same models: it is replaced as one, when another model becomes active."""

    models: dict[str, ActiveModel]
    embedder: Embedder
    spaces: dict[str, dict[str, Engine]]
    """Engines by name, by space."""
    catalogue: ResidentCatalogue
    tastes: ResidentProfiles
    post_vectors: VectorCache


class Parts:
    """This process's serving parts, and the models that they were made for."""

    def __init__(self) -> None:
        self.active = ActiveModels()
        self.serving = make_serving(self.active.read())
        self._lock = threading.Lock()

    def follow(self, now: datetime, *, now_at_least: bool = False) -> None:
        """Make the parts anew if another model became active; until they are loaded the old ones serve."""
        models = self.active.read(now_at_least=now_at_least)
        if models == self.serving.models or not self._lock.acquire(blocking=now_at_least):
            return
        try:
            if models != self.serving.models:
                serving = make_serving(models)
                serving.catalogue.refresh(now)
                self.serving = serving
                log.info("models_followed", extra={"models": [model.name for model in models.values()]})
        finally:
            self._lock.release()


def make_serving(models: dict[str, ActiveModel]) -> Serving:
    """Return parts for these active models; the content space is served by EMBEDDER where none is active yet."""
    text = active_embedder(models.get(SPACE))
    served = {SPACE: (text.name, text.dimension)}
    served |= {model.space: (model.name, model.dimension) for model in models.values() if model.space != SPACE}
    total = sum(dimension for _, dimension in served.values())
    engines = {
        space: make_engines(dimension, settings.ENV.wasm_memory_limit * dimension // total)
        for space, (_, dimension) in served.items()
    }
    resident = [
        ResidentSpace(space, name, dimension, tuple(engines[space].values()))
        for space, (name, dimension) in served.items()
    ]
    catalogue = ResidentCatalogue(
        spaces=resident,
        words=words(),
        max_posts=settings.ENV.catalogue_max_posts,
        refresh_seconds=settings.ENV.catalogue_refresh_seconds,
    )
    tastes = ResidentProfiles(model=text.name, dimension=text.dimension, most=settings.ENV.vector_cache_size)
    vectors = RedisVectors(redis_client(settings.ENV.cache_redis_url), space=SPACE, model=text.name)
    return Serving(models, text, engines, catalogue, tastes, vectors)


def active_embedder(model: ActiveModel | None) -> Embedder:
    """Return the embedder of the active model, or the one that EMBEDDER asks for if none is active, or it is gone."""
    if model is None:
        return configured_embedder()
    try:
        embedder = embedder_named(model.embedder, model.option)
    except EmbedderError:
        log.exception("active_model_missing", extra={"model": model.name})
        return configured_embedder()
    # The package may be another version now, and its vectors others: then the new ones are built first.
    if embedder.name != model.name:
        log.error("active_model_differs", extra={"model": model.name, "found": embedder.name})
    return embedder


def configured_embedder() -> Embedder:
    """Return the text embedder that EMBEDDER asks for: it serves as soon as every post has its vector."""
    return embedder_named(settings.ENV.embedder, settings.ENV.fastembed_model)


@per_process
def parts() -> Parts:
    """Return the holder of what serves."""
    return Parts()


pinned: ContextVar[Serving | None] = ContextVar("pinned", default=None)


def serving() -> Serving:
    """Return what serves: in a service that is `by_one_model`, what served when it began."""
    return pinned.get() or parts().serving


def by_one_model(service: Callable[P, R]) -> Callable[P, R]:
    """
    Return *service*, which takes `now`, so that all of a call is done by the models that are active when it begins.

    Another thread may follow a new model meanwhile. Without this, a vector of the one would meet rows of the other.
    """

    @wraps(service)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if pinned.get() is not None:
            return service(*args, **kwargs)
        with suppress(DatabaseError):  # the models known so far serve on; the service finds out about its own reads
            follow_models(cast(datetime, kwargs["now"]))
        token = pinned.set(parts().serving)
        try:
            return service(*args, **kwargs)
        finally:
            pinned.reset(token)

    return call


def follow_models(now: datetime, *, now_at_least: bool = False) -> None:
    """Take over a model that became active; *now_at_least*: even if it did this very second, as learning must."""
    parts().follow(now, now_at_least=now_at_least)


def embedder() -> Embedder:
    """Return the text embedder whose vectors are served."""
    return serving().embedder


def cross_modal_embedder(space: str) -> CrossModalEmbedder:
    """Return what turns texts and pictures into vectors of *space*; raise `EmbedderError` if nothing here does."""
    model = serving().models.get(space)
    if model is None:
        raise EmbedderError(f"No model is active in the space {space}.")
    return cross_modal_named(model.embedder)


def embedder_for(space: str) -> Embedder:
    """Return what turns texts into vectors of *space*; raise `EmbedderError` if nothing here does."""
    return embedder() if space == SPACE else cross_modal_embedder(space)


def space_index(space: str, engine_name: str = PlainEngine.name) -> ResidentVectors:
    """Return the index of resident posts in *space*; raise `VectorIndexError` if no model is active there."""
    served = serving()
    if space not in served.spaces:
        raise VectorIndexError(f"No model is active in the space {space}.")
    engines = served.spaces[space]
    chosen = engines.get(engine_name, engines[PlainEngine.name])
    if served.catalogue.lacks(chosen):
        chosen = engines[PlainEngine.name]
    return ResidentVectors(remembering(chosen, space), served.catalogue)


def remembering(engine: Engine, space: str) -> Engine:
    """Return *engine* of *space* with the answers to vector queries that are kept for all viewers."""
    model = embedder().name if space == SPACE else serving().models[space].name
    return RememberingEngine(engine, catalogue(), neighbours(), space=space, model=model)


@per_process
def words() -> Words:
    """Return this process's numbers for languages and tags."""
    return Words()


def engines() -> dict[str, Engine]:
    """Return the engines by name; the control engine is always there, one that cannot be made is not."""
    return serving().spaces[SPACE]


def make_engines(dimension: int, memory_limit_bytes: int) -> dict[str, Engine]:
    """Return new engines, by name. WASM_MEMORY_LIMIT holds for all spaces' kernels: the longer vectors get more."""
    made: dict[str, Engine] = {PlainEngine.name: PlainEngine(dimension)}
    try:
        made[WasmEngine.name] = WasmEngine(dimension, memory_limit_bytes=memory_limit_bytes)
    except EngineError:
        log.exception("engine_not_made", extra={"engine": WasmEngine.name})
    return made


def engine(name: str) -> Engine:
    """Return the engine of this name, or raise `EngineError` if this process could not make it."""
    if name not in engines():
        raise EngineError(f"This process has no engine {name}; its log says why.")
    chosen = engines()[name]
    if lacking := catalogue().lacks(chosen):
        raise EngineError(f"The engine {name} lacks the vectors of {lacking} posts; raise WASM_MEMORY_LIMIT.")
    return chosen


@per_process
def policies() -> Policies:
    """Return the ranking policies that this process knows."""
    return Policies()


def catalogue() -> ResidentCatalogue:
    """Return the resident catalogue, empty until it is first refreshed."""
    return serving().catalogue


@per_process
def facts() -> ResidentFacts:
    """Return what viewers and posts are judged by."""
    return ResidentFacts(words())


def redis_client(url: str) -> redis.Redis:
    """Return a client that gives up soon."""
    return redis.Redis.from_url(url, socket_timeout=REDIS_TIMEOUT_SECONDS, socket_connect_timeout=REDIS_TIMEOUT_SECONDS)


@per_process
def seal() -> Seal:
    """Return what personal values in Redis are sealed with."""
    return Seal(settings.CACHE_SECRETS)


@per_process
def slates() -> SlateCache:
    """Return the slate cache."""
    keep_seconds = settings.ENV.slate_keep_seconds
    return RedisSlates(redis_client(settings.ENV.cache_redis_url), seal(), keep_seconds=keep_seconds)


@per_process
def neighbours() -> NeighbourCache:
    """Return the cache of what is near to a vector; what is resident may be behind by a refresh and its overlap."""
    behind = settings.ENV.catalogue_refresh_seconds + OVERLAP.total_seconds()
    return RedisNeighbours(redis_client(settings.ENV.cache_redis_url), seal(), grace_seconds=behind)


def post_vectors() -> VectorCache:
    """Return the cache of posts' vectors, by the model that serves."""
    return serving().post_vectors


def tastes() -> ResidentProfiles:
    """Return the profiles that this process knows, in the space of the model that serves."""
    return serving().tastes


@per_process
def breakers() -> dict[str, Breaker]:
    """Return this process's breaker for each engine that may be asked for."""
    return {name: Breaker() for name in (PlainEngine.name, WasmEngine.name)}


@per_process
def records() -> RecordQueue:
    """Return the queue of what was served; it is in the broker's Redis, which keeps everything."""
    return RedisRecords(redis_client(settings.ENV.redis_url), seal())


@per_process
def served() -> ServedHistory:
    """Return the memory of what members were served lately."""
    return RedisServed(redis_client(settings.ENV.cache_redis_url))


@per_process
def qdrant() -> QdrantClient | None:
    """Return the client of the vector index, or None if QDRANT_URL names none."""
    if not settings.ENV.qdrant_url:
        return None
    key = settings.ENV.qdrant_api_key.get_secret_value() or None
    return QdrantClient(settings.ENV.qdrant_url, api_key=key, timeout=QDRANT_TIMEOUT_SECONDS, check_compatibility=False)


def vector_index(space: str = SPACE) -> QdrantVectors | None:
    """Return the index of *space* by its active model; None without QDRANT_URL, or before a model is active."""
    model, client = serving().models.get(space), qdrant()
    if model is None or client is None:
        return None
    key = (space, model.name)
    if key not in vector_indexes():
        vector_indexes()[key] = QdrantVectors(
            client, space=space, model=model.name, dimension=model.dimension, words=words()
        )
    return vector_indexes()[key]


def retired_index(space: str, model: str, dimension: int) -> QdrantVectors | None:
    """Return the index that a model had while it served; None without QDRANT_URL."""
    client = qdrant()
    return QdrantVectors(client, space=space, model=model, dimension=dimension, words=words()) if client else None


@per_process
def vector_indexes() -> dict[tuple[str, str], QdrantVectors]:
    """Return the indexes that this process made, by space and model: each remembers when its server was silent."""
    return {}


def beyond() -> feeds.Beyond | None:
    """Return where posts beyond the resident ones are found, if there is such a place."""
    index = vector_index()
    return feeds.Beyond(index, DatabaseColdPosts(words(), SPACE, embedder().name)) if index else None


def new_engine(name: str) -> Engine:
    """Return a new and empty engine of this name."""
    if name == WasmEngine.name:
        return WasmEngine(embedder().dimension, memory_limit_bytes=settings.ENV.wasm_memory_limit)
    return PlainEngine(embedder().dimension)


def feed_pipeline(feed: str, engine_name: str, own: Engine | None = None) -> Pipeline:
    """Return the parts of *feed*, scored by the engine *engine_name* where it needs one, or by one's *own*."""
    if feed == "following":
        return feeds.following(catalogue=catalogue())
    if feed == "trending":
        return feeds.trending(catalogue=catalogue())
    if feed == "non_personalized":
        return feeds.non_personalized(catalogue=catalogue())
    if feed == "similar":
        return feeds.similar(engine=own or remembering(engine(engine_name), SPACE), catalogue=catalogue())
    return feeds.discovery(engine=own or engine(engine_name), catalogue=catalogue(), beyond=beyond())


def forget_parts() -> None:
    """Make every part anew at its next use: after a test changed what they are made from."""
    for part in PerProcess.every:
        part.forget()
