"""The learned interests of members."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext

from recommendations.models.members import Member
from recommendations.models.related_names import related_name


class InterestProfile(models.Model):
    """
    A member's positive and negative interest vectors: decayed sums of the embeddings of posts they interacted with.

    A sum has its value at the moment *reference_at*. Moving it to another moment is one multiplication, so the cost of
    an interaction does not depend on the history (see `recommendations/services/learning/interests.py`).
    Personal data: derived from what a person did. Erased with the member; not stored while `is_personalized` is off.
    """

    member = models.OneToOneField(Member, on_delete=models.CASCADE, primary_key=True, related_name="interests")
    embedding_model = models.CharField(max_length=128, help_text="The embedding model whose space the vectors are in.")
    dimension = models.PositiveIntegerField()
    positive = models.BinaryField(help_text="float32 (k, dimension): decayed sums, one row for each interest.")
    positive_mass = models.BinaryField(help_text="float32 (k,): the decayed weight behind each row.")
    negative = models.BinaryField(help_text="float32 (m, dimension).")
    negative_mass = models.BinaryField(help_text="float32 (m,).")
    session = models.BinaryField(default=b"", help_text="float32 (dimension,): the decayed sum of the current session.")
    session_at = models.DateTimeField(null=True, blank=True)
    affinities = models.JSONField(
        default=dict, help_text="Decayed sums by author, topic and kind, at the moment reference_at."
    )
    reference_at = models.DateTimeField()
    interaction_count = models.PositiveIntegerField(
        default=0, help_text="How many interactions the profile was learned from."
    )
    changed_at = models.DateTimeField()

    def __str__(self) -> str:
        return gettext("Interests of {member}").format(member=related_name(self, "member"))
