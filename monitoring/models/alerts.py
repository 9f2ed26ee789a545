"""Alert rules, alerts, silences and notices. No personal data."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext

from monitoring.number_texts import significant
from values.translation import translatable

SEVERITIES = [("low", "low"), ("medium", "medium"), ("high", "high"), ("critical", "critical")]


class AlertRule(models.Model):
    """A metric and its threshold. Operators may change or disable the rules that a new installation starts with."""

    class Comparison(models.TextChoices):
        ABOVE = "above"
        BELOW = "below"

    name = models.CharField(max_length=64, unique=True, help_text="Such as recommendation_generation_time.")
    metric = models.CharField(max_length=64, help_text="The computed gauge to watch. docs/monitoring.md lists them.")
    labels = models.JSONField(
        default=dict,
        blank=True,
        help_text='Labels of the values to compare, such as {"operation": "feed"}. Empty: all. The worst value counts.',
    )
    comparison = models.CharField(max_length=8, choices=Comparison.choices, default=Comparison.ABOVE)
    threshold = models.FloatField(help_text="The rule is breached beyond this value, in the metric's unit.")
    clears_at = models.FloatField(
        null=True,
        blank=True,
        help_text="A firing alert resolves only when the value is back at this one, so that the alert does not flap. "
        "Empty: the threshold.",
    )
    for_seconds = models.PositiveIntegerField(
        default=60, help_text="Seconds that the breach must last before the alert fires."
    )
    severity = models.CharField(max_length=8, choices=SEVERITIES, default="medium")
    is_enabled = models.BooleanField(default=True)
    advice = models.CharField(
        max_length=300, blank=True, help_text="What to do when the alert fires. Notices include it."
    )

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Reject a *clears_at* beyond the threshold, which would never be reached again."""
        if self.clears_at is not None and self.is_beyond(self.clears_at, self.threshold):
            if self.comparison == self.Comparison.ABOVE:
                text = gettext("{value} is above the threshold: the alert would never resolve.")
            else:
                text = gettext("{value} is below the threshold: the alert would never resolve.")
            raise ValidationError({"clears_at": text.format(value=significant(self.clears_at))})

    def worst_value(self, values: Sequence[float]) -> float | None:
        """Return the largest value of a rule "above", the smallest of a rule "below"; None for no values."""
        return (max if self.comparison == self.Comparison.ABOVE else min)(values, default=None)

    def is_beyond(self, value: float, limit: float) -> bool:
        """Return whether *value* is above (or below, by the comparison) *limit*."""
        compare = operator.gt if self.comparison == self.Comparison.ABOVE else operator.lt
        return bool(compare(value, limit))

    def is_breached(self, value: float, *, was_breached: bool) -> bool:
        """Return whether *value* breaches the rule. A rule that is already breached is compared with *clears_at*."""
        limit = self.clears_at if was_breached and self.clears_at is not None else self.threshold
        return self.is_beyond(value, limit)


ALERT_STATES = (translatable("pending"), translatable("firing"), translatable("resolved"))
"""What the states of alerts are called in the names of alerts."""
BREACHES = {
    "above": translatable("{metric} is {value}, above {threshold}. {advice}"),
    "below": translatable("{metric} is {value}, below {threshold}. {advice}"),
}


def describe_breach(facts: Mapping[str, Any], value: float | None) -> str:
    """
    Return what an alert says, in the language of the page.

    *facts* are those of `Alert.facts`. The advice of a rule that a new installation has is translated; one that an
    operator has written is as it was written.
    """
    advice = facts["advice"] and gettext(facts["advice"])
    text = gettext(BREACHES[facts["comparison"]])
    threshold = significant(facts["threshold"])
    return text.format(metric=facts["metric"], value=significant(value), threshold=threshold, advice=advice).strip()


