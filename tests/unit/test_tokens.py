"""Member tokens: lifetime, claims and the clock that they are verified by."""

from datetime import UTC, datetime, timedelta

import jwt
import pytest
from django.conf import settings

from access import tokens
from access.errors import BadCredentialError, BadRequestError
from access.scopes import Scope

NOW = datetime(2020, 5, 1, 12, tzinfo=UTC)
"""A time in the past: tokens are verified by the time in the arguments, never by the real clock."""
SECRET = "a-secret-that-the-platform-shares-" + "x" * 8


@pytest.fixture(autouse=True)
def signing_key(monkeypatch):
    monkeypatch.setattr(settings, "TOKEN_SIGNING_KEYS", {"web": SECRET})


def after(seconds):
    return NOW + timedelta(seconds=seconds)


def mint(member_id="ann", scopes=("feeds:read",), ttl_seconds=60):
    return tokens.mint_token(member_id=member_id, scopes=scopes, ttl_seconds=ttl_seconds, now=NOW)


def sign(**claims):
    """Return a token that the platform signed, with these *claims* instead of the valid ones."""
    start = int(NOW.timestamp())
    valid_claims = {"sub": "ann", "scope": "feeds:read", "aud": "recsys", "iat": start, "exp": start + 60}
    return jwt.encode(valid_claims | claims, SECRET, "HS256", {"kid": "web"})


def rejection_message(text, now=NOW):
    """Return the error message for a token that must be rejected."""
    with pytest.raises(BadCredentialError) as error:
        tokens.verify_token(text, now)
    return str(error.value)


def test_a_token_has_a_member_scopes_and_the_prefix_of_its_key():
    token = tokens.verify_token(mint(scopes=("profile:read", "feeds:read", "feeds:read")), NOW)
    assert (token.member_id, token.key_prefix) == ("ann", None)
    assert token.scopes == {Scope.FEEDS_READ, Scope.PROFILE_READ}
    text = tokens.mint_token(member_id="ann", scopes=["feeds:read"], ttl_seconds=60, now=NOW, key_prefix="prefix")
    assert tokens.verify_token(text, NOW).key_prefix == "prefix"


@pytest.mark.parametrize("seconds", [1, 3600])
def test_a_token_expires_exactly_after_its_lifetime(seconds):
    text = mint(ttl_seconds=seconds)
    assert tokens.verify_token(text, after(seconds - 0.5)).member_id == "ann"
    assert "expired" in rejection_message(text, after(seconds))


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"ttl_seconds": 0}, "ttl_seconds"),
        ({"ttl_seconds": 3601}, "ttl_seconds"),
        ({"member_id": ""}, "member_id"),
        ({"member_id": "m" * 129}, "member_id"),
        ({"scopes": ()}, "scopes"),
        ({"scopes": ("feeds:read", "posts:write")}, "scopes"),
    ],
)
def test_minting_rejects_invalid_arguments(arguments, field):
    with pytest.raises(BadRequestError) as error:
        mint(**arguments)
    assert error.value.field == field


@pytest.mark.parametrize("member_id", ["m", "m" * 128])
def test_a_member_id_has_1_to_128_characters(member_id):
    assert tokens.verify_token(mint(member_id=member_id), NOW).member_id == member_id
    assert tokens.verify_token(sign(sub=member_id), NOW).member_id == member_id


@pytest.mark.parametrize("sub", ["", "m" * 129, " ann", "ann ", "\tann"])
def test_a_token_with_an_invalid_member_id_is_rejected(sub):
    assert "sub must be a member's id" in rejection_message(sign(sub=sub))


def test_the_clock_of_the_platform_may_be_30_seconds_ahead():
    start = int(NOW.timestamp())
    assert tokens.verify_token(sign(iat=start + 30, exp=start + 90), NOW).member_id == "ann"
    assert "in the future" in rejection_message(sign(iat=start + 31, exp=start + 91))


def test_a_token_is_not_valid_before_its_nbf():
    """With the same tolerance as for `iat`, because a platform writes both by its own clock."""
    start = int(NOW.timestamp())
    assert tokens.verify_token(sign(nbf=start + 30), NOW).member_id == "ann"
    for valid_from in (start + 31, float("nan"), float("inf")):
        assert "not valid yet" in rejection_message(sign(nbf=valid_from))


def test_a_token_with_a_lifetime_above_an_hour_is_rejected():
    start = int(NOW.timestamp())
    assert tokens.verify_token(sign(exp=start + 3600), NOW).member_id == "ann"
    assert "longer than 3600 seconds" in rejection_message(sign(exp=start + 3601))


@pytest.mark.parametrize("name", ["iat", "exp", "nbf"])
@pytest.mark.parametrize("value", [True, "1588334400", [1588334400]])
def test_times_must_be_numbers(name, value):
    """A number in a string, a Boolean or a list is rejected."""
    assert "must be numbers" in rejection_message(sign(**{name: value}))


@pytest.mark.parametrize("name", ["iat", "exp", "sub"])
def test_a_token_without_a_required_claim_is_rejected(name):
    assert "MissingRequiredClaimError" in rejection_message(sign(**{name: None}))


@pytest.mark.parametrize("scope", ["", " ", "feeds:read posts:write", 5, None])
def test_a_token_with_an_invalid_scope_is_rejected(scope):
    assert "scope must be one or more of feeds:read" in rejection_message(sign(scope=scope))


def test_without_a_signing_key_the_secret_is_derived_from_the_secret_key(monkeypatch):
    """
    Tokens stay valid after a restart.

    The expected value is the SHA-256 of "recsys member token", a zero byte and the secret, computed by sha256sum.
    """
    monkeypatch.setattr(settings, "TOKEN_SIGNING_KEYS", {})
    monkeypatch.setattr(settings, "SECRET_KEY", "a secret")
    derived = "e8bf43a2d2d894cbdf1ddca6e583f5c6d81eeb33bfe9a39668db381bfb833b2c"  # pragma: allowlist secret
    assert tokens.get_signing_secrets() == {"derived": derived}
    text = mint()
    assert jwt.decode(text, derived, ["HS256"], audience="recsys", options={"verify_exp": False})["sub"] == "ann"
    assert jwt.get_unverified_header(text)["kid"] == "derived"
