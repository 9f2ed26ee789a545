"""Segments: groups of units by what is known of them, kept once and used by many flags."""

from django.db import models

from flags.models.guarded import GuardedModel


class Segment(GuardedModel):
    """
    Units that meet conditions or are listed; a unit on the deny list is out, whatever else.

    Personal data: ids of members on its lists. Only ids.
    """

    class Match(models.TextChoices):
        ALL = "all", "all conditions"
        ANY = "any", "any condition"

    key = models.SlugField(max_length=64, unique=True)
    description = models.CharField(max_length=300, blank=True)
    match = models.CharField(max_length=4, choices=Match.choices, default=Match.ALL)
    allowed_ids = models.JSONField(default=list, blank=True, help_text="Ids that are in without meeting a condition.")
    denied_ids = models.JSONField(default=list, blank=True, help_text="Ids that are out, whatever else.")
    changed_at = models.DateTimeField(editable=False)

    class Meta:
        ordering = ["key"]

    def __str__(self) -> str:
        return self.key


class Condition(GuardedModel):
    """One thing that must be so of an attribute."""

    class Operator(models.TextChoices):
        IN = "in", "is one of"
        NOT_IN = "not_in", "is none of"
        CONTAINS = "contains", "contains one of"
        STARTS_WITH = "starts", "starts with one of"
        ABOVE = "above", "is above"
        AT_LEAST = "at_least", "is at least"
        BELOW = "below", "is below"
        AT_MOST = "at_most", "is at most"
        VERSION_AT_LEAST = "version_at_least", "is a version of at least"
        VERSION_BELOW = "version_below", "is a version below"
        KNOWN = "known", "is known"
        UNKNOWN = "unknown", "is not known"

    segment = models.ForeignKey(Segment, on_delete=models.CASCADE, related_name="conditions")
    position = models.PositiveSmallIntegerField(default=0)
    attribute = models.CharField(max_length=64, help_text="Such as id, language, region, account_age_days.")
    operator = models.CharField(max_length=16, choices=Operator.choices, default=Operator.IN)
    values = models.JSONField(default=list, blank=True, help_text="One a line.")

    class Meta:
        ordering = ["position", "pk"]

    def __str__(self) -> str:
        return f"{self.attribute} {self.get_operator_display()} {', '.join(map(str, self.values))}"
