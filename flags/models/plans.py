"""Models of rollout plans: a flag's percentage rises in phases while the guardrails hold."""

from django.core.validators import MinValueValidator
from django.db import models
from django.utils.translation import gettext

from flags.models.flags import PERCENTAGE_VALIDATORS, Flag
from flags.models.guarded import GuardedModel
from monitoring.number_texts import significant


class RolloutPlan(GuardedModel):
    """The phases of a rollout. A plan without a flag is a template: it can be copied but not started."""

    class State(models.TextChoices):
        DRAFT = "draft", "draft"
        RUNNING = "running", "running"
        PAUSED = "paused", "paused"
        ROLLED_BACK = "rolled_back", "rolled back"
        FINISHED = "finished", "finished"

    key = models.SlugField(max_length=64, unique=True)
    flag = models.ForeignKey(Flag, on_delete=models.PROTECT, null=True, blank=True, related_name="plans")
    description = models.CharField(max_length=300, blank=True)
    state = models.CharField(max_length=12, choices=State.choices, default=State.DRAFT, editable=False)
    phase = models.PositiveSmallIntegerField(default=0, editable=False, help_text="Current phase; 0: not started.")
    phase_started_at = models.DateTimeField(null=True, editable=False)
    changed_at = models.DateTimeField(editable=False)

    class Meta:
        ordering = ["key"]
        constraints = [
            models.UniqueConstraint(
                fields=["flag"], condition=models.Q(state__in=["running", "paused"]), name="one_rollout_per_flag"
            )
        ]

    def __str__(self) -> str:
        return self.key


class RolloutPhase(GuardedModel):
    """A percentage, and how long it lasts before the next phase."""

    plan = models.ForeignKey(RolloutPlan, on_delete=models.CASCADE, related_name="phases")
    position = models.PositiveSmallIntegerField(default=0)
    percentage = models.FloatField(validators=PERCENTAGE_VALIDATORS)
    hours = models.FloatField(
        default=336.0, validators=[MinValueValidator(0.0)], help_text="Hours before the next phase; 336 is two weeks."
    )
    note = models.CharField(max_length=200, blank=True, help_text="What to watch during the phase.")

    class Meta:
        ordering = ["position", "pk"]

    def __str__(self) -> str:
        return f"{significant(self.percentage, 6)} %"


class Guardrail(GuardedModel):
    """A gauge whose value must stay within a bound while the plan runs."""

    class Bound(models.TextChoices):
        AT_MOST = "at_most", "at most"
        AT_LEAST = "at_least", "at least"

    class OnBreach(models.TextChoices):
        ROLL_BACK = "roll_back", "turn the flag off"
        PAUSE = "pause", "pause the plan"

    plan = models.ForeignKey(RolloutPlan, on_delete=models.CASCADE, related_name="guardrails")
    position = models.PositiveSmallIntegerField(default=0)
    gauge = models.CharField(max_length=64, help_text="The metric value to check.")
    variant = models.CharField(
        max_length=64, blank=True, help_text="Variant whose requests count; empty: all requests."
    )
    bound = models.CharField(max_length=8, choices=Bound.choices, default=Bound.AT_MOST)
    threshold = models.FloatField()
    window_minutes = models.FloatField(
        default=60.0,
        validators=[MinValueValidator(0.1)],
        help_text="Length of the window; it never starts before the phase.",
    )
    min_samples = models.PositiveIntegerField(
        default=100, help_text="With fewer samples there is neither a breach nor a next phase."
    )
    on_breach = models.CharField(max_length=10, choices=OnBreach.choices, default=OnBreach.ROLL_BACK)

    class Meta:
        ordering = ["position", "pk"]

    def __str__(self) -> str:
        return describe_guardrail(self.gauge, self.variant, self.bound, self.threshold)


def describe_guardrail(gauge: str, variant: str, bound: str, threshold: float) -> str:
    """Return what a guardrail requires, in the language of the page, such as "errors of new at most 0.5"."""
    metric = gettext("{gauge} of {variant}").format(gauge=gauge, variant=variant) if variant else gauge
    return f"{metric} {gettext(Guardrail.Bound(bound).label)} {significant(threshold)}"
