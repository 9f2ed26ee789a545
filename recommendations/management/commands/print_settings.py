"""`manage.py settings`: every setting that the environment may give, as a table in markdown."""

from django.conf import settings
from django.core.management.base import BaseCommand

INTRODUCTION = """# Settings

Set in the environment, read once at the start by `recsys_project/environment.py`; a value that cannot be used stops
the start with the variable's name. *Changes* says what a setting does: **answer** (what is returned), **speed** (only
how fast), **place** (where and how things run). This page is the print of `manage.py settings`.

| Variable | Default | Changes | Meaning |
|---|---|---|---|
"""


def format_default(value: object) -> str:
    """Return a default as one would write it in the environment, with no path of this machine."""
    if isinstance(value, bool):
        text = str(int(value))
    elif isinstance(value, list):
        text = ",".join(value)
    else:
        text = str(value)
    text = text.replace(str(settings.BASE_DIR), "(this folder)")
    return f"`{text}`" if text else ""


def render_settings_table() -> str:
    """Return the page."""
    rows = [
        f"| `{name.upper()}` | {format_default(field.default)} | {field.json_schema_extra['changes']} "
        f"| {(field.description or '').replace('|', '&#124;')} |"
        for name, field in type(settings.ENV).model_fields.items()
        if isinstance(field.json_schema_extra, dict)
    ]
    return INTRODUCTION + "\n".join(rows)


class Command(BaseCommand):
    help = "Print every setting that the environment may give, as markdown (docs/settings.md is this print)."
    requires_system_checks = ()

    def handle(self, *args: object, **options: object) -> None:
        self.stdout.write(render_settings_table())
