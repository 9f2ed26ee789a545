"""The longest texts, in characters. Models import this module alone: reading languages loads large tables."""

from __future__ import annotations

MAX_ID, MAX_WORD, MAX_MODEL = 128, 128, 128
MAX_SLUG = 32
MAX_LANGUAGE = 35
"""What RFC 5646, section 4.4.1, asks everyone to accept as a tag."""
