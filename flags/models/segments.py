"""Models of segments: groups of units, defined by attributes or lists, that several flags can share."""

from django.db import models
from django.utils.translation import gettext

from flags.models.guarded import GuardedModel


class Segment(GuardedModel):
    """
    Units that match the conditions or are on the allow list. A unit on the deny list is never in the segment.

    Personal data: ids of members on the lists; nothing else.
    """

    class Match(models.TextChoices):
        ALL = "all", "all conditions"
        ANY = "any", "any condition"

    key = models.SlugField(max_length=64, unique=True)
    description = models.CharField(max_length=300, blank=True)
    match = models.CharField(max_length=4, choices=Match.choices, default=Match.ALL)
    allowed_ids = models.JSONField(
        default=list, blank=True, help_text="Ids that are in the segment even if no condition matches."
    )
    denied_ids = models.JSONField(default=list, blank=True, help_text="Ids that are never in the segment.")
    changed_at = models.DateTimeField(editable=False)

    class Meta:
        ordering = ["key"]

    def __str__(self) -> str:
        return self.key


class Condition(GuardedModel):
    """One condition on an attribute."""

    class Operator(models.TextChoices):
        IN = "in", "is one of"
        NOT_IN = "not_in", "is none of"
        CONTAINS = "contains", "contains one of"
        STARTS_WITH = "starts_with", "starts with one of"
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
    attribute = models.CharField(max_length=64, help_text="For example language, region, account_age_days.")
    operator = models.CharField(max_length=16, choices=Operator.choices, default=Operator.IN)
    values = models.JSONField(default=list, blank=True, help_text="One value per line.")

    class Meta:
        ordering = ["position", "pk"]

    def __str__(self) -> str:
        return f"{self.attribute} {gettext(self.Operator(self.operator).label)} {', '.join(map(str, self.values))}"
