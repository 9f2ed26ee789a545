"""
Webhook receiver for Alertmanager (payload version 4), so that the admin and the dashboard show every alert.

Alertmanager notifies people itself: an alert that it sends is recorded and shown, but creates no notice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.dateparse import parse_datetime
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from monitoring.clock import now
from monitoring.models import Alert
from monitoring.transactions import write_transaction
from monitoring.views import has_metrics_token
from values.json_text import parse_json
from values.text import find_storage_problem

MAX_ALERTS = 1_000
MAX_NAME_LENGTH, MAX_SUMMARY_LENGTH = 128, 300


class PayloadError(ValueError):
    """The payload is invalid; the message names the problem."""


@csrf_exempt
@never_cache
@require_POST
def receive_alerts(request: HttpRequest) -> HttpResponse:
    """Record the alerts of one notification: all of them or, if one is invalid, none."""
    if not has_metrics_token(request):
        return problem_response(401, "Send the METRICS_TOKEN as a bearer token.")
    try:
        alerts = [parse_alert(raw) for raw in parse_payload(request.body)]
    except PayloadError as error:
        return problem_response(400, str(error))
    record_alerts(alerts, now())
    return JsonResponse({"recorded": len(alerts)})


def problem_response(status: int, detail: str) -> JsonResponse:
    """Return a problem response (RFC 9457)."""
    title = {400: "Bad Request", 401: "Unauthorized"}[status]
    body = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    return JsonResponse(body, status=status, content_type="application/problem+json", headers=headers)


def parse_payload(body: bytes) -> list[Any]:
    """Return the list of alerts in a payload."""
    try:
        payload = parse_json(body.decode())
        problem = find_storage_problem(payload)
    except (ValueError, RecursionError) as error:
        raise PayloadError("The body is not JSON.") from error
    if problem:
        raise PayloadError(f"The body {problem}.")
    alerts = payload.get("alerts") if isinstance(payload, dict) else None
    if not isinstance(alerts, list) or len(alerts) > MAX_ALERTS:
        raise PayloadError(f"`alerts` must be a list of at most {MAX_ALERTS}, as in Alertmanager's webhook payload.")
    return alerts


def parse_alert(raw: Any) -> dict[str, Any]:
    """Return the fields to record of one alert. Raises `PayloadError` with the name of the missing field."""
    labels = raw.get("labels") if isinstance(raw, dict) else None
    if not isinstance(labels, dict) or not all(isinstance(text, str) for pair in labels.items() for text in pair):
        raise PayloadError("Each alert needs `labels`: an object of strings.")
    if not labels.get("alertname"):
        raise PayloadError("Each alert needs a label `alertname`.")
    if raw.get("status") not in ("firing", "resolved"):
        raise PayloadError("Each alert needs a `status`: firing or resolved.")
    fingerprint, began_at = raw.get("fingerprint"), parse_timestamp(raw.get("startsAt"))
    if not isinstance(fingerprint, str) or not fingerprint or began_at is None:
        raise PayloadError("Each alert needs a `fingerprint` and a `startsAt` with a UTC offset.")
    annotations = raw.get("annotations")
    summary = annotations.get("summary", "") if isinstance(annotations, dict) else ""
    return {
        "key": f"alertmanager:{fingerprint}"[:MAX_NAME_LENGTH],
        "name": labels["alertname"][:MAX_NAME_LENGTH],
        "severity": labels.get("severity", "")[:16] or "medium",
        "summary": str(summary)[:MAX_SUMMARY_LENGTH],
        "labels": labels,
        "began_at": began_at,
        "is_firing": raw["status"] == "firing",
    }


def parse_timestamp(text: object) -> datetime | None:
    """Return the datetime in *text*, or None if it is invalid or has no UTC offset."""
    try:
        timestamp = parse_datetime(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return timestamp if timestamp and timestamp.tzinfo else None


@write_transaction
def record_alerts(alerts: Sequence[Mapping[str, Any]], now: datetime) -> None:
    """Record all alerts or, after an error, none. In the order of their keys, in which other notifications wait."""
    for alert in sorted(alerts, key=lambda alert: alert["key"]):
        record_alert(dict(alert), now)


def record_alert(alert: dict[str, Any], now: datetime) -> None:
    """Open, update or resolve the alert. Recording the same alert twice has no further effect."""
    is_firing = alert.pop("is_firing")
    open_alerts = Alert.objects.select_for_update().filter(key=alert["key"], state__in=Alert.OPEN_STATES)
    if not is_firing:
        open_alerts.update(state=Alert.State.RESOLVED, resolved_at=now)
    elif not open_alerts.update(**alert):
        Alert.objects.create(state=Alert.State.FIRING, fired_at=now, **alert)
