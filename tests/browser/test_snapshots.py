"""The comparison of pages with stored pictures: what it must notice, and what it must not."""

import shutil

import numpy as np
import pytest
from PIL import Image

from tests.browser import snapshots
from tests.browser.snapshots import COLOR_TOLERANCE, TOLERATED_SHARE, Snapshots, compare

PAGE = """<!doctype html><html><head><style>
:root { color-scheme: light dark; --page: #f6f7f9; --card: white; }
@media (prefers-color-scheme: dark) { :root { --page: #14171a; --card: #22262a; } }
body { margin: 0; background: var(--page); font: 16px/1.5 sans-serif; }
main { display: grid; grid-template-columns: 120px 1fr; gap: 32px; padding: 16px; }
section { background: var(--card); border: 1px solid #888; padding: 16px; }
h1 { font-size: 24px; }
button { background: #2456c6; color: white; border: 0; padding: 32px 64px; font-size: 24px; }
table { width: 100%; } svg { width: 200px; height: 80px; }
</style></head><body><main><nav><p>Feeds</p><p>Members</p><p>Posts</p></nav>
<section><h1>Posts of members</h1><p id="facts">Post 4711 of 12 May, 5 hours ago</p>
<p>A sentence that is long enough to be a part of the page that everybody would miss.</p>
<table><tbody><tr><td>bread</td><td>war</td></tr></tbody></table>
<meter value="0.5"></meter><input value="0.25"><svg><rect id="bar" width="50" height="40"/></svg><br>
<button>Like</button></section></main></body></html>"""
FAULTS = {
    "a hidden button": "document.querySelector('button').style.visibility = 'hidden'",
    "a missing paragraph": "document.querySelectorAll('section p')[1].remove()",
    "a missing stylesheet": "document.querySelector('style').remove()",
    "an unstyled block": "document.querySelector('section').style.all = 'initial'",
    "a shifted column": "document.querySelector('main').style.gridTemplateColumns = '160px 1fr'",
    "a lower row": "document.querySelector('main').style.marginTop = '40px'",
    "another color": "document.querySelector('button').style.background = '#c62424'",
    "an unreadable text": "document.querySelector('section').style.color = 'transparent'",
    "a new part": "document.querySelector('section').prepend(' A message that nobody expects on this page')",
}
HARMLESS = {
    "other data": """
        document.querySelector('#facts').textContent = 'Post 9 of 3 September, 12 hours ago';
        document.querySelector('td').textContent = 'space and yeast';
        document.querySelector('meter').value = 0.9;
        document.querySelector('input').value = '123.456';
        document.querySelector('#bar').setAttribute('width', '190');""",
    "other fonts": """
        document.body.style.fontFamily = 'monospace';
        document.body.style.webkitFontSmoothing = 'none';
        document.querySelector('h1').textContent = '投稿一覧表です投稿一覧表です。。'""",
    "a part that moves by a few pixels": "document.querySelector('main').style.paddingTop = '20px'",
    "another state": """
        document.querySelector('button').focus();
        document.body.style.height = '5000px';
        scrollTo(0, 900)""",
}
VARYING = {"svg": 80}
SCHEMES = ("light", "dark")


@pytest.fixture(scope="module")
def open_page(browser):
    """Return a function that opens PAGE after a script has changed it."""
    page = browser.new_page()

    def open_page(script, scheme="dark"):
        page.emulate_media(color_scheme=scheme)
        page.goto("about:blank")
        page.set_content(PAGE)
        page.evaluate(script)
        return page

    yield open_page
    page.close()


@pytest.fixture(scope="module")
def stored(open_page, tmp_path_factory):
    """Store the pictures of PAGE, and return their folder."""
    folder = tmp_path_factory.mktemp("stored")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshots, "FOLDER", folder)
        group = Snapshots(writes=True)
        for scheme in SCHEMES:
            group.take(open_page("", scheme), f"page-{scheme}", VARYING)
    return folder


@pytest.fixture
def folder(stored, tmp_path, monkeypatch):
    """Keep the pictures in a folder of the test, and give a page that differs no time to change."""
    folder = tmp_path / "pictures"
    shutil.copytree(stored, folder)
    for name in ("FOLDER", "NEW_PICTURES", "ROOT"):
        monkeypatch.setattr(snapshots, name, folder)
    monkeypatch.setattr(snapshots, "MAX_WAIT_SECONDS", 0)
    return folder


