"""
How many requests a minute a caller may send: a sliding window in Redis, one round trip a request.

The window is that of the library `limits` (its sliding window counter, in Lua): atomic, so that of many who ask at
once exactly as many are let in as there is room for. Its two scripts, one for the verdict and one for what is left, run
as one here: the library would make a round trip for each, and the trip is the most of what a request's count costs.

While Redis cannot be asked everybody is served, and counted: a limit guards the capacity of the service, and refusing
all would turn the loss of a cache into the loss of the service. Who may do what does not rest on Redis.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from functools import cache
from time import monotonic
from typing import Any, Literal, Protocol

import redis
from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpRequest
from limits import RateLimitItemPerMinute
from limits.storage import RedisStorage
from redis.backoff import NoBackoff
from redis.retry import Retry
from rest_framework.exceptions import Throttled
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from access.callers import Caller
from access.masks import mask_identity
from monitoring.metrics import THROTTLE_EVENTS

log = logging.getLogger(__name__)

WINDOW_SECONDS = 60
TIMEOUT_SECONDS = 1.0
"""A Redis that does not answer costs a request this much, and then none for a while."""
RETRY_SECONDS = 1.0
"""How long nobody is counted after Redis failed to answer."""

HIT_AND_PEEK_SCRIPT = b"""
local function hit(ARGV)
%s
end
local function look(ARGV)
%s
end
return {hit(ARGV), look({ARGV[2]})}
"""

RateLimitPolicy = Literal["key", "member", "staff", "address"]


@dataclass(frozen=True, slots=True)
class RateLimitDecision:
    """What became of one request, and what is left."""

    policy: RateLimitPolicy
    allowed: bool
    limit: int
    remaining: int
    reset_seconds: float
    """Until there is more room."""


@dataclass(frozen=True, slots=True)
class RateLimitBucket:
    """Whom a request counts for."""

    policy: RateLimitPolicy
    name: str
    per_minute: int


class RateWindow(Protocol):
    """
    Counts the requests of each caller, under each policy, in a sliding window of a minute.

    A caller's windows follow one another, the first from its first request on. A request of the window before weighs as
    much as that window still reaches into the last minute.
    """

    def admit(self, counted: RateLimitBucket) -> RateLimitDecision | None:
        """
        Let a request in and count it if there is room for it; a refused request is not counted.

        Of requests that come at once exactly as many are let in as there is room for. None while the counts cannot be
        reached: the caller is to be served.
        """
        ...


class RateLimiter:
    """Keeps `RateWindow` in Redis. After a failure it asks Redis no more for `PAUSE_SECONDS`."""

    def __init__(self, url: str) -> None:
        self._storage = RedisStorage(
            url,
            key_prefix="recsys:limits",
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),  # type: ignore[arg-type]  # asked again, a request would count twice
        )
        hit, look = (self._storage.SCRIPT_ACQUIRE_SLIDING_WINDOW, self._storage.SCRIPT_SLIDING_WINDOW)
        self._script = self._storage.get_connection().register_script(HIT_AND_PEEK_SCRIPT % (hit, look))
        self._retry_at = -math.inf

    def admit(self, bucket: RateLimitBucket) -> RateLimitDecision | None:
        """See `RateWindow.admit`."""
        if monotonic() < self._retry_at:
            THROTTLE_EVENTS.labels(bucket.policy, "uncounted").inc()
            return None
        try:
            hit, window = self._count(bucket)
        except redis.RedisError:
            self._retry_at = monotonic() + RETRY_SECONDS
            log.exception("throttle_unavailable")
            THROTTLE_EVENTS.labels(bucket.policy, "uncounted").inc()
            return None
        if not hit:
            THROTTLE_EVENTS.labels(bucket.policy, "refused").inc()
        return build_decision(bucket, allowed=bool(hit), window=window)

    def _count(self, counted: RateLimitBucket) -> tuple[object, list[bytes | int | None]]:
        item = RateLimitItemPerMinute(counted.per_minute)
        name = item.key_for(counted.policy, counted.name)
        keys = [f"{self._storage.key_prefix}:{{{name}}}/-1", f"{self._storage.key_prefix}:{{{name}}}"]
        hit, window = self._script(keys, [counted.per_minute, WINDOW_SECONDS, 1])
        return hit, window


def build_decision(bucket: RateLimitBucket, *, allowed: bool, window: list[bytes | int | None]) -> RateLimitDecision:
    """Return the verdict from a window: count and milliseconds to live of the one before, and of the present one."""
    before, before_ttl, count, ttl = (max(0, int(value or 0)) for value in window)
    weighted = math.floor(before * before_ttl / 1000 / WINDOW_SECONDS) + count
    resets = [float(WINDOW_SECONDS)]
    if before:
        resets.append(before_ttl / 1000 % (WINDOW_SECONDS / before))
    if count:
        # The present window lives for two: only once it is the one before does it weigh less and less.
        resets.append(ttl / 1000 - WINDOW_SECONDS)
    return RateLimitDecision(
        bucket.policy, allowed, bucket.per_minute, max(0, bucket.per_minute - weighted), min(resets)
    )


@cache
def rate_limiter() -> RateWindow:
    """Return this process's connection to the windows."""
    return RateLimiter(settings.ENV.cache_redis_url)


