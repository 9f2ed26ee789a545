"""Ranking policies: the weights of a feed, as data, one row per variant and version."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models

from recommendations.contracts import Policy, PolicyError


def default_settings() -> dict[str, float]:
    """Return the settings of the control policy."""
    return asdict(Policy())


def validate_settings(value: object) -> None:
    """Refuse settings that `Policy` refuses, naming the setting."""
    if not isinstance(value, dict):
        raise ValidationError('Give an object of settings, such as {"taste": 1.0}.')
    try:
        Policy.from_settings(value)
    except PolicyError as error:
        raise ValidationError(str(error)) from error


class RankingPolicy(models.Model):
    """
    The settings that one variant ranks by. A change is a new version, so that a served feed stays explainable.

    A version names every setting of the release that wrote it: a default that is changed later does not change it.
    """

    variant = models.SlugField(max_length=64, help_text="Such as control, wasm_conservative, wasm_aggressive.")
    version = models.PositiveIntegerField(default=1)
    settings = models.JSONField(default=default_settings, validators=[validate_settings])
    is_active = models.BooleanField(default=False, help_text="The version that is served; one per variant.")
    note = models.CharField(max_length=200, blank=True, help_text="Why this version.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name_plural = "ranking policies"
        ordering = ["variant", "-version"]
        constraints = [
            models.UniqueConstraint(fields=["variant", "version"], name="one_policy_per_version"),
            models.UniqueConstraint(
                fields=["variant"], condition=models.Q(is_active=True), name="one_active_policy_per_variant"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.variant} v{self.version}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save; a new version is completed with today's defaults. Raises `PolicyError` if a setting is wrong."""
        if self._state.adding:
            self.settings = asdict(Policy.from_settings(self.settings))
        super().save(*args, **kwargs)
