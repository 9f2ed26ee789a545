"""Texts that are translated where they are shown."""

from __future__ import annotations


def translatable(text: str) -> str:
    """
    Return the text, and mark it for the catalogues (`recsys_project.messages`).

    For modules that import no framework. An entry point translates the text with `gettext` when it shows it.
    """
    return text