def client_address(request: HttpRequest | Request) -> str:
    """Return the sender's address, behind as many proxies as TRUSTED_PROXIES says."""
    return BaseThrottle().get_ident(request)  # type: ignore[arg-type]  # which reads META alone


def bucket_for(request: HttpRequest | Request, caller: Caller | User | None) -> RateLimitBucket | None:
    """Return whom the request counts for; None if nobody is limited. A caller of None is a stranger."""
    env = settings.ENV
    if isinstance(caller, User):
        found = RateLimitBucket("staff", str(caller.pk), env.rate_per_staff)
    elif caller is None:
        found = RateLimitBucket("address", mask_identity("address", client_address(request)), env.rate_per_address)
    elif caller.member_id is not None:
        found = RateLimitBucket("member", mask_identity("member", caller.member_id), env.rate_per_member)
    else:
        own = caller.key.per_minute if caller.key else None
        found = RateLimitBucket("key", caller.id, env.rate_per_key if own is None else own)
    return found if found.per_minute else None


def count_request(request: HttpRequest | Request, caller: Caller | User | None) -> RateLimitDecision | None:
    """Count the request and note the verdict on it, for the answer's headers."""
    counted = bucket_for(request, caller)
    found = rate_limiter().admit(counted) if counted else None
    plain: Any = getattr(request, "_request", request)
    plain.rate_limit = found
    return found


def check_rate_limit(request: HttpRequest | Request, caller: Caller | None) -> None:
    """Count a request that is refused anyway; raise `Throttled` if there were too many."""
    found = count_request(request, caller)
    if found is not None and not found.allowed:
        raise Throttled(wait=max(1, found.reset_seconds))


class RateLimitThrottle(BaseThrottle):
    """Counts what keys, tokens and staff ask. On an open API strangers are not counted."""

    def allow_request(self, request: Request, view: object) -> bool:
        who = request.auth or request.user
        self.found = count_request(request, who) if isinstance(who, Caller | User) else None
        return self.found is None or self.found.allowed

    def wait(self) -> float | None:
        return max(1, self.found.reset_seconds) if self.found else None


def rate_limit_headers(decision: RateLimitDecision) -> dict[str, str]:
    """Return the fields of the IETF's draft (draft-ietf-httpapi-ratelimit-headers-10)."""
    return {
        "RateLimit-Policy": f'"{decision.policy}";q={decision.limit};w={WINDOW_SECONDS}',
        "RateLimit": f'"{decision.policy}";r={decision.remaining};t={math.ceil(decision.reset_seconds)}',
    }
