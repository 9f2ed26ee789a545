"""Formats fields for display: binary data, tables and links."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from django.utils.formats import localize
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from monitoring.number_texts import decimals, grouped
from recommendations.contracts import Float32Array


def unpack_floats(packed: bytes | memoryview) -> Float32Array:
    """Return the float32 values in *packed*, as one row."""
    return np.frombuffer(bytes(packed), "<f4")


def summarize_vectors(packed: bytes | memoryview, dimension: int) -> str:
    """Return the number of vectors and their norms, but not their components."""
    values = unpack_floats(packed)
    if not dimension or len(values) % dimension:
        text = gettext("damaged: {numbers} numbers do not form rows of {dimension}")
        return text.format(numbers=grouped(len(values)), dimension=grouped(dimension))
    norms = np.linalg.norm(values.reshape(-1, dimension), axis=1)
    shown = "; ".join(decimals(norm, 3) for norm in norms[:20]) or gettext("none")
    return gettext("{count} × {dimension}; norms {norms}").format(
        count=grouped(len(norms)), dimension=grouped(dimension), norms=shown
    )


def format_progress(done: int, total: int) -> str:
    """Return how many of how many are done."""
    return gettext("{done} of {total}").format(done=grouped(done), total=grouped(total))


def html_link(url: str, text: object) -> SafeString:
    """Return a link that looks like those of the admin's theme."""
    return format_html('<a class="text-primary-600 dark:text-primary-500" href="{}">{}</a>', url, text)


def html_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> SafeString:
    """Return an HTML table with every text escaped, and numbers as the language writes them. An id is a text."""
    head = format_html_join("", '<th class="px-2 text-left">{}</th>', ((name,) for name in header))
    cells = (format_html_join("", '<td class="px-2">{}</td>', ((localize(cell),) for cell in row)) for row in rows)
    body = format_html_join("", "<tr>{}</tr>", ((row,) for row in cells))
    return format_html('<table class="w-full"><thead><tr>{}</tr></thead><tbody>{}</tbody></table>', head, body)
