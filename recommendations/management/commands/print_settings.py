"""`manage.py print_settings`: print every environment setting as a Markdown table."""

from django.conf import settings
from django.core.management.base import BaseCommand

INTRODUCTION = """# Settings

Settings are environment variables. `recsys_project/environment.py` reads them once, at start; an invalid value stops
the process with a message that names the variable. *Effect* is what a setting changes: **results** (what is returned),
**speed** (only how fast), or **deployment** (how and where the service runs). This page is the output of
`manage.py print_settings`.

| Variable | Default | Effect | Meaning |
|---|---|---|---|
"""


def format_default(value: object) -> str:
    """Return a default in the syntax of the environment, without absolute paths of this machine."""
    if isinstance(value, bool):
        text = str(int(value))
    elif isinstance(value, list):
        text = ",".join(value)
    else:
        text = str(value)
    text = text.replace(str(settings.BASE_DIR), "(this folder)")
    return f"`{text}`" if text else ""


def render_settings_table() -> str:
    """Return the page docs/settings.md."""
    rows = [
        f"| `{name.upper()}` | {format_default(field.default)} | {field.json_schema_extra['effect']} "
        f"| {(field.description or '').replace('|', '&#124;')} |"
        for name, field in type(settings.ENV).model_fields.items()
        if isinstance(field.json_schema_extra, dict)
    ]
    return INTRODUCTION + "\n".join(rows)


class Command(BaseCommand):
    help = "Print every environment setting as Markdown. docs/settings.md is its output."
    requires_system_checks = ()

    def handle(self, *args: object, **options: object) -> None:
        self.stdout.write(render_settings_table())
