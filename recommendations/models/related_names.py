"""The names of related rows in the texts of rows."""

from __future__ import annotations

from django.db.models import Model


def related_name(row: Model, name: str) -> str:
    """
    Return the text of the row to which the field *name* refers if it is loaded, else its primary key, such as "#7".

    So the text of a row costs no query. Pages of the admin load the rows that they name (`list_select_related`).
    """
    is_loaded = name in row._state.fields_cache
    return str(getattr(row, name)) if is_loaded else f"#{getattr(row, f'{name}_id')}"
