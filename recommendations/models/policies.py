"""Ranking policies: the weights and limits of a feed, stored as one row for each variant and version."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models

from recommendations.contracts import Policy, PolicyError


def default_settings() -> dict[str, float]:
    """Return the default settings of a new policy."""
    return asdict(Policy())


def validate_settings(value: object) -> None:
    """Raise `ValidationError` with the name of the setting if `Policy` does not accept *value*."""
    if not isinstance(value, dict):
        raise ValidationError('Give an object of settings, such as {"taste": 1.0}.')
    try:
        Policy.from_settings(value)
    except PolicyError as error:
        raise ValidationError(str(error)) from error


class RankingPolicy(models.Model):
    """
    The ranking settings of one variant. A change creates a new version, so that a served feed can still be explained.

    A version stores every setting of the release that wrote it. Changing a default later does not change the version.
    """

    variant = models.SlugField(
        max_length=64, help_text="Name of the variant, such as control, wasm_conservative or wasm_aggressive."
    )
    version = models.PositiveIntegerField(default=1)
    settings = models.JSONField(default=default_settings, validators=[validate_settings])
    is_active = models.BooleanField(
        default=False, help_text="Whether feeds use this version. Each variant has one active version."
    )
    note = models.CharField(max_length=200, blank=True, help_text="Reason for this version.")
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
        """Save the version. A new one gets the current default of each missing setting. Raises `PolicyError`."""
        if self._state.adding:
            self.settings = asdict(Policy.from_settings(self.settings))
        super().save(*args, **kwargs)
