"""Health checks for orchestrators and load balancers, and metrics for Prometheus."""

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from monitoring import health, metrics_endpoint, workers
from monitoring.clock import now

READ_METRICS = "monitoring.read_metrics"
"""The permission of staff to read metrics, the dashboard and the reasons of health checks."""


@never_cache
@require_safe
def livez(request: HttpRequest) -> HttpResponse:
    """Return 200 if the process runs. Checks nothing else: a slow database is no reason to restart the web server."""
    return JsonResponse({"status": "pass"})


@never_cache
@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """Return whether this process can take requests, and which checks fail."""
    return health_response(health.run_health_checks(now()), request)


@never_cache
@require_safe
def workersz(request: HttpRequest) -> HttpResponse:
    """Return whether workers run and process tasks. Not part of readiness: feeds are served without workers too."""
    return health_response(workers.check_worker_health(now()), request)


def health_response(findings: list[health.Finding], request: HttpRequest) -> HttpResponse:
    """Return the findings, with the reasons for requests that may read metrics."""
    body = health.health_report(findings, with_reasons=has_metrics_token(request) or may_read_metrics(request))
    return JsonResponse(body, status=503 if body["status"] == "fail" else 200)


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Return the metrics of this process, or of all that share PROMETHEUS_MULTIPROC_DIR, and the computed gauges."""
    if not settings.ENV.prometheus_metrics_enabled:
        raise Http404
    if not (has_metrics_token(request) or may_read_metrics(request)):
        return HttpResponse(
            metrics_endpoint.TOKEN_REQUIRED,
            status=401,
            content_type="text/plain",
            headers={"WWW-Authenticate": 'Bearer realm="metrics"'},
        )
    body, content_type = metrics_endpoint.render_metrics(request.headers.get("Accept", ""), with_gauges=True)
    return HttpResponse(body, content_type=content_type)


def has_metrics_token(request: HttpRequest) -> bool:
    """Return whether the request has METRICS_TOKEN. Always False if METRICS_TOKEN is not set."""
    return metrics_endpoint.is_metrics_token(request.headers.get("Authorization", ""))


def may_read_metrics(request: HttpRequest) -> bool:
    """Return whether the signed-in staff user may read metrics, False if the session cannot be read."""
    try:
        return bool(request.user.is_staff and request.user.has_perm(READ_METRICS))
    except Exception:
        # The session is in the database, which may be down when a health check calls this.
        return False
