"""Members' tokens at their limits: how long they live, whose they are, and which clock counts."""

from datetime import UTC, datetime, timedelta

import jwt
import pytest
from django.conf import settings

from access import tokens
from access.errors import BadCredentialError, BadRequestError
from access.scopes import Scope

NOW = datetime(2020, 5, 1, 12, tzinfo=UTC)
"""Long past: the clock that is handed in counts, and no other."""
SECRET = "a-secret-that-the-platform-shares-" + "x" * 8


@pytest.fixture(autouse=True)
def signing_key(monkeypatch):
    monkeypatch.setattr(settings, "TOKEN_SIGNING_KEYS", {"web": SECRET})


def at(seconds):
    return NOW + timedelta(seconds=seconds)


def minted(member_id="ann", scopes=("feeds:read",), ttl_seconds=60):
    return tokens.mint_token(member_id=member_id, scopes=scopes, ttl_seconds=ttl_seconds, now=NOW)


def signed(**claims):
    """Return a token of the platform's own with these claims in place of good ones."""
    start = int(NOW.timestamp())
    good = {"sub": "ann", "scope": "feeds:read", "aud": "recsys", "iat": start, "exp": start + 60}
    return jwt.encode(good | claims, SECRET, "HS256", {"kid": "web"})


def refused(text, now=NOW):
    with pytest.raises(BadCredentialError) as error:
        tokens.verify_token(text, now)
    return str(error.value)


def test_a_token_says_who_it_is_for_and_what_it_may_do():
    found = tokens.verify_token(minted(scopes=("profile:read", "feeds:read", "feeds:read")), NOW)
    assert (found.member_id, found.key_prefix) == ("ann", None)
    assert found.scopes == {Scope.FEEDS_READ, Scope.PROFILE_READ}
    named = tokens.mint_token(member_id="ann", scopes=["feeds:read"], ttl_seconds=60, now=NOW, key_prefix="prefix")
    assert tokens.verify_token(named, NOW).key_prefix == "prefix"


@pytest.mark.parametrize("seconds", [1, 3600])
def test_a_token_lives_for_exactly_the_seconds_it_was_made_for(seconds):
    text = minted(ttl_seconds=seconds)
    assert tokens.verify_token(text, at(seconds - 0.5)).member_id == "ann"
    assert "expired" in refused(text, at(seconds))


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"ttl_seconds": 0}, "ttl_seconds"),
        ({"ttl_seconds": 3601}, "ttl_seconds"),
        ({"member_id": ""}, "member_id"),
        ({"member_id": "m" * 129}, "member_id"),
        ({"scopes": ()}, "scopes"),
        ({"scopes": ("feeds:read", "posts:write")}, "scopes"),
    ],
)
def test_a_token_that_could_not_be_used_is_not_made(asked, field):
    with pytest.raises(BadRequestError) as error:
        minted(**asked)
    assert error.value.field == field


@pytest.mark.parametrize("member_id", ["m", "m" * 128])
def test_a_members_id_has_1_to_128_characters(member_id):
    assert tokens.verify_token(minted(member_id=member_id), NOW).member_id == member_id
    assert tokens.verify_token(signed(sub=member_id), NOW).member_id == member_id


@pytest.mark.parametrize("sub", ["", "m" * 129, " ann", "ann ", "\tann"])
def test_a_token_for_no_possible_member_is_refused(sub):
    assert "sub must be a member's id" in refused(signed(sub=sub))


def test_the_platforms_clock_may_be_half_a_minute_ahead():
    start = int(NOW.timestamp())
    assert tokens.verify_token(signed(iat=start + 30, exp=start + 90), NOW).member_id == "ann"
    assert "in the future" in refused(signed(iat=start + 31, exp=start + 91))


def test_a_token_that_says_it_lives_longer_than_an_hour_is_refused():
    start = int(NOW.timestamp())
    assert tokens.verify_token(signed(exp=start + 3600), NOW).member_id == "ann"
    assert "longer than 3600 seconds" in refused(signed(exp=start + 3601))


@pytest.mark.parametrize("name", ["iat", "exp"])
@pytest.mark.parametrize("value", [True, "1588334400", [1588334400]])
def test_times_must_be_numbers(name, value):
    """Text that looks like one is not compared as text, and true is not the first second of 1970."""
    assert "iat and exp must be numbers" in refused(signed(**{name: value}))


@pytest.mark.parametrize("name", ["iat", "exp", "sub"])
def test_a_token_without_its_times_or_its_member_is_refused(name):
    assert "MissingRequiredClaimError" in refused(signed(**{name: None}))


@pytest.mark.parametrize("scope", ["", " ", "feeds:read posts:write", 5, None])
def test_a_scope_that_a_member_may_not_have_spoils_the_token(scope):
    assert "scope must be one or more of feeds:read" in refused(signed(scope=scope))


def test_without_a_signing_key_the_secret_is_derived_from_the_secret_key(monkeypatch):
    """SHA-256 of "recsys member token", a zero byte and the secret, by sha256sum: tokens outlive a restart."""
    monkeypatch.setattr(settings, "TOKEN_SIGNING_KEYS", {})
    monkeypatch.setattr(settings, "SECRET_KEY", "a secret")
    derived = "e8bf43a2d2d894cbdf1ddca6e583f5c6d81eeb33bfe9a39668db381bfb833b2c"
    assert tokens.get_signing_secrets() == {"derived": derived}
    text = minted()
    assert jwt.decode(text, derived, ["HS256"], audience="recsys", options={"verify_exp": False})["sub"] == "ann"
    assert jwt.get_unverified_header(text)["kid"] == "derived"
