"""Slugs: short names of letters, digits, dashes and underscores."""

from __future__ import annotations

import re

from values.limits import MAX_SLUG
from values.problems import InvalidValueError, quote_value

SLUG = re.compile(rf"[-a-zA-Z0-9_]{{1,{MAX_SLUG}}}")


def parse_slug(value: object) -> str:
    """Return a slug: a kind of post, a region or a safety label."""
    text = value.strip() if isinstance(value, str) else ""
    if not SLUG.fullmatch(text):
        raise InvalidValueError(f"{quote_value(value)} cannot be used", f"Write 1 to {MAX_SLUG} of a-z, 0-9, - and _.")
    return text
