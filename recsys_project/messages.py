"""
Collects the texts to translate into locale/, and compiles the translations: `make messages`.

`locale/<language>/LC_MESSAGES/django.po` has the texts of Python modules, templates and models. Django reads its
compiled form, `django.mo`. `djangojs.po` has those of JavaScript modules. Its compiled form is a JavaScript module,
which `access/static/access/text.js` imports. The compiled files are committed: a deployment needs neither GNU gettext
nor Babel, which is a package for development.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import django
import orjson
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from django.contrib import admin
from django.utils.translation.template import templatize

from recommendations.contracts import Policy, name_setting
from recsys_project.model_texts import list_texts
from values.translation import translatable

ROOT = Path(__file__).parents[1]
APPS = ("recsys_project", "recommendations", "flags", "access", "monitoring", "values")
TRANSLATED = ("de",)
"""The languages with a catalogue. English is the language of the sources."""
PYTHON_KEYWORDS: Mapping[str, Any] = {
    "gettext": None,
    "gettext_lazy": None,
    "translatable": None,
    "phrase": None,
    "ngettext": (1, 2),
    "ngettext_lazy": (1, 2),
    "pgettext": ((1, "c"), 2),
    "pgettext_lazy": ((1, "c"), 2),
    "npgettext": ((1, "c"), 2, 3),
    "ranged_field": (4,),
    "Attribute": (2,),
    "register_gauge": (2,),
}
THEME_TEXTS = (
    translatable("Add row"),
    translatable("Apply Filters"),
    translatable("Dark"),
    translatable("Date"),
    translatable("Date from"),
    translatable("Date to"),
    translatable("Expand row"),
    translatable("From"),
    translatable("General"),
    translatable("Go back"),
    translatable("Light"),
    translatable("More actions"),
    translatable("Next"),
    translatable("Previous"),
    translatable("Reset filters"),
    translatable("Run"),
    translatable("Select action"),
    translatable("Select action to run"),
    translatable("Select all rows"),
    translatable("Select record"),
    translatable("Select value"),
    translatable("Submit"),
    translatable("System"),
    translatable("To"),
    translatable("Type to search"),
)
"""Texts of the admin's theme, which has no German. Django takes them from this catalogue."""
SCRIPT_KEYWORDS: Mapping[str, Any] = {"gettext": None, "ngettext": (1, 2)}
DATE = datetime(2026, 1, 1, tzinfo=UTC)
"""In the header of compiled catalogues. A real date would change the file each time."""
HEADER = "# `make messages` adds new texts and removes unused ones. Translate them by hand."
LEFT_OUT = tuple(
    f'"{name}'.encode()
    for name in (
        "POT-Creation",
        "PO-Revision",
        "Last-Translator",
        "Project-Id",
        "Report-",
        "Language-Team",
        "Generated",
    )
)
"""Lines of a catalogue's header that say when it was changed, by whom and with what. They are left out."""


def list_files(folder: str, suffix: str) -> Iterator[Path]:
    """Return the files of the apps with this suffix, in *folder* of an app (empty: anywhere)."""
    for app in APPS:
        for path in sorted((ROOT / app).rglob(f"*{suffix}")):
            if not folder or folder in path.parts:
                yield path


def extract_python() -> Iterator[tuple[str, Any, str | None]]:
    """Return file, message and context of the texts of Python modules and templates."""
    for path in list_files("", ".py"):
        yield from extract_file(path, "python", path.read_bytes(), PYTHON_KEYWORDS)
    for path in list_files("templates", ".html"):
        # Tags become calls of gettext, and other text becomes names. In parentheses, their indentation has no meaning.
        source = f"(\n{templatize(path.read_text())}\n)"
        yield from extract_file(path, "python", source.encode(), PYTHON_KEYWORDS)


def extract_models() -> Iterator[tuple[str, Any, str | None]]:
    """Return file, message and context of the texts of models."""
    for path, text in list_texts():
        if path.is_relative_to(ROOT):
            yield str(path.relative_to(ROOT)), text, None


def extract_scripts() -> Iterator[tuple[str, Any, str | None]]:
    """Return file, message and context of the texts of JavaScript modules."""
    for path in list_files("static", ".js"):
        if not path.name.endswith(".min.js"):
            yield from extract_file(path, "javascript", path.read_bytes(), SCRIPT_KEYWORDS)


def extract_file(
    path: Path, method: str, source: bytes, keywords: Mapping[str, Any]
) -> Iterator[tuple[str, Any, str | None]]:
    """Return file, message and context of the texts of a file."""
    for _, message, _, context in extract(method, BytesIO(source), keywords, options={"parse_template_string": True}):
        yield str(path.relative_to(ROOT)), message, context


