"""Start tracing in every Django process: web servers, workers, beat and commands."""

from django.apps import AppConfig
from django.conf import settings
from opentelemetry import trace
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.instrumentation.django import DjangoInstrumentor
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from recsys_project.tracing.spans import ScrubbingExporter, trace_pipeline_components


class TracingConfig(AppConfig):
    name = "recsys_project.tracing"

    def ready(self) -> None:
        provider = TracerProvider(resource=Resource.create({SERVICE_NAME: "recsys"}))
        provider.add_span_processor(BatchSpanProcessor(ScrubbingExporter(settings.ENV.otel_exporter_otlp_endpoint)))
        trace.set_tracer_provider(provider)
        DjangoInstrumentor().instrument()
        CeleryInstrumentor().instrument()  # type: ignore[no-untyped-call]
        RedisInstrumentor().instrument()
        trace_pipeline_components()
