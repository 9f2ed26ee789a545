"""
Languages: BCP 47 tags (RFC 5646), stored in canonical form, and the ranges of languages that a member reads (RFC 4647).
"""

from __future__ import annotations

from functools import lru_cache

import langcodes
from langcodes.tag_parser import LanguageTagError

from values.limits import MAX_LANGUAGE
from values.problems import InvalidValueError, quote
from values.translation import phrase

NO_LANGUAGE = frozenset({"und", "mul", "zxx", "mis"})
"""Tags that name no language. A post without a language is stored without one."""


@lru_cache(4096)
def canonical_language(tag: str) -> str:
    """Return the canonical form of *tag*: iw becomes he, ZH-hant-tw becomes zh-Hant-TW. Raises `ValueError`."""
    if not tag.isascii() or "_" in tag or not langcodes.tag_is_valid(tag):
        raise ValueError(tag)
    return str(langcodes.standardize_tag(tag))


def parse_language(value: object) -> str:
    """Return a BCP 47 language tag of registered subtags in canonical form, such as en, pt-BR or zh-Hant-TW."""
    try:
        if not isinstance(value, str) or len(value) > MAX_LANGUAGE:
            raise ValueError(value)
        tag = canonical_language(value.strip())
        if tag in NO_LANGUAGE or tag.startswith("x-") or len(tag) > MAX_LANGUAGE:
            raise ValueError(value)
    except (LanguageTagError, ValueError):
        advice = phrase("Write a BCP 47 tag such as en, pt-BR or zh-Hant.")
        raise InvalidValueError(phrase("{value} is not a language", value=quote(value)), advice) from None
    return tag


@lru_cache(65_536)
def is_in_range(tag: str, language_range: str) -> bool:
    """
    Return whether a text in the language *tag* is for those who read *language_range*. Both are canonical tags.

    Extended filtering (RFC 4647, section 3.3.2): pt contains pt-BR and pt-PT; zh-Hant contains zh-Hant-HK. A script
    that a tag leaves out is the likely one (CLDR), so zh-Hant contains zh-TW, and not zh-CN. As in lookup (section
    3.4), a range also contains its own more general tags: who reads pt-BR is shown pt, and not pt-PT.
    """
    if tag == language_range:
        return True
    try:
        text, wanted = (langcodes.Language.get(name, normalize=False) for name in (tag, language_range))
    except LanguageTagError:  # an earlier release stored any text
        return False
    if text.language != wanted.language:
        return False
    # A range that names a script or region fixes the script; a bare language contains all its scripts.
    if (wanted.script or wanted.territory) and likely_script(tag) != likely_script(language_range):
        return False
    if wanted.territory and text.territory not in (None, wanted.territory):
        return False
    return not wanted.variants or not text.variants or set(wanted.variants) <= set(text.variants)


def likely_script(tag: str) -> str | None:
    """Return the script of a tag, or the one in which its language is usually written."""
    return langcodes.Language.get(tag, normalize=False).maximize().script