def extract_settings() -> Iterator[tuple[str, Any, str | None]]:
    """Return file, message and context of the names of a policy's settings."""
    path = Path(inspect.getfile(name_setting))
    if path.is_relative_to(ROOT):
        for setting in fields(Policy):
            yield str(path.relative_to(ROOT)), name_setting(setting.name), None


def extract_service() -> Iterator[tuple[str, Any, str | None]]:
    """Return file, message and context of the texts that the service shows, without those of scripts."""
    yield from extract_python()
    yield from extract_models()
    yield from extract_settings()


DOMAINS = {"django": extract_service, "djangojs": extract_scripts}
"""By the name of the catalogue: what collects its texts."""


def collect(domain: str) -> Catalog:
    """Return the texts of the sources, without translations."""
    catalog = Catalog()
    for file, message, context in DOMAINS[domain]():
        catalog.add(message, locations=[(file, 0)], context=context)
    return catalog


def catalogue_path(language: str, domain: str) -> Path:
    """Return the path of a catalogue."""
    return ROOT / "locale" / language / "LC_MESSAGES" / f"{domain}.po"


def compiled_path(language: str, domain: str) -> Path:
    """Return the path of a compiled catalogue."""
    if domain == "djangojs":
        return ROOT / "access" / "static" / "access" / f"texts-{language}.js"
    return catalogue_path(language, domain).with_suffix(".mo")


def read_catalogue(language: str, domain: str) -> Catalog:
    """Return a catalogue; an empty one if there is no file yet."""
    path = catalogue_path(language, domain)
    with path.open("rb") if path.exists() else BytesIO() as file:
        catalog = read_po(file, locale=language, domain=domain)
    catalog.creation_date = catalog.revision_date = DATE
    return catalog


def update_catalogue(language: str, domain: str) -> Catalog:
    """Return a catalogue with the texts of the sources, and the translations that it has for them."""
    catalog = read_catalogue(language, domain)
    catalog.update(collect(domain), no_fuzzy_matching=True)
    catalog.obsolete.clear()
    catalog.header_comment = HEADER
    catalog.fuzzy = False
    return catalog


def format_catalogue(catalog: Catalog) -> bytes:
    """Return a catalogue as a file, with few lines in its header."""
    file = BytesIO()
    write_po(file, catalog, width=120, sort_output=True, include_lineno=False, ignore_obsolete=True)
    return b"".join(line for line in file.getvalue().splitlines(keepends=True) if not line.startswith(LEFT_OUT))


def compile_catalogue(catalog: Catalog) -> bytes:
    """Return the compiled form of a catalogue: for Django, or a JavaScript module."""
    if catalog.domain == "djangojs":
        return format_script(catalog)
    file = BytesIO()
    write_mo(file, catalog)
    return file.getvalue()


def format_script(catalog: Catalog) -> bytes:
    """Return a JavaScript module with the translations, and with the function that chooses one of several forms."""
    texts = {first_form(message): message.string for message in translated_messages(catalog)}
    # The expression of the plural form is C, which reads the same in JavaScript.
    return (
        b"// Compiled by `make messages`. Do not edit.\n\n"
        + f"export const pluralIndex = (n) => Number({catalog.plural_expr});\n".encode()
        + b"export const texts = "
        + orjson.dumps(texts, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
        + b";\n"
    )


def translated_messages(catalog: Catalog) -> Iterable[Message]:
    """Return the messages of a catalogue without its header."""
    return (message for message in catalog if message.id)


def first_form(message: Message) -> str:
    """Return the text of a message in the source; the singular if it has a plural."""
    return message.id if isinstance(message.id, str) else message.id[0]


def is_translated(message: Message) -> bool:
    """Return whether a message has each form of its translation."""
    string = message.string or ""
    return bool(string) and (isinstance(string, str) or all(string))


def main() -> int:
    """Update and compile all catalogues. Return 1 if a text has no translation yet, else 0."""
    missing = 0
    for language in TRANSLATED:
        for domain in DOMAINS:
            catalog = update_catalogue(language, domain)
            path = catalogue_path(language, domain)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(format_catalogue(catalog))
            compiled_path(language, domain).write_bytes(compile_catalogue(read_catalogue(language, domain)))
            untranslated = [message for message in translated_messages(catalog) if not is_translated(message)]
            missing += len(untranslated)
            sys.stdout.write(f"{path.relative_to(ROOT)}: {len(catalog)} texts, {len(untranslated)} to translate\n")
    return int(missing > 0)


if __name__ == "__main__":  # pragma: no cover - a test calls main() on a folder of its own
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "recsys_project.settings")
    django.setup()
    admin.autodiscover()
    sys.exit(main())
