"""Learned interests of members."""

from __future__ import annotations

from django.contrib import admin
from django.utils.translation import gettext, gettext_lazy

from monitoring.admin_lists import ServiceRowsAdmin
from monitoring.number_texts import decimals
from recommendations.admin.formatting import summarize_vectors, unpack_floats
from recommendations.models import InterestProfile


@admin.register(InterestProfile)
class InterestProfileAdmin(ServiceRowsAdmin):
    list_display = ("member", "embedding_model", "dimension", "interaction_count", "changed_at")
    list_filter = ("embedding_model",)
    list_select_related = ("member",)
    search_fields = ("^member__external_id",)
    search_help_text = gettext_lazy("First characters of the member's id")
    fields = (*list_display, "reference_at", "positive_interests", "negative_interests")
    readonly_fields = ("positive_interests", "negative_interests")

    @admin.display(description=gettext_lazy("interests"))
    def positive_interests(self, profile: InterestProfile) -> str:
        """Return the number, norms and weights of the positive interests."""
        return summarize_interests(profile.positive, profile.positive_mass, profile.dimension)

    @admin.display(description=gettext_lazy("negative interests"))
    def negative_interests(self, profile: InterestProfile) -> str:
        """Return the number, norms and weights of the negative interests."""
        return summarize_interests(profile.negative, profile.negative_mass, profile.dimension)


def summarize_interests(vectors: bytes | memoryview, mass: bytes | memoryview, dimension: int) -> str:
    """Return a one-line summary of vectors and their weights."""
    weights = "; ".join(decimals(weight, 2) for weight in unpack_floats(mass).tolist()) or gettext("none")
    text = gettext("{vectors}; weights {weights}")
    return text.format(vectors=summarize_vectors(vectors, dimension), weights=weights)
