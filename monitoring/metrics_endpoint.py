"""
What /metrics says, and the small server by which a worker on another machine says its part.

Processes of one machine share PROMETHEUS_MULTIPROC_DIR, and any web process answers for all of them. A worker in a
container of its own shares nothing: it answers for itself and its children on METRICS_PORT.
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
    """What this process counted, as it stands in the client's own registry."""

    def collect(self) -> Iterable[Any]:
        """Return every family of the default registry."""
        return REGISTRY.collect()


def build_registry(*, with_gauges: bool) -> CollectorRegistry:
    """Return what to collect from. Readings are of the whole service: one kind of process tells them, the web's."""
    found = CollectorRegistry()
    found.register(ProcessGaugeCollector())
    if with_gauges:
        found.register(GaugeCollector())
    if settings.ENV.prometheus_multiproc_dir:
        MultiProcessCollector(found, settings.ENV.prometheus_multiproc_dir)  # type: ignore[no-untyped-call]
    else:
        found.register(DefaultRegistryCollector())
    return found


def render_metrics(accept: str, *, with_gauges: bool) -> tuple[bytes, str]:
    """Return the figures in the form that *accept* asks for, and the form's content type."""
    encode, content_type = exposition.choose_encoder(accept)
    return encode(build_registry(with_gauges=with_gauges)), content_type


def is_metrics_token(authorization: str) -> bool:
    """Return whether the header's value carries METRICS_TOKEN; never if none is set."""
    expected = settings.ENV.metrics_token.get_secret_value()
    scheme, _, token = authorization.partition(" ")
    return bool(expected) and scheme.lower() == "bearer" and compare_digest(token.encode(), expected.encode())


# A worker's own


def metrics_app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Answer a scrape of a worker: WSGI, since the worker runs no web server."""
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
    """Logs no scrape: there is one every few seconds."""

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    timeout = 5
    """Who connects and says nothing must not keep others waiting."""


def serve_worker_metrics(**_: object) -> WSGIServer | None:
    """Serve the worker's figures from a thread, if METRICS_PORT says where. Its children have been forked by now."""
    if not (settings.ENV.metrics_port and settings.ENV.prometheus_metrics_enabled):
        return None
    server = make_server("", settings.ENV.metrics_port, metrics_app, handler_class=QuietRequestHandler)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server


def connect_signals() -> None:
    """Have a worker serve its figures once it takes tasks; in any other process the signal is never sent."""
    worker_ready.connect(serve_worker_metrics, weak=False, dispatch_uid="exposing")
