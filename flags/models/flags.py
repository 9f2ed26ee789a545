"""Feature flags, as rows: what a flag is worth, for whom, and when."""

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from flags.models.guarded import GuardedModel
from flags.models.segments import Segment


def default_true() -> bool:
    """Return what a flag is worth to those who have it, if nothing else is said. A callable, as Django wants it."""
    return True


PERCENTAGE_VALIDATORS = [MinValueValidator(0.0), MaxValueValidator(100.0)]


class Flag(GuardedModel):
    """A typed value with a gradual rollout. Raising the percentage keeps everybody who is in, with what they have."""

    class Kind(models.TextChoices):
        BOOL = "bool", "on or off"
        STRING = "string", "text"
        NUMBER = "number", "number"
        JSON = "json", "JSON object or list"

    key = models.SlugField(max_length=64, unique=True, help_text="What the code asks for. It cannot change later.")
    description = models.CharField(max_length=300, blank=True, help_text="What changes for those who have it.")
    kind = models.CharField(max_length=8, choices=Kind.choices, default=Kind.BOOL, help_text="Type of its values.")
    is_enabled = models.BooleanField(default=False, help_text="Off: everybody has the off value, at once.")
    rollout_percentage = models.FloatField(
        default=0.0,
        validators=PERCENTAGE_VALIDATORS,
        help_text="Share of those whom no rule decides for, 0 to 100, who have it. Raising it loses nobody.",
    )
    on_value = models.JSONField(default=default_true, help_text="For those who have it, if there are no variants.")
    default_value = models.JSONField(default=bool, help_text="For those who do not have it while the flag is on.")
    off_value = models.JSONField(default=bool, help_text="For everybody while the flag is off.")
    starts_at = models.DateTimeField(null=True, blank=True, help_text="Before this moment the flag is off.")
    ends_at = models.DateTimeField(null=True, blank=True, help_text="From this moment on the flag is off.")
    tags = models.JSONField(default=list, blank=True, help_text="Words to find flags by.")
    owner = models.CharField(max_length=100, blank=True, help_text="The team to ask.")
    expires_at = models.DateTimeField(
        null=True, blank=True, help_text="When the code should be rid of it: from then on it is reported as stale."
    )
    needs_approval = models.BooleanField(default=False, help_text="Changes wait for a second person's approval.")
    is_archived = models.BooleanField(default=False, help_text="Gone from lists; the code gets its own default.")
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
    """One of several values of a flag, and its share of those who have the flag."""

    flag = models.ForeignKey(Flag, on_delete=models.CASCADE, related_name="variants")
    position = models.PositiveSmallIntegerField(default=0)
    name = models.SlugField(max_length=64)
    value = models.JSONField()
    weight = models.FloatField(default=1.0, validators=[MinValueValidator(0.0)], help_text="Relative to the others.")

    class Meta:
        ordering = ["position", "pk"]
        constraints = [models.UniqueConstraint(fields=["flag", "name"], name="one_flag_variant_per_name")]

    def __str__(self) -> str:
        return self.name


class Rule(GuardedModel):
    """Whom the flag treats in their own way. Rules are asked in order, and the first that fits decides."""

    flag = models.ForeignKey(Flag, on_delete=models.CASCADE, related_name="rules")
    position = models.PositiveSmallIntegerField(default=0)
    segment = models.ForeignKey(
        Segment, on_delete=models.PROTECT, null=True, blank=True, related_name="rules", help_text="Empty: everybody."
    )
    percentage = models.FloatField(
        default=100.0, validators=PERCENTAGE_VALIDATORS, help_text="Share of the segment, 0 to 100."
    )
    serves = models.CharField(
        max_length=64,
        blank=True,
        help_text='A variant\'s name; "default" for the default value; empty: the on value, or variants by weight.',
    )
    note = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ["position", "pk"]

    def __str__(self) -> str:
        return f"{self.percentage:g} % of {self.segment or 'everybody'}"


class Prerequisite(GuardedModel):
    """Another flag that must have a value for the unit; else the unit gets this flag's default."""

    flag = models.ForeignKey(Flag, on_delete=models.CASCADE, related_name="prerequisites")
    required_flag = models.ForeignKey(Flag, on_delete=models.PROTECT, related_name="needed_by")
    value = models.JSONField(default=default_true)

    class Meta:
        ordering = ["pk"]
        constraints = [models.UniqueConstraint(fields=["flag", "required_flag"], name="one_prerequisite_per_flag")]

    def __str__(self) -> str:
        return f"{self.required_flag} is {self.value}"
