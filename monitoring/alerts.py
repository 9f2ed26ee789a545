"""
Evaluation of the alert rules: open, fire and resolve alerts, and create one notice per alert and channel.

An alert is one row, from the first breach of its rule until it is resolved. Beat enqueues the evaluation every
30 seconds. Several beats may enqueue it; a claim lets one worker run it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Q
from django.utils.translation import gettext, override

from monitoring import gauges, health, maintenance, metrics
from monitoring.dashboard import Panel, Stat, Table, register_panel
from monitoring.gauges import GaugeValues
from monitoring.metrics import ComputedGauge
from monitoring.models import Alert, AlertRule, MaintenanceTask, Notice, Silence
from monitoring.models.alerts import SEVERITIES, describe_breach
from monitoring.transactions import write_transaction
from values.translation import translatable

log = logging.getLogger(__name__)

EVALUATE_ALERTS = "monitoring.evaluate_alerts"
MIN_INTERVAL = timedelta(seconds=15)
"""An evaluation that is requested earlier than this after the last one is skipped: half of beat's interval."""
LATE_AFTER = timedelta(seconds=90)
"""Time without an evaluation after which alerts count as not evaluated: three are missing, or one does not end."""
MAX_SHOWN_ALERTS = 20


def evaluate_rules(*, now: datetime) -> bool:
    """Evaluate every rule. Return False if another worker has just done it."""
    if not maintenance.claim_maintenance_task(EVALUATE_ALERTS, now, MIN_INTERVAL, LATE_AFTER):
        return False
    try:
        for rule in AlertRule.objects.filter(is_enabled=True):
            evaluate_rule(rule, now)
        resolve_alerts(Alert.objects.filter(rule__is_enabled=False, state__in=Alert.OPEN_STATES), now)
        for alert in Alert.objects.filter(state=Alert.State.FIRING, rule__isnull=False, acknowledged_at=None):
            create_notices(alert, now)
    finally:
        MaintenanceTask.objects.filter(name=EVALUATE_ALERTS, claimed_at=now).update(is_running=False)
    return True


def last_evaluation() -> datetime | None:
    """Return when an evaluation of the rules began last."""
    return MaintenanceTask.objects.filter(name=EVALUATE_ALERTS).values_list("claimed_at", flat=True).first()


def evaluation_problem(now: datetime) -> str:
    """Return why no alert can be trusted to fire now, or an empty text if the rules are evaluated in time."""
    evaluated_at = last_evaluation()
    if evaluated_at is not None and now - evaluated_at <= LATE_AFTER:
        return ""
    since = f"since {evaluated_at:%Y-%m-%d %H:%M:%S} UTC" if evaluated_at else "so far"
    return f"No alert rule has been evaluated {since}. Start celery beat and a worker with -Q maintenance."


def require_evaluation(now: datetime) -> None:
    """Raise `RuntimeError` if the alert rules are not evaluated: nobody would be told of a failure."""
    if problem := evaluation_problem(now):
        raise RuntimeError(problem)


def evaluate_rule(rule: AlertRule, now: datetime) -> None:
    """Compare a rule's metric value with its threshold. A metric without a value changes nothing."""
    try:
        value = rule.worst_value(gauges.gauge_values(rule.metric, rule.labels, now))
    except gauges.UnknownGaugeError:
        log.error("alert_rule_metric_not_found", extra={"rule": rule.name, "metric": rule.metric})
        return
    if value is not None:
        update_alert(rule, value, now)


@write_transaction
def update_alert(rule: AlertRule, value: float, now: datetime) -> None:
    """Open, fire, update or resolve the alert of *rule* for the current metric value."""
    key = f"rule:{rule.pk}"
    alert = Alert.objects.select_for_update().filter(key=key, state__in=Alert.OPEN_STATES).first()
    is_firing = alert is not None and alert.state == Alert.State.FIRING
    if not rule.is_breached(value, was_breached=is_firing):
        if alert is not None and is_firing:
            resolve_alerts(Alert.objects.filter(pk=alert.pk), now)
        elif alert is not None:
            alert.delete()  # the breach was shorter than the rule's duration
        return
    facts = {name: getattr(rule, name) for name in ("metric", "comparison", "threshold", "advice")}
    with override(settings.LANGUAGE_CODE):  # what is stored is in one language
        summary = describe_breach(facts, value)[:300]
    values: dict[str, Any] = {
        "name": rule.name,
        "severity": rule.severity,
        "value": value,
        "labels": rule.labels,
        "summary": summary,
        "facts": facts,
    }
    # An alert that a clock which was ahead has opened would otherwise not fire until that time has come.
    began_at = min(alert.began_at, now) if alert else now
    if not is_firing and now - began_at >= timedelta(seconds=rule.for_seconds):
        values |= {"state": Alert.State.FIRING, "fired_at": now}
        log.warning("alert_fired", extra={"rule": rule.name, "severity": rule.severity, "value": value})
    if alert is None:
        Alert.objects.create(key=key, rule=rule, began_at=began_at, **values)
    else:
        Alert.objects.filter(pk=alert.pk).update(began_at=began_at, **values)


