"""Sign-in with a second factor in a real browser, and the policies that keep an injected script from running."""

import re

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model
from playwright.sync_api import expect

from flags.services.change import apply_change
from flags.services.record import Actor
from monitoring.clock import now
from tests import factories
from tests.attacks.test_sign_in import totp

pytestmark = pytest.mark.django_db(transaction=True)
PASSWORD = "correct horse battery staple"
PAGES = [
    "/admin/",
    "/admin/recommendations/member/",
    "/admin/recommendations/post/add/",
    "/admin/flags/flag/",
    "/admin/flags/flag/{flag}/change/",
    "/admin/flags/flag/playground/",
    "/admin/flags/rolloutplan/",
    "/admin/access/apikey/add/",
    "/admin/auth/user/add/",
    "/admin/password_change/",
    "/account/second-factor/",
    "/account/second-factor/webauthn/add/",
    "/account/second-factor/totp/activate/",
    "/account/logout/",
    "/dashboard/",
    "/product/",
    "/explore/",
    "/explore/on-device/",
    "/explore/graphql/",
    "/api/docs/",
    "/nowhere",
]


@pytest.fixture
def site(live_server, redis_url, fresh_wiring):
    """Create a superuser and a flag, and return the server's URL."""
    get_user_model().objects.create_superuser("admin", password=PASSWORD)
    flag = factories.flag("layout", at=now())
    apply_change(key="layout", patch={"is_enabled": True}, actor=Actor(system="test"), why="x", now=now())
    live_server.flag = flag.pk
    return live_server


@pytest.fixture
def open_page(browser, site):
    """Return a function that opens a page, and collects every violation of a Content-Security-Policy."""
    contexts = []

    def open_page(**options):
        contexts.append(browser.new_context(base_url=site.url, **options))
        page = contexts[-1].new_page()
        page.set_default_timeout(15_000)
        page.violations = []
        page.on("console", lambda message: collect(page, message.text))
        return page

    def collect(page, text):
        if "Content Security Policy" in text or "Permissions-Policy" in text:
            page.violations.append((page.url, text))

    yield open_page
    for context in contexts:
        context.close()


def sign_in(page):
    page.goto("/admin/")
    page.fill("[name=login]", "admin")
    page.fill("[name=password]", PASSWORD)
    open_by(page, page.get_by_role("button", name="Sign in"))


def open_by(page, control):
    """Click a link or a button that opens another page, and wait until the scripts of that page have run."""
    with page.expect_navigation(wait_until="load"):
        control.click()


def test_no_page_violates_its_policy_and_an_injected_script_runs_on_none(open_page, site):
    page = open_page()
    page.route("**/*", inject_scripts)
    page.goto("/account/login/")
    assert page.evaluate("window.injected") is None
    sign_in(page)
    expect(page).to_have_url(re.compile("/admin/$"))
    for path in PAGES:
        response = page.goto(path.format(flag=site.flag), wait_until="load")
        assert response.headers["content-security-policy"].startswith("default-src 'none'"), path
        assert {"permissions-policy", "x-content-type-options", "referrer-policy"} <= response.headers.keys(), path
        assert page.locator("#planted").count() == 1, path
        assert page.evaluate("window.injected") is None, path
    blocked = {url for url, text in page.violations if "inline" in text}
    assert len(blocked) >= len(PAGES) - 2, "the injected scripts are what was blocked"


def inject_scripts(route):
    """Pass a page on with scripts that an attacker has put into it."""
    if route.request.resource_type != "document":
        return route.continue_()
    response = route.fetch(max_redirects=0)
    if response.status in (301, 302) or not response.headers.get("content-type", "").startswith("text/html"):
        return route.fulfill(response=response)
    scripts = "<script>window.injected = 1</script><img id=planted src=x: onerror='window.injected = 2'>"
    scripts += (
        "<a href='javascript:window.injected = 3'></a><script src='data:text/javascript,window.injected = 4'></script>"
    )
    return route.fulfill(response=response, body=response.text().replace("</body>", f"{scripts}</body>"))


def test_the_pages_themselves_violate_nothing(open_page, site):
    page = open_page()
    page.goto("/account/login/")
    sign_in(page)
    for path in PAGES:
        page.goto(path.format(flag=site.flag), wait_until="networkidle")
    assert page.violations == []


@pytest.fixture
def with_second_factor(monkeypatch):
    """Require the second factor."""
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update={"second_factor": True}))


def test_staff_register_an_app_and_sign_in_with_its_code(open_page, with_second_factor):
    page = open_page()
    sign_in(page)
    expect(page).to_have_url(re.compile("/account/second-factor/$"))
    open_by(page, page.get_by_role("link", name="Activate"))
    secret = page.locator("#authenticator_secret").input_value()
    page.locator("[name=code]").fill(totp(secret))
    open_by(page, page.get_by_role("button", name="Activate"))
    expect(page.get_by_text("recovery codes").first).to_be_visible()
    page.get_by_role("link", name="Admin").click()
    expect(page).to_have_url(re.compile("/admin/$"))

    other = open_page()
    sign_in(other)
    expect(other).to_have_url(re.compile("/account/second-factor/authenticate/"))
    other.locator("[name=code]").fill("000000")
    other.get_by_role("button", name="Sign In", exact=True).click()
    expect(other.get_by_text("Incorrect code.")).to_be_visible()
    assert page.violations == other.violations == []


def test_staff_register_a_security_key_and_sign_in_with_it(open_page, with_second_factor):
    page = open_page()
    devtools = page.context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    options = {"protocol": "ctap2", "transport": "usb", "hasResidentKey": True, "hasUserVerification": True}
    options |= {"isUserVerified": True, "automaticPresenceSimulation": True}
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    sign_in(page)
    open_by(page, page.get_by_role("link", name="Add"))
    page.locator("[name=name]").fill("a key")
    open_by(page, page.get_by_role("button", name="Add"))
    expect(page.get_by_text("recovery codes").first).to_be_visible()
    expect(page.locator("textarea")).to_have_value(re.compile(r"(\d{8}\s*){10}"))
    page.goto("/account/second-factor/webauthn/")
    expect(page.get_by_text("a key")).to_be_visible()
    open_by(page, page.get_by_role("link", name="Sign out"))
    open_by(page, page.get_by_role("button", name="Sign Out"))
    sign_in(page)
    page.get_by_role("button", name="Use a security key").click()
    expect(page).to_have_url(re.compile("/admin/$"))
    assert page.violations == []
