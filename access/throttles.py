"""
Rate limits per caller: a sliding window of one minute in Redis, with one round trip per request.

The limits count units. A request counts one unit before its body is read, and the rest of its cost
(`request_costs.py`) after that: one more round trip, only for requests that cost more than one unit. A request never
counts more than half of the limit, so that it is admitted at some time.

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
from typing import Any, Literal, Protocol

import redis
from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpRequest
from limits import RateLimitItemPerMinute
from limits.storage import RedisStorage
from rest_framework.exceptions import Throttled
from rest_framework.throttling import BaseThrottle

from access.callers import Caller
from access.inputs import Request
from access.masks import mask_identity
from access.request_costs import request_cost
from access.scopes import MEMBER_WRITE_SCOPES
from monitoring.metrics import THROTTLE_EVENTS
from monitoring.redis_clients import UnavailableError, redis_client

log = logging.getLogger(__name__)

WINDOW_SECONDS = 60

HIT_AND_PEEK_SCRIPT = b"""
local function hit(ARGV)
%s
end
local function peek(ARGV)
%s
end
return {hit(ARGV), peek({ARGV[2]})}
"""

RateLimitPolicy = Literal["key", "member", "member-writes", "staff", "address"]


@dataclass(frozen=True, slots=True)
class RateLimitDecision:
    """The decision on one request, and the remaining units."""

    policy: RateLimitPolicy
    allowed: bool
    limit: int
    remaining: int
    reset_seconds: float
    """Seconds until another unit is available."""
    retry_seconds: float = 0.0
    """Seconds until all units of a rejected request are available. 0 for an admitted request."""


@dataclass(frozen=True, slots=True)
class RateLimitBucket:
    """The caller that a request counts against, and the limit."""

    policy: RateLimitPolicy
    name: str
    per_minute: int


class RateWindow(Protocol):
    """
    Counts the units of each caller and policy in a sliding window of one minute.

    The windows of a caller are consecutive; the first starts with the first request. A unit of the previous window has
    the weight of that window's overlap with the last minute.
    """

    def admit(self, bucket: RateLimitBucket, units: int = 1, earlier: int = 0) -> RateLimitDecision | None:
        """
        Admit and count *units*, 1 up to the limit, if the limit permits. Rejected units are not counted.

        *earlier* units of the same request were counted before. A retry needs them again.

        Concurrent requests never exceed the limit. None if the counts are unavailable; the request is then served.
        """
        ...


class RateLimiter:
    """A `RateWindow` in Redis. Does not wait for a Redis whose breaker is open (`monitoring/dependencies.py`)."""

    def __init__(self, url: str) -> None:
        pool = redis_client(url).connection_pool
        self._storage = RedisStorage(url, connection_pool=pool, key_prefix="recsys:limits")
        hit, peek = (self._storage.SCRIPT_ACQUIRE_SLIDING_WINDOW, self._storage.SCRIPT_SLIDING_WINDOW)
        self._script = self._storage.get_connection().register_script(HIT_AND_PEEK_SCRIPT % (hit, peek))

    def admit(self, bucket: RateLimitBucket, units: int = 1, earlier: int = 0) -> RateLimitDecision | None:
        """See `RateWindow.admit`."""
        try:
            hit, window = self._count(bucket, units)
        except redis.RedisError as error:
            if not isinstance(error, UnavailableError):
                log.exception("throttle_failed")
            THROTTLE_EVENTS.labels(bucket.policy, "uncounted").inc()
            return None
        if not hit:
            THROTTLE_EVENTS.labels(bucket.policy, "rejected").inc()
        return build_decision(bucket, allowed=bool(hit), window=window, retry_units=units + earlier)

    def _count(self, bucket: RateLimitBucket, units: int) -> tuple[object, list[bytes | int | None]]:
        item = RateLimitItemPerMinute(bucket.per_minute)
        name = item.key_for(bucket.policy, bucket.name)
        keys = [f"{self._storage.key_prefix}:{{{name}}}/-1", f"{self._storage.key_prefix}:{{{name}}}"]
        hit, window = self._script(keys, [bucket.per_minute, WINDOW_SECONDS, units])
        return hit, window


def build_decision(
    bucket: RateLimitBucket, *, allowed: bool, window: list[bytes | int | None], retry_units: int = 1
) -> RateLimitDecision:
    """
    Return the decision for *window*: count and remaining milliseconds of the previous window, then of the current one.

    *retry_units*, at most the limit, are the units that a retry of the request needs.
    """
    previous, previous_ttl, count, ttl = (max(0, int(value or 0)) for value in window)
    weighted = math.floor(previous * previous_ttl / 1000 / WINDOW_SECONDS) + count
    resets = [float(WINDOW_SECONDS)]
    if previous:
        resets.append(previous_ttl / 1000 % (WINDOW_SECONDS / previous))
    # The current window is stored for two windows. Its weight decreases only after it becomes the previous one.
    current_ends_in = max(0.0, ttl / 1000 - WINDOW_SECONDS)
    if count:
        resets.append(current_ends_in)
    retry_seconds = 0.0
    if not allowed:
        free = bucket.per_minute - retry_units
        if count <= free:
            retry_seconds = seconds_until_weight(previous, previous_ttl / 1000, free - count)
        else:
            retry_seconds = current_ends_in + seconds_until_weight(count, WINDOW_SECONDS, free)
    return RateLimitDecision(
        bucket.policy, allowed, bucket.per_minute, max(0, bucket.per_minute - weighted), min(resets), retry_seconds
    )


def seconds_until_weight(count: int, overlap: float, weight: int) -> float:
    """Return the seconds until a previous window of *count* units, *overlap* seconds long, weighs at most *weight*."""
    if not count:
        return 0.0
    # The weight is rounded down, so it is *weight* as soon as it is below *weight* + 1: a millisecond later.
    return max(0.0, overlap - (weight + 1) * WINDOW_SECONDS / count + 0.001)


@cache
def rate_limiter() -> RateWindow:
    """Return the rate limiter of this process."""
    return RateLimiter(settings.ENV.cache_redis_url)


def client_address(request: HttpRequest | Request) -> str:
    """Return the client's address behind TRUSTED_PROXIES proxies."""
    return BaseThrottle().get_ident(request)  # type: ignore[arg-type]  # it reads only META


