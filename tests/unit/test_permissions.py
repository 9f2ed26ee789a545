"""Who may use an address: staff, keys and tokens by their scopes, and strangers on an open API only."""

from types import SimpleNamespace

import pytest
from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from rest_framework.exceptions import PermissionDenied

from access.callers import Caller
from access.permissions import has_full_access, may_be_authenticated, requested_member_ids, require_access
from access.scopes import Scope

READ = frozenset({Scope.FEEDS_READ})
KEY, TOKEN = Caller("key", "prefix", READ), Caller("member", "ann", READ)
STAFF = User(is_staff=True)


@pytest.fixture
def api(monkeypatch):
    """Return a function that opens or closes the API."""

    def turn(*, is_open):
        monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update={"api_open": is_open}))

    turn(is_open=False)
    return turn


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
    ids=["stranger", "stranger, open", "signed in", "staff that left", "staff", "signed in, open"],
)
def test_only_active_staff_may_use_every_address_of_a_closed_api(api, user, is_open, expected):
    api(is_open=is_open)
    assert has_full_access(SimpleNamespace(user=user, auth=None)) is expected
    assert has_full_access(SimpleNamespace(user=user)) is expected, "a request of Django's own has no `auth`"


@pytest.mark.parametrize("caller", [KEY, TOKEN])
def test_keys_and_tokens_are_held_to_their_scopes_whoever_is_signed_in(api, caller):
    api(is_open=True)
    assert has_full_access(SimpleNamespace(user=STAFF, auth=caller)) is False


def test_a_request_shows_a_credential_by_a_header_or_a_session(api):
    def shows(meta=(), cookies=()):
        return may_be_authenticated(SimpleNamespace(META=dict.fromkeys(meta, "x"), COOKIES=dict.fromkeys(cookies, "x")))

    assert [shows(), shows(["HTTP_ACCEPT"], ["theme"])] == [False, False]
    assert [shows(["HTTP_AUTHORIZATION"]), shows(cookies=[settings.SESSION_COOKIE_NAME])] == [True, True]
    api(is_open=True)
    assert shows() is True


@pytest.mark.parametrize("caller", [KEY, TOKEN])
def test_an_address_without_a_scope_is_closed_to_keys_and_tokens(caller):
    with pytest.raises(PermissionDenied, match="a staff session; keys and tokens may not do it"):
        require_access(caller, None, ["ann"])


def test_a_caller_needs_the_scope_of_the_address():
    require_access(KEY, Scope.FEEDS_READ, None)
    with pytest.raises(PermissionDenied, match="the scope posts:write") as refused:
        require_access(KEY, Scope.POSTS_WRITE, None)
    assert refused.value.get_codes() == "missing-scope"


def test_a_token_reaches_its_own_member_only_and_nothing_where_nobody_knows_whose_data_it_is():
    require_access(TOKEN, Scope.FEEDS_READ, ["ann", "ann"])
    require_access(TOKEN, Scope.FEEDS_READ, [])
    require_access(KEY, Scope.FEEDS_READ, ["bob"])
    for named in (None, ["bob"], ["ann", "bob"], [None], ["Ann"]):
        with pytest.raises(PermissionDenied, match="of its own member only") as refused:
            require_access(TOKEN, Scope.FEEDS_READ, named)
        assert refused.value.get_codes() == "different-member"


def test_whose_data_it_is_about_stands_in_the_address_or_the_view_says_so():
    request = SimpleNamespace()
    assert requested_member_ids(request, SimpleNamespace(kwargs={"member_id": "ann"})) == ["ann"]
    assert requested_member_ids(request, SimpleNamespace(kwargs={"post_id": "p"})) is None
    says = SimpleNamespace(kwargs={"member_id": "ann"}, requested_member_ids=lambda request: ["bob"])
    assert requested_member_ids(request, says) == ["bob"]
