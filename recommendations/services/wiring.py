"""Chooses the real parts, by the settings. A process makes each once, when first asked for, never before a fork."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import cache, wraps
from typing import TypeVar

import numpy as np
import redis
from django.conf import settings

from recommendations import feeds
from recommendations.contracts import Int32Array
from recommendations.embedders.choosing import embedder_named
from recommendations.engines.plain import PlainEngine
from recommendations.engines.wasm_simd import WasmEngine
from recommendations.pipeline.run import Pipeline
from recommendations.ports import Embedder, Engine, EngineError
from recommendations.services.breaker import Breaker
from recommendations.services.embedding import SPACE
from recommendations.stores.policies import Policies
from recommendations.stores.redis_records import RedisRecords
from recommendations.stores.redis_served import RedisServed
from recommendations.stores.redis_slates import RedisSlates
from recommendations.stores.redis_vectors import RedisVectors
from recommendations.stores.relational_posts import DatabasePosts
from recommendations.stores.resident_catalogue import ResidentCatalogue
from recommendations.stores.resident_profiles import ResidentProfiles
from recommendations.stores.sealing import Seal
from recommendations.stores.vocabulary import Words

log = logging.getLogger(__name__)

R = TypeVar("R")

REDIS_TIMEOUT_SECONDS = 1.0
"""A Redis that does not answer costs a request this much and its cache, not more."""


forgetters: list[Callable[[], None]] = []


def per_process(make: Callable[[], R]) -> Callable[[], R]:
    """Return *make* with its value kept for this process; a forked child makes its own."""

    @cache
    def made(_process: int) -> R:
        return make()

    @wraps(make)
    def part() -> R:
        return made(os.getpid())

    forgetters.append(made.cache_clear)
    return part


@per_process
def embedder() -> Embedder:
    """Return the text embedder that EMBEDDER asks for."""
    return embedder_named(settings.ENV.embedder, settings.ENV.fastembed_model)


@per_process
def words() -> Words:
    """Return this process's numbers for languages and tags."""
    return Words()


@per_process
def engines() -> dict[str, Engine]:
    """Return the engines by name; the control engine is always there, one that cannot be made is not."""
    dimension = embedder().dimension
    made: dict[str, Engine] = {PlainEngine.name: PlainEngine(dimension)}
    try:
        made[WasmEngine.name] = WasmEngine(dimension, memory_limit_bytes=settings.ENV.wasm_memory_limit)
    except EngineError:
        log.exception("engine_not_made", extra={"engine": WasmEngine.name})
    return made


def engine(name: str) -> Engine:
    """Return the engine of this name, or raise `EngineError` if this process could not make it."""
    if name not in engines():
        raise EngineError(f"This process has no engine {name}; its log says why.")
    return engines()[name]


@per_process
def policies() -> Policies:
    """Return the ranking policies that this process knows."""
    return Policies()


@per_process
def catalogue() -> ResidentCatalogue:
    """Return the resident catalogue, empty until it is first refreshed."""
    return ResidentCatalogue(
        engines=tuple(engines().values()),
        words=words(),
        space=SPACE,
        model=embedder().name,
        dimension=embedder().dimension,
        max_posts=settings.ENV.catalogue_max_posts,
        refresh_seconds=settings.ENV.catalogue_refresh_seconds,
    )


@per_process
def post_facts() -> DatabasePosts:
    """Return what the last look reads."""
    return DatabasePosts(words())


def redis_client(url: str) -> redis.Redis:
    """Return a client that gives up soon."""
    return redis.Redis.from_url(url, socket_timeout=REDIS_TIMEOUT_SECONDS, socket_connect_timeout=REDIS_TIMEOUT_SECONDS)


@per_process
def seal() -> Seal:
    """Return what personal values in Redis are sealed with."""
    return Seal(settings.CACHE_SECRETS)


@per_process
def slates() -> RedisSlates:
    """Return the slate cache."""
    keep_seconds = settings.ENV.slate_keep_seconds
    return RedisSlates(redis_client(settings.ENV.cache_redis_url), seal(), keep_seconds=keep_seconds)


@per_process
def post_vectors() -> RedisVectors:
    """Return the cache of posts' vectors."""
    return RedisVectors(redis_client(settings.ENV.cache_redis_url), space=SPACE, model=embedder().name)


@per_process
def tastes() -> ResidentProfiles:
    """Return the profiles that this process knows."""
    size = settings.ENV.vector_cache_size
    return ResidentProfiles(model=embedder().name, dimension=embedder().dimension, most=size)


@per_process
def breakers() -> dict[str, Breaker]:
    """Return this process's breaker for each engine that may be asked for."""
    return {name: Breaker() for name in (PlainEngine.name, WasmEngine.name)}


@per_process
def records() -> RedisRecords:
    """Return the queue of what was served; it is in the broker's Redis, which keeps everything."""
    return RedisRecords(redis_client(settings.ENV.redis_url), seal())


@per_process
def served() -> RedisServed:
    """Return the memory of what members were served lately."""
    return RedisServed(redis_client(settings.ENV.cache_redis_url))


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
        return feeds.similar(engine=own or engine(engine_name), catalogue=catalogue())
    return feeds.discovery(engine=own or engine(engine_name), catalogue=catalogue())


def forget_parts() -> None:
    """Make every part anew at its next use: after a test changed what they are made from."""
    for forget in forgetters:
        forget()


def engine_check() -> None:
    """Raise `EngineError` unless a fresh kernel gives the answer that is known to be right."""
    engine = WasmEngine(8, memory_limit_bytes=2**26)
    rows: Int32Array = np.arange(3, dtype=np.int32)
    vectors = np.eye(3, 8, dtype=np.float32)
    engine.put(rows, np.arange(1, 4), vectors)
    found, _ = engine.nearest(vectors[1:2], 1, np.ones(3, np.bool_))
    if found.tolist() != [[1]]:
        raise EngineError(f"The kernel's self-test found row {found.tolist()} where row 1 is right.")


def catalogue_posts() -> int:
    """Return how many posts this process has resident."""
    return len(catalogue())
