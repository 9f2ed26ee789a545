"""What was learned of a member's taste."""

from __future__ import annotations

from django.db import models

from recommendations.models.members import Member


class InterestProfile(models.Model):
    """
    A member's interest vectors, positive and negative, as decayed sums of the embeddings of what they acted on.

    A sum stands for the moment *reference_at*; moving it to another moment is one multiplication, so an interaction
    costs the same whatever came before it (see `recommendations/services/learning/interests.py`).
    Personal data: derived from what a person did. Erased with the member; not kept while `is_personalized` is off.
    """

    member = models.OneToOneField(Member, on_delete=models.CASCADE, primary_key=True, related_name="interests")
    embedding_model = models.CharField(max_length=128, help_text="The embedder whose space the vectors are in.")
    dimension = models.PositiveIntegerField()
    positive = models.BinaryField(help_text="float32 (k, dimension): decayed sums, one row per interest.")
    positive_mass = models.BinaryField(help_text="float32 (k,): the decayed weight behind each row.")
    negative = models.BinaryField(help_text="float32 (m, dimension).")
    negative_mass = models.BinaryField(help_text="float32 (m,).")
    session = models.BinaryField(default=b"", help_text="float32 (dimension,): the same for the last half hour.")
    session_at = models.DateTimeField(null=True, blank=True)
    affinities = models.JSONField(
        default=dict, help_text="Decayed sums by author, topic and format, as they stand at the reference."
    )
    reference_at = models.DateTimeField()
    interaction_count = models.PositiveIntegerField(default=0, help_text="How many interactions went into it.")
    changed_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"interests of {self.member_id}"
