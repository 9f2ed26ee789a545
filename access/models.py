"""API keys, and alerts on their unusual usage."""

from __future__ import annotations

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator
from django.db import models
from django.utils.translation import gettext

from access.scopes import Scope

MAX_PER_MINUTE = 1_000_000


def check_scopes(value: object) -> None:
    """Raise `ValidationError` unless *value* is a non-empty list of scopes."""
    known = {scope.value for scope in Scope}
    if not isinstance(value, list) or not value or not all(isinstance(item, str) and item in known for item in value):
        raise ValidationError(gettext("Give one or more of {names}.").format(names=", ".join(sorted(known))))


class ApiKey(models.Model):
    """
    The credential of a server of the platform. Only the hashes of its secrets are stored.

    A rotated key has two valid secrets until the older one expires. Its other fields do not change.
    """

    prefix = models.CharField(
        max_length=16, unique=True, editable=False, help_text="Public part of the key, which identifies it."
    )
    name = models.CharField(max_length=100, help_text="User and purpose of the key, such as “web backend, feeds”.")
    scopes = models.JSONField(validators=[check_scopes], help_text="Permissions of the key.")
    per_minute = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MaxValueValidator(MAX_PER_MINUTE)],
        help_text="Maximum requests per minute. 0: no limit. Empty: RATE_PER_KEY.",
    )
    expires_at = models.DateTimeField(null=True, blank=True, help_text="End of validity. Empty: valid until revoked.")
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    secret_hash = models.BinaryField(editable=False, help_text="SHA-256 of the secret.")
    old_secret_hash = models.BinaryField(
        null=True, editable=False, help_text="SHA-256 of the secret before the last rotation."
    )
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
        permissions = [("mint_token", "Can mint tokens, with which the bearer acts as a member")]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix})"


class UsageAlert(models.Model):
    """
    An alert on unusual usage of the API, at most one per hour, kind and caller.

    Personal data: members and addresses are stored only as keyed hashes.
    """

    class Kind(models.TextChoices):
        SPIKE = "spike", "far more requests than this caller usually sends"
        ENUMERATION = "enumeration", "many requests for ids that do not exist"
        REFUSALS = "refusals", "many rejected requests"
        SIGN_IN = "sign_in", "sign-in locked after failures"

    kind = models.CharField(max_length=16, choices=Kind.choices)
    caller = models.CharField(max_length=40, help_text="Prefix of the key, or the hash of a member or an address.")
    key = models.ForeignKey(ApiKey, on_delete=models.CASCADE, null=True, blank=True, related_name="alerts")
    hour = models.DateTimeField(help_text="Hour in which the usage was first unusual.")
    raised_at = models.DateTimeField()
    count = models.PositiveIntegerField(help_text="Number of requests when the alert was raised.")
    baseline = models.FloatField(help_text="Allowed or usual number of requests.")
    is_reviewed = models.BooleanField(default=False)

    class Meta:
        ordering = ["-raised_at", "-id"]
        constraints = [models.UniqueConstraint(fields=["kind", "caller", "hour"], name="one_usage_alert_an_hour")]

    def __str__(self) -> str:
        return f"{self.caller}: {self.get_kind_display()}"
