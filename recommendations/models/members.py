"""Members, their privacy settings, and their relationships."""

from __future__ import annotations

from django.conf import settings
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from recommendations.contracts import Sensitivity
from recommendations.models.related_names import related_name
from values.limits import MAX_ID, MAX_SLUG


def is_personalized_by_default() -> bool:
    """Return whether a member who has made no choice is personalized: `PERSONALIZATION_CONSENT`."""
    return bool(settings.ENV.personalization_consent == "opt_out")


class Member(models.Model):
    """
    A member of the platform, as viewer and as author.

    Personal data: the platform's own id, region and birth year. No name and no address: the service does not need them.
    """

    external_id = models.CharField(max_length=MAX_ID, unique=True, help_text="The id of this member on the platform.")
    languages = models.JSONField(
        default=list,
        blank=True,
        help_text='Languages that the member reads, preferred first, such as ["en", "pt-BR"]. Empty: any language.',
    )
    region = models.CharField(
        max_length=MAX_SLUG,
        blank=True,
        help_text="Region in which the member's interactions count toward trending posts, such as DE.",
    )
    birth_year = models.PositiveSmallIntegerField(
        null=True, blank=True, validators=[MinValueValidator(1900), MaxValueValidator(2200)]
    )
    is_adult = models.BooleanField(
        null=True,
        blank=True,
        help_text="Whether the platform has verified that the member is an adult. Unknown counts as no.",
    )
    interests_reset_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="When the member last reset their profile. Earlier interactions are not learned from.",
    )
    is_active = models.BooleanField(
        default=True, help_text="An inactive member gets no feed, and their posts are hidden."
    )
    created_at = models.DateTimeField()
    changed_at = models.DateTimeField(db_index=True)

    class Meta:
        ordering = ["id"]
        permissions = [("export_member", "Can export all stored data of members")]

    def __str__(self) -> str:
        return self.external_id


class PrivacySettings(models.Model):
    """
    A member's privacy and content settings.

    A member without this row is private, and personalized only if `is_personalized_by_default()`.
    """

    SENSITIVITIES = [(s.value, s.name.title()) for s in Sensitivity if s is not Sensitivity.FORBIDDEN]

    member = models.OneToOneField(Member, on_delete=models.CASCADE, primary_key=True, related_name="privacy")
    is_private = models.BooleanField(default=False, help_text="Whether only followers can see this member's posts.")
    is_personalized = models.BooleanField(
        default=is_personalized_by_default,
        help_text="If off, feeds do not use what this member did, and nothing is learned from it.",
    )
    sensitivity = models.PositiveSmallIntegerField(
        choices=SENSITIVITIES,
        default=Sensitivity.SAFE.value,
        help_text="The most sensitive content to show. Adult content also requires a known adult.",
    )
    muted_words = models.JSONField(
        default=list, blank=True, help_text="Posts that contain one of these words are hidden."
    )
    muted_tags = models.JSONField(default=list, blank=True, help_text="Posts with one of these tags are hidden.")
    interest_tags = models.JSONField(
        default=list,
        blank=True,
        help_text="Tags that the member says they like, such as at sign-up. Used only with personalization.",
    )
    changed_at = models.DateTimeField(db_index=True)

    class Meta:
        verbose_name_plural = "privacy settings"

    def __str__(self) -> str:
        return related_name(self, "member")


class Relationship(models.Model):
    """
    A relationship between two members: *source* follows, requests to follow, blocks or mutes *target*.

    A member does not both follow another member and request to. Only `services/learning/store_relationships.py` writes
    these rows.

    Personal data: whom a member follows, blocks and mutes. Erased with either member.
    """

    class Kind(models.TextChoices):
        FOLLOW = "follow"
        FOLLOW_REQUEST = "follow_request"
        BLOCK = "block"
        MUTE = "mute"

    source = models.ForeignKey(Member, on_delete=models.CASCADE, related_name="outgoing_relationships", db_index=False)
    target = models.ForeignKey(Member, on_delete=models.CASCADE, related_name="incoming_relationships", db_index=False)
    kind = models.CharField(max_length=16, choices=Kind.choices)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["source", "kind", "target"], name="one_relationship_per_kind"),
            models.CheckConstraint(condition=~models.Q(source=models.F("target")), name="no_self_relationship"),
        ]
        # Every request reads the blocks in both directions.
        indexes = [models.Index(fields=["target", "kind", "source"], name="relationships_by_target")]

    def __str__(self) -> str:
        return f"{related_name(self, 'source')}: {self.get_kind_display()} {related_name(self, 'target')}"
