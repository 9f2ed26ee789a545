"""Health for whoever runs us, and metrics for Prometheus."""

from secrets import compare_digest

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import REGISTRY, CollectorRegistry, exposition
from prometheus_client.multiprocess import MultiProcessCollector

from monitoring import health, workers
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
    """Return what was counted in this process, or in all of them when they share PROMETHEUS_MULTIPROC_DIR."""
    if not settings.ENV.prometheus_metrics_enabled:
        raise Http404
    if not (has_token(request) or is_staff(request)):
        return HttpResponse(
            "Send the METRICS_TOKEN as a bearer token.\n",
            status=401,
            content_type="text/plain",
            headers={"WWW-Authenticate": 'Bearer realm="metrics"'},
        )
    encode, content_type = exposition.choose_encoder(request.headers.get("Accept", ""))
    return HttpResponse(encode(registry()), content_type=content_type)


def registry() -> CollectorRegistry:
    """Return what to collect from: this process's registry, or one that adds up every process's files."""
    if not settings.ENV.prometheus_multiproc_dir:
        return REGISTRY
    shared = CollectorRegistry()
    MultiProcessCollector(shared, settings.ENV.prometheus_multiproc_dir)  # type: ignore[no-untyped-call]
    return shared


def has_token(request: HttpRequest) -> bool:
    """Return whether the request carries METRICS_TOKEN; never if none is set."""
    expected = settings.ENV.metrics_token.get_secret_value()
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return bool(expected) and scheme.lower() == "bearer" and compare_digest(token.encode(), expected.encode())


def is_staff(request: HttpRequest) -> bool:
    """Return whether a member of staff is signed in; no if the session cannot be read."""
    try:
        return bool(request.user.is_active and request.user.is_staff)
    except Exception:
        # The session lies in the database, and this is asked when that may be down.
        return False
