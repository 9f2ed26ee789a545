"""Sign-in and security headers, as far as they need no server. tests/attacks/test_sign_in.py attacks the rest."""

import os
import secrets
import subprocess
import sys
from types import SimpleNamespace

import pytest
from cryptography.fernet import InvalidToken
from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.db import OperationalError
from django.http import HttpResponse

from access.sign_in.adapters import StaffAccountAdapter, StaffMFAAdapter
from access.sign_in.second_factor import SESSION_KEY, TIME_KEY, SecondFactorMiddleware, has_recent_second_factor
from monitoring.clock import now
from recsys_project.security_headers import content_security_policy


def test_nobody_can_register():
    assert StaffAccountAdapter().is_open_for_signup(SimpleNamespace()) is False


def test_a_secret_opens_with_the_current_or_an_earlier_key_only(monkeypatch):
    monkeypatch.setattr(settings, "SECRET_KEY", "old")
    stored = StaffMFAAdapter().encrypt("a secret")
    assert "secret" not in stored
    monkeypatch.setattr(settings, "SECRET_KEY", "new")
    monkeypatch.setattr(settings, "SECRET_KEY_FALLBACKS", ["old"])
    assert StaffMFAAdapter().decrypt(stored) == "a secret"
    monkeypatch.setattr(settings, "SECRET_KEY_FALLBACKS", [])
    with pytest.raises(InvalidToken):
        StaffMFAAdapter().decrypt(stored)


@pytest.mark.parametrize(
    ("user_id", "seconds", "is_recent"), [("7", 10, True), ("7", 301, False), ("8", 10, False), (None, 10, False)]
)
def test_devices_are_changed_shortly_after_the_own_second_factor_only(user_id, seconds, is_recent):
    session = {SESSION_KEY: user_id, TIME_KEY: now().timestamp() - seconds}
    request = SimpleNamespace(session=session, user=SimpleNamespace(pk=7))
    assert has_recent_second_factor(request) is is_recent


@pytest.fixture
def pass_on(monkeypatch, rf):
    """Return a function that sends a request of a signed-in user, and returns the request and the response."""
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update={"second_factor": True}))

    def pass_on(path, session=(), user=None):
        request = rf.get(path)
        request.COOKIES[settings.SESSION_COOKIE_NAME] = "x"
        request.session, request.user = dict(session), user or SimpleNamespace(pk=7, is_authenticated=True)
        return request, SecondFactorMiddleware(lambda request: HttpResponse("served"))(request)

    return pass_on


@pytest.mark.parametrize("session", [{}, {SESSION_KEY: "8"}])
def test_a_session_without_the_second_factor_of_its_user_is_nobodys(pass_on, session):
    request, response = pass_on("/api/v1/members", session)
    assert isinstance(request.user, AnonymousUser) and response.content == b"served"
    _, page = pass_on("/admin/", session)
    assert (page.status_code, page.url) == (302, "/account/second-factor/")
    request, response = pass_on("/account/second-factor/", session)
    assert request.user.pk == 7 and response.content == b"served"


def test_a_session_with_the_second_factor_goes_on(pass_on):
    request, response = pass_on("/admin/", {SESSION_KEY: "7"})
    assert request.user.pk == 7 and response.content == b"served"


def test_a_session_that_cannot_be_read_is_nobodys(pass_on):
    class Unreadable:
        @property
        def is_authenticated(self):
            raise OperationalError("the database is down")

    request, response = pass_on("/readyz", user=Unreadable())
    assert isinstance(request.user, AnonymousUser) and response.content == b"served"


def test_only_the_admin_may_evaluate_expressions_and_no_page_runs_inline_scripts():
    for path in ("/", "/explore/", "/account/login/", "/api/docs/", "/api/v1/members", "/admin", "/x/admin/"):
        assert "script-src 'self';" in content_security_policy(path), path
    assert "script-src 'self' 'unsafe-eval';" in content_security_policy("/admin/flags/")
    assert "frame-ancestors 'none'" in content_security_policy("/admin/")
    assert "img-src 'self' data:;" in content_security_policy("/explore/")
    wider = content_security_policy("/explore/remote-pictures/")
    assert "img-src 'self' data: https: http:;" in wider and "script-src 'self';" in wider
    assert content_security_policy("/explore/graphql/") == content_security_policy("/explore/")
    assert "script-src 'self' 'wasm-unsafe-eval';" in content_security_policy("/explore/on-device/")


def test_a_production_passes_the_deployment_check_without_a_warning():
    """With the default settings and a random SECRET_KEY."""
    env = os.environ | {"HTTPS": "", "SECOND_FACTOR": "", "SECRET_KEY": secrets.token_urlsafe(48)}
    command = [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"]
    checked = subprocess.run(command, cwd=settings.BASE_DIR, env=env, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
