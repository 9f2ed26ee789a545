"""A real browser on a real server with a real worker, and a small platform on it."""

import os
import shutil
from datetime import timedelta

import pytest
from django.conf import settings
from playwright.sync_api import sync_playwright

from monitoring.clock import now
from recommendations.models import Member, Post, PrivacySettings
from recommendations.services import wiring
from recommendations.services.vectors.embedding import embed_posts
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
        skip_or_fail("There is no chromium: install it, or name it in CHROMIUM.")
    # Playwright runs an event loop in this thread; the fixtures that touch the database are not asynchronous.
    before = os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()
    os.environ.pop("DJANGO_ALLOW_ASYNC_UNSAFE")
    if before:
        os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = before


@pytest.fixture
def site(live_server, worker, monkeypatch):
    """Return the address of a server with a small platform on it."""
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update={"api_open": True}))
    wiring.reset_parts()
    then = now() - timedelta(hours=5)
    for name in ("ann", "bob", "newcomer"):
        row = Member.objects.create(external_id=name, created_at=then, changed_at=then)
        PrivacySettings.objects.create(member=row, changed_at=then)
    authors = [Member(external_id=f"author{n}", created_at=then, changed_at=then) for n in range(10)]
    for n, author in enumerate(Member.objects.bulk_create(authors)):
        PrivacySettings.objects.create(member=author, changed_at=then)
        for topic, words in TOPICS.items():
            text = f"{topic} {words} <img src=x onerror=alert(1)> مرحبا 🍞 {n}"
            Post.objects.create(
                external_id=f"{topic}/{n}", author=author, text=text, tags=[topic], created_at=then, changed_at=then
            )
    embed_posts(embedder=wiring.embedder(), now=now())
    yield live_server.url
    wiring.reset_parts()


@pytest.fixture
def page(browser, site, request):
    """Return a page that fails the test if its console has an error."""
    options = getattr(request, "param", {})
    context = browser.new_context(base_url=site, **options)
    page = context.new_page()
    problems = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.set_default_timeout(TIMEOUT_MS)
    page.problem_responses = problems
    yield page
    context.close()
    assert problems == []
