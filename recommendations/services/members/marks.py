"""Find and replace a member's id in texts, JSON and bytes, whole words only."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import unquote

MIN_WORD = 5
"""A shorter id counts only where it is the whole value: in a sentence, `42` is rarely a member."""
ERASED_TEXT = "[erased]"


class Mark:
    """An id, or another text that only one member has. *is_word* false finds it also inside of a word."""

    def __init__(self, text: str, *, is_word: bool = True) -> None:
        self.text = text
        edges = (r"(?<![^\W_])", r"(?![^\W_])") if is_word else ("", "")
        whole = is_word and len(text) < MIN_WORD
        pattern = rf"\A{re.escape(text)}\Z" if whole else edges[0] + re.escape(text) + edges[1]
        self._pattern = re.compile(pattern)

    def is_in(self, value: Any) -> bool:
        """Return whether the mark is in a value of a column, a file or Redis."""
        return any(self._pattern.search(text) for text in readable_texts(value))

    def replace_in(self, value: Any) -> Any:
        """Return *value*, a text or JSON, with the mark replaced. An item of a list that is the mark is removed."""
        if isinstance(value, dict):
            return {self.replace_in(key): self.replace_in(child) for key, child in value.items()}
        if isinstance(value, list):
            return [self.replace_in(child) for child in value if child != self.text]
        if not isinstance(value, str):
            return value
        if isinstance(parsed := parse_container(value), dict | list):
            return json.dumps(self.replace_in(parsed))
        return self._pattern.sub(ERASED_TEXT, value)


def readable_texts(value: Any) -> Iterator[str]:
    """
    Yield every text in *value*: a text, JSON, or bytes.

    Opens compressed bytes, JSON in texts, and the %-escapes of addresses. Numbers have no texts.
    """
    if isinstance(value, dict):
        for key, child in value.items():
            yield from readable_texts(key)
            yield from readable_texts(child)
    elif isinstance(value, list | tuple):
        for child in value:
            yield from readable_texts(child)
    elif isinstance(value, bytes | memoryview):
        yield from readable_texts(decode(bytes(value)))
    elif isinstance(value, str):
        yield value
        if "%" in value:
            yield unquote(value)
        if isinstance(parsed := parse_container(value), dict | list):
            yield from readable_texts(parsed)


def decode(value: bytes) -> str:
    """Return bytes as text, decompressed if they are compressed. What is not UTF-8 becomes a replacement character."""
    with suppress(zlib.error):
        value = zlib.decompress(value)
    return value.decode("utf-8", "replace")


def parse_container(text: str) -> Any:
    """Return the JSON object or list in *text*, or None."""
    if text[:1] not in ("{", "["):
        return None
    try:
        return json.loads(text)
    except ValueError:
        return None
