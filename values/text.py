"""Texts: which ones can be stored, how they are compared, where a word occurs in one, and their beginnings."""

from __future__ import annotations

import re
import unicodedata

from values.problems import InvalidValueError, quote
from values.translation import Phrase, phrase, translatable

MAX_TEXT = 2**20
CONTROL_CHARACTERS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]")
"""
C0 and C1 controls, line and paragraph separators, controls of the writing direction, which make a name look like
another, and the byte order mark. No id and no word contains one.
"""
INVISIBLE = frozenset({"Cf", "Mn", "Me", "Zs", "Cc", "Zl", "Zp"})
"""The Unicode categories of characters that show nothing on their own."""
UNSPACED = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf\u1b00-\u1b7f\u2e80-\u2fdf"
    "\u3005-\u3007\u3040-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\ua960-\ua9ff\uaa60-\uaadf"
    "\uac00-\ud7ff\uf900-\ufaff\U00020000-\U000323af]"
)
"""
Letters of scripts in which spaces do not separate words: Thai, Lao, Tibetan, Burmese, Khmer, Tai, Balinese, Javanese,
Chinese, Japanese and Yi. Korean is among them, because its particles follow a word without a space.
"""


def storage_problem(text: str) -> str:
    """
    Return why *text* cannot be stored, such as "contains a NUL character", or an empty string if it can.

    PostgreSQL has no NUL character, and UTF-8 has no half of a surrogate pair.
    """
    if "\0" in text:
        return translatable("contains a NUL character (\\u0000)")
    try:
        text.encode()
    except UnicodeEncodeError:
        return translatable("contains half of a surrogate pair")
    return ""


def find_storage_problem(value: object) -> str:
    """
    Return why a JSON value cannot be stored and sent, or an empty string if it can.

    A text or a name in it may have a `storage_problem`. A number may be infinite, or too large for the 64 bits in which
    other programs read whole numbers: PostgreSQL returns 1e20 as one. In YAML, a name may be a number, and a value may
    be of a type of its own.
    """
    if isinstance(value, str):
        return storage_problem(value)
    if isinstance(value, dict):
        if not all(isinstance(name, str) for name in value):
            return translatable("contains a name that is not a text")
        return next(filter(None, map(find_storage_problem, [*value, *value.values()])), "")
    if isinstance(value, list):
        return next(filter(None, map(find_storage_problem, value)), "")
    if isinstance(value, int | float):
        is_storable = -(2**63) <= value < 2**63
        return "" if is_storable else translatable("contains a number beyond the whole numbers of 64 bits")
    return "" if value is None else translatable("contains a value that JSON does not have")


def parse_text(value: object, max_length: int = MAX_TEXT) -> str:
    """Return a text of up to *max_length* characters, with line breaks, that a database can store."""
    if not isinstance(value, str):
        raise InvalidValueError(phrase("{value} is not a text", value=quote(value)), phrase("Put the text in quotes."))
    if len(value) > max_length:
        raise InvalidValueError(
            phrase("has {n} characters", n=format(len(value), ",")),
            phrase("Shorten it to {n} characters.", n=format(max_length, ",")),
        )
    if problem := storage_problem(value):
        raise InvalidValueError(Phrase(problem, {}), phrase("Remove it. Write emoji as UTF-8 characters."))
    return value


def parse_label(value: object, refusal: str, max_length: int) -> str:
    """
    Return a text of one line: 1 to *max_length* characters, of which one at least is visible.

    *refusal* is the translatable problem of another value, such as "{value} is not an id".

    Characters that join letters, such as the zero-width non-joiner of Persian and the joiner in emoji, are part of it.
    """
    advice = phrase("Give 1 to {n} characters, without control characters.", n=max_length)
    if not isinstance(value, str):
        raise InvalidValueError(Phrase(refusal, {"value": quote(value)}), advice)
    if len(value) > max_length:
        raise InvalidValueError(
            phrase("{value} has {n} characters", value=quote(value), n=format(len(value), ",")), advice
        )
    if problem := storage_problem(value):
        raise InvalidValueError(Phrase(problem, {}), advice)
    if CONTROL_CHARACTERS.search(value) or not any(unicodedata.category(char) not in INVISIBLE for char in value):
        raise InvalidValueError(Phrase(refusal, {"value": quote(value)}), advice)
    return value


def fold(text: str) -> str:
    """
    Return the form in which texts, words and tags are compared.

    It is Unicode's NFKC_Casefold (Unicode Standard, section 3.13, R5) with each run of spaces and line breaks as one
    space. So letter case, composed or decomposed accents, full-width letters, ligatures and characters that show
    nothing, such as a soft hyphen, make no difference. Format characters stand for all default-ignorable ones.
    """
    if text.isascii():
        return " ".join(text.casefold().split())
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    visible = "".join(char for char in folded if unicodedata.category(char) != "Cf" and not is_variation(char))
    return " ".join(unicodedata.normalize("NFKC", visible).split())


def is_variation(char: str) -> bool:
    """Return whether the character selects a variant of the one before it, as emoji and plain signs have."""
    return "\ufe00" <= char <= "\ufe0f" or char == "\u034f"


def contains_word(text: str, word: str) -> bool:
    """
    Return whether the folded *text* contains the folded *word* as a word, or as words that follow each other.

    A word ends where a letter, mark or digit does not continue it, as in Unicode's word boundaries (UAX 29), except
    that an apostrophe, a full stop and an underscore end it too: "spider" is a word of "spider's". A letter of a script
    without spaces between words continues nothing, so such words are found anywhere in the text.
    """
    start = text.find(word)
    while start >= 0 and word:
        end = start + len(word)
        if not (start and is_joined(text[start - 1], word[0])) and not (
            end < len(text) and is_joined(word[-1], text[end])
        ):
            return True
        start = text.find(word, start + 1)
    return False


def is_joined(left: str, right: str) -> bool:
    """Return whether the two characters are of one word if they follow each other."""
    if unicodedata.category(right)[0] == "M":
        return not UNSPACED.match(right)
    return is_of_spaced_word(left) and is_of_spaced_word(right)


def is_of_spaced_word(char: str) -> bool:
    """Return whether the character is a letter, mark or digit of a script that has spaces between words."""
    return unicodedata.category(char)[0] in "LMN" and not UNSPACED.match(char)


def excerpt(text: str, length: int) -> str:
    """Return the first line of *text* that has words; a longer one is cut, with an ellipsis at the end."""
    line = next(iter(text.strip().splitlines()), "").rstrip()
    return line if len(line) <= length else f"{line[: length - 1].rstrip()}…"
