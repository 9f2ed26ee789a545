"""Models of experiments on flags: plan, phases, exposures, metrics and results."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.translation import gettext

from flags.models.append_only import AppendOnlyModel
from flags.models.flags import PERCENTAGE_VALIDATORS, Flag
from flags.models.guarded import GuardedModel
from monitoring.number_texts import significant


class ExclusionGroup(models.Model):
    """Experiments of which a unit is in at most one: each has a slot of the group, and the slots do not overlap."""

    key = models.SlugField(max_length=64, unique=True)
    description = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ["key"]

    def __str__(self) -> str:
        return self.key


class Holdout(models.Model):
    """Units in no experiment. They get the flag's default, to measure the effect of all experiments together."""

    key = models.SlugField(max_length=64, unique=True)
    percentage = models.FloatField(
        default=5.0, validators=PERCENTAGE_VALIDATORS, help_text="Percentage of units held out."
    )
    description = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ["key"]

    def __str__(self) -> str:
        return f"{self.key} ({significant(self.percentage, 6)} %)"


class Metric(models.Model):
    """
    A number per unit, computed from the unit's events within a window after its exposure.

    Rate: 1 if the unit has any such event, else 0. Mean: the number of events. Ratio: the number of events, divided by
    the number of other events.
    """

    class Kind(models.TextChoices):
        RATE = "rate"
        MEAN = "mean"
        RATIO = "ratio"

    key = models.SlugField(max_length=64, unique=True)
    description = models.CharField(max_length=300, blank=True)
    kind = models.CharField(max_length=8, choices=Kind.choices, default=Kind.MEAN)
    source = models.CharField(max_length=64, default="interactions", help_text="Source of the events.")
    numerator = models.JSONField(default=list, help_text='Kinds of events that count, such as ["like", "share"].')
    denominator = models.JSONField(
        default=list, blank=True, help_text="For a ratio: kinds of events in the denominator."
    )
    window_days = models.PositiveSmallIntegerField(
        default=7, validators=[MinValueValidator(1)], help_text="Length of the window after a unit's exposure, in days."
    )
    prior_days = models.PositiveSmallIntegerField(
        default=14, help_text="Days before the exposure used by CUPED; 0: no CUPED. Not for a ratio."
    )
    higher_is_better = models.BooleanField(default=True)
    is_guardrail = models.BooleanField(default=False, help_text="The metric must not get worse.")
    tolerance = models.FloatField(
        default=0.01, validators=[MinValueValidator(0.0)], help_text="For a guardrail: the accepted relative harm."
    )

    class Meta:
        ordering = ["is_guardrail", "key"]

    def __str__(self) -> str:
        return self.key

    def clean(self) -> None:
        for name in ("numerator", "denominator"):
            kinds = getattr(self, name)
            if not isinstance(kinds, list) or not all(isinstance(kind, str) for kind in kinds):
                raise ValidationError({name: gettext('Give a list of kinds of events, such as ["like"].')})
        if not self.numerator:
            raise ValidationError({"numerator": gettext("Name at least one kind of event.")})
        if (self.kind == self.Kind.RATIO) != bool(self.denominator):
            raise ValidationError(
                {"denominator": gettext("A ratio needs kinds of events in the denominator; other metrics have none.")}
            )


