"""What a span may hold, and the spans of the road's own parts."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Status

from monitoring import spans

ALLOWED_ATTRIBUTES = frozenset(
    {
        *("http.method", "http.request.method", "http.route", "http.status_code", "http.response.status_code"),
        *("celery.action", "celery.state", "celery.task_name", "messaging.message.id", "messaging.destination"),
        *("db.system", "db.operation", "error.type", "remaining", "dropped", "failed"),
    }
)
"""Every attribute that leaves the process. Others quote addresses, queries, arguments or errors."""


class ScrubbingExporter(SpanExporter):
    """Sends spans by OTLP over HTTP, with few attributes and no word of what an error said: nothing of a person."""

    def __init__(self, endpoint: str) -> None:
        self._exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send *spans*; called on a thread of its own."""
        return self._exporter.export([scrub_span(span) for span in spans])

    def shutdown(self) -> None:
        """Send nothing more."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Return whether all that was given is sent."""
        return self._exporter.force_flush(timeout_millis)


def scrub_span(span: ReadableSpan) -> ReadableSpan:
    """Return a span as it may leave the process."""
    attributes = {name: value for name, value in (span.attributes or {}).items() if name in ALLOWED_ATTRIBUTES}
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=attributes,
        links=span.links,
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def trace_pipeline_components() -> None:
    """Have each part of the road become a span within its request's."""
    tracer = trace.get_tracer("recsys")

    def tell(name: str, ended_at: float, seconds: float, about: Mapping[str, str | int | bool]) -> None:
        end = time.time_ns() - int((time.perf_counter() - ended_at) * 1e9)
        tracer.start_span(name, start_time=end - int(seconds * 1e9), attributes=about).end(end)

    spans.SPAN_LISTENERS.append(tell)
