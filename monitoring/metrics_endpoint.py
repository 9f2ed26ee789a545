"""
The content of /metrics, and a small HTTP server for workers on other machines.

The processes of one machine share PROMETHEUS_MULTIPROC_DIR, and any web process returns the metrics of all of them. A
worker in its own container shares no directory: it serves its metrics and those of its children on METRICS_PORT.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from secrets import compare_digest
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from celery.signals import worker_ready
from django.conf import settings
from prometheus_client import REGISTRY, CollectorRegistry, exposition
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from monitoring.gauges import GaugeCollector
from monitoring.processes import ProcessGaugeCollector

TOKEN_REQUIRED = b"Send the METRICS_TOKEN as a bearer token.\n"


class DefaultRegistryCollector(Collector):
    """Collector of the metrics of this process, from prometheus_client's default registry."""

    def collect(self) -> Iterable[Any]:
        """Return every metric family of the default registry."""
        return REGISTRY.collect()


def build_registry(*, with_gauges: bool) -> CollectorRegistry:
    """
    Return a registry with the collectors of one scrape.

    Computed gauges describe the whole service. Only web processes export them, so that nothing is counted twice.
    """
    registry = CollectorRegistry()
    registry.register(ProcessGaugeCollector())
    if with_gauges:
        registry.register(GaugeCollector())
    if settings.ENV.prometheus_multiproc_dir:
        MultiProcessCollector(registry, settings.ENV.prometheus_multiproc_dir)  # type: ignore[no-untyped-call]
    else:
        registry.register(DefaultRegistryCollector())
    return registry


def render_metrics(accept: str, *, with_gauges: bool) -> tuple[bytes, str]:
    """Return the metrics in the format that the Accept header requests, and its content type."""
    encode, content_type = exposition.choose_encoder(accept)
    return encode(build_registry(with_gauges=with_gauges)), content_type


def is_metrics_token(authorization: str) -> bool:
    """Return whether the Authorization header has METRICS_TOKEN. Always False if METRICS_TOKEN is not set."""
    expected = settings.ENV.metrics_token.get_secret_value()
    scheme, _, token = authorization.partition(" ")
    return bool(expected) and scheme.lower() == "bearer" and compare_digest(token.encode(), expected.encode())


# The server of a worker


def metrics_app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Return the metrics of a worker (a WSGI application, because a worker runs no web server)."""
    if environ["PATH_INFO"] != "/metrics":
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"The metrics are at /metrics.\n"]
    if not is_metrics_token(environ.get("HTTP_AUTHORIZATION", "")):
        start_response("401 Unauthorized", [("Content-Type", "text/plain"), ("WWW-Authenticate", "Bearer")])
        return [TOKEN_REQUIRED]
    body, content_type = render_metrics(environ.get("HTTP_ACCEPT", ""), with_gauges=False)
    start_response("200 OK", [("Content-Type", content_type), ("Content-Length", str(len(body)))])
    return [body]


class QuietRequestHandler(WSGIRequestHandler):
    """Request handler that does not log scrapes, which arrive every few seconds."""

    def log_message(self, format: str, *args: Any) -> None:
        """Discard the message."""

    timeout = 5
    """Seconds after which a silent connection is closed, so that it does not block the single-threaded server."""


def serve_worker_metrics(**_: object) -> WSGIServer | None:
    """Serve the worker's metrics from a thread if METRICS_PORT is set. Called after the worker forked its children."""
    if not (settings.ENV.metrics_port and settings.ENV.prometheus_metrics_enabled):
        return None
    server = make_server("", settings.ENV.metrics_port, metrics_app, handler_class=QuietRequestHandler)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server


def connect_signals() -> None:
    """Start the server when a worker is ready. Other processes never send this signal."""
    worker_ready.connect(serve_worker_metrics, weak=False, dispatch_uid="metrics-server")
