"""Receipts of erasures: when a member was erased, from where, and at whose request."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext, gettext_lazy

from monitoring.admin_columns import identifier
from monitoring.admin_lists import ServiceRowsAdmin
from recommendations.admin.formatting import html_table
from recommendations.models import ErasureReceipt
from recommendations.services.members.erasure import hash_member_id


@admin.register(ErasureReceipt)
class ErasureReceiptAdmin(ServiceRowsAdmin):
    list_display = ("id", "requested_at", "requested_by", "erased_at", "models_due_at", "finished_at")
    list_filter = (("finished_at", admin.EmptyFieldListFilter),)
    search_fields = ("=id",)
    search_help_text = gettext_lazy("Id of the receipt, or the whole id of the member")
    exclude = ("sealed_member_id", "counts", "member_number", "active_model_id")
    readonly_fields = (
        identifier("member_number", gettext_lazy("member number")),
        identifier("active_model_id", gettext_lazy("active model id")),
        "erased",
    )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[ErasureReceipt], search_term: str
    ) -> tuple[QuerySet[ErasureReceipt], bool]:
        """Find a receipt by its id, or by the member's id, of which only a hash is stored."""
        found, may_have_duplicates = super().get_search_results(request, queryset, search_term)
        if search_term:
            found = queryset.filter(Q(pk__in=found.values("pk")) | Q(member_hash=hash_member_id(search_term)))
        return found, may_have_duplicates

    @admin.display(description=gettext_lazy("erased"))
    def erased(self, receipt: ErasureReceipt) -> SafeString:
        """Return the numbers of erased rows by place."""
        rows: list[tuple[Any, ...]] = sorted(receipt.counts.items())
        return html_table((gettext("place"), gettext("rows")), rows)