def bucket_for(
    request: HttpRequest | Request, caller: Caller | User | None, *, is_write: bool = False
) -> RateLimitBucket | None:
    """
    Return the bucket that the request counts against, or None without a limit. *caller* None: anonymous.

    *is_write* matters for members only: their writes have a limit of their own.
    """
    env = settings.ENV
    if isinstance(caller, User):
        bucket = RateLimitBucket("staff", str(caller.pk), env.rate_per_staff)
    elif caller is None:
        bucket = RateLimitBucket("address", mask_identity("address", client_address(request)), env.rate_per_address)
    elif caller.member_id is not None:
        name = mask_identity("member", caller.member_id)
        if is_write:
            bucket = RateLimitBucket("member-writes", name, env.write_rate_per_member)
        else:
            bucket = RateLimitBucket("member", name, env.rate_per_member)
    else:
        key_limit = caller.key.per_minute if caller.key else None
        bucket = RateLimitBucket("key", caller.id, env.rate_per_key if key_limit is None else key_limit)
    return bucket if bucket.per_minute else None


def count_request(
    request: HttpRequest | Request,
    caller: Caller | User | None,
    *,
    units: int = 1,
    earlier: int = 0,
    is_write: bool = False,
) -> RateLimitDecision | None:
    """
    Count *units* of the request, and store the decision on it for the response headers.

    *earlier* is 1 if the request's first unit has been counted against the same limit. All others together are at most
    half of the limit.
    """
    bucket = bucket_for(request, caller, is_write=is_write)
    decision = rate_limiter().admit(bucket, limit_units(units, bucket, earlier), earlier) if bucket else None
    django_request: Any = getattr(request, "_request", request)
    django_request.rate_limit = decision
    return decision


def limit_units(units: int, bucket: RateLimitBucket, earlier: int) -> int:
    """Return *units*, or half of the limit if that is less; at least 1 unless the request has been counted before."""
    return min(units, max(1 - earlier, bucket.per_minute // 2))


def check_rate_limit(
    request: HttpRequest | Request,
    caller: Caller | User | None,
    *,
    units: int = 1,
    earlier: int = 0,
    is_write: bool = False,
) -> None:
    """Count *units*, for a request that is rejected anyway or for work beyond the first unit. Raises `Throttled`."""
    decision = count_request(request, caller, units=units, earlier=earlier, is_write=is_write)
    if decision is not None and not decision.allowed:
        raise Throttled(wait=max(1, decision.retry_seconds))


def limited_caller(request: Request) -> Caller | User | None:
    """Return the key, token or staff user that the request counts against, or None for an anonymous request."""
    caller = request.auth or request.user
    return caller if isinstance(caller, Caller | User) else None


class RateLimitThrottle(BaseThrottle):
    """Limit the requests of keys, tokens and staff. Anonymous requests to an open API are not counted."""

    def allow_request(self, request: Request, view: object) -> bool:  # type: ignore[override]
        caller = limited_caller(request)
        is_write = getattr(view, "scopes", {}).get(request.method) in MEMBER_WRITE_SCOPES
        self.decision = count_request(request, caller, is_write=is_write) if caller else None
        if caller and self._is_allowed() and (units := request_cost(request, view) - 1):
            self.decision = count_request(request, caller, units=units, earlier=1, is_write=is_write)
        return self._is_allowed()

    def _is_allowed(self) -> bool:
        return self.decision is None or self.decision.allowed

    def wait(self) -> float | None:
        return max(1, self.decision.retry_seconds) if self.decision else None


def rate_limit_headers(decision: RateLimitDecision) -> dict[str, str]:
    """Return the RateLimit headers of draft-ietf-httpapi-ratelimit-headers-10."""
    return {
        "RateLimit-Policy": f'"{decision.policy}";q={decision.limit};w={WINDOW_SECONDS}',
        "RateLimit": f'"{decision.policy}";r={decision.remaining};t={math.ceil(decision.reset_seconds)}',
    }
