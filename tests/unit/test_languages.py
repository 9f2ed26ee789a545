"""The language in which the API answers: that of the request, else the member's, else English."""

import pytest

from access.languages import choose_language


@pytest.mark.parametrize(
    ("accepted", "member_languages", "chosen"),
    [
        ("", (), "en"),
        ("", ("de",), "de"),
        ("", ("fr", "de-AT", "en"), "de"),
        ("", ("de-Latn-CH",), "de"),
        ("", ("en-GB", "de"), "en"),
        ("", ("fr", "ja"), "en"),
        ("de", (), "de"),
        ("de-CH,de;q=0.9", ("en",), "de"),
        ("fr-FR, de;q=0.8, en;q=0.5", ("en",), "de"),
        ("en", ("de",), "en"),
        ("*", ("de",), "de"),
        ("fr, *;q=0.5", ("de",), "de"),
        ("en;q=0.5, *", ("de",), "de"),
        ("fr", ("de",), "de"),
        ("de;q=0", ("en",), "en"),
        ("nonsense;;q=x", ("de",), "de"),
        ("d" * 10_000, ("de",), "de"),
        ("\x00\n", ("de",), "de"),
    ],
)
def test_the_request_decides_then_the_member_then_the_default(accepted, member_languages, chosen):
    assert choose_language(accepted, member_languages) == chosen
