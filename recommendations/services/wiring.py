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
from recommendations.contracts import CONTENT_SPACE
from recommendations.embedders.registry import EmbedderError, get_cross_modal_embedder, get_embedder
from recommendations.engines.plain import PlainEngine
from recommendations.engines.wasm_simd import WasmEngine
from recommendations.pipeline.run import Pipeline
from recommendations.ports import (
    CrossModalEmbedder,
    Embedder,
    Engine,
    EngineError,
    NeighborCache,
    RecordQueue,
    ServedHistory,
    SlateCache,
    VectorCache,
    VectorIndexError,
)
from recommendations.services.breaker import Breaker
from recommendations.stores.active_embedding_models import ActiveEmbeddingModel, ActiveEmbeddingModels
from recommendations.stores.active_policies import ActivePolicies
from recommendations.stores.caching_engine import CachingEngine
from recommendations.stores.cold_posts import DatabaseColdPosts
from recommendations.stores.qdrant_vectors import QdrantVectors
from recommendations.stores.redis_neighbors import RedisNeighbors
from recommendations.stores.redis_record_queue import RedisRecordQueue
from recommendations.stores.redis_served_history import RedisServedHistory
from recommendations.stores.redis_slates import RedisSlates
from recommendations.stores.redis_vectors import RedisVectors
from recommendations.stores.resident_catalogue import OVERLAP, ResidentCatalogue, ResidentSpace
from recommendations.stores.resident_facts import ResidentFacts
from recommendations.stores.resident_profiles import ResidentProfiles
from recommendations.stores.resident_vectors import ResidentVectors
from recommendations.stores.seal import Seal
from recommendations.stores.vocabulary import Vocabularies

log = logging.getLogger(__name__)

R = TypeVar("R")
P = ParamSpec("P")

REDIS_TIMEOUT_SECONDS = 1.0
"""A Redis that does not answer costs a request this much and its cache, not more."""

QDRANT_TIMEOUT_SECONDS = 1
"""A vector index that does not answer costs a request this much and its candidates, not more."""


class PerProcess(Generic[R]):
    """A part that a process makes when it first asks for it, and keeps; a forked child makes its own."""

    instances: ClassVar[list[PerProcess[Any]]] = []

    def __init__(self, make: Callable[[], R]) -> None:
        self._create = make
        self._by_process: dict[int, R] = {}
        self.instances.append(self)

    def __call__(self) -> R:
        """Return this process's part."""
        process = os.getpid()
        if process not in self._by_process:
            self._by_process.setdefault(process, self._create())
        return self._by_process[process]

    def get_if_created(self) -> R | None:
        """Return this process's part if anybody has asked for it."""
        return self._by_process.get(os.getpid())

    def reset(self) -> None:
        """Make the part anew at its next use."""
        self._by_process.clear()


def per_process(create: Callable[[], R]) -> PerProcess[R]:
    """Return *make* with its value kept for this process."""
    return PerProcess(create)


@dataclass(frozen=True)
class VectorParts:
    """What compares vectors, all of the same models: it is replaced as one, when another model becomes active."""

    embedding_models: dict[str, ActiveEmbeddingModel]
    embedder: Embedder
    spaces: dict[str, dict[str, Engine]]
    """Engines by name, by space."""
    catalogue: ResidentCatalogue
    profiles: ResidentProfiles
    post_vector_cache: VectorCache


class VectorPartsHolder:
    """This process's serving parts, and the models that they were made for."""

    def __init__(self) -> None:
        self.active_models = ActiveEmbeddingModels()
        self.current = create_vector_parts(self.active_models.read())
        self._lock = threading.Lock()

    def sync(self, now: datetime, *, must_be_current: bool = False) -> None:
        """Make the parts anew if another model became active; until they are loaded the old ones serve."""
        models = self.active_models.read(must_be_current=must_be_current)
        if models == self.current.embedding_models or not self._lock.acquire(blocking=must_be_current):
            return
        try:
            if models != self.current.embedding_models:
                serving = create_vector_parts(models)
                serving.catalogue.refresh(now)
                self.current = serving
                log.info(
                    "embedding_models_switched", extra={"embedding_models": [model.name for model in models.values()]}
                )
        finally:
            self._lock.release()


