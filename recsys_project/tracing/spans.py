"""The attributes that spans may have, and the spans of the pipeline's components."""

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
"""The exported attributes. Others may contain URLs, queries, arguments or error messages."""


class ScrubbingExporter(SpanExporter):
    """Exports spans by OTLP over HTTP, with allowed attributes only and without error messages or personal data."""

    def __init__(self, endpoint: str) -> None:
        self._exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send *spans*. The span processor calls this on its own thread."""
        return self._exporter.export([scrub_span(span) for span in spans])

    def shutdown(self) -> None:
        """Close the exporter."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]


def scrub_span(span: ReadableSpan) -> ReadableSpan:
    """Return a copy of a span without attributes and error messages that must not leave the process."""
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
    """Record each component of the pipeline as a span within the request's span."""
    tracer = trace.get_tracer("recsys")

    def record_span(name: str, ended_at: float, seconds: float, attributes: Mapping[str, str | int | bool]) -> None:
        end = time.time_ns() - int((time.perf_counter() - ended_at) * 1e9)
        tracer.start_span(name, start_time=end - int(seconds * 1e9), attributes=attributes).end(end)

    spans.SPAN_LISTENERS.append(record_span)
