"""API keys, and what was unusual about their use."""

from __future__ import annotations

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator
from django.db import models

from access.scopes import Scope

MAX_PER_MINUTE = 1_000_000


def check_scopes(value: object) -> None:
    """Refuse what is not a list of scopes, at least one."""
    known = {scope.value for scope in Scope}
    if not isinstance(value, list) or not value or not all(isinstance(one, str) and one in known for one in value):
        raise ValidationError(f"Choose one or more of {', '.join(sorted(known))}.")


class ApiKey(models.Model):
    """
    What a server of the platform presents. Of its secrets only the hashes are kept.

    A rotated key has two secrets until the older one's time is over; all else of it stays as it was.
    """

    prefix = models.CharField(max_length=16, unique=True, editable=False, help_text="The part that tells keys apart.")
    name = models.CharField(max_length=100, help_text="Who uses it and what for, such as “web backend, feeds”.")
    scopes = models.JSONField(validators=[check_scopes], help_text="What it may do.")
    per_minute = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MaxValueValidator(MAX_PER_MINUTE)],
        help_text="Requests a minute; 0: no limit; empty: as RATE_PER_KEY says.",
    )
    expires_at = models.DateTimeField(null=True, blank=True, help_text="It works until then; empty: until revoked.")
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    secret_hash = models.BinaryField(editable=False, help_text="SHA-256 of the secret.")
    old_secret_hash = models.BinaryField(null=True, editable=False, help_text="The secret before the last rotation.")
    old_secret_expires_at = models.DateTimeField(null=True, blank=True, editable=False)
    rotated_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False, help_text="To the minute.")
    created_at = models.DateTimeField(editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )

    class Meta:
        ordering = ["-id"]
        verbose_name = "API key"

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix})"


class UsageAlert(models.Model):
    """
    Something unusual about how somebody uses the API, at most once an hour for each kind and caller.

    Personal data: none in plain. A member or an address is here only as a keyed hash.
    """

    class Kind(models.TextChoices):
        SPIKE = "spike", "far more requests than this caller usually sends"
        ENUMERATION = "enumeration", "many ids asked for that are not there"
        REFUSALS = "refusals", "refused again and again"

    kind = models.CharField(max_length=16, choices=Kind.choices)
    caller = models.CharField(max_length=40, help_text="A key's prefix, or the hash of a member or of an address.")
    key = models.ForeignKey(ApiKey, on_delete=models.CASCADE, null=True, blank=True, related_name="alerts")
    hour = models.DateTimeField(help_text="The hour that it began in.")
    raised_at = models.DateTimeField()
    count = models.PositiveIntegerField(help_text="How many there were when it was raised.")
    baseline = models.FloatField(help_text="How many there may be, or usually are.")
    is_reviewed = models.BooleanField(default=False)

    class Meta:
        ordering = ["-raised_at", "-id"]
        constraints = [models.UniqueConstraint(fields=["kind", "caller", "hour"], name="one_usage_alert_an_hour")]

    def __str__(self) -> str:
        return f"{self.kind} by {self.caller}"