class Experiment(GuardedModel):
    """The plan of an experiment. Its open phase is what runs: a frozen copy of the plan with its own seed."""

    class State(models.TextChoices):
        DRAFT = "draft"
        RUNNING = "running"
        PAUSED = "paused"
        FINISHED = "finished"

    class Unit(models.TextChoices):
        MEMBER = "member"

    key = models.SlugField(max_length=64, unique=True)
    flag = models.ForeignKey(Flag, on_delete=models.PROTECT, related_name="experiments")
    hypothesis = models.TextField(help_text="What you expect to change, for whom, and why.")
    unit = models.CharField(max_length=16, choices=Unit.choices, default=Unit.MEMBER, help_text="What is randomized.")
    traffic_percentage = models.FloatField(
        default=100.0,
        validators=PERCENTAGE_VALIDATORS,
        help_text="Percentage of units in the experiment; the others follow the flag.",
    )
    group = models.ForeignKey(
        ExclusionGroup,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        help_text="At most one experiment of a group per unit.",
    )
    slot_from = models.FloatField(
        default=0.0, validators=PERCENTAGE_VALIDATORS, help_text="Start of the slot in the group, %."
    )
    slot_to = models.FloatField(
        default=100.0, validators=PERCENTAGE_VALIDATORS, help_text="End of the slot in the group, %."
    )
    holdout = models.ForeignKey(Holdout, on_delete=models.PROTECT, null=True, blank=True)
    is_sticky = models.BooleanField(
        default=True, help_text="Units that were exposed keep their variant in a new phase."
    )
    goal = models.ForeignKey(
        Metric, on_delete=models.PROTECT, related_name="+", null=True, blank=True, help_text="Decides the experiment."
    )
    metrics = models.ManyToManyField(Metric, blank=True, help_text="Other metrics to report, including guardrails.")
    minimum_effect = models.FloatField(
        default=0.05,
        validators=[MinValueValidator(0.0001)],
        help_text="Smallest relative lift of the goal to detect; determines the run time.",
    )
    is_bandit = models.BooleanField(
        default=False, help_text="Weights follow the results (Thompson sampling); each change starts a new phase."
    )
    bandit_floor = models.FloatField(
        default=0.05,
        validators=[MinValueValidator(0.01), MaxValueValidator(0.5)],
        help_text="Lowest share of a variant, 0 to 1.",
    )
    state = models.CharField(max_length=8, choices=State.choices, default=State.DRAFT, editable=False)
    decision = models.CharField(max_length=64, blank=True, editable=False, help_text="Key of the winning variant.")
    decision_reason = models.TextField(blank=True, editable=False)
    started_at = models.DateTimeField(null=True, editable=False)
    finished_at = models.DateTimeField(null=True, editable=False)
    changed_at = models.DateTimeField(editable=False)

    class Meta:
        ordering = ["key"]
        constraints = [
            models.UniqueConstraint(
                fields=["flag"],
                condition=models.Q(state__in=["running", "paused"], group__isnull=True),
                name="one_experiment_per_flag_or_a_group",
            )
        ]

    def __str__(self) -> str:
        return self.key


class ExperimentVariant(GuardedModel):
    """One arm of an experiment: the flag's value and settings."""

    experiment = models.ForeignKey(Experiment, on_delete=models.CASCADE, related_name="variants")
    key = models.SlugField(max_length=64)
    weight = models.FloatField(
        default=50.0, validators=[MinValueValidator(0.0)], help_text="Relative to the other variants."
    )
    is_control = models.BooleanField(
        default=False, help_text="The variant that the others are compared with. Exactly one."
    )
    value = models.JSONField(default=bool, blank=True, help_text="The flag's value for this variant.")
    config = models.JSONField(default=dict, blank=True, help_text="Settings: the same names and types in each variant.")

    class Meta:
        ordering = ["-is_control", "pk"]
        constraints = [
            models.UniqueConstraint(fields=["experiment", "key"], name="one_variant_per_key"),
            models.UniqueConstraint(
                fields=["experiment"], condition=models.Q(is_control=True), name="one_control_per_experiment"
            ),
        ]

    def __str__(self) -> str:
        return self.key