class Alert(models.Model):
    """One breach of a rule: pending for the rule's duration, then firing, then resolved. The row stays as a record."""

    class State(models.TextChoices):
        PENDING = "pending", "pending: the condition holds, but not yet for the rule's duration"
        FIRING = "firing"
        RESOLVED = "resolved"

    OPEN_STATES = (State.PENDING, State.FIRING)

    key = models.CharField(max_length=128, help_text="The rule, or Alertmanager's fingerprint.")
    rule = models.ForeignKey(AlertRule, on_delete=models.SET_NULL, null=True, blank=True, related_name="alerts")
    name = models.CharField(max_length=128)
    severity = models.CharField(max_length=16)
    state = models.CharField(max_length=8, choices=State.choices, default=State.PENDING)
    value = models.FloatField(null=True, blank=True, help_text="The metric value at the last evaluation.")
    summary = models.CharField(max_length=300, blank=True)
    facts = models.JSONField(
        null=True,
        blank=True,
        help_text="What the summary says of the rule: metric, comparison, threshold and advice. Empty: as it was sent.",
    )
    labels = models.JSONField(default=dict, blank=True)
    began_at = models.DateTimeField(help_text="When the breach was first seen.")
    fired_at = models.DateTimeField(null=True, blank=True)
    resolved_at = models.DateTimeField(null=True, blank=True)
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    acknowledged_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    note = models.TextField(blank=True, help_text="The cause, and what is being done.")

    class Meta:
        ordering = ["-began_at", "-pk"]
        permissions = [("read_metrics", "Can read the dashboard, /metrics and the reasons of health checks")]
        constraints = [
            models.UniqueConstraint(
                fields=["key"], condition=Q(state__in=("pending", "firing")), name="one_open_alert_per_key"
            )
        ]
        indexes = [models.Index(fields=["state", "-began_at"], name="alerts_by_state")]

    def __str__(self) -> str:
        return gettext("{name} ({state})").format(name=self.name, state=gettext(self.state))

    @property
    def shown_summary(self) -> str:
        """
        The summary in the language of the page.

        A summary of Alertmanager, or of a version that stored no facts, is in the language in which it was stored.
        """
        return describe_breach(self.facts, self.value) if self.facts else self.summary


class Silence(models.Model):
    """A period without notices for some alerts. The alerts are still recorded."""

    rule_name = models.CharField(max_length=128, blank=True, help_text="An alert's name. Empty: every alert.")
    severity = models.CharField(max_length=8, choices=SEVERITIES, blank=True, help_text="Empty: any.")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    reason = models.CharField(max_length=300)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )

    class Meta:
        ordering = ["-ends_at"]
        constraints = [models.CheckConstraint(condition=Q(ends_at__gt=F("starts_at")), name="silences_end")]

    def __str__(self) -> str:
        name = self.rule_name or gettext("every alert")
        return gettext("{name} until {time}").format(name=name, time=f"{self.ends_at:%Y-%m-%d %H:%M}")

    def covers(self, alert: Alert) -> bool:
        """Return whether this silence suppresses the notices of *alert*."""
        return self.rule_name in ("", alert.name) and self.severity in ("", alert.severity)


class Notice(models.Model):
    """
    One message to send by one channel.

    The row is written before the message is sent, so that a mail server that is down delays it but does not lose it.
    """

    class Channel(models.TextChoices):
        EMAIL = "email"
        WEBHOOK = "webhook"
        ALERTMANAGER = "alertmanager"

    class State(models.TextChoices):
        WAITING = "waiting"
        SENT = "sent"
        GIVEN_UP = "given up"

    alert = models.ForeignKey(Alert, on_delete=models.CASCADE, related_name="notices")
    channel = models.CharField(max_length=16, choices=Channel.choices)
    event = models.CharField(max_length=8, choices=[("firing", "firing"), ("resolved", "resolved")])
    state = models.CharField(max_length=8, choices=State.choices, default=State.WAITING)
    attempts = models.PositiveSmallIntegerField(default=0)
    due_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True, blank=True)
    error = models.CharField(max_length=64, blank=True, help_text="The error's type.")

    class Meta:
        ordering = ["-due_at", "-pk"]
        constraints = [
            models.UniqueConstraint(fields=["alert", "channel", "event"], name="one_notice_per_event_and_channel")
        ]
        indexes = [models.Index(fields=["state", "due_at"], name="notices_due")]

    def __str__(self) -> str:
        return gettext("{alert} by {channel}").format(alert=self.alert, channel=self.channel)
