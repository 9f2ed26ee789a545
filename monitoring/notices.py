"""Delivery of alert notices by e-mail, webhook or Alertmanager. A failed delivery is retried for half a day."""

from __future__ import annotations

import json
import logging
import urllib.request
from datetime import datetime, timedelta
from http.client import HTTPException
from smtplib import SMTPException
from typing import Any

from django.conf import settings
from django.core.mail import send_mail
from django.db.models import Q

from monitoring.maintenance import MAX_CLOCK_DIFFERENCE
from monitoring.models import Alert, Notice

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 10
FIRST_RETRY_DELAY = timedelta(seconds=30)
MAX_RETRY_DELAY = timedelta(hours=1)
MAX_ATTEMPTS = 20
BATCH_SIZE = 50
SERVICE_NAME = "recsys"


def send_due_notices(*, now: datetime) -> int:
    """
    Send the notices that are due. Return how many were sent.

    A notice is claimed before it is sent, by updating its attempts, so that no two workers send it. After a failure,
    the channel's other notices wait for the next run: each would wait for the same server that does not respond, while
    no alert is evaluated. A notice whose time is further away than any delay has it from a clock that was ahead, and is
    due.
    """
    sent = 0
    failed_channels: set[str] = set()
    is_due = Q(due_at__lte=now) | Q(due_at__gt=now + MAX_RETRY_DELAY + MAX_CLOCK_DIFFERENCE)
    due = Notice.objects.filter(is_due, state=Notice.State.WAITING).select_related("alert")
    for notice in due.order_by("due_at", "pk")[:BATCH_SIZE]:
        if notice.channel in failed_channels:
            continue
        delay = min(FIRST_RETRY_DELAY * 2**notice.attempts, MAX_RETRY_DELAY)
        unclaimed = Notice.objects.filter(pk=notice.pk, state=Notice.State.WAITING, attempts=notice.attempts)
        if unclaimed.update(attempts=notice.attempts + 1, due_at=now + delay):
            notice.attempts += 1
            if send_notice(notice, now):
                sent += 1
            else:
                failed_channels.add(notice.channel)
    return sent


def send_notice(notice: Notice, now: datetime) -> bool:
    """
    Send one claimed notice and record the result. Return whether it was sent.

    A worker that was so slow that another one has claimed the notice meanwhile records nothing.
    """
    row = Notice.objects.filter(pk=notice.pk, attempts=notice.attempts)
    try:
        SENDERS[Notice.Channel(notice.channel)](notice.alert, notice.event)
    except (OSError, SMTPException, HTTPException) as error:
        is_last_attempt = notice.attempts >= MAX_ATTEMPTS
        state = Notice.State.GIVEN_UP if is_last_attempt else Notice.State.WAITING
        row.update(error=type(error).__name__[:64], state=state)
        log.warning("notice_send_failed", extra={"notice": notice.pk, "channel": notice.channel}, exc_info=error)
        return False
    row.update(state=Notice.State.SENT, sent_at=now, error="")
    return True


def send_email(alert: Alert, event: str) -> None:
    """Send the alert to ALERT_EMAILS."""
    lines = [alert.summary, "", f"severity: {alert.severity}", f"since: {alert.began_at:%Y-%m-%d %H:%M:%S} UTC"]
    lines += [f"{key}: {value}" for key, value in alert.labels.items()]
    send_mail(f"[{SERVICE_NAME}] {event}: {alert.name}", "\n".join(lines), None, settings.ENV.alert_emails)


def send_webhook(alert: Alert, event: str) -> None:
    """Post the alert to ALERT_WEBHOOK_URL."""
    post_json(settings.ENV.alert_webhook_url, {"event": event, "alert": webhook_alert(alert)})


def send_to_alertmanager(alert: Alert, event: str) -> None:
    """Post the alert to Alertmanager (API version 2)."""
    entry = {
        "labels": {"alertname": alert.name, "severity": alert.severity, "source": SERVICE_NAME, **alert.labels},
        "annotations": {"summary": alert.summary},
        "startsAt": (alert.fired_at or alert.began_at).isoformat(),
        **({"endsAt": alert.resolved_at.isoformat()} if event == "resolved" and alert.resolved_at else {}),
    }
    post_json(settings.ENV.alertmanager_url.rstrip("/") + "/api/v2/alerts", [entry])


def webhook_alert(alert: Alert) -> dict[str, Any]:
    """Return the body of a webhook call."""
    moments = {name: getattr(alert, name) for name in ("began_at", "fired_at", "resolved_at")}
    return {
        "id": alert.pk,
        "name": alert.name,
        "severity": alert.severity,
        "value": alert.value,
        "summary": alert.summary,
        "labels": alert.labels,
        **{name: moment.isoformat() if moment else None for name, moment in moments.items()},
    }


def post_json(url: str, body: object) -> None:
    """Post *body* as JSON. Raises an `OSError` subclass unless the response is successful."""
    data = json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", "User-Agent": SERVICE_NAME})
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS):
        pass


SENDERS = {
    Notice.Channel.EMAIL: send_email,
    Notice.Channel.WEBHOOK: send_webhook,
    Notice.Channel.ALERTMANAGER: send_to_alertmanager,
}
