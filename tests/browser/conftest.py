"""A real browser, and a real server and worker with a few members and posts."""

import os
import shutil
from datetime import timedelta

import pytest
from django.conf import settings
from playwright.sync_api import expect, sync_playwright

from monitoring.clock import now
from recommendations.models import Member, Post, PrivacySettings
from recommendations.services import wiring
from recommendations.services.vectors.embedding import embed_posts
from tests.browser.snapshots import Snapshots
from tests.servers import skip_or_fail

TOPICS = {
    "bread": "yeast dough oven loaf flour crust bakery",
    "war": "soldiers trench battle army general siege",
    "space": "rocket planet orbit comet star moon",
}
TIMEOUT_MS = 15_000


@pytest.fixture(scope="module")
def browser():
    path = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if not path:
        skip_or_fail("There is no chromium. Install it, or set CHROMIUM to its path.")
    # Playwright runs an event loop in this thread, but the fixtures use the database synchronously.
    original = os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with sync_playwright() as playwright:
        expect.set_options(timeout=TIMEOUT_MS)
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()
    os.environ.pop("DJANGO_ALLOW_ASYNC_UNSAFE")
    if original:
        os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = original


@pytest.fixture
def site(live_server, worker, monkeypatch):
    """Yield the URL of a server with a few members and posts."""
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update={"api_open": True}))
    wiring.reset_parts()
    created_at = now() - timedelta(hours=5)
    for name in ("ann", "bob", "newcomer"):
        row = Member.objects.create(external_id=name, created_at=created_at, changed_at=created_at)
        PrivacySettings.objects.create(member=row, changed_at=created_at)
    authors = [Member(external_id=f"author{n}", created_at=created_at, changed_at=created_at) for n in range(10)]
    for n, author in enumerate(Member.objects.bulk_create(authors)):
        PrivacySettings.objects.create(member=author, changed_at=created_at)
        for topic, words in TOPICS.items():
            text = f"{topic} {words} <img src=x onerror=alert(1)> مرحبا 🍞 {n}"
            Post.objects.create(
                external_id=f"{topic}/{n}",
                author=author,
                text=text,
                tags=[topic],
                created_at=created_at,
                changed_at=created_at,
            )
    embed_posts(embedder=wiring.embedder(), now=now())
    yield live_server.url
    wiring.reset_parts()


@pytest.fixture
def page(browser, site, request):
    """
    Yield a page. The test fails if its console has an error.

    A test whose requests fail names the reasons in `page.expected_failures`, for example "404", at any time: the
    browser reports a failed request whenever its response arrives, perhaps after the last step of the test.
    """
    options = getattr(request, "param", {})
    context = browser.new_context(base_url=site, **options)
    page = context.new_page()
    errors = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.set_default_timeout(TIMEOUT_MS)
    page.expected_failures = []
    yield page
    context.close()
    assert [error for error in errors if not is_expected(error, page.expected_failures)] == []


@pytest.fixture
def snapshots():
    """Compare pages with all stored pictures. The test fails after all its pages have been compared."""
    snapshots = Snapshots(writes=bool(os.environ.get("WRITE_SNAPSHOTS")))
    yield snapshots
    snapshots.finish()
    assert snapshots.problems == [], "If the change is intended, run `make snapshots`."


def is_expected(error, reasons):
    """Return whether the browser reports a request that the test made fail."""
    return error.startswith("Failed to load resource") and any(reason in error for reason in reasons)
