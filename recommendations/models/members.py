"""Members, what each allows, and how they stand to one another."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from recommendations.contracts import Sensitivity


class Member(models.Model):
    """
    A person of the platform, as a viewer and as an author.

    Personal data: the platform's own id, region, birth year. No name, no address: we have no use for them.
    """

    external_id = models.CharField(max_length=128, unique=True, help_text="The platform's own id of this member.")
    languages = models.JSONField(
        default=list,
        blank=True,
        help_text='Languages the member reads, best first, such as ["en", "de"]. Empty: any.',
    )
    region = models.CharField(max_length=16, blank=True, help_text="Region that trending is counted in, such as DE.")
    birth_year = models.PositiveSmallIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1900), MaxValueValidator(2200)]
    )
    is_adult = models.BooleanField(
        null=True, blank=True, help_text="Whether the platform vouches for an adult. Unknown counts as no."
    )
    interests_reset_at = models.DateTimeField(
        null=True, blank=True, help_text="Acts before this are not learned from: the member reset their profile."
    )
    is_active = models.BooleanField(default=True, help_text="An inactive member gets no feed and its posts are hidden.")
    created_at = models.DateTimeField()
    changed_at = models.DateTimeField(db_index=True)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.external_id


class PrivacySettings(models.Model):
    """
    What a member allows and wants to be spared. A member without this row is treated as private: ignorance is a no.
    """

    SENSITIVITIES = [(s.value, s.name.title()) for s in Sensitivity if s is not Sensitivity.FORBIDDEN]

    member = models.OneToOneField(Member, on_delete=models.CASCADE, primary_key=True, related_name="privacy")
    is_private = models.BooleanField(default=False, help_text="Only followers see this member's posts.")
    is_personalized = models.BooleanField(
        default=True, help_text="Off: feeds use nothing that this member did, and nothing is learned."
    )
    sensitivity = models.PositiveSmallIntegerField(
        choices=SENSITIVITIES,
        default=Sensitivity.SAFE.value,
        help_text="The most sensitive content this member wants. Adult content also needs a known adult.",
    )
    muted_words = models.JSONField(default=list, blank=True, help_text="Posts with one of these words are hidden.")
    muted_tags = models.JSONField(default=list, blank=True, help_text="Posts with one of these tags are hidden.")
    changed_at = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name_plural = "privacy settings"

    def __str__(self) -> str:
        return f"privacy of {self.member_id}"


class Relationship(models.Model):
    """One member's standing to another: *source* follows, blocks or mutes *target*."""

    class Kind(models.TextChoices):
        FOLLOW = "follow"
        BLOCK = "block"
        MUTE = "mute"

    source = models.ForeignKey(Member, on_delete=models.CASCADE, related_name="relationships", db_index=False)
    target = models.ForeignKey(Member, on_delete=models.CASCADE, related_name="related_by", db_index=False)
    kind = models.CharField(max_length=8, choices=Kind.choices)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["source", "kind", "target"], name="one_relationship_of_a_kind"),
            models.CheckConstraint(condition=~models.Q(source=models.F("target")), name="not_related_to_oneself"),
        ]
        # Blocks are read from both sides on every request.
        indexes = [models.Index(fields=["target", "kind", "source"], name="related_by")]

    def __str__(self) -> str:
        return f"{self.source_id} {self.kind} {self.target_id}"
