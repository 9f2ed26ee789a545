"""
Awkward values of each type of `values`, with the form that each is stored in, or `REFUSED`.

Each is sent to every entry point that takes a value of the type (`test_entry_points.py`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

REFUSED: Final = object()
"""The value is refused."""
Case = tuple[Any, Any]
"""A value, and its stored form."""


def same(*values: Any) -> list[Case]:
    """Return the cases of values that are stored as they were sent."""
    return [(value, value) for value in values]


def refused(*values: Any) -> list[Case]:
    """Return the cases of values that are refused."""
    return [(value, REFUSED) for value in values]


def at(*fields: int) -> datetime:
    """Return a time in UTC."""
    return datetime(*fields, tzinfo=UTC)  # type: ignore[arg-type]


LABELS = same(
    *("0", "007", "1e5", "-1", "true", "null", "None", "NaN", "undefined", "a,b", 'a"b', "a'b", "a;b", "a\\b", "%00"),
    *("%2F", "a%20b", "a?b", "a#b", "a&b=c", "a+b", "<script>", "../x".replace("/", "\\"), "{}", "=1+1", "@a", "a:b"),
    *(
        "é",
        "e\u0301",
        "ﬁ",
        "Ａ",
        "ß",
        "İ",
        "ı",
        "Σς",
        "日本",
        "ไทย",
        "한국어",
        "עברית",
        "العربية",
        "हिन्दी",
        "தமிழ்",
        "𝒳",
    ),
    *(
        "می‌خواهم",
        "ශ්‍රී",
        "👩‍👩‍👧",
        "❤️",
        "🏳️‍🌈",
        "🇩🇪",
        "a\u00adb",
        "a\u200bb",
        "a\u00a0b",
        "a b",
        "\U0001f600",
        "\U000e0041x",
    ),
    *("a" * 128, "é" * 128, "\U0001f600" * 128, "\u200ea", "a\u0600", "\ue000", "\ufffd"),
) + refused(
    *("", " ", "\u00a0", "\u200b", "\u200d", "\u0301", "\u3000", "a" * 129, "é" * 129, "\U0001f600" * 129),
    *("\0", "a\0b", "\ud800", "a\udfff", "\ud83d", "a\nb", "a\rb", "\ta\tb", "a\x1bb", "a\x7fb", "a\x85b", "a\u2028b"),
    *("a\u202eb", "a\u2066b", "\ufeffa", "a\ufeff", ["a"], {"a": 1}, True, False, 1.5),
)
IDS = (
    LABELS
    + same("a/b", "a/b/c", "feed", "a/b.c", "...", "a/...", "feeds/a")
    + refused("/", "a/", "/a", "a//b", ".", "..", "a/..", "../a", "a/./b", "42/feed", "42/preferences", "a/seen/b")
    + refused(" a", "a ", "\u00a0a", "a\u3000")
    + [(0, "0"), (42, "42"), (-1, "-1"), (2**63, str(2**63)), (9007199254740993, "9007199254740993")]
)
WORDS = LABELS + same("a/", "/", "..", "a/feed") + [(" a", "a"), ("a ", "a"), ("\u3000a", "a")] + refused(0, 42)
LANGUAGES = (
    same("en", "de", "pt-BR", "zh-Hant", "zh-Hant-TW", "zh-TW", "es-419", "sr-Latn", "sr-Cyrl-RS", "yue", "fil", "gsw")
    + same("de-CH-1901", "en-GB-oxendict", "ca-valencia", "sl-rozaj", "en-US-u-co-phonebk", "nb", "no", "haw", "ast")
    + [("EN", "en"), ("pt-br", "pt-BR"), ("ZH-HANT-tw", "zh-Hant-TW"), ("iw", "he"), ("in", "id"), ("i-klingon", "tlh")]
    + [("zh-yue", "yue"), ("en-Latn", "en"), (" en ", "en"), ("sh", "sr-Latn"), ("mo", "ro")]
    + refused("", " ", "e", "xx", "english", "English", "pt_BR", "en_US", "en-", "-en", "en--US", "en-US-", "123", "é")
    + refused("en\0", "\ud800", "en US", "en,de", "en;q=0.9", "*", "und", "mul", "zxx", "x-private", "C", "POSIX")
    + refused("en-US-en-US", "en-a", "e" * 36, "en-" + "x" * 40, "日本語", "e\u0301n", 7, True, ["en"], {"en": 1})
)
SLUGS = [*same("text", "a", "0", "DE", "a-b", "a_b", "-", "_", "a" * 32, "north-rhine-westphalia"), (" DE ", "DE")]
NO_SLUGS = refused(
    "a" * 33, "a b", "é", "e\u0301", "a.b", "a/b", "a,b", "日本", "a\0", "\ud800", "a\n b", 5, True, ["a"]
)
KINDS = SLUGS + NO_SLUGS + refused("", " ")
REGIONS = SLUGS + NO_SLUGS + refused(" ")
NOON = at(2026, 5, 31, 12)
TIMES = [
    ("2026-05-31T12:00:00Z", NOON),
    ("2026-05-31t12:00:00z", NOON),
    ("2026-05-31 12:00:00Z", NOON),
    (" 2026-05-31T12:00:00Z ", NOON),
    ("2026-05-31T12:00:00+00:00", NOON),
    ("2026-05-31T12:00:00-00:00", NOON),
    ("2026-05-31T14:00:00+02:00", NOON),
    ("2026-05-31T17:45:00+05:45", NOON),
    ("2026-06-01T11:59:00+23:59", NOON),
    ("2026-05-31T12:00:00.5Z", at(2026, 5, 31, 12, 0, 0, 500_000)),
    ("2026-05-31T12:00:00.123456789Z", at(2026, 5, 31, 12, 0, 0, 123_456)),
    ("2016-12-31T23:59:60Z", at(2017, 1, 1)),
    ("2017-01-01T05:29:60+05:30", at(2017, 1, 1)),
    ("2024-02-29T00:00:00Z", at(2024, 2, 29)),
    ("1970-01-01T00:00:00Z", at(1970, 1, 1)),
    (1780228800, NOON),
    (1780228800.0, NOON),
    ("1780228800", NOON),
    ("1780228800.0", NOON),
    ("1.7802288e9", NOON),
    (1780228800000, NOON),
    ("1780228800000", NOON),
    *refused("20260531", "202605311200", "20260531120000", 20260531, 202605311200, 20260531120000, 0, -1, 1, "0"),
    *refused("2026-05-31", "2026-05", "2026", "2026-05-31T12:00:00", "2026-05-31T12:00Z", "2026-05-31T12Z"),
    *refused("2026-05-31T12:00:00+0200", "2026-05-31T12:00:00+02", "2026-05-31T12:00:00 Z", "20260531T120000Z"),
    *refused("2026-W22-7T12:00:00Z", "2026-151T12:00:00Z", "2026-5-31T12:00:00Z", "26-05-31T12:00:00Z"),
    *refused("2026-05-31T00:00:60Z", "2016-12-31T23:59:60+02:00"),
    *refused("2026-02-29T00:00:00Z", "2026-13-01T00:00:00Z", "2026-05-32T00:00:00Z", "2026-05-31T24:00:00Z"),
    *refused("2026-05-31T12:60:00Z", "2026-05-31T12:00:61Z", "2026-05-31T12:00:00.Z", "2026-05-31T12:00:00+24:00"),
    *refused("1969-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "+12026-05-31T12:00:00Z"),
    *refused(
        "2026-05-31T12:00:00Z\0", "\ud800", "", " ", "now", "yesterday", "May 31, 2026", "31.05.2026", "05/31/2026"
    ),
    *refused("２０２６-05-31T12:00:00Z", "2026-05-31T12:00:00Z[UTC]", "1780228800s", 1780228800000000, "1e400", 1e300),
    *refused(True, False, ["2026-05-31T12:00:00Z"], {"year": 2026}, "NaN", "inf", "-0", "1_780_228_800"),
]
NUMBERS = [
    *same(0, 1, -1, 0.5, 12.5, 1e9, -1e9, 1e-300),
    *[("0.5", 0.5), ("1", 1), (".5", 0.5), ("5.", 5), ("+1", 1), ("1e3", 1000), (" 2 ", 2), ("-0", 0), (-0.0, 0)],
    *refused("", " ", "a", "1,5", "1 000", "1_000", "0x10", "١", "１", "½", "NaN", "nan", "inf", "-inf", "Infinity"),
    *refused(
        "1e400", 10**400, 1e10, -1e10, "1" * 500, "\0", "\ud800", True, False, [1], {"a": 1}, "true", "--1", "1.2.3"
    ),
]
BOOLEANS = [
    *[(True, True), (False, False), ("true", True), ("FALSE", False), ("yes", True), ("no", False), ("1", True)],
    *[("0", False), (" true ", True), (1, True), (0, False)],
    *refused("", " ", "t", "f", "y", "n", "on", "off", "2", 2, -1, 1.0, 0.0, "truee", "ja", "\0", "\ud800", [True], {}),
]
VERSIONS = same("2", "1.10", "1.2.3", "1.2.3.5", "v2.0.0", "2.0.0-rc.1", "2.0.0+build.5", "0.0.0", "99999.1") + refused(
    "",
    "abc",
    "1.",
    ".1",
    "1..2",
    "1.2.3.4.5.6.7",
    "1,2",
    "1.2.x",
    "100000",
    "1.2 3",
    "١.٢",
    "-1",
    "1.10\0",
    1.10,
    2,
    True,
)
CASES: dict[str, list[Case]] = {
    "id": IDS,
    "word": WORDS,
    "language": LANGUAGES,
    "kind": KINDS,
    "region": REGIONS,
    "time": TIMES,
    "number": NUMBERS,
    "boolean": BOOLEANS,
    "version": VERSIONS,
}
