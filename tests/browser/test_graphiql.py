"""GraphiQL in a real browser, with the session of its reader."""

import hashlib
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings
from playwright.sync_api import expect

pytestmark = pytest.mark.django_db(transaction=True)
FILES = Path(settings.BASE_DIR) / "recommendations/static/graphiql"


@pytest.mark.parametrize(
    ("page", "color"),
    [({"color_scheme": "light"}, "rgb(255, 255, 255)"), ({"color_scheme": "dark"}, "rgb(33, 42, 59)")],
    indirect=["page"],
)
def test_a_query_of_a_feed_is_completed_sent_and_answered(page, color, site):
    hosts = set()
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    page.goto("/explore/graphql/")
    expect(page.locator(".graphiql-query-editor")).to_contain_text("discoveryFeed")
    assert page.locator(".graphiql-container").evaluate("e => getComputedStyle(e).backgroundColor") == color
    page.get_by_role("button", name="Execute query").click()
    expect(page.locator(".graphiql-response")).to_contain_text('"discoveryFeed"')
    expect(page.locator(".graphiql-response")).to_contain_text('"text"')
    page.get_by_role("button", name="Show Documentation Explorer").click()
    expect(page.locator(".graphiql-doc-explorer")).to_contain_text("Query")
    assert hosts == {urlsplit(site).netloc}, "no request leaves the host"


def test_the_frame_of_the_page_is_accessible(page):
    page.goto("/explore/graphql/")
    expect(page.locator(".graphiql-query-editor")).to_be_visible()
    violations = Axe().run(page, "body > header").response["violations"]
    assert [violation["id"] for violation in violations] == []


def test_the_files_are_those_of_the_packages():
    digests = dict(reversed(line.split("  ")) for line in (FILES / "SHA256SUMS").read_text().splitlines())
    files = [path for path in FILES.iterdir() if path.suffix in (".js", ".css")]
    assert digests == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
