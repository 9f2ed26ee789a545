"""Permissions: staff have full access, keys and tokens are limited by scopes, anonymous users need an open API."""

from types import SimpleNamespace

import pytest
from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from rest_framework.exceptions import PermissionDenied

from access.callers import Caller
from access.permissions import has_full_access, may_be_authenticated, require_access
from access.scopes import Scope

READ = frozenset({Scope.FEEDS_READ})
KEY, TOKEN = Caller("key", "prefix", READ), Caller("member", "ann", READ)
STAFF = User(is_staff=True)


@pytest.fixture
def api(monkeypatch):
    """Return a function that opens or closes the API. It is closed at first."""

    def set_open(*, is_open):
        monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update={"api_open": is_open}))

    set_open(is_open=False)
    return set_open


@pytest.mark.parametrize(
    ("user", "is_open", "expected"),
    [
        (AnonymousUser(), False, False),
        (AnonymousUser(), True, True),
        (User(), False, False),
        (User(is_active=False, is_staff=True), False, False),
        (STAFF, False, True),
        (User(), True, True),
    ],
    ids=["anonymous", "anonymous, open", "signed in", "inactive staff", "staff", "signed in, open"],
)
def test_only_active_staff_have_full_access_to_a_closed_api(api, user, is_open, expected):
    api(is_open=is_open)
    assert has_full_access(SimpleNamespace(user=user, auth=None)) is expected
    assert has_full_access(SimpleNamespace(user=user)) is expected, "a Django request has no attribute `auth`"


@pytest.mark.parametrize("caller", [KEY, TOKEN])
def test_a_key_or_token_limits_the_access_of_staff_too(api, caller):
    api(is_open=True)
    assert has_full_access(SimpleNamespace(user=STAFF, auth=caller)) is False


def test_a_request_may_be_authenticated_by_a_header_or_a_session(api):
    def has_credentials(meta=(), cookies=()):
        return may_be_authenticated(SimpleNamespace(META=dict.fromkeys(meta, "x"), COOKIES=dict.fromkeys(cookies, "x")))

    assert [has_credentials(), has_credentials(["HTTP_ACCEPT"], ["theme"])] == [False, False]
    assert has_credentials(["HTTP_AUTHORIZATION"]) is True
    assert has_credentials(cookies=[settings.SESSION_COOKIE_NAME]) is True
    api(is_open=True)
    assert has_credentials() is True, "an open API needs no credentials"


@pytest.mark.parametrize("caller", [KEY, TOKEN])
def test_an_endpoint_without_a_scope_rejects_keys_and_tokens(caller):
    with pytest.raises(PermissionDenied, match="a staff session; keys and tokens may not do it"):
        require_access(caller, None, ["ann"])


def test_a_caller_needs_the_scope_of_the_endpoint():
    require_access(KEY, Scope.FEEDS_READ, None)
    with pytest.raises(PermissionDenied, match="the scope posts:write") as error:
        require_access(KEY, Scope.POSTS_WRITE, None)
    assert error.value.get_codes() == "missing-scope"


def test_a_token_accesses_only_its_own_member_and_no_request_with_unknown_members():
    require_access(TOKEN, Scope.FEEDS_READ, ["ann", "ann"])
    require_access(TOKEN, Scope.FEEDS_READ, [])
    require_access(KEY, Scope.FEEDS_READ, ["bob"])
    for member_ids in (None, ["bob"], ["ann", "bob"], [None], ["Ann"]):
        with pytest.raises(PermissionDenied, match="of its own member only") as error:
            require_access(TOKEN, Scope.FEEDS_READ, member_ids)
        assert error.value.get_codes() == "different-member"