@pytest.fixture
def shoot(open_page, folder):
    """Return a function that compares PAGE after a script has changed it, and returns the problems."""

    def shoot(script, *schemes, writes=False):
        group = Snapshots(writes=writes)
        for scheme in schemes or ["dark"]:
            group.take(open_page(script, scheme), f"page-{scheme}", VARYING)
        return group.problems

    return shoot


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_noticed(shoot, folder, name):
    problems = shoot(FAULTS[name])
    assert problems[-1].startswith("page-dark-1280: ")
    assert problems[-1].endswith(" pixels. See page-dark-1280.png.")


def test_wrong_colors_of_the_dark_theme_are_noticed_on_all_its_screens(shoot):
    problems = shoot("document.styleSheets[0].deleteRule(1)", *SCHEMES)
    assert [problem.partition(":")[0] for problem in problems] == ["page-dark-390", "page-dark-1280"]


def test_what_varies_between_runs_and_machines_is_no_fault(shoot):
    assert {name: problems for name, script in HARMLESS.items() if (problems := shoot(script))} == {}


def test_a_page_that_loads_slowly_is_waited_for(shoot, monkeypatch):
    monkeypatch.setattr(snapshots, "MAX_WAIT_SECONDS", 15)
    slow = "document.body.hidden = true; setTimeout(() => { document.body.hidden = false; }, 300)"
    assert shoot(slow) == []
    shoot(slow, writes=True)
    assert shoot("") == []


def test_a_fault_is_located_and_framed(shoot, folder, monkeypatch):
    monkeypatch.setattr(snapshots, "NEW_PICTURES", folder / "new")
    problem = shoot(FAULTS["a hidden button"])[0]
    assert "from x 176 to 368" in problem and "See new/page-dark-390.png." in problem
    with Image.open(folder / "new" / "page-dark-390.png") as image:
        assert image.size == (195, 800)
        assert (255, 0, 0) in {color for _, color in image.getcolors(1 << 16)}


def test_a_picture_is_stored_if_it_differs_and_deleted_if_no_page_has_it(shoot, open_page, folder):
    before = (folder / "page-dark-390.png").read_bytes()
    shoot(HARMLESS["a part that moves by a few pixels"], writes=True)
    assert (folder / "page-dark-390.png").read_bytes() == before
    shoot(FAULTS["a hidden button"], writes=True)
    assert shoot(FAULTS["a hidden button"]) == [] != shoot("")
    group = Snapshots(writes=False)
    group.check(open_page(""), "other", {})
    group.finish()
    assert group.problems[0] == "other: there is no stored picture. See other.png."
    assert "page-light-390: no page has this picture." in group.problems
    with pytest.raises(AssertionError, match="Two pictures"):
        group.check(open_page(""), "other", {})
    Snapshots(writes=True).finish()
    assert list(folder.glob("*.png")) == []


def test_the_stored_pictures_are_small():
    assert sum(path.stat().st_size for path in snapshots.FOLDER.glob("*.png")) < 400_000


def picture(blocks=(), color=90):
    colors = np.full((40, 60, 3), 255, np.uint8)
    for block in blocks:
        colors[block] = color
    return colors


def test_blocks_and_colors_differ_within_the_tolerance():
    apart = [(1 + 3 * (i // 15), 2 + 3 * (i % 15)) for i in range(int(TOLERATED_SHARE * 40 * 60) + 1)]
    assert compare(picture(), picture(apart[1:])).is_tolerated()
    for one, other in ((picture(), picture(apart)), (picture(apart), picture())):
        assert not compare(one, other).is_tolerated(), "what is new is found, and what is missing"
    assert compare(picture(), picture(apart, 255 - COLOR_TOLERANCE)).is_tolerated()
    assert str(compare(picture(), picture())) == "no block differs"
    assert str(compare(picture(), picture([(1, 2), (3, 5)]))) == (
        "2 blocks differ by up to 165 of 255, from x 32 to 96 and from y 16 to 64 pixels"
    )
