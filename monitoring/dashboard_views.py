"""The operators' dashboard page and its data. The page loads nothing from other hosts."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from monitoring.clock import now
from monitoring.dashboard import dashboard_cache
from monitoring.views import READ_METRICS, may_read_metrics


@never_cache
@require_safe
def dashboard_page(request: HttpRequest) -> HttpResponse:
    """Return the page to staff who may read metrics, or redirect to the sign-in page."""
    if not may_read_metrics(request):
        if request.user.is_staff:
            raise PermissionDenied
        return redirect_to_login(request.get_full_path())
    context = {"grafana_url": settings.ENV.grafana_url, "flower_url": settings.ENV.flower_url}
    return render(request, "monitoring/dashboard.html", context)


@never_cache
@require_safe
def dashboard_data(request: HttpRequest) -> HttpResponse:
    """Return the panels as JSON."""
    if not may_read_metrics(request):
        return JsonResponse({"detail": f"Sign in as a user with the permission {READ_METRICS}."}, status=403)
    return JsonResponse(dashboard_cache.get(now()))
