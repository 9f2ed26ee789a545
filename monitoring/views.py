"""Health for whoever runs us, and metrics for Prometheus."""

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from monitoring import exposing, health, workers
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
    return answer(health.findings(now()), request)


@never_cache
@require_safe
def workersz(request: HttpRequest) -> HttpResponse:
    """Say whether workers are there and work. Apart from readiness: without them feeds are still served."""
    return answer(workers.findings(now()), request)


def answer(found: list[health.Finding], request: HttpRequest) -> HttpResponse:
    """Return what was found, with reasons for staff and for who has the token."""
    body = health.report(found, with_reasons=has_token(request) or is_staff(request))
    return JsonResponse(body, status=503 if body["status"] == "fail" else 200)


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Return what this process counted, or all that share PROMETHEUS_MULTIPROC_DIR, and what is read of the service."""
    if not settings.ENV.prometheus_metrics_enabled:
        raise Http404
    if not (has_token(request) or is_staff(request)):
        return HttpResponse(
            exposing.REFUSED,
            status=401,
            content_type="text/plain",
            headers={"WWW-Authenticate": 'Bearer realm="metrics"'},
        )
    body, content_type = exposing.exposed(request.headers.get("Accept", ""), with_readings=True)
    return HttpResponse(body, content_type=content_type)


def has_token(request: HttpRequest) -> bool:
    """Return whether the request carries METRICS_TOKEN; never if none is set."""
    return exposing.has_token(request.headers.get("Authorization", ""))


def is_staff(request: HttpRequest) -> bool:
    """Return whether a member of staff is signed in; no if the session cannot be read."""
    try:
        return bool(request.user.is_active and request.user.is_staff)
    except Exception:
        # The session lies in the database, and this is asked when that may be down.
        return False
