"""Health for whoever runs us, and metrics for Prometheus."""

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from monitoring import health, metrics_endpoint, workers
from monitoring.clock import now


@never_cache
@require_safe
def livez(request: HttpRequest) -> HttpResponse:
    """Say that the process runs. Asks nobody else: a slow database is no reason to restart us."""
    return JsonResponse({"status": "pass"})


@never_cache
@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """Say whether requests may come, and which checks fail; why, only to who may know."""
    return health_response(health.run_health_checks(now()), request)


@never_cache
@require_safe
def workersz(request: HttpRequest) -> HttpResponse:
    """Say whether workers are there and work. Apart from readiness: without them feeds are still served."""
    return health_response(workers.check_worker_health(now()), request)


def health_response(found: list[health.Finding], request: HttpRequest) -> HttpResponse:
    """Return what was found, with reasons for staff and for who has the token."""
    body = health.health_report(found, with_reasons=has_metrics_token(request) or is_staff(request))
    return JsonResponse(body, status=503 if body["status"] == "fail" else 200)


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Return what this process counted, or all that share PROMETHEUS_MULTIPROC_DIR, and what is read of the service."""
    if not settings.ENV.prometheus_metrics_enabled:
        raise Http404
    if not (has_metrics_token(request) or is_staff(request)):
        return HttpResponse(
            metrics_endpoint.TOKEN_REQUIRED,
            status=401,
            content_type="text/plain",
            headers={"WWW-Authenticate": 'Bearer realm="metrics"'},
        )
    body, content_type = metrics_endpoint.render_metrics(request.headers.get("Accept", ""), with_gauges=True)
    return HttpResponse(body, content_type=content_type)


def has_metrics_token(request: HttpRequest) -> bool:
    """Return whether the request carries METRICS_TOKEN; never if none is set."""
    return metrics_endpoint.is_metrics_token(request.headers.get("Authorization", ""))


def is_staff(request: HttpRequest) -> bool:
    """Return whether a member of staff is signed in; no if the session cannot be read."""
    try:
        return bool(request.user.is_active and request.user.is_staff)
    except Exception:
        # The session lies in the database, and this is asked when that may be down.
        return False
