"""Experiments on flags: what was planned, what ran, who was exposed, and what came of it."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from flags.models.append_only import AppendOnlyModel
from flags.models.flags import PERCENTAGE_VALIDATORS, Flag
from flags.models.guarded import GuardedModel


class ExclusionGroup(models.Model):
    """Experiments that must not meet in one unit: each has a slot of the group, and no two slots overlap."""

    key = models.SlugField(max_length=64, unique=True)
    description = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ["key"]

    def __str__(self) -> str:
        return self.key


class Holdout(models.Model):
    """Units that no experiment touches: they get the flag's default, so that all changes together can be judged."""

    key = models.SlugField(max_length=64, unique=True)
    percentage = models.FloatField(default=5.0, validators=PERCENTAGE_VALIDATORS, help_text="Share of units held out.")
    description = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ["key"]

    def __str__(self) -> str:
        return f"{self.key} ({self.percentage:g} %)"


class Metric(models.Model):
    """
    A number of a unit, as data: what the unit did within a window after its exposure.

    Rate: whether it did any of it. Mean: how often. Ratio: how often, per how often it did something else.
    """

    class Kind(models.TextChoices):
        RATE = "rate"
        MEAN = "mean"
        RATIO = "ratio"

    key = models.SlugField(max_length=64, unique=True)
    description = models.CharField(max_length=300, blank=True)
    kind = models.CharField(max_length=8, choices=Kind.choices, default=Kind.MEAN)
    source = models.CharField(max_length=64, default="interactions", help_text="Where the events are counted.")
    numerator = models.JSONField(default=list, help_text='Kinds of events that count, such as ["like", "share"].')
    denominator = models.JSONField(default=list, blank=True, help_text="Of a ratio: kinds of events below the line.")
    window_days = models.PositiveSmallIntegerField(
        default=7, validators=[MinValueValidator(1)], help_text="Days after a unit's exposure that count."
    )
    prior_days = models.PositiveSmallIntegerField(
        default=14, help_text="Days before the exposure that CUPED takes out; 0: none. Not for a ratio."
    )
    higher_is_better = models.BooleanField(default=True)
    is_guardrail = models.BooleanField(default=False, help_text="Must not get worse, whatever the goal does.")
    tolerance = models.FloatField(
        default=0.01, validators=[MinValueValidator(0.0)], help_text="Of a guardrail: relative harm that is accepted."
    )

    class Meta:
        ordering = ["is_guardrail", "key"]

    def __str__(self) -> str:
        return self.key

    def clean(self) -> None:
        for name in ("numerator", "denominator"):
            kinds = getattr(self, name)
            if not isinstance(kinds, list) or not all(isinstance(kind, str) for kind in kinds):
                raise ValidationError({name: 'Give a list of kinds of events, such as ["like"].'})
        if not self.numerator:
            raise ValidationError({"numerator": "Name at least one kind of event."})
        if (self.kind == self.Kind.RATIO) != bool(self.denominator):
            raise ValidationError({"denominator": "A ratio has kinds of events below the line; others have none."})


