"""Guess passwords and codes, steal a password, and use what a browser sends over plain HTTP."""

import base64
import hashlib
import hmac
import re
import struct
import time

import pytest

from tests.attacks.staff_server import HOST, PASSWORD, BrowserSession, run_code, staff_server  # noqa: F401 -- a fixture

CREATE = f"""
from django.contrib.auth.hashers import ScryptPasswordHasher
from django.contrib.auth.models import User
password = ScryptPasswordHasher().encode({PASSWORD!r}, "salt", n=2)
User.objects.bulk_create(
    User(username=f"user-{{n}}", password=password, is_staff=True, is_superuser=True) for n in range(60)
)
"""


@pytest.fixture(scope="module")
def names(staff_server):  # noqa: F811
    """Create superusers, whose weak hashes are quick to compare with, and return an iterator of their names."""
    run_code(staff_server, CREATE)
    return (f"user-{n}" for n in range(60))


@pytest.fixture
def user(staff_server, names):  # noqa: F811
    """Return the name of a superuser whom no other test uses, and a function that opens a session at an address."""
    name = next(names)
    own_address = f"203.0.113.{name.removeprefix('user-')}"

    def open_session(address=own_address):
        return BrowserSession(staff_server, address)

    return name, open_session


def totp(secret):
    """Return the code that an authenticator app shows now (RFC 6238)."""
    counter = struct.pack(">Q", int(time.time() // 30))
    digest = hmac.new(base64.b32decode(secret), counter, hashlib.sha1).digest()
    offset = digest[-1] & 15
    return f"{(struct.unpack_from('>I', digest, offset)[0] & 0x7FFFFFFF) % 10**6:06}"


def register_app(session):
    """Register an authenticator app in a session and return its secret."""
    page = session.send("GET", "/account/second-factor/totp/activate/").content.decode()
    secret = re.search(r'value="([A-Z2-7]{16,})"', page)[1]
    assert session.submit_form("/account/second-factor/totp/activate/", page, code=totp(secret)).status == 302
    return secret


def test_guessing_passwords_locks_the_name_and_alerts_operators(user):
    name, open_session = user
    statuses = [open_session(f"198.51.100.{n}").sign_in(name, f"guess-{n}").status for n in range(12)]
    assert statuses[:9] == [200] * 9 and set(statuses[10:]) == {429}, "each guess comes from another address"
    locked = open_session("192.0.2.50").sign_in(name)
    assert locked.status == 429, "the right password is refused, too"
    assert b"Wait 15 minutes" in locked.content
    code = "from access.models import UsageAlert; print(list(UsageAlert.objects.values_list('kind', 'caller')))"
    alerts = run_code(open_session().server, code)
    assert "'sign_in', 'user:" in alerts and name not in alerts


def test_guessing_many_names_locks_the_address_and_no_other(user, names):
    name, open_session = user
    statuses = [open_session("198.51.100.200").sign_in(next(names), "guess").status for _ in range(11)]
    assert statuses[-1] == 429
    assert open_session("198.51.100.200").sign_in(name).status == 429
    assert open_session("198.51.100.201").sign_in(name).status == 302


def test_a_client_cannot_choose_its_address(user, names):
    """The proxy appends the address of the connection, and only that entry counts."""
    _, open_session = user
    chosen = [open_session(f"10.0.0.{number}, 198.51.100.210") for number in range(11)]
    assert [session.sign_in(next(names), "guess").status for session in chosen][-1] == 429


@pytest.mark.parametrize("path", ["/admin/", "/admin/recommendations/member/", "/dashboard/", "/explore/", "/product/"])
def test_a_password_alone_opens_no_page(user, path):
    name, open_session = user
    session = open_session()
    assert session.sign_in(name).status == 302
    page = session.send("GET", path)
    assert (page.status, page.headers["Location"]) == (302, "/account/second-factor/")


def test_a_password_alone_opens_no_api(user):
    name, open_session = user
    session = open_session()
    session.sign_in(name)
    for method, path, body in (
        ("GET", "/api/v1/members", None),
        ("POST", "/api/v1/jobs", {"kind": "batch_feeds"}),
        ("POST", "/graphql", {"query": "{ __typename }"}),
        ("POST", "/ofrep/v1/evaluate/flags", {"context": {"targetingKey": "x"}}),
        ("GET", "/metrics", None),
        ("GET", "/dashboard/data", None),
    ):
        assert session.call(method, path, body).status in (302, 401, 403), path


def test_the_second_factor_opens_the_admin_and_is_asked_for_at_the_next_sign_in(user):
    name, open_session = user
    first = open_session()
    first.sign_in(name)
    earlier = open_session()
    earlier.sign_in(name)
    secret = register_app(first)
    assert first.send("GET", "/admin/").status == 200
    assert earlier.send("GET", "/admin/").status == 302, "another session with the password alone gains nothing"
    stored = run_code(
        first.server, "from allauth.mfa.models import Authenticator as A; print(A.objects.values_list('data'))"
    )
    assert "secret" in stored and secret not in stored, "it is encrypted"
    second = open_session()
    assert second.sign_in(name).headers["Location"].startswith("/account/second-factor/authenticate/")
    assert second.send("GET", "/admin/").status == 302
    answers = [second.post_form("/account/second-factor/authenticate/", code=f"{n:06}") for n in range(10)]
    assert [answer.status for answer in answers] == [200] * 9 + [429], "wrong codes are failed sign-ins"
    second.post_form("/account/second-factor/authenticate/", code=totp(secret))
    assert second.send("GET", "/admin/").status == 302, "after guesses no code is accepted"
    assert second.sign_in(name).status == 429


MAKE_SESSIONS_OLD = """
from django.contrib.sessions.backends.db import SessionStore
for row in SessionStore().model.objects.all():
    session = SessionStore(row.session_key)
    session["second_factor_at"] = session.get("second_factor_at", 0) - 301
    session.save()
"""
DEVICE_PAGES = ["totp/deactivate/", "webauthn/add/", "recovery-codes/generate/"]


def test_a_session_that_a_thief_opened_before_gains_nothing_by_the_password(user):
    """The password alone would else remove the owner's device, or add one of the thief."""
    name, open_session = user
    thief, owner = open_session(), open_session("203.0.113.8")
    assert thief.sign_in(name).status == owner.sign_in(name).status == 302
    register_app(owner)
    for page in DEVICE_PAGES:
        path = f"/account/second-factor/{page}"
        assert thief.send("GET", path).headers["Location"].startswith("/account/second-factor/reauthenticate/"), page
        assert thief.post_form(f"/account/reauthenticate/?next={path}", password=PASSWORD).status == 403
        assert thief.send("GET", path).status == 302
    assert thief.send("GET", "/account/second-factor/recovery-codes/").status == 302
    assert thief.send("GET", "/admin/").headers["Location"] == "/account/second-factor/"
    assert owner.send("GET", "/admin/").status == 200
    kinds = f"print(sorted(A.objects.filter(user__username={name!r}).values_list('type', flat=True)))"
    stored = run_code(owner.server, f"from allauth.mfa.models import Authenticator as A; {kinds}")
    assert stored == "['recovery_codes', 'totp']"


def test_the_owner_of_a_new_device_sees_the_recovery_codes_and_its_pages_at_once(user):
    name, open_session = user
    session = open_session()
    session.sign_in(name)
    register_app(session)
    page = session.send("GET", "/account/second-factor/recovery-codes/").content.decode()
    assert len(set(re.findall(r"\b\d{8}\b", page))) == 10
    for path in ("webauthn/", *DEVICE_PAGES):
        assert session.send("GET", f"/account/second-factor/{path}").status == 200, path
    run_code(session.server, MAKE_SESSIONS_OLD)
    path = f"/account/second-factor/{DEVICE_PAGES[0]}"
    ask = f"/account/second-factor/reauthenticate/?next={path}"
    assert session.send("GET", path).headers["Location"].startswith("/account/second-factor/reauthenticate/")
    assert session.post_form(ask, code="12345678").status == 200, "a wrong code"
    assert session.post_form(ask, code=re.search(r"\b\d{8}\b", page)[0]).headers["Location"] == path
    assert session.send("GET", path).status == 200


def test_a_lost_device_is_replaced_by_an_operator(user):
    name, open_session = user
    session = open_session()
    session.sign_in(name)
    register_app(session)
    command = f"from django.core.management import call_command; call_command('reset_second_factor', {name!r})"
    assert "Deleted 2 authenticators" in run_code(session.server, command)
    after = open_session()
    assert after.sign_in(name).headers["Location"] == "/admin/"
    assert after.send("GET", "/admin/").headers["Location"] == "/account/second-factor/"
    missing = command.replace(name, "nobody")
    with pytest.raises(AssertionError, match="There is no user 'nobody'"):
        run_code(session.server, missing)


def test_cookies_and_headers_keep_a_session_inside_tls(user):
    name, open_session = user
    session = open_session()
    response = session.sign_in(name)
    assert response.status == 302, "the form works behind a proxy that ends TLS"
    cookies = [value for key, value in response.getheaders() if key.lower() == "set-cookie"]
    assert cookies and all("Secure" in cookie and "SameSite=Lax" in cookie for cookie in cookies)
    assert any(cookie.startswith("sessionid=") and "HttpOnly" in cookie for cookie in cookies)
    page = session.send("GET", "/account/login/")
    assert int(re.search(r"max-age=(\d+)", page.headers["Strict-Transport-Security"])[1]) >= 31_536_000
    plain = session.send("GET", "/admin/", X_Forwarded_Proto="http")
    assert (plain.status, plain.headers["Location"]) == (301, f"https://{HOST}/admin/")
    for path in ("/livez", "/readyz", "/workersz"):
        assert session.send("GET", path, X_Forwarded_Proto="http").status in (200, 503), "probes have no TLS"
    for path in ("/api/v1/members/ann/feed", "/graphql", "/ofrep/v1/evaluate/flags"):
        answer = BrowserSession(session.server).send("GET", path, X_Forwarded_Proto="http")
        assert answer.status in (401, 405), "back ends of the platform call inside the private network"


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"]
)
def test_sign_in_redirects_to_no_other_site(user, target):
    name, open_session = user
    response = open_session().post_form("/account/login/", login=name, password=PASSWORD, next=target)
    assert response.headers["Location"] == "/admin/"


@pytest.mark.parametrize("path", ["/account/signup/", "/account/password/reset/", "/account/email/"])
def test_nobody_registers_or_resets_a_password(user, path):
    _, open_session = user
    response = open_session().send("GET", path)
    assert response.status == 404 or response.headers["Location"] == "/account/login/"


def test_the_admins_own_form_accepts_no_password(user):
    name, open_session = user
    session = open_session()
    session.send("GET", "/account/login/")
    token = session.cookies["csrftoken"]
    body = f"csrfmiddlewaretoken={token}&username={name}&password={PASSWORD}&next=/admin/".encode()
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    response = session.send("POST", "/admin/login/", body, Origin=f"https://{HOST}", Referer=f"https://{HOST}/", **form)
    assert response.headers["Location"].startswith("/account/login/") and "sessionid" not in session.cookies
