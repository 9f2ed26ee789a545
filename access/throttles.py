"""
Rate limits per caller: a sliding window of one minute in Redis, with one round trip per request.

The window is the sliding window counter of the library `limits`, a Lua script. It is atomic, so concurrent requests
never exceed the limit. Its two scripts, for the decision and for the remaining requests, run here as one script: the
library would make a round trip for each, and the round trips are most of the cost.

While Redis is unavailable, every request is served and counted as `uncounted`. A limit protects the capacity of the
service, and rejecting all requests would turn the loss of a cache into an outage. Permissions do not depend on Redis.
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
"""How long a request waits for Redis. After a timeout Redis is not used for `RETRY_SECONDS`."""
RETRY_SECONDS = 1.0
"""How long requests are not counted after a failure of Redis."""

HIT_AND_PEEK_SCRIPT = b"""
local function hit(ARGV)
%s
end
local function peek(ARGV)
%s
end
return {hit(ARGV), peek({ARGV[2]})}
"""

RateLimitPolicy = Literal["key", "member", "staff", "address"]


@dataclass(frozen=True, slots=True)
class RateLimitDecision:
    """The decision on one request, and the remaining requests."""

    policy: RateLimitPolicy
    allowed: bool
    limit: int
    remaining: int
    reset_seconds: float
    """Seconds until another request is allowed."""


@dataclass(frozen=True, slots=True)
class RateLimitBucket:
    """The caller that a request counts against, and the limit."""

    policy: RateLimitPolicy
    name: str
    per_minute: int


class RateWindow(Protocol):
    """
    Counts the requests of each caller and policy in a sliding window of one minute.

    The windows of a caller are consecutive; the first starts with the first request. A request of the previous window
    has the weight of that window's overlap with the last minute.
    """

    def admit(self, bucket: RateLimitBucket) -> RateLimitDecision | None:
        """
        Admit and count a request if the limit permits. A rejected request is not counted.

        Concurrent requests never exceed the limit. None if the counts are unavailable; the request is then served.
        """
        ...


class RateLimiter:
    """A `RateWindow` in Redis. After a failure it does not use Redis for `RETRY_SECONDS`."""

    def __init__(self, url: str) -> None:
        self._storage = RedisStorage(
            url,
            key_prefix="recsys:limits",
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),  # type: ignore[arg-type]  # a retry would count the request twice
        )
        hit, peek = (self._storage.SCRIPT_ACQUIRE_SLIDING_WINDOW, self._storage.SCRIPT_SLIDING_WINDOW)
        self._script = self._storage.get_connection().register_script(HIT_AND_PEEK_SCRIPT % (hit, peek))
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
            log.exception("throttle_failed")
            THROTTLE_EVENTS.labels(bucket.policy, "uncounted").inc()
            return None
        if not hit:
            THROTTLE_EVENTS.labels(bucket.policy, "rejected").inc()
        return build_decision(bucket, allowed=bool(hit), window=window)

    def _count(self, bucket: RateLimitBucket) -> tuple[object, list[bytes | int | None]]:
        item = RateLimitItemPerMinute(bucket.per_minute)
        name = item.key_for(bucket.policy, bucket.name)
        keys = [f"{self._storage.key_prefix}:{{{name}}}/-1", f"{self._storage.key_prefix}:{{{name}}}"]
        hit, window = self._script(keys, [bucket.per_minute, WINDOW_SECONDS, 1])
        return hit, window


def build_decision(bucket: RateLimitBucket, *, allowed: bool, window: list[bytes | int | None]) -> RateLimitDecision:
    """
    Return the decision for *window*: count and remaining milliseconds of the previous window, then of the current one.
    """
    previous, previous_ttl, count, ttl = (max(0, int(value or 0)) for value in window)
    weighted = math.floor(previous * previous_ttl / 1000 / WINDOW_SECONDS) + count
    resets = [float(WINDOW_SECONDS)]
    if previous:
        resets.append(previous_ttl / 1000 % (WINDOW_SECONDS / previous))
    if count:
        # The current window is stored for two windows. Its weight decreases only after it becomes the previous one.
        resets.append(ttl / 1000 - WINDOW_SECONDS)
    return RateLimitDecision(
        bucket.policy, allowed, bucket.per_minute, max(0, bucket.per_minute - weighted), min(resets)
    )


@cache
def rate_limiter() -> RateWindow:
    """Return the rate limiter of this process."""
    return RateLimiter(settings.ENV.cache_redis_url)


def client_address(request: HttpRequest | Request) -> str:
    """Return the client's address behind TRUSTED_PROXIES proxies."""
    return BaseThrottle().get_ident(request)  # type: ignore[arg-type]  # it reads only META


def bucket_for(request: HttpRequest | Request, caller: Caller | User | None) -> RateLimitBucket | None:
    """Return the bucket that the request counts against, or None without a limit. *caller* None: anonymous."""
    env = settings.ENV
    if isinstance(caller, User):
        bucket = RateLimitBucket("staff", str(caller.pk), env.rate_per_staff)
    elif caller is None:
        bucket = RateLimitBucket("address", mask_identity("address", client_address(request)), env.rate_per_address)
    elif caller.member_id is not None:
        bucket = RateLimitBucket("member", mask_identity("member", caller.member_id), env.rate_per_member)
    else:
        key_limit = caller.key.per_minute if caller.key else None
        bucket = RateLimitBucket("key", caller.id, env.rate_per_key if key_limit is None else key_limit)
    return bucket if bucket.per_minute else None


def count_request(request: HttpRequest | Request, caller: Caller | User | None) -> RateLimitDecision | None:
    """Count the request, and store the decision on it for the response headers."""
    bucket = bucket_for(request, caller)
    decision = rate_limiter().admit(bucket) if bucket else None
    django_request: Any = getattr(request, "_request", request)
    django_request.rate_limit = decision
    return decision


def check_rate_limit(request: HttpRequest | Request, caller: Caller | User | None) -> None:
    """Count a request that is rejected anyway. Raises `Throttled` above the limit."""
    decision = count_request(request, caller)
    if decision is not None and not decision.allowed:
        raise Throttled(wait=max(1, decision.reset_seconds))


class RateLimitThrottle(BaseThrottle):
    """Limit the requests of keys, tokens and staff. Anonymous requests to an open API are not counted."""

    def allow_request(self, request: Request, view: object) -> bool:
        caller = request.auth or request.user
        self.decision = count_request(request, caller) if isinstance(caller, Caller | User) else None
        return self.decision is None or self.decision.allowed

    def wait(self) -> float | None:
        return max(1, self.decision.reset_seconds) if self.decision else None


def rate_limit_headers(decision: RateLimitDecision) -> dict[str, str]:
    """Return the RateLimit headers of draft-ietf-httpapi-ratelimit-headers-10."""
    return {
        "RateLimit-Policy": f'"{decision.policy}";q={decision.limit};w={WINDOW_SECONDS}',
        "RateLimit": f'"{decision.policy}";r={decision.remaining};t={math.ceil(decision.reset_seconds)}',
    }
