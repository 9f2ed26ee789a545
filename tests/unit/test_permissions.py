"""Permissions: roles limit staff, scopes limit keys and tokens, and anonymous users need an open API."""

from types import SimpleNamespace

import pytest
from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from rest_framework.exceptions import PermissionDenied

from access.callers import Caller
from access.permissions import may_be_authenticated, require_access, session_may, staff_permission
from access.scopes import STAFF_PERMISSIONS, Scope, single_scope

READ = frozenset({Scope.FEEDS_READ})
KEY, TOKEN = Caller("key", "prefix", READ), Caller("member", "ann", READ)
READS = "recommendations.view_feedrequest"


class Person(User):
    """A user with the permission to read feeds, without a database."""

    class Meta:
        proxy = True
        app_label = "tests"

    def has_perm(self, perm, obj=None):
        return perm == READS


STAFF = Person(is_staff=True)


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
        (Person(), False, False),
        (Person(is_active=False, is_staff=True), False, False),
        (STAFF, False, True),
        (Person(), True, True),
    ],
    ids=["anonymous", "anonymous, open", "signed in", "inactive staff", "staff", "signed in, open"],
)
def test_only_active_staff_use_a_closed_api(api, user, is_open, expected):
    api(is_open=is_open)
    assert session_may(SimpleNamespace(user=user, auth=None), READS) is expected
    assert session_may(SimpleNamespace(user=user), READS) is expected, "a Django request has no attribute `auth`"


@pytest.mark.parametrize("is_open", [False, True])
def test_staff_need_the_permission_and_an_undeclared_one_is_refused_even_if_the_api_is_open(api, is_open):
    api(is_open=is_open)
    request = SimpleNamespace(user=STAFF, auth=None)
    assert session_may(request, "recommendations.delete_member") is is_open
    assert session_may(request, None) is False


def test_the_permission_of_a_method_is_that_of_its_scope_unless_the_view_declares_another():
    view = SimpleNamespace(scopes=single_scope(Scope.MEMBERS_WRITE), staff_permissions={"DELETE": "x.delete"})
    assert staff_permission(view, "PUT") == "recommendations.change_member"
    assert staff_permission(view, "DELETE") == "x.delete"
    assert staff_permission(SimpleNamespace(), "GET") is None
    assert STAFF_PERMISSIONS.keys() == set(Scope)


@pytest.mark.parametrize("caller", [KEY, TOKEN])
def test_a_key_or_token_limits_the_access_of_staff_too(api, caller):
    api(is_open=True)
    assert session_may(SimpleNamespace(user=STAFF, auth=caller), READS) is False


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
    with pytest.raises(PermissionDenied, match="Keys and tokens may not do this"):
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
