"""Metrics of each request."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from django.http import HttpRequest, HttpResponseBase
from django_prometheus.middleware import PrometheusAfterMiddleware


class RequestMetricsMiddleware(PrometheusAfterMiddleware):  # type: ignore[misc]  # django-prometheus has no types
    """
    django-prometheus's middleware, which looks up each metric with its labels once.

    The look-up takes longer than counting, and each request has eight. Labels have few values: names of views,
    methods, statuses.
    """

    def label_metric(
        self, metric: Any, request: HttpRequest, response: HttpResponseBase | None = None, **labels: str
    ) -> Any:
        """Return the metric with these labels."""
        return labeled_metric(metric, **labels) if labels else metric


@lru_cache(4096)
def labeled_metric(metric: Any, **labels: str) -> Any:
    """Return the metric with these labels."""
    return metric.labels(**labels)
