"""Feature flags, as rows."""

from django.core.validators import MaxValueValidator
from django.db import models
from simple_history.models import HistoricalRecords


class Flag(models.Model):
    """A switch with a gradual rollout. Raising the percentage keeps everybody who is in already."""

    key = models.SlugField(max_length=64, unique=True)
    description = models.CharField(max_length=300, blank=True)
    is_enabled = models.BooleanField(default=False, help_text="Off: off for everybody, at once.")
    rollout_percentage = models.PositiveSmallIntegerField(
        default=0, validators=[MaxValueValidator(100)], help_text="Share of members for whom it is on, 0 to 100."
    )
    changed_at = models.DateTimeField()
    history = HistoricalRecords()

    class Meta:
        ordering = ["key"]
        constraints = [
            models.CheckConstraint(condition=models.Q(rollout_percentage__lte=100), name="rollout_is_a_percentage")
        ]

    def __str__(self) -> str:
        return self.key