def resolve_alerts(alerts: Iterable[Alert], now: datetime) -> None:
    """Resolve these alerts, and notify the channels that were notified of the firing."""
    for alert in alerts:
        resolve_alert(alert, now)


@write_transaction
def resolve_alert(alert: Alert, now: datetime) -> None:
    """Resolve an alert that fires, or delete a pending one: the breach was shorter than the rule's duration."""
    row = Alert.objects.select_for_update().filter(pk=alert.pk)
    state = row.values_list("state", flat=True).first()
    if state == Alert.State.PENDING:
        row.delete()
    elif state == Alert.State.FIRING:
        row.update(state=Alert.State.RESOLVED, resolved_at=now)
        log.warning("alert_resolved", extra={"rule": alert.name})
        for notice in Notice.objects.filter(alert=alert, event="firing"):
            Notice.objects.get_or_create(
                alert=alert, channel=notice.channel, event="resolved", defaults={"due_at": now}
            )


def create_notices(alert: Alert, now: datetime) -> None:
    """Create one "firing" notice per enabled channel, unless a silence covers *alert*."""
    silences = Silence.objects.filter(starts_at__lte=now, ends_at__gt=now)
    if any(silence.covers(alert) for silence in silences.filter(Q(rule_name="") | Q(rule_name=alert.name))):
        return
    for channel in enabled_channels():
        Notice.objects.get_or_create(alert=alert, channel=channel, event="firing", defaults={"due_at": now})


def enabled_channels() -> list[Notice.Channel]:
    """Return the notification channels that the settings configure."""
    env = settings.ENV
    destinations = {
        Notice.Channel.EMAIL: env.alert_emails,
        Notice.Channel.WEBHOOK: env.alert_webhook_url,
        Notice.Channel.ALERTMANAGER: env.alertmanager_url,
    }
    return [channel for channel, destination in destinations.items() if destination]


# Gauges and panel


def compute_alert_gauges(_now: datetime) -> dict[ComputedGauge, GaugeValues]:
    """Return the firing alerts by severity. Severities that only Alertmanager uses count as "other"."""
    known = [name for name, _ in SEVERITIES]
    firing = Counter(Alert.objects.filter(state=Alert.State.FIRING).values_list("severity", flat=True))
    counts: GaugeValues = {(name,): float(firing.get(name, 0)) for name in known}
    counts[("other",)] = float(sum(count for name, count in firing.items() if name not in known))
    return {metrics.ALERTS_FIRING: counts}


def alerts_panel(now: datetime) -> Panel:
    """Show the firing alerts and the newest resolved ones, and whether the rules are evaluated at all."""
    alerts = list(Alert.objects.exclude(state=Alert.State.PENDING)[:MAX_SHOWN_ALERTS])
    count = Alert.objects.filter(state=Alert.State.FIRING).count()
    rows = [
        [
            alert.name,
            alert.shown_summary,
            gettext(alert.severity),
            gettext(alert.state),
            f"{alert.fired_at or alert.began_at:%Y-%m-%d %H:%M}",
            gettext("yes") if alert.acknowledged_at else gettext("no"),
        ]
        for alert in alerts
    ]
    columns = [
        *(translatable("alert"), translatable("summary"), translatable("severity"), translatable("state")),
        *(translatable("since (UTC)"), translatable("acknowledged")),
    ]
    problem = evaluation_problem(now)
    firing = Stat(translatable("alerts firing"), count, "", "bad" if count else "" if problem else "good")
    return Panel(
        stats=[firing, *([Stat(translatable("rules evaluated"), gettext("no"), "", "bad")] if problem else [])],
        tables=[Table(translatable("Newest alerts"), columns, rows)] if rows else [],
        note=problem or ("" if rows else translatable("No alert has fired yet. Rules and silences are in the admin.")),
    )


def register() -> None:
    """Register the gauge of firing alerts, the panel that follows the state panel, and the health check."""
    health.register_health_check("alerts", require_evaluation, is_required=False)
    gauges.register_gauges(metrics.ALERTS_FIRING, compute=compute_alert_gauges)
    register_panel("alerts", translatable("Alerts"), alerts_panel, order=15)
