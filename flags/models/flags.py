"""Models of feature flags: values, variants, rules and prerequisites."""

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.translation import gettext

from flags.models.guarded import GuardedModel
from flags.models.segments import Segment
from monitoring.number_texts import significant


def default_true() -> bool:
    """Return the default on value. Django requires a callable as the default of a JSON field."""
    return True


PERCENTAGE_VALIDATORS = [MinValueValidator(0.0), MaxValueValidator(100.0)]


class Flag(GuardedModel):
    """
    A typed value with a gradual rollout.

    Raising the percentage never removes a unit from the flag and never changes its variant (see `flags.rollout`).
    """

    class Kind(models.TextChoices):
        BOOL = "bool", "on or off"
        STRING = "string", "text"
        NUMBER = "number", "number"
        JSON = "json", "JSON object or list"

    key = models.SlugField(max_length=64, unique=True, help_text="The name that code uses. It cannot change later.")
    description = models.CharField(max_length=300, blank=True, help_text="What the flag changes.")
    kind = models.CharField(max_length=8, choices=Kind.choices, default=Kind.BOOL, help_text="Type of its values.")
    is_enabled = models.BooleanField(default=False, help_text="Off: all members get the off value, within 2 seconds.")
    rollout_percentage = models.FloatField(
        default=0.0,
        validators=PERCENTAGE_VALIDATORS,
        help_text="Percentage of remaining members who get the flag. Raising it never removes anyone.",
    )
    on_value = models.JSONField(
        default=default_true, help_text="Value for members who get the flag, if it has no variants."
    )
    default_value = models.JSONField(
        default=bool, help_text="Value for members who do not get the flag while it is on."
    )
    off_value = models.JSONField(default=bool, help_text="Value for all members while the flag is off.")
    starts_at = models.DateTimeField(null=True, blank=True, help_text="The flag is off before this time.")
    ends_at = models.DateTimeField(null=True, blank=True, help_text="The flag is off from this time on.")
    tags = models.JSONField(default=list, blank=True, help_text="Tags for finding flags.")
    owner = models.CharField(max_length=100, blank=True, help_text="The responsible team.")
    expires_at = models.DateTimeField(
        null=True, blank=True, help_text="When the flag should be gone from the code. Later it is reported as stale."
    )
    needs_approval = models.BooleanField(default=False, help_text="Changes need a second person's approval.")
    is_archived = models.BooleanField(default=False, help_text="Hidden from lists; code gets its own default.")
    version = models.PositiveIntegerField(default=0, editable=False)
    changed_at = models.DateTimeField(editable=False)

    class Meta:
        ordering = ["key"]
        permissions = [("release_flag", "Can approve changes, run rollouts and turn flags off in an emergency")]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(rollout_percentage__gte=0, rollout_percentage__lte=100),
                name="rollout_is_a_percentage",
            )
        ]

    def __str__(self) -> str:
        return self.key


class FlagVariant(GuardedModel):
    """One of several values of a flag, and its share of the units that have the flag."""

    flag = models.ForeignKey(Flag, on_delete=models.CASCADE, related_name="variants")
    position = models.PositiveSmallIntegerField(default=0)
    name = models.SlugField(max_length=64)
    value = models.JSONField()
    weight = models.FloatField(
        default=1.0, validators=[MinValueValidator(0.0)], help_text="Relative to the other variants."
    )

    class Meta:
        ordering = ["position", "pk"]
        constraints = [models.UniqueConstraint(fields=["flag", "name"], name="one_flag_variant_per_name")]

    def __str__(self) -> str:
        return self.name


class Rule(GuardedModel):
    """A rule for a segment. Rules are evaluated in order, and the first that matches decides."""

    flag = models.ForeignKey(Flag, on_delete=models.CASCADE, related_name="rules")
    position = models.PositiveSmallIntegerField(default=0)
    segment = models.ForeignKey(
        Segment, on_delete=models.PROTECT, null=True, blank=True, related_name="rules", help_text="Empty: all members."
    )
    percentage = models.FloatField(
        default=100.0, validators=PERCENTAGE_VALIDATORS, help_text="Percentage of the segment, 0 to 100."
    )
    serves = models.CharField(
        max_length=64,
        blank=True,
        help_text='A variant\'s name; "default" for the default value; empty: the on value, or the variants by weight.',
    )
    note = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ["position", "pk"]

    def __str__(self) -> str:
        name = self.segment or gettext("all members")
        return gettext("{number} % of {segment}").format(number=significant(self.percentage, 6), segment=name)


class Prerequisite(GuardedModel):
    """Another flag that must have the given value for a unit. Otherwise the unit gets this flag's default value."""

    flag = models.ForeignKey(Flag, on_delete=models.CASCADE, related_name="prerequisites")
    required_flag = models.ForeignKey(Flag, on_delete=models.PROTECT, related_name="required_by")
    value = models.JSONField(default=default_true)

    class Meta:
        ordering = ["pk"]
        constraints = [models.UniqueConstraint(fields=["flag", "required_flag"], name="one_prerequisite_per_flag")]

    def __str__(self) -> str:
        return gettext("{flag} is {value}").format(flag=self.required_flag, value=self.value)
