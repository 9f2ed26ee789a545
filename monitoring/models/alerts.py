"""What is watched, what is wrong now, what nobody wants to hear of, and whom we told. No personal data."""

from __future__ import annotations

import operator
from collections.abc import Sequence

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F, Q

SEVERITIES = [("low", "low"), ("medium", "medium"), ("high", "high"), ("critical", "critical")]


class AlertRule(models.Model):
    """A reading and the value that it must not pass. The ones that we ship may be changed, and turned off."""

    class Comparison(models.TextChoices):
        ABOVE = "above"
        BELOW = "below"

    name = models.CharField(max_length=64, unique=True, help_text="Such as recommendation_generation_time.")
    metric = models.CharField(max_length=64, help_text="What is watched: docs/monitoring.md lists the readings.")
    labels = models.JSONField(
        default=dict,
        blank=True,
        help_text='Which of the reading\'s values, such as {"operation": "feed"}. Empty: all; the worst one counts.',
    )
    comparison = models.CharField(max_length=8, choices=Comparison.choices, default=Comparison.ABOVE)
    threshold = models.FloatField(help_text="Beyond this value, in the reading's unit, something is wrong.")
    clears_at = models.FloatField(
        null=True,
        blank=True,
        help_text="It is over only once the value is back at this one, so that an alert does not flutter. "
        "Empty: at the threshold.",
    )
    for_seconds = models.PositiveIntegerField(default=60, help_text="How long it must be wrong before it fires.")
    severity = models.CharField(max_length=8, choices=SEVERITIES, default="medium")
    is_enabled = models.BooleanField(default=True)
    advice = models.CharField(max_length=300, blank=True, help_text="What to do, for who is told of it.")

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Refuse a value to clear at that lies beyond the threshold: it would never be over."""
        if self.clears_at is not None and self.is_beyond(self.clears_at, self.threshold):
            raise ValidationError({"clears_at": f"This lies {self.comparison} the threshold: it would never be over."})

    def worst_value(self, values: Sequence[float]) -> float | None:
        """Return the value that is nearest to wrong, or furthest beyond; None of none."""
        return (max if self.comparison == self.Comparison.ABOVE else min)(values, default=None)

    def is_beyond(self, value: float, limit: float) -> bool:
        """Return whether *value* is on the wrong side of *limit*."""
        compare = operator.gt if self.comparison == self.Comparison.ABOVE else operator.lt
        return bool(compare(value, limit))

    def is_breached(self, value: float, *, was_breached: bool) -> bool:
        """Return whether *value* is wrong; what was wrong must come back further than what was not."""
        limit = self.clears_at if was_breached and self.clears_at is not None else self.threshold
        return self.is_beyond(value, limit)


class Alert(models.Model):
    """One time that something was wrong: it waits for the rule's duration, fires, and is resolved. Kept as a record."""

    class State(models.TextChoices):
        PENDING = "pending", "pending: wrong, but not for long enough"
        FIRING = "firing"
        RESOLVED = "resolved"

    OPEN_STATES = (State.PENDING, State.FIRING)

    key = models.CharField(max_length=128, help_text="What it is about: the rule, or Alertmanager's fingerprint.")
    rule = models.ForeignKey(AlertRule, on_delete=models.SET_NULL, null=True, blank=True, related_name="alerts")
    name = models.CharField(max_length=128)
    severity = models.CharField(max_length=16)
    state = models.CharField(max_length=8, choices=State.choices, default=State.PENDING)
    value = models.FloatField(null=True, blank=True, help_text="The reading when last looked at.")
    summary = models.CharField(max_length=300, blank=True)
    labels = models.JSONField(default=dict, blank=True)
    began_at = models.DateTimeField(help_text="When it was first seen to be wrong.")
    fired_at = models.DateTimeField(null=True, blank=True)
    resolved_at = models.DateTimeField(null=True, blank=True)
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    acknowledged_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    note = models.TextField(blank=True, help_text="What was found, and what is being done.")

    class Meta:
        ordering = ["-began_at", "-pk"]
        constraints = [
            models.UniqueConstraint(
                fields=["key"], condition=Q(state__in=("pending", "firing")), name="one_open_alert_per_key"
            )
        ]
        indexes = [models.Index(fields=["state", "-began_at"], name="alerts_by_state")]

    def __str__(self) -> str:
        return f"{self.name} ({self.state})"


class Silence(models.Model):
    """A time in which nobody is told of some alerts; they are recorded all the same."""

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
        return f"{self.rule_name or 'every alert'} until {self.ends_at:%Y-%m-%d %H:%M}"

    def covers(self, alert: Alert) -> bool:
        """Return whether nobody is to hear of *alert*."""
        return self.rule_name in ("", alert.name) and self.severity in ("", alert.severity)


class Notice(models.Model):
    """Something to tell by one channel. A row first: a mail server that is down delays it, and loses nothing."""

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
    error = models.CharField(max_length=64, blank=True, help_text="The error's type; what it said is in the log.")

    class Meta:
        ordering = ["-due_at", "-pk"]
        constraints = [
            models.UniqueConstraint(fields=["alert", "channel", "event"], name="one_notice_per_event_and_channel")
        ]
        indexes = [models.Index(fields=["state", "due_at"], name="notices_due")]

    def __str__(self) -> str:
        return f"{self.alert} by {self.channel}"
