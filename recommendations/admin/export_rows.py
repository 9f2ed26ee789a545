"""
The action of every list of the admin that exports the selected rows as CSV.

The file is in English. It has the columns of the list, and the rows that the list shows with its search and filters.
The user needs the permission to view the rows. Rows that say something about members also need the permission to export
members, as the jobs that export them do. The one list of personal data decides which tables these are; a table that it
does not name is not exported. Each export is recorded in the log of staff changes, with the number of rows and the
names of the filters, but without their values, which may contain a member's id.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from html import unescape
from typing import Any, cast

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.utils import label_for_field, lookup_field
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import ObjectDoesNotExist
from django.db.models import Model, QuerySet
from django.http import HttpRequest, StreamingHttpResponse
from django.utils.html import strip_tags
from django.utils.safestring import SafeString
from django.utils.translation import gettext, gettext_lazy, override
from unfold.admin import ModelAdmin

from monitoring.csv_lines import csv_line
from monitoring.number_texts import ShownNumber, with_count
from recommendations.services.members.personal_data import TABLES, Pii

MAX_ROWS = 100_000
"""Maximum number of rows of an export."""
CHUNK_SIZE = 500
EXPORT_PERMISSION = "recommendations.export_member"
FREE_KINDS = frozenset({Pii.NONE, Pii.SUM, Pii.TEXT, Pii.STAFF})
"""What columns may hold that staff export with the permission to view the rows."""


def needs_export_permission(model: type[Model]) -> bool:
    """Return whether rows of the model say something about members. A model that is not listed might."""
    table = TABLES.get(model._meta.label)
    return table is None or not set(table.columns.values()) <= FREE_KINDS


@admin.action(description=gettext_lazy("Export as CSV"), permissions=["view"])
def export_csv(page: ModelAdmin, request: HttpRequest, rows: QuerySet[Model]) -> StreamingHttpResponse | None:
    """Return the rows as a file, or show a message why they are not exported."""
    if needs_export_permission(page.model) and not request.user.has_perm(EXPORT_PERMISSION):
        text = gettext("This list says something about members. To export it you need the permission {name}.")
        text = text.format(name=EXPORT_PERMISSION)
        page.message_user(request, text, messages.ERROR)
        return None
    count = rows.order_by()[: MAX_ROWS + 1].count()
    if count > MAX_ROWS:
        text = gettext("An export has at most {n} rows. Narrow the list with a search or filters.")
        text = with_count(text, MAX_ROWS)
        page.message_user(request, text, messages.ERROR)
        return None
    record_export(page, request, count)
    names = [name for name in page.get_list_display(request) if name != "action_checkbox"]
    response = StreamingHttpResponse(write_lines(page, rows, names), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{page.opts.model_name}.csv"'
    response["Cache-Control"] = "no-store"
    return response


def record_export(page: ModelAdmin, request: HttpRequest, count: int) -> None:
    """Record the export in the log of staff changes."""
    filters = ", ".join(sorted(request.GET)) or "none"
    with override(settings.LANGUAGE_CODE):  # what is stored is in one language
        name = str(page.opts.verbose_name_plural)
    LogEntry.objects.create(
        user_id=cast(User, request.user).pk,
        content_type=ContentType.objects.get_for_model(page.model),
        object_repr=f"Export of {name}",
        action_flag=CHANGE,
        change_message=f"Exported {count} rows as CSV. Filters: {filters}.",
    )


def write_lines(page: ModelAdmin, rows: QuerySet[Model], names: list[Any]) -> Iterator[str]:
    """Yield the header and a line for each row."""
    with override(settings.LANGUAGE_CODE):
        header = [str(label_for_field(name, page.model, page)) for name in names]
    yield csv_line(header)
    for row in rows.iterator(chunk_size=CHUNK_SIZE):
        with override(settings.LANGUAGE_CODE):
            cells = [read_cell(page, row, name) for name in names]
        yield csv_line(cells)


def read_cell(page: ModelAdmin, row: Model, name: Any) -> object:
    """Return the value of one column as a number or a text. HTML becomes its text, and times are in ISO 8601."""
    try:
        value = lookup_field(name, row, page)[2]
    except ObjectDoesNotExist:
        return ""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, ShownNumber):
        return value.number
    if isinstance(value, SafeString):
        return unescape(strip_tags(value)).strip()
    return value if isinstance(value, int | float) else str(value)


admin.site.add_action(export_csv)
