"""The comparison of pages with stored pictures: what it must notice, and what it must not."""

import numpy as np
import pytest
from PIL import Image

from tests.browser import snapshots
from tests.browser.snapshots import BLOCK_TOLERANCE, COLOR_TOLERANCE, Snapshots, compare, read_sheet, write_sheet

PAGE = """<!doctype html><html><head><style>
body { margin: 0; background: #f6f7f9; font: 16px/1.5 sans-serif; }
main { display: grid; grid-template-columns: 200px 1fr; gap: 32px; padding: 16px; }
section { background: white; border: 1px solid #ccc; padding: 16px; }
button { background: #2456c6; color: white; border: 0; padding: 8px 24px; }
</style></head><body><main><nav><a>Feeds</a><br><a>Members</a></nav>
<section><h1>Posts</h1><p id="facts">Post 4711 of 12 May, 5 hours ago</p><button>Like</button></section>
</main></body></html>"""
FAULTS = {
    "a hidden button": "document.querySelector('button').style.visibility = 'hidden'",
    "a missing paragraph": "document.querySelector('p').remove()",
    "a missing stylesheet": "document.querySelector('style').remove()",
    "a shifted column": "document.querySelector('main').style.gridTemplateColumns = '240px 1fr'",
    "a lower row": "document.querySelector('main').style.marginTop = '32px'",
    "another color": "document.querySelector('button').style.background = '#c62424'",
    "an unreadable text": "document.querySelector('h1').style.color = '#ddd'",
    "a new part": "document.querySelector('section').append(' A message that nobody expects')",
    "a longer page": "document.body.style.height = '1000px'",
}
HARMLESS = {
    "nothing": "",
    "other numbers": "document.querySelector('#facts').textContent = 'Post 9 of 3 May, 12 hours ago'",
    "another font": "document.body.style.fontFamily = 'monospace'",
    "another script": "document.querySelector('h1').textContent = '投稿一覧表'",
    "no anti-aliasing": "document.body.style.webkitFontSmoothing = 'none'",
    "a part that moves by a few pixels": "document.querySelector('main').style.paddingTop = '20px'",
    "a focused control": "document.querySelector('button').focus()",
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Keep the pictures in a folder of the test."""
    for name in ("FOLDER", "NEW_PICTURES", "ROOT"):
        monkeypatch.setattr(snapshots, name, tmp_path)
    return tmp_path


@pytest.fixture
def shoot(browser, folder):
    """Return a function that takes a picture of PAGE after a script has changed it, and returns the problems."""

    def shoot(script, *, writes=False):
        page = browser.new_page(viewport={"width": 640, "height": 480})
        page.set_content(PAGE)
        page.evaluate(script)
        group = Snapshots("pages", writes=writes)
        group.take(page, "example")
        page.close()
        if writes:
            group.write()
        return group.problems

    shoot("", writes=True)
    return shoot


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_noticed(shoot, folder, name):
    [problem] = shoot(FAULTS[name])
    assert problem.startswith("example light 640: ")
    assert problem.endswith(" pixels. See pages-example-light-640.png.")
    with Image.open(folder / "pages-example-light-640.png") as image:
        assert image.width == 320
        assert (255, 0, 0) in {color for _, color in image.getcolors(1 << 16)}, "the difference is framed"


@pytest.mark.parametrize("name", HARMLESS)
def test_what_differs_between_machines_and_runs_is_no_fault(shoot, name):
    assert shoot(HARMLESS[name]) == []


def test_a_fault_is_located(shoot):
    [problem] = shoot(FAULTS["a hidden button"])
    assert "from x 256 to 352 and from y 160 to 192 pixels" in problem


def test_a_page_without_a_stored_picture_fails(shoot, browser):
    page = browser.new_page(color_scheme="dark", viewport={"width": 320, "height": 480})
    group = Snapshots("pages", writes=False)
    group.take(page, "example")
    assert group.problems == ["example dark 320: there is no stored picture. See pages-example-dark-320.png."]
    with pytest.raises(AssertionError, match="Two pictures"):
        group.take(page, "example")
    page.close()


def test_a_picture_that_is_equal_stays_as_it_is(shoot, folder):
    before = (folder / "pages.png").read_bytes()
    shoot(HARMLESS["a part that moves by a few pixels"], writes=True)
    assert (folder / "pages.png").read_bytes() == before
    shoot(FAULTS["a hidden button"], writes=True)
    assert shoot(FAULTS["a hidden button"]) == []
    assert len(shoot("")) == 1


def picture(rows=12, columns=16, blocks=(), color=90):
    colors = np.full((rows, columns, 3), 255, np.uint8)
    for block in blocks:
        colors[block] = color
    return colors


def test_blocks_and_colors_differ_within_the_tolerance():
    apart = [(1, 2 + 3 * i) for i in range(BLOCK_TOLERANCE + 1)]
    assert compare(picture(), picture(blocks=apart[1:])).is_tolerated()
    for one, other in ((picture(), picture(blocks=apart)), (picture(blocks=apart), picture())):
        assert not compare(one, other).is_tolerated(), "what is new is found, and what is missing"
    assert compare(picture(), picture(blocks=apart, color=255 - COLOR_TOLERANCE)).is_tolerated()
    assert str(compare(picture(), picture())) == "no block differs"
    assert str(compare(picture(), picture(blocks=[(1, 2), (3, 5)]))) == (
        "2 blocks differ by up to 165 of 255, from x 32 to 96 and from y 16 to 64 pixels"
    )


def test_a_page_may_be_longer_by_one_block():
    assert compare(picture(rows=12), picture(rows=13)).is_tolerated()
    assert len(compare(picture(rows=14), picture(rows=12)).blocks) == 2 * 16


def test_a_file_contains_its_pictures(tmp_path):
    rng = np.random.default_rng(1)
    shapes = {"a": (30, 80), "b": (10, 640), "c": (50, 24), "d": (5, 616), "e": (5, 1)}
    pictures = {name: rng.integers(0, 255, (*shape, 3), np.uint8) for name, shape in shapes.items()}
    write_sheet(tmp_path / "new" / "pages.png", pictures)
    read = read_sheet(tmp_path / "new" / "pages.png")
    assert read.keys() == pictures.keys()
    assert all(np.array_equal(read[name], pictures[name]) for name in pictures)
    assert read_sheet(tmp_path / "missing.png") == {}
