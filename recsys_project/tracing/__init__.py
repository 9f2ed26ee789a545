"""Traces by OpenTelemetry: an app that is installed when OTEL_EXPORTER_OTLP_ENDPOINT is set, and costs nothing else."""
