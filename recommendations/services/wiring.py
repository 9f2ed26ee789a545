"""
Creates the stores, engines, embedders and indexes that services use, by the settings.

A process creates each part once, at its first use. A forked child creates its own parts: clients, locks and kernels
must not be shared across a fork.

Following a new embedding model. Vectors of two models have nothing to do with each other, so everything that holds or
compares vectors (`VectorParts`: embedder, engines, catalogue, profiles, post vector cache) belongs to one set of
active models and is replaced as a whole. `sync_embedding_models` reads which models are active, at most every 30
seconds, and if they changed, one thread builds and loads new parts, then switches with a single assignment. Until
then the old parts serve, and other threads do not wait. A service call must also not see the switch in the middle:
`pin_embedding_models` stores the current parts in a context variable for the duration of the call, and
`vector_parts` returns those. Without it, a query vector of one model could be scored against rows of another, and the
page would be noise without any error.
"""

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
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, ParamSpec, TypeVar, cast

from django.conf import settings
from django.db import DatabaseError

from monitoring.breaker import Breaker
from monitoring.redis_clients import redis_client
from recommendations import feeds
from recommendations.contracts import CONTENT_SPACE, Policy
from recommendations.embedders.registry import EmbedderError, get_cross_modal_embedder, get_embedder
from recommendations.engines.plain import PlainEngine
from recommendations.engines.wasm_simd import WasmEngine
from recommendations.pipeline.run import Pipeline
from recommendations.ports import (
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
from recommendations.stores.active_embedding_models import ActiveEmbeddingModel, ActiveEmbeddingModels
from recommendations.stores.active_policies import ActivePolicies
from recommendations.stores.caching_engine import CachingEngine
from recommendations.stores.cold_posts import DatabaseColdPosts
from recommendations.stores.qdrant_vectors import QdrantVectors, connect
from recommendations.stores.redis_neighbors import RedisNeighbors
from recommendations.stores.redis_record_queue import RedisRecordQueue
from recommendations.stores.redis_served_history import RedisServedHistory
from recommendations.stores.redis_slates import RedisSlates
from recommendations.stores.redis_vectors import RedisVectors
from recommendations.stores.resident_catalogue import OVERLAP, ResidentCatalogue, ResidentSpace
from recommendations.stores.resident_co_likes import ResidentCoLikes
from recommendations.stores.resident_facts import ResidentFacts
from recommendations.stores.resident_profiles import ResidentProfiles
from recommendations.stores.resident_vectors import ResidentVectors
from recommendations.stores.seal import Seal
from recommendations.stores.signer import Signer
from recommendations.stores.trained_models import TrainedModels
from recommendations.stores.vocabulary import Vocabularies

if TYPE_CHECKING:
    from qdrant_client import QdrantClient

log = logging.getLogger(__name__)

R = TypeVar("R")
P = ParamSpec("P")

CONTROL_VARIANT = "control"
"""The variant whose policy has the settings of learning: all variants share profiles and the popularity of posts."""

QDRANT_TIMEOUT_SECONDS = 1
"""The longest that a request waits for a vector index that does not respond; it then goes on without its candidates."""


class PerProcess(Generic[R]):
    """A part that each process creates at its first use and then keeps. A forked child creates its own."""

    instances: ClassVar[list[PerProcess[Any]]] = []

    def __init__(self, create: Callable[[], R]) -> None:
        self._create = create
        self._by_process: dict[int, R] = {}
        self.instances.append(self)

    def __call__(self) -> R:
        """Return this process's part."""
        process_id = os.getpid()
        if process_id not in self._by_process:
            self._by_process.setdefault(process_id, self._create())
        return self._by_process[process_id]

    def get_if_created(self) -> R | None:
        """Return this process's part, or None if it has not been created."""
        return self._by_process.get(os.getpid())

    def reset(self) -> None:
        """Discard the part. It is created again at its next use."""
        self._by_process.clear()


def per_process(create: Callable[[], R]) -> PerProcess[R]:
    """Decorate *create* so that each process calls it once and keeps the result."""
    return PerProcess(create)


@dataclass(frozen=True)
class VectorParts:
    """All parts that hold or compare vectors, for one set of active models. They are only ever replaced together."""

    embedding_models: dict[str, ActiveEmbeddingModel]
    embedder: Embedder
    spaces: dict[str, dict[str, Engine]]
    """Engines by space, then by name."""
    catalogue: ResidentCatalogue
    profiles: ResidentProfiles
    post_vector_cache: VectorCache


class VectorPartsHolder:
    """This process's current vector parts. Thread-safe."""

    def __init__(self) -> None:
        self.active_models = ActiveEmbeddingModels()
        self.current = create_vector_parts(self.active_models.read())
        self._lock = threading.Lock()

    def sync(self, now: datetime, *, must_be_current: bool = False) -> None:
        """
        Switch to new parts if the active models have changed.

        One thread builds and loads them; the others go on with the old parts, or wait if
        the result *must_be_current*. The catalogue is loaded before the switch: otherwise feeds would be empty until
        its first refresh.
        """
        models = self.active_models.read(must_be_current=must_be_current)
        if models == self.current.embedding_models or not self._lock.acquire(blocking=must_be_current):
            return
        try:
            if models != self.current.embedding_models:
                parts = create_vector_parts(models)
                parts.catalogue.refresh(now)
                self.current = parts
                log.info(
                    "embedding_models_switched", extra={"embedding_models": [model.name for model in models.values()]}
                )
        finally:
            self._lock.release()


def create_vector_parts(embedding_models: dict[str, ActiveEmbeddingModel]) -> VectorParts:
    """Return parts for these active models. The content space uses EMBEDDER while no model is active in it."""
    text_embedder = active_embedder(embedding_models.get(CONTENT_SPACE))
    active_spaces = {CONTENT_SPACE: (text_embedder.name, text_embedder.dimension)}
    active_spaces |= {
        model.space: (model.name, model.dimension)
        for model in embedding_models.values()
        if model.space != CONTENT_SPACE
    }
    total = sum(dimension for _, dimension in active_spaces.values())
    engines = {
        space: create_engines(dimension, settings.ENV.wasm_memory_limit * dimension // total)
        for space, (_, dimension) in active_spaces.items()
    }
    resident_spaces = [
        ResidentSpace(space, name, dimension, tuple(engines[space].values()))
        for space, (name, dimension) in active_spaces.items()
    ]
    catalogue = ResidentCatalogue(
        spaces=resident_spaces,
        vocabularies=vocabularies(),
        max_posts=settings.ENV.catalogue_max_posts,
        refresh_seconds=settings.ENV.catalogue_refresh_seconds,
        read_half_lives=lambda: control_policy().popularity_half_lives,
    )
    profiles = ResidentProfiles(
        model=text_embedder.name, dimension=text_embedder.dimension, max_entries=settings.ENV.vector_cache_size
    )
    vector_cache = RedisVectors(
        redis_client(settings.ENV.cache_redis_url), seal(), space=CONTENT_SPACE, model=text_embedder.name
    )
    return VectorParts(embedding_models, text_embedder, engines, catalogue, profiles, vector_cache)


def active_embedder(model: ActiveEmbeddingModel | None) -> Embedder:
    """Return the embedder of the active model, or that of EMBEDDER if no model is active or its package is missing."""
    if model is None:
        return configured_embedder()
    try:
        embedder = get_embedder(model.embedder, model.option)
    except EmbedderError:
        log.exception("active_embedder_not_loaded", extra={"embedding_model": model.name})
        return configured_embedder()
    # Another version of the package produces other vectors, under another name. They must be built and activated first.
    if embedder.name != model.name:
        log.error("active_embedder_changed", extra={"embedding_model": model.name, "active_model": embedder.name})
    return embedder


def configured_embedder() -> Embedder:
    """Return the text embedder set by EMBEDDER. Its model becomes active as soon as every post has a vector by it."""
    return get_embedder(settings.ENV.embedder, settings.ENV.fastembed_model)


@per_process
def vector_parts_holder() -> VectorPartsHolder:
    """Return the holder of this process's vector parts."""
    return VectorPartsHolder()


pinned_parts: ContextVar[VectorParts | None] = ContextVar("pinned_parts", default=None)


def vector_parts() -> VectorParts:
    """Return the vector parts that were pinned for this service call, or the current ones outside of such a call."""
    return pinned_parts.get() or vector_parts_holder().current


def pin_embedding_models(service: Callable[P, R]) -> Callable[P, R]:
    """
    Decorate *service*, which takes `now`, so that a call uses the embedding models that are active when it begins.

    Another thread may switch to a new model during the call. Without the pin, vectors of one model could then be
    compared with rows of another. A service that is called by a pinned service shares the pin of its caller.
    """

    @wraps(service)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if pinned_parts.get() is not None:
            return service(*args, **kwargs)
        # A space that this process does not know yet may have got its first model since the models were read.
        is_new_space = kwargs.get("space", CONTENT_SPACE) not in vector_parts_holder().current.spaces
        with suppress(DatabaseError):  # Keep the models read last. The service handles the failure of its own reads.
            sync_embedding_models(cast(datetime, kwargs["now"]), must_be_current=is_new_space)
        token = pinned_parts.set(vector_parts_holder().current)
        try:
            return service(*args, **kwargs)
        finally:
            pinned_parts.reset(token)

    return call


def sync_embedding_models(now: datetime, *, must_be_current: bool = False) -> None:
    """
    Switch to the active embedding models if they have changed since this process read them, up to 30 seconds ago.

    *must_be_current* reads them in any case. Otherwise learning could store sums of an old model's vectors.
    """
    vector_parts_holder().sync(now, must_be_current=must_be_current)


def embedder() -> Embedder:
    """Return the text embedder of the content space."""
    return vector_parts().embedder


def embedder_for(space: str) -> Embedder:
    """
    Return the embedder of texts for *space*, in which a model must be active.

    Raises `EmbedderError` if the platform sends the vectors of this space, so that no text can be embedded here.
    """
    if space == CONTENT_SPACE:
        return embedder()
    return get_cross_modal_embedder(vector_parts().embedding_models[space].embedder)


def space_index(space: str, engine_name: str = PlainEngine.name) -> ResidentVectors:
    """
    Return the index of the resident posts in *space*. Raises `VectorIndexError` if no model is active there.

    The plain engine is used if the engine asked for does not exist or lacks vectors.
    """
    parts = vector_parts()
    if space not in parts.spaces:
        raise VectorIndexError(f"No embedding model is active in the space {space}.")
    engines = parts.spaces[space]
    chosen = engines.get(engine_name, engines[PlainEngine.name])
    if parts.catalogue.count_missing_vectors(chosen):
        chosen = engines[PlainEngine.name]
    return ResidentVectors(with_neighbor_cache(chosen, space), parts.catalogue)


def with_neighbor_cache(engine: Engine, space: str) -> Engine:
    """Return *engine* of *space*, wrapped so that it answers vector queries from the shared neighbor cache."""
    model = embedder().name if space == CONTENT_SPACE else vector_parts().embedding_models[space].name
    return CachingEngine(engine, catalogue(), neighbor_cache(), space=space, model=model)


@per_process
def vocabularies() -> Vocabularies:
    """Return this process's numbering of languages, tags, kinds and regions."""
    return Vocabularies()


def engines() -> dict[str, Engine]:
    """Return the content space's engines by name: always the plain engine, and the kernel if it could be created."""
    return vector_parts().spaces[CONTENT_SPACE]


ENGINE_FACTORIES: dict[str, Callable[[int, int], Engine]] = {
    PlainEngine.name: lambda dimension, memory_limit_bytes: PlainEngine(dimension),
    WasmEngine.name: lambda dimension, memory_limit_bytes: WasmEngine(dimension, memory_limit_bytes=memory_limit_bytes),
}
"""Creates each engine, from the vectors' dimension and the limit of its memory. The control engine comes first."""


def create_engines(dimension: int, memory_limit_bytes: int) -> dict[str, Engine]:
    """
    Return new engines by name. An engine that cannot be created is left out and logged.

    WASM_MEMORY_LIMIT is for the kernels of all spaces together. The caller divides it by the vectors' dimensions.
    """
    engines: dict[str, Engine] = {}
    for name, create in ENGINE_FACTORIES.items():
        try:
            engines[name] = create(dimension, memory_limit_bytes)
        except EngineError:
            log.exception("engine_not_created", extra={"engine": name})
    return engines


def engine(name: str) -> Engine:
    """Return the engine. Raises `EngineError` if it could not be created, or lacks the vectors of some posts."""
    if name not in engines():
        raise EngineError(f"This process has no engine {name}. See the event engine_not_created in its log.")
    chosen = engines()[name]
    if missing := catalogue().count_missing_vectors(chosen):
        raise EngineError(f"The engine {name} lacks the vectors of {missing} posts. Raise WASM_MEMORY_LIMIT.")
    return chosen


@per_process
def policies() -> ActivePolicies:
    """Return this process's cache of active ranking policies."""
    return ActivePolicies()


def control_policy() -> Policy:
    """Return the policy of the control variant, whose settings of learning all variants use."""
    return policies().get(CONTROL_VARIANT)[0]


def catalogue() -> ResidentCatalogue:
    """Return the resident catalogue. It is empty until its first refresh."""
    return vector_parts().catalogue


@per_process
def resident_facts() -> ResidentFacts:
    """Return this process's cache of the facts about viewers and posts."""
    return ResidentFacts(vocabularies())


@per_process
def trained_models() -> TrainedModels:
    """Return the active trained models. Read a model once per service call: another may become active at any time."""
    return TrainedModels(Path(settings.ENV.model_dir))


@per_process
def seal() -> Seal:
    """Return the seal that encrypts personal values in Redis."""
    return Seal(settings.CACHE_SECRETS)


@per_process
def signer() -> Signer:
    """Return the signer of candidate packs."""
    return Signer([settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS])


@per_process
def slate_cache() -> SlateCache:
    """Return the slate cache."""
    ttl_seconds = settings.ENV.slate_retention_seconds
    return RedisSlates(redis_client(settings.ENV.cache_redis_url), seal(), ttl_seconds=ttl_seconds)


@per_process
def neighbor_cache() -> NeighborCache:
    """
    Return the cache of nearest neighbors.

    Its grace period is how far the resident catalogue may be behind the database: one refresh and the overlap.
    """
    grace_seconds = settings.ENV.catalogue_refresh_seconds + OVERLAP.total_seconds()
    return RedisNeighbors(redis_client(settings.ENV.cache_redis_url), seal(), grace_seconds=grace_seconds)


def post_vector_cache() -> VectorCache:
    """Return the cache of posts' vectors, in the content space's active model."""
    return vector_parts().post_vector_cache


def resident_profiles() -> ResidentProfiles:
    """Return this process's cache of profiles, in the content space's active model."""
    return vector_parts().profiles


@per_process
def resident_co_likes() -> ResidentCoLikes:
    """Return this process's cache of co-likes."""
    return ResidentCoLikes(min_members=settings.ENV.co_like_min_members)


@per_process
def breakers() -> dict[str, Breaker]:
    """Return this process's circuit breakers by engine name."""
    return {name: Breaker() for name in ENGINE_FACTORIES}


@per_process
def record_queue() -> RecordQueue:
    """Return the queue of served pages and slates. It is in the broker's Redis, which evicts nothing."""
    return RedisRecordQueue(redis_client(settings.ENV.redis_url), seal())


@per_process
def served_history() -> ServedHistory:
    """Return the pages that members were served recently."""
    return RedisServedHistory(redis_client(settings.ENV.cache_redis_url), seal())


@per_process
def qdrant_client() -> QdrantClient | None:
    """Return the client of the vector index, or None without QDRANT_URL."""
    if not settings.ENV.qdrant_url:
        return None
    key = settings.ENV.qdrant_api_key.get_secret_value() or None
    return connect(settings.ENV.qdrant_url, key, timeout=QDRANT_TIMEOUT_SECONDS)


def vector_index(space: str = CONTENT_SPACE) -> QdrantVectors | None:
    """Return the index of *space* for its active model; None without QDRANT_URL or without an active model."""
    model = vector_parts().embedding_models.get(space)
    return vector_index_of(space, model.name, model.dimension) if model else None


def vector_index_of(space: str, model: str, dimension: int) -> QdrantVectors | None:
    """Return the index of a model, active or not; None without QDRANT_URL."""
    client = qdrant_client()
    if client is None:
        return None
    key = (space, model)
    if key not in known_vector_indexes():
        known_vector_indexes()[key] = QdrantVectors(
            client, space=space, model=model, dimension=dimension, vocabularies=vocabularies()
        )
    return known_vector_indexes()[key]


@per_process
def known_vector_indexes() -> dict[tuple[str, str], QdrantVectors]:
    """Return this process's indexes by space and model."""
    return {}


def non_resident_posts() -> feeds.NonResidentPosts | None:
    """Return the sources of posts that are not resident, or None without a vector index."""
    index = vector_index()
    return (
        feeds.NonResidentPosts(index, DatabaseColdPosts(vocabularies(), CONTENT_SPACE, embedder().name))
        if index
        else None
    )


def create_engine(name: str) -> Engine:
    """Return a new, empty engine of the content space's dimension."""
    return ENGINE_FACTORIES[name](embedder().dimension, settings.ENV.wasm_memory_limit)


def feed_pipeline(feed: str, engine_name: str, own_engine: Engine | None = None) -> Pipeline:
    """Return the pipeline of *feed*. It is scored by the engine *engine_name*, or by *own_engine* if given."""
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
    """Discard all parts of this process, so that they are created from the current settings. For tests."""
    for part in PerProcess.instances:
        part.reset()
