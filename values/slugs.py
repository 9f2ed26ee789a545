"""Slugs: short names of letters, digits, dashes and underscores."""

from __future__ import annotations

import re

from values.limits import MAX_SLUG
from values.problems import InvalidValueError, quote
from values.translation import phrase

SLUG = re.compile(rf"[-a-zA-Z0-9_]{{1,{MAX_SLUG}}}")


def parse_slug(value: object) -> str:
    """Return a slug: a kind of post, a region or a safety label."""
    text = value.strip() if isinstance(value, str) else ""
    if not SLUG.fullmatch(text):
        raise InvalidValueError(
            phrase("{value} cannot be used", value=quote(value)),
            phrase("Write 1 to {n} of a-z, 0-9, - and _.", n=MAX_SLUG),
        )
    return text
