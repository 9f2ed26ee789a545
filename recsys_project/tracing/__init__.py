"""OpenTelemetry traces. The app is installed only if OTEL_EXPORTER_OTLP_ENDPOINT is set."""
