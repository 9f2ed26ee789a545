"""What was learned of members."""

from __future__ import annotations

from django.contrib import admin

from recommendations.admin.base import ReadOnlyPage
from recommendations.admin.binary import floats, vectors_summary
from recommendations.models import InterestProfile


@admin.register(InterestProfile)
class InterestProfileAdmin(ReadOnlyPage):
    list_display = ("member", "model", "dimension", "interactions", "changed_at")
    list_filter = ("model",)
    list_select_related = ("member",)
    search_fields = ("^member__external_id",)
    search_help_text = "The first characters of the member's id"
    fields = (*list_display, "reference_at", "liked", "disliked")
    readonly_fields = ("liked", "disliked")

    @admin.display(description="interests")
    def liked(self, profile: InterestProfile) -> str:
        """Return the positive interests: how many, how long, and the weight behind each."""
        return summary(profile.positive, profile.positive_mass, profile.dimension)

    @admin.display(description="dislikes")
    def disliked(self, profile: InterestProfile) -> str:
        """Return the negative interests."""
        return summary(profile.negative, profile.negative_mass, profile.dimension)


def summary(vectors: bytes | memoryview, mass: bytes | memoryview, dimension: int) -> str:
    """Return vectors and their weights in a line."""
    weights = ", ".join(f"{weight:.2f}" for weight in floats(mass).tolist()) or "none"
    return f"{vectors_summary(vectors, dimension)}; weights {weights}"
