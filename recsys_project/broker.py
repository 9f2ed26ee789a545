"""
The transports of Celery's messages: kombu's for Redis and for sentinels, without an error that ends a worker.

A worker that loses the connection to Redis closes its channel, and again with the connection. If Redis fails in the
middle of the first time, the channel has lost its connection the second time. kombu (5.7) then raises `AttributeError`
while it returns the messages that the channel holds, and the worker ends. As an error of the connection, it is ignored
like every other one at this point: the worker connects again. Jobs do not depend on these messages
(`recommendations/services/work.py`).
"""

from __future__ import annotations

from typing import Any

import redis
from kombu.transport import redis as kombu_redis

ALIASES = dict.fromkeys(("redis", "rediss"), f"{__name__}:Transport") | {"sentinel": f"{__name__}:SentinelTransport"}
"""The transports of kombu, by the scheme of a URL, that these replace."""


class LostConnectionMixin:
    """A channel that reports a lost connection as an error of the connection."""

    connection: Any

    def _connparams(self, asynchronous: bool = False) -> Any:
        if self.connection is None or self.connection.client is None:
            raise redis.ConnectionError("The connection of this channel is closed.")
        return super()._connparams(asynchronous)  # type: ignore[misc]  # its stubs have public names only


class Channel(LostConnectionMixin, kombu_redis.Channel):
    """The channel of one server."""


class Transport(kombu_redis.Transport):
    """The transport with this channel."""

    Channel = Channel


class SentinelChannel(LostConnectionMixin, kombu_redis.SentinelChannel):
    """The channel of the primary that sentinels name."""


class SentinelTransport(kombu_redis.SentinelTransport):
    """The transport with this channel."""

    Channel = SentinelChannel
