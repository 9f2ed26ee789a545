"""
Every kind of page in a real browser: it fits, nothing covers its controls, it needs no other host, it looks as in its
stored pictures (`tests/browser/snapshots.py`), and a keyboard is enough.
"""

import subprocess
import sys
from dataclasses import dataclass, field

import pytest
from django.core.management import call_command

from monitoring.clock import now
from recommendations.services import policies
from tests import factories
from tests.browser.snapshots import WIDTHS
from tests.browser.test_flags_admin import analyze_experiment
from tests.servers import ROOT

pytestmark = pytest.mark.django_db(transaction=True)


@dataclass(frozen=True)
class Page:
    """A page of one kind: its address, what it contains once it has loaded, and the parts whose content varies."""

    path: str
    content: str
    varying: dict[str, int] = field(default_factory=dict)


SCHEMES = ("light", "dark")
VARYING_OF_POSTS = {f".card .{name}": 24 for name in ("byline", "legend", "parts", "reasons", "tags")}
FACTS = {"#facts dd": 24, "#status": 24, "#tags": 200}
KINDS = {
    "explorer": Page("/explore/?member_id=ann", "#feed .card", VARYING_OF_POSTS | {"#badges": 24, "#status": 24}),
    "admin-index": Page("/admin/", "main"),
    "list": Page("/admin/recommendations/post/", "#result_list"),
    "form": Page("/admin/auth/user/add/", "main form"),
    "policy-editor": Page("/admin/recommendations/rankingpolicy/add/", ".policy-preview > *", {".policy-preview": 300}),
    "product": Page("/product/", "main"),
    "dashboard": Page("/dashboard/", "#panel-state", {".panel": 160, ".panel > :not(h2)": 0, "#age": 24}),
    "experiment": Page("/admin/flags/experiment/{experiment}/results/", "#report", {".report-plot": 200}),
    "on-device": Page("/explore/on-device/", "#posts .card", VARYING_OF_POSTS | FACTS),
    "graphql-console": Page("/explore/graphql/", "#tree section"),
    "api-reference": Page("/api/docs/", ".opblock"),
    "sign-in": Page("/account/login/", "main form"),
    "not-found": Page("/nothing-here", "main"),
}
FIND_COVERED = """() => {
    const controls = [...document.querySelectorAll(
        ["a", "button", "input", "select", "summary", "textarea"].map((name) => `main ${name}`).join())];
    const isShown = (node) => node.checkVisibility({ opacityProperty: true, visibilityProperty: true });
    const isCovered = (node) => {
        node.scrollIntoView({ block: "center", inline: "center", behavior: "instant" });
        const [box] = node.getClientRects();
        if (!box || box.width < 2 || box.height < 2) return false;
        const hit = document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
        return !(node.contains(hit) || hit?.closest("label")?.control === node);
    };
    return controls.filter(isShown).filter(isCovered).map((node) => node.outerHTML.slice(0, 200));
}"""
"""Returns the controls of a page that a click in their middle does not reach, wherever the page is scrolled to."""
SAMPLE_PAGE = """
# A page

It has a [link](#a-section), a list and a table.

- one
- two

## A section

```sh
make run
```

| name | value |
|---|---|
| one | two |

:::{note}
A note.
:::
"""


@pytest.fixture
def sample_site(tmp_path):
    """Build a documentation site with one page, as `make docs` builds it, and return the page."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "index.md").write_text(SAMPLE_PAGE)
    command = [sys.executable, "-m", "sphinx", "-q", "-c", ROOT / "docs", "-d", tmp_path / "doctrees"]
    subprocess.run([*command, source, tmp_path / "site"], check=True, timeout=300)
    return tmp_path / "site" / "index.html"


@pytest.fixture
def empty_database(transactional_db):
    """Empty the tables, as each test does at its end: migrations have written rows that the first test would see."""
    call_command("flush", verbosity=0, interactive=False)


def test_pages_fit_have_one_main_landmark_stay_on_the_host_and_look_as_stored(
    empty_database, browser, site, sample_site, client, snapshots
):
    policies.put_policy(variant="control", settings={}, note="", version=None)
    ids = {"experiment": analyze_experiment(now()).pk}
    user = factories.staff(name="operator")
    user.is_superuser = True
    user.save()
    client.force_login(user)
    context = browser.new_context(base_url=site)
    page = context.new_page()
    page.set_default_timeout(15_000)
    problems = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: problems.append(request.url) if request.url.startswith("http") and not
            request.url.startswith(site) else None)  # fmt: skip
    for name, kind in KINDS.items():
        if name in ("sign-in", "not-found"):
            context.clear_cookies()
        else:
            context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": site}])
        for scheme in SCHEMES:
            page.emulate_media(color_scheme=scheme)
            page.goto(kind.path.format(**ids))
            page.locator(kind.content).first.wait_for(state="attached")
            assert page.locator("main").count() == 1 or name == "api-reference", name
            for width in WIDTHS:
                page.set_viewport_size({"width": width, "height": 900})
                assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (name, scheme, width)
                assert page.evaluate(FIND_COVERED) == [], (name, scheme, width)
            snapshots.take(page, f"{name}-{scheme}", kind.varying)
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        page.goto(sample_site.as_uri())
        snapshots.take(page, f"documentation-{scheme}")
    context.close()
    assert problems == []


def test_a_covered_control_is_found(browser):
    page = browser.new_page()
    buttons = "".join(f"<button style='position: absolute; top: {top}px'>{top}</button>" for top in (0, 4, 900))
    page.set_content(f"<main style='height: 2000px'>{buttons}</main>")
    assert page.evaluate(FIND_COVERED) == ['<button style="position: absolute; top: 0px">0</button>']
    page.close()


def test_the_first_page_is_used_by_keyboard(browser, live_server, client, redis_url):
    user = factories.staff("Viewer")
    client.force_login(user)
    context = browser.new_context(base_url=live_server.url)
    context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": live_server.url}])
    page = context.new_page()
    page.goto("/admin/")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    page.locator(".advanced summary").focus()
    assert not page.get_by_role("link", name="Maintenance runs").last.is_visible()
    page.keyboard.press("Enter")
    page.locator(".advanced").get_by_role("link", name="Maintenance runs").wait_for()
    context.close()
