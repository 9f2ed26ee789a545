"""Health for whoever runs us, and metrics for Prometheus."""

from ipaddress import ip_address
from secrets import compare_digest

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import REGISTRY, CollectorRegistry, exposition
from prometheus_client.multiprocess import MultiProcessCollector

from monitoring import health
from monitoring.clock import now


@never_cache
@require_safe
def livez(request: HttpRequest) -> HttpResponse:
    """Say that the process runs. Asks nobody else: a slow database is no reason to restart us."""
    return JsonResponse({"status": "alive"})


@never_cache
@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """Say whether requests may come, and which checks fail."""
    found = health.findings(now())
    failing = [finding.name for finding in found if finding.reason]
    answer: dict[str, object] = {"status": "not ready" if failing else "ready", "failing": failing}
    if is_staff(request) or is_local(request):
        answer["checks"] = {finding.name: finding.reason or "ok" for finding in found}
    return JsonResponse(answer, status=503 if failing else 200)


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


def is_local(request: HttpRequest) -> bool:
    """Return whether the request comes from this very machine, and through no proxy on it."""
    if any(name in request.headers for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP")):
        return False
    try:
        return ip_address(request.META.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False
