"""The documentation's site is built without a warning, needs no other host, and is served under its policy."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.test import Client

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build the site, and return the folder that the service serves."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-d", folder / "doctrees", ROOT / "docs"]
    subprocess.run([*command, folder / "docs"], check=True, timeout=300)
    return folder


def test_every_document_is_a_page(site):
    documents = {path.relative_to(ROOT / "docs").with_suffix("") for path in (ROOT / "docs").rglob("*.md")}
    pages = {path.relative_to(site / "docs").with_suffix("") for path in (site / "docs").rglob("*.html")}
    assert documents and documents <= pages


def test_no_page_has_an_inline_script_or_loads_from_another_host(site):
    for page in (site / "docs").rglob("*.html"):
        html = page.read_text()
        assert re.findall(r"<script(?![^>]*\bsrc=)[^>]*>", html) == [], page.name
        assert re.findall(r"<(?:script|img|link)[^>]*(?:src|href)=\"(?:https?:)?//[^>]*>", html) == [], page.name


def test_the_service_serves_the_site(site, settings):
    settings.WHITENOISE_ROOT = site
    settings.SECURE_SSL_REDIRECT = False
    client = Client()
    assert client.get("/docs").headers["Location"] == "docs/"
    response = client.get("/docs/")
    assert "ask for a feed" in response.getvalue().decode()
    assert "script-src 'self';" in response.headers["Content-Security-Policy"]
    assert b"Search.setIndex(" in client.get("/docs/searchindex.js").getvalue()
    assert client.get("/docs/nothing.html").status_code == 404
