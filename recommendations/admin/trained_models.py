"""Trained models: what they were trained on and how they were measured, with actions to activate and roll back."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.utils.formats import localize
from django.utils.safestring import SafeString
from django.utils.translation import gettext, gettext_lazy

from monitoring.admin_columns import identifier
from monitoring.admin_lists import ServiceRowsAdmin
from monitoring.clock import now
from monitoring.number_texts import decimals
from recommendations.admin.formatting import html_table
from recommendations.models import TrainedModel, TrainedModelBlock
from recommendations.services.errors import ServiceError
from recommendations.services.training import trained_models


@admin.register(TrainedModel)
class TrainedModelAdmin(ServiceRowsAdmin):
    list_display = ("__str__", "state", "like_count", "size", "quality", "by_likes", "created_at", "activated_at")
    list_filter = ("kind", "state")
    exclude = ("metrics", "scales", "arrays", "size_bytes", "seed")
    readonly_fields = (identifier("seed", gettext_lazy("seed")), "size", "measured", "typical_scores")
    actions = ("activate", "roll_back")

    def has_activate_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may run the actions. The page itself is read-only."""
        return request.user.has_perm("recommendations.change_trainedmodel")

    @admin.display(description=gettext_lazy("size"), ordering="size_bytes")
    def size(self, model: TrainedModel) -> str:
        """Return the size of the arrays."""
        return filesizeformat(model.size_bytes)

    @admin.display(description=gettext_lazy("NDCG@10"))
    def quality(self, model: TrainedModel) -> str | None:
        """Return the quality on held-out likes."""
        return format_metric(model.metrics.get("ndcg10"))

    @admin.display(description=gettext_lazy("NDCG@10 by number of likes"))
    def by_likes(self, model: TrainedModel) -> str | None:
        """Return the quality of ranking by the number of likes, on the same held-out likes."""
        return format_metric(model.metrics.get("popularity", {}).get("ndcg10"))

    @admin.display(description=gettext_lazy("metrics"))
    def measured(self, model: TrainedModel) -> SafeString:
        """Return the metrics as an HTML table. Those of what the model was compared with are named by both."""
        rows: list[tuple[str, object]] = []
        for name, value in model.metrics.items():
            inner = value.items() if isinstance(value, dict) else ()
            rows += [(f"{name}: {key}", item) for key, item in inner] or [(name, value)]
        return html_table((gettext("metric"), gettext("value")), [(name, format_metric(value)) for name, value in rows])

    @admin.display(description=gettext_lazy("typical scores"))
    def typical_scores(self, model: TrainedModel) -> SafeString:
        """Return the typical score of a post on a first page by score part, as an HTML table."""
        rows = [(name, format_metric(value)) for name, value in model.scales.items()]
        return html_table((gettext("score part"), gettext("score")), rows)

    @admin.action(description=gettext_lazy("Activate"), permissions=["activate"])
    def activate(self, request: HttpRequest, queryset: QuerySet[TrainedModel]) -> None:
        """Activate the selected model."""
        self.change_active(request, queryset, trained_models.activate_model)

    @admin.action(description=gettext_lazy("Roll back from this model"), permissions=["activate"])
    def roll_back(self, request: HttpRequest, queryset: QuerySet[TrainedModel]) -> None:
        """Retire the selected model, which must be active, and activate the one before it."""
        self.change_active(request, queryset, trained_models.roll_back)

    def change_active(self, request: HttpRequest, queryset: QuerySet[TrainedModel], change: Any) -> None:
        """Call *change* for the selected model, and report which model is active."""
        selected = list(queryset.values_list("pk", flat=True))
        if len(selected) != 1:
            self.message_user(request, gettext("Select one model."), messages.ERROR)
            return
        try:
            active = change(model_id=selected[0], now=now())
        except ServiceError as error:
            self.message_user(request, str(error), messages.ERROR)
            return
        text = gettext("Model {id} is active. Feeds use it within seconds.").format(id=active.id)
        self.message_user(request, text, messages.SUCCESS)


def format_metric(value: object) -> str | None:
    """Return a fraction with four decimals, a list of values, or anything else as it is. None for None."""
    if isinstance(value, list):
        return "; ".join(str(format_metric(item)) for item in value)
    if isinstance(value, float):
        return decimals(value, 4)
    return None if value is None else str(localize(value))


@admin.register(TrainedModelBlock)
class TrainedModelBlockAdmin(ServiceRowsAdmin):
    list_display = ("model", "name", "position")
    list_select_related = ("model",)
    exclude = ("data",)