def create_vector_parts(embedding_models: dict[str, ActiveEmbeddingModel]) -> VectorParts:
    """Return parts for these active models; the content space is served by EMBEDDER where none is active yet."""
    text = active_embedder(embedding_models.get(CONTENT_SPACE))
    served = {CONTENT_SPACE: (text.name, text.dimension)}
    served |= {
        model.space: (model.name, model.dimension)
        for model in embedding_models.values()
        if model.space != CONTENT_SPACE
    }
    total = sum(dimension for _, dimension in served.values())
    engines = {
        space: create_engines(dimension, settings.ENV.wasm_memory_limit * dimension // total)
        for space, (_, dimension) in served.items()
    }
    resident = [
        ResidentSpace(space, name, dimension, tuple(engines[space].values()))
        for space, (name, dimension) in served.items()
    ]
    catalogue = ResidentCatalogue(
        spaces=resident,
        vocabularies=vocabularies(),
        max_posts=settings.ENV.catalogue_max_posts,
        refresh_seconds=settings.ENV.catalogue_refresh_seconds,
    )
    tastes = ResidentProfiles(model=text.name, dimension=text.dimension, max_entries=settings.ENV.vector_cache_size)
    vectors = RedisVectors(redis_client(settings.ENV.cache_redis_url), space=CONTENT_SPACE, model=text.name)
    return VectorParts(embedding_models, text, engines, catalogue, tastes, vectors)


def active_embedder(model: ActiveEmbeddingModel | None) -> Embedder:
    """Return the embedder of the active model, or the one that EMBEDDER asks for if none is active, or it is gone."""
    if model is None:
        return configured_embedder()
    try:
        embedder = get_embedder(model.embedder, model.option)
    except EmbedderError:
        log.exception("active_model_missing", extra={"embedding_model": model.name})
        return configured_embedder()
    # The package may be another version now, and its vectors others: then the new ones are built first.
    if embedder.name != model.name:
        log.error("active_model_differs", extra={"embedding_model": model.name, "active_model": embedder.name})
    return embedder


def configured_embedder() -> Embedder:
    """Return the text embedder that EMBEDDER asks for: it serves as soon as every post has its vector."""
    return get_embedder(settings.ENV.embedder, settings.ENV.fastembed_model)


@per_process
def vector_parts_holder() -> VectorPartsHolder:
    """Return the holder of what serves."""
    return VectorPartsHolder()


pinned_parts: ContextVar[VectorParts | None] = ContextVar("pinned", default=None)


def vector_parts() -> VectorParts:
    """Return what serves: in a service that is `by_one_model`, what served when it began."""
    return pinned_parts.get() or vector_parts_holder().current


def pin_embedding_models(service: Callable[P, R]) -> Callable[P, R]:
    """
    Return *service*, which takes `now`, so that all of a call is done by the models that are active when it begins.

    Another thread may follow a new model meanwhile. Without this, a vector of the one would meet rows of the other.
    """

    @wraps(service)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if pinned_parts.get() is not None:
            return service(*args, **kwargs)
        with suppress(DatabaseError):  # the models known so far serve on; the service finds out about its own reads
            sync_embedding_models(cast(datetime, kwargs["now"]))
        token = pinned_parts.set(vector_parts_holder().current)
        try:
            return service(*args, **kwargs)
        finally:
            pinned_parts.reset(token)

    return call


def sync_embedding_models(now: datetime, *, must_be_current: bool = False) -> None:
    """Take over a model that became active; *now_at_least*: even if it did this very second, as learning must."""
    vector_parts_holder().sync(now, must_be_current=must_be_current)


def embedder() -> Embedder:
    """Return the text embedder whose vectors are served."""
    return vector_parts().embedder


def cross_modal_embedder(space: str) -> CrossModalEmbedder:
    """Return what turns texts and pictures into vectors of *space*; raise `EmbedderError` if nothing here does."""
    model = vector_parts().embedding_models.get(space)
    if model is None:
        raise EmbedderError(f"No model is active in the space {space}.")
    return get_cross_modal_embedder(model.embedder)


def embedder_for(space: str) -> Embedder:
    """Return what turns texts into vectors of *space*; raise `EmbedderError` if nothing here does."""
    return embedder() if space == CONTENT_SPACE else cross_modal_embedder(space)


def space_index(space: str, engine_name: str = PlainEngine.name) -> ResidentVectors:
    """Return the index of resident posts in *space*; raise `VectorIndexError` if no model is active there."""
    served = vector_parts()
    if space not in served.spaces:
        raise VectorIndexError(f"No model is active in the space {space}.")
    engines = served.spaces[space]
    chosen = engines.get(engine_name, engines[PlainEngine.name])
    if served.catalogue.count_missing_vectors(chosen):
        chosen = engines[PlainEngine.name]
    return ResidentVectors(with_neighbor_cache(chosen, space), served.catalogue)


def with_neighbor_cache(engine: Engine, space: str) -> Engine:
    """Return *engine* of *space* with the answers to vector queries that are kept for all viewers."""
    model = embedder().name if space == CONTENT_SPACE else vector_parts().embedding_models[space].name
    return CachingEngine(engine, catalogue(), neighbor_cache(), space=space, model=model)


@per_process
def vocabularies() -> Vocabularies:
    """Return this process's numbers for languages and tags."""
    return Vocabularies()


def engines() -> dict[str, Engine]:
    """Return the engines by name; the control engine is always there, one that cannot be made is not."""
    return vector_parts().spaces[CONTENT_SPACE]


def create_engines(dimension: int, memory_limit_bytes: int) -> dict[str, Engine]:
    """Return new engines, by name. WASM_MEMORY_LIMIT holds for all spaces' kernels: the longer vectors get more."""
    made: dict[str, Engine] = {PlainEngine.name: PlainEngine(dimension)}
    try:
        made[WasmEngine.name] = WasmEngine(dimension, memory_limit_bytes=memory_limit_bytes)
    except EngineError:
        log.exception("engine_not_created", extra={"engine": WasmEngine.name})
    return made


def engine(name: str) -> Engine:
    """Return the engine of this name, or raise `EngineError` if this process could not make it."""
    if name not in engines():
        raise EngineError(f"This process has no engine {name}; its log says why.")
    chosen = engines()[name]
    if lacking := catalogue().count_missing_vectors(chosen):
        raise EngineError(f"The engine {name} lacks the vectors of {lacking} posts; raise WASM_MEMORY_LIMIT.")
    return chosen


@per_process
def policies() -> ActivePolicies:
    """Return the ranking policies that this process knows."""
    return ActivePolicies()


def catalogue() -> ResidentCatalogue:
    """Return the resident catalogue, empty until it is first refreshed."""
    return vector_parts().catalogue


@per_process
def resident_facts() -> ResidentFacts:
    """Return what viewers and posts are judged by."""
    return ResidentFacts(vocabularies())


def redis_client(url: str) -> redis.Redis:
    """Return a client that gives up soon."""
    return redis.Redis.from_url(url, socket_timeout=REDIS_TIMEOUT_SECONDS, socket_connect_timeout=REDIS_TIMEOUT_SECONDS)


@per_process
def seal() -> Seal:
    """Return what personal values in Redis are sealed with."""
    return Seal(settings.CACHE_SECRETS)


@per_process
def slate_cache() -> SlateCache:
    """Return the slate cache."""
    keep_seconds = settings.ENV.slate_retention_seconds
    return RedisSlates(redis_client(settings.ENV.cache_redis_url), seal(), ttl_seconds=keep_seconds)


@per_process
def neighbor_cache() -> NeighborCache:
    """Return the cache of what is near to a vector; what is resident may be behind by a refresh and its overlap."""
    behind = settings.ENV.catalogue_refresh_seconds + OVERLAP.total_seconds()
    return RedisNeighbors(redis_client(settings.ENV.cache_redis_url), seal(), grace_seconds=behind)


def post_vector_cache() -> VectorCache:
    """Return the cache of posts' vectors, by the model that serves."""
    return vector_parts().post_vector_cache


def resident_profiles() -> ResidentProfiles:
    """Return the profiles that this process knows, in the space of the model that serves."""
    return vector_parts().profiles


@per_process
def breakers() -> dict[str, Breaker]:
    """Return this process's breaker for each engine that may be asked for."""
    return {name: Breaker() for name in (PlainEngine.name, WasmEngine.name)}


@per_process
def record_queue() -> RecordQueue:
    """Return the queue of what was served; it is in the broker's Redis, which keeps everything."""
    return RedisRecordQueue(redis_client(settings.ENV.redis_url), seal())


@per_process
def served_history() -> ServedHistory:
    """Return the memory of what members were served lately."""
    return RedisServedHistory(redis_client(settings.ENV.cache_redis_url))


@per_process
def qdrant_client() -> QdrantClient | None:
    """Return the client of the vector index, or None if QDRANT_URL names none."""
    if not settings.ENV.qdrant_url:
        return None
    key = settings.ENV.qdrant_api_key.get_secret_value() or None
    return QdrantClient(settings.ENV.qdrant_url, api_key=key, timeout=QDRANT_TIMEOUT_SECONDS, check_compatibility=False)


def vector_index(space: str = CONTENT_SPACE) -> QdrantVectors | None:
    """Return the index of *space* by its active model; None without QDRANT_URL, or before a model is active."""
    model, client = vector_parts().embedding_models.get(space), qdrant_client()
    if model is None or client is None:
        return None
    key = (space, model.name)
    if key not in known_vector_indexes():
        known_vector_indexes()[key] = QdrantVectors(
            client, space=space, model=model.name, dimension=model.dimension, vocabularies=vocabularies()
        )
    return known_vector_indexes()[key]


def retired_vector_index(space: str, model: str, dimension: int) -> QdrantVectors | None:
    """Return the index that a model had while it served; None without QDRANT_URL."""
    client = qdrant_client()
    return (
        QdrantVectors(client, space=space, model=model, dimension=dimension, vocabularies=vocabularies())
        if client
        else None
    )


@per_process
def known_vector_indexes() -> dict[tuple[str, str], QdrantVectors]:
    """Return the indexes that this process made, by space and model: each remembers when its server was silent."""
    return {}


def non_resident_posts() -> feeds.NonResidentPosts | None:
    """Return where posts beyond the resident ones are found, if there is such a place."""
    index = vector_index()
    return (
        feeds.NonResidentPosts(index, DatabaseColdPosts(vocabularies(), CONTENT_SPACE, embedder().name))
        if index
        else None
    )


def create_engine(name: str) -> Engine:
    """Return a new and empty engine of this name."""
    if name == WasmEngine.name:
        return WasmEngine(embedder().dimension, memory_limit_bytes=settings.ENV.wasm_memory_limit)
    return PlainEngine(embedder().dimension)


def feed_pipeline(feed: str, engine_name: str, own_engine: Engine | None = None) -> Pipeline:
    """Return the parts of *feed*, scored by the engine *engine_name* where it needs one, or by one's *own*."""
    if feed == "following":
        return feeds.following(catalogue=catalogue())
    if feed == "trending":
        return feeds.trending(catalogue=catalogue())
    if feed == "non_personalized":
        return feeds.non_personalized(catalogue=catalogue())
    if feed == "similar":
        return feeds.similar(
            engine=own_engine or with_neighbor_cache(engine(engine_name), CONTENT_SPACE), catalogue=catalogue()
        )
    return feeds.discovery(
        engine=own_engine or engine(engine_name), catalogue=catalogue(), non_resident_posts=non_resident_posts()
    )


def reset_parts() -> None:
    """Make every part anew at its next use: after a test changed what they are made from."""
    for part in PerProcess.instances:
        part.reset()