class ExperimentPhase(GuardedModel):
    """A period with frozen variants and weights under one seed. Results cover one phase; a bandit's cover all."""

    experiment = models.ForeignKey(Experiment, on_delete=models.CASCADE, related_name="phases")
    number = models.PositiveIntegerField()
    seed = models.CharField(max_length=100)
    traffic = models.FloatField(help_text="0 to 1.")
    variants = models.JSONField(help_text="In order: key, share (0 to 1), is_control, value, config.")
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["experiment", "number"]
        constraints = [
            models.UniqueConstraint(fields=["experiment", "number"], name="one_phase_per_number"),
            models.UniqueConstraint(
                fields=["experiment"], condition=models.Q(ended_at__isnull=True), name="one_open_phase"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.experiment_id} phase {self.number}"


class Exposure(models.Model):
    """
    The first time that a unit was served a variant in a phase.

    Personal data: which variant a member was shown. Only ids and numbers. Erased with the member.
    """

    phase = models.ForeignKey(ExperimentPhase, on_delete=models.CASCADE, related_name="exposures", db_index=False)
    experiment = models.ForeignKey(Experiment, on_delete=models.CASCADE, related_name="exposures", db_index=False)
    unit_id = models.CharField(max_length=128)
    variant = models.CharField(max_length=64)
    propensity = models.FloatField(
        help_text="Probability of this variant for the unit, given that the unit is in the experiment."
    )
    exposed_at = models.DateTimeField()

    class Meta:
        ordering = ["-exposed_at"]
        constraints = [models.UniqueConstraint(fields=["phase", "unit_id"], name="exposed_once")]
        indexes = [
            models.Index(fields=["experiment", "unit_id"], name="exposures_of_unit"),
            models.Index(fields=["unit_id"], name="exposures_to_erase"),
        ]

    def __str__(self) -> str:
        return f"{self.unit_id}: {self.variant}"


class InterimAnalysis(AppendOnlyModel):
    """One interim analysis: units, sample ratio, and a result for each metric and variant."""

    experiment = models.ForeignKey(Experiment, on_delete=models.PROTECT, related_name="interim_analyses")
    phase_number = models.PositiveIntegerField()
    analyzed_at = models.DateTimeField(db_index=True)
    units = models.JSONField(help_text="Exposed units by variant.")
    daily_units = models.JSONField(help_text="Units first exposed on each day, by variant.")
    sample_ratio_p = models.FloatField()
    needed_units = models.FloatField(null=True, help_text="Total units to detect the minimum effect; empty: unknown.")
    days_left = models.FloatField(
        null=True, help_text="Days until enough units are exposed, at the current pace; empty: unknown."
    )
    duration_seconds = models.FloatField(help_text="Duration of the analysis.")

    class Meta:
        ordering = ["-analyzed_at", "-pk"]
        indexes = [models.Index(fields=["experiment", "-analyzed_at"], name="interim_analyses_newest")]

    def __str__(self) -> str:
        return f"{self.experiment_id} at {self.analyzed_at:%Y-%m-%d %H:%M}"


class ExperimentResult(AppendOnlyModel):
    """A variant compared with the control in one interim analysis, for one metric and one slice of the units."""

    class Verdict(models.TextChoices):
        BETTER = "better"
        WORSE = "worse"
        SAFE = "safe"
        INCONCLUSIVE = "inconclusive"

    interim_analysis = models.ForeignKey(InterimAnalysis, on_delete=models.PROTECT, related_name="results")
    metric = models.ForeignKey(Metric, on_delete=models.PROTECT, related_name="+")
    variant = models.CharField(max_length=64)
    slice_label = models.CharField(max_length=64, blank=True, help_text="Such as language=en; empty: all units.")
    control_units = models.PositiveIntegerField()
    units = models.PositiveIntegerField()
    control_mean = models.FloatField()
    mean = models.FloatField()
    difference = models.FloatField(help_text="Treatment minus control, after CUPED.")
    fixed_low = models.FloatField(null=True, help_text="Fixed interval: valid for one planned analysis.")
    fixed_high = models.FloatField(null=True)
    fixed_p = models.FloatField(help_text="P-value of the fixed interval.")
    anytime_low = models.FloatField(null=True, help_text="Anytime-valid interval: valid at all analyses.")
    anytime_high = models.FloatField(null=True)
    anytime_p = models.FloatField()
    adjusted_p = models.FloatField(help_text="The anytime p-value, adjusted for the number of comparisons.")
    lift = models.FloatField(null=True, help_text="Relative; empty if the control's mean is close to zero.")
    lift_low = models.FloatField(null=True, help_text="Anytime-valid.")
    lift_high = models.FloatField(null=True)
    chance_better = models.FloatField(help_text="Bayesian probability that the variant is better.")
    expected_loss = models.FloatField(
        null=True, help_text="Expected loss of choosing the variant, in the metric's unit."
    )
    remaining_variance_ratio = models.FloatField(help_text="Variance after CUPED divided by the variance before.")
    verdict = models.CharField(max_length=16, choices=Verdict.choices)

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"{self.metric_id} {self.variant} {self.slice_label}"
