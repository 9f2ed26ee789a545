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

from monitoring.processes import Processes
from monitoring.readings import Readings

REFUSED = b"Send the METRICS_TOKEN as a bearer token.\n"


class Counted(Collector):
    """What this process counted, as it stands in the client's own registry."""

    def collect(self) -> Iterable[Any]:
        """Return every family of the default registry."""
        return REGISTRY.collect()


def registry(*, with_readings: bool) -> CollectorRegistry:
    """Return what to collect from. Readings are of the whole service: one kind of process tells them, the web's."""
    found = CollectorRegistry()
    found.register(Processes())
    if with_readings:
        found.register(Readings())
    if settings.ENV.prometheus_multiproc_dir:
        MultiProcessCollector(found, settings.ENV.prometheus_multiproc_dir)  # type: ignore[no-untyped-call]
    else:
        found.register(Counted())
    return found


def exposed(accept: str, *, with_readings: bool) -> tuple[bytes, str]:
    """Return the figures in the form that *accept* asks for, and the form's content type."""
    encode, content_type = exposition.choose_encoder(accept)
    return encode(registry(with_readings=with_readings)), content_type


def has_token(authorization: str) -> bool:
    """Return whether the header's value carries METRICS_TOKEN; never if none is set."""
    expected = settings.ENV.metrics_token.get_secret_value()
    scheme, _, token = authorization.partition(" ")
    return bool(expected) and scheme.lower() == "bearer" and compare_digest(token.encode(), expected.encode())


# A worker's own


def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """Answer a scrape of a worker: WSGI, since the worker runs no web server."""
    if environ["PATH_INFO"] != "/metrics":
        start_response("404 Not Found", [("Content-Type", "text/plain")])
        return [b"The metrics are at /metrics.\n"]
    if not has_token(environ.get("HTTP_AUTHORIZATION", "")):
        start_response("401 Unauthorized", [("Content-Type", "text/plain"), ("WWW-Authenticate", "Bearer")])
        return [REFUSED]
    body, content_type = exposed(environ.get("HTTP_ACCEPT", ""), with_readings=False)
    start_response("200 OK", [("Content-Type", content_type), ("Content-Length", str(len(body)))])
    return [body]


class Quiet(WSGIRequestHandler):
    """Logs no scrape: there is one every few seconds."""

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    timeout = 5
    """Who connects and says nothing must not keep others waiting."""


def serve(**_: object) -> WSGIServer | None:
    """Serve the worker's figures from a thread, if METRICS_PORT says where. Its children have been forked by now."""
    if not (settings.ENV.metrics_port and settings.ENV.prometheus_metrics_enabled):
        return None
    server = make_server("", settings.ENV.metrics_port, answer, handler_class=Quiet)
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    return server


def connect() -> None:
    """Have a worker serve its figures once it takes tasks; in any other process the signal is never sent."""
    worker_ready.connect(serve, weak=False, dispatch_uid="exposing")