class Experiment(GuardedModel):
    """A question, and how it is asked. What runs is its open phase: a frozen copy with a seed of its own."""

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
    unit = models.CharField(max_length=16, choices=Unit.choices, default=Unit.MEMBER, help_text="What is randomised.")
    traffic_percentage = models.FloatField(
        default=100.0,
        validators=PERCENTAGE_VALIDATORS,
        help_text="Share of units in the experiment; the rest follow the flag.",
    )
    group = models.ForeignKey(
        ExclusionGroup, on_delete=models.PROTECT, null=True, blank=True, help_text="Experiments not to meet in a unit."
    )
    slot_from = models.FloatField(
        default=0.0, validators=PERCENTAGE_VALIDATORS, help_text="Where its slot of the group begins, %."
    )
    slot_to = models.FloatField(
        default=100.0, validators=PERCENTAGE_VALIDATORS, help_text="Where its slot of the group ends, %."
    )
    holdout = models.ForeignKey(Holdout, on_delete=models.PROTECT, null=True, blank=True)
    is_sticky = models.BooleanField(
        default=True, help_text="A new phase leaves those who were exposed in the variant they had."
    )
    goal = models.ForeignKey(
        Metric, on_delete=models.PROTECT, related_name="+", null=True, blank=True, help_text="Decides the experiment."
    )
    metrics = models.ManyToManyField(Metric, blank=True, help_text="Reported beside the goal; guardrails too.")
    minimum_effect = models.FloatField(
        default=0.05,
        validators=[MinValueValidator(0.0001)],
        help_text="Relative lift of the goal worth finding: says how long to run.",
    )
    is_bandit = models.BooleanField(
        default=False, help_text="Weights follow what is learned (Thompson sampling); each change is a new phase."
    )
    bandit_floor = models.FloatField(
        default=0.05, validators=[MinValueValidator(0.01), MaxValueValidator(0.5)], help_text="Least weight, 0 to 1."
    )
    state = models.CharField(max_length=8, choices=State.choices, default=State.DRAFT, editable=False)
    decision = models.CharField(max_length=64, blank=True, editable=False, help_text="Key of the variant chosen.")
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
    """One arm of an experiment: what the flag is worth for it, and the settings that go with it."""

    experiment = models.ForeignKey(Experiment, on_delete=models.CASCADE, related_name="variants")
    key = models.SlugField(max_length=64)
    weight = models.FloatField(default=50.0, validators=[MinValueValidator(0.0)], help_text="Relative to the others.")
    is_control = models.BooleanField(default=False, help_text="What the others are compared with; one.")
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
    """What ran, frozen: traffic, variants and weights under one seed. Results are of one phase; a bandit's of all."""

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
    That a unit met a variant, written once a phase: the first time it was served.

    Personal data: which variant a member was shown. Only ids and numbers. Erased with the member.
    """

    phase = models.ForeignKey(ExperimentPhase, on_delete=models.CASCADE, related_name="exposures", db_index=False)
    experiment = models.ForeignKey(Experiment, on_delete=models.CASCADE, related_name="exposures", db_index=False)
    unit_id = models.CharField(max_length=128)
    variant = models.CharField(max_length=64)
    propensity = models.FloatField(help_text="The chance that this unit had of this variant, given that it is in.")
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
    """One look at an experiment: who was in, whether the split is right, and a result for each metric and variant."""

    experiment = models.ForeignKey(Experiment, on_delete=models.PROTECT, related_name="interim_analyses")
    phase_number = models.PositiveIntegerField()
    analyzed_at = models.DateTimeField(db_index=True)
    units = models.JSONField(help_text="Units exposed, by variant.")
    daily_units = models.JSONField(help_text="Units first exposed on each day, by variant.")
    sample_ratio_p = models.FloatField()
    needed_units = models.FloatField(null=True, help_text="Units in all to find the minimum effect; empty: unknown.")
    days_left = models.FloatField(null=True, help_text="Days until then at the present pace; empty: unknown.")
    duration_seconds = models.FloatField(help_text="How long the look took.")

    class Meta:
        ordering = ["-analyzed_at", "-pk"]
        indexes = [models.Index(fields=["experiment", "-analyzed_at"], name="interim_analyses_newest")]

    def __str__(self) -> str:
        return f"{self.experiment_id} at {self.analyzed_at:%Y-%m-%d %H:%M}"


class ExperimentResult(AppendOnlyModel):
    """What one snapshot says of a variant against the control, for one metric and one segment of the units."""

    class Verdict(models.TextChoices):
        BETTER = "better"
        WORSE = "worse"
        SAFE = "safe"
        INCONCLUSIVE = "inconclusive"

    interim_analysis = models.ForeignKey(InterimAnalysis, on_delete=models.PROTECT, related_name="results")
    metric = models.ForeignKey(Metric, on_delete=models.PROTECT, related_name="+")
    variant = models.CharField(max_length=64)
    slice_label = models.CharField(max_length=64, blank=True, help_text="Such as language=en; empty: everybody.")
    control_units = models.PositiveIntegerField()
    units = models.PositiveIntegerField()
    control_mean = models.FloatField()
    mean = models.FloatField()
    difference = models.FloatField(help_text="Treatment less control, CUPED taken out.")
    fixed_low = models.FloatField(null=True, help_text="Fixed interval: good for one planned look.")
    fixed_high = models.FloatField(null=True)
    fixed_p = models.FloatField(help_text="Of the fixed interval.")
    anytime_low = models.FloatField(null=True, help_text="Holds at all looks together.")
    anytime_high = models.FloatField(null=True)
    anytime_p = models.FloatField()
    adjusted_p = models.FloatField(help_text="The anytime p-value, adjusted for how many comparisons there are.")
    lift = models.FloatField(null=True, help_text="Relative; empty where the control's mean is about zero.")
    lift_low = models.FloatField(null=True, help_text="Anytime.")
    lift_high = models.FloatField(null=True)
    chance_better = models.FloatField(help_text="Bayesian chance that the variant is the better one.")
    expected_loss = models.FloatField(null=True, help_text="Expected loss of choosing it, in the metric's unit.")
    remaining_variance_ratio = models.FloatField(help_text="Part of the variance that CUPED leaves.")
    verdict = models.CharField(max_length=16, choices=Verdict.choices)

    class Meta:
        ordering = ["pk"]

    def __str__(self) -> str:
        return f"{self.metric_id} {self.variant} {self.slice_label}"
