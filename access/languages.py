"""The language in which the API answers a member."""

from __future__ import annotations

from collections.abc import Sequence

from django.conf import settings
from django.utils.translation import get_supported_language_variant
from django.utils.translation.trans_real import parse_accept_lang_header


def choose_language(accepted: str, member_languages: Sequence[str]) -> str:
    """
    Return the first language of *accepted*, a header Accept-Language, that is supported.

    Without one, return the first supported language of the member, and then the default. `*` stands for any language,
    so the member's are used. A regional form, such as de-AT, gets the language.
    """
    for tag, quality in parse_accept_lang_header(accepted):
        if tag == "*" or not quality:  # a quality of 0 refuses the language, and those after it have 0 as well
            break
        if language := find_supported_language(tag):
            return language
    return next(filter(None, map(find_supported_language, member_languages)), settings.LANGUAGE_CODE)


def find_supported_language(tag: str) -> str | None:
    """Return the supported language for a BCP 47 tag, or None."""
    try:
        return get_supported_language_variant(tag.lower())
    except LookupError:
        return None
