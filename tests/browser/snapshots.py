"""
Visual snapshots: small pictures of pages that are stored in the repository, and the comparison with them.

A picture has one colour for each block of 16 × 16 pixels. What varies from run to run is drawn alike, before a picture
is taken: each character is the same box (`box_font`), a text with a digit and a text of a table has eight of them, and
the test names the parts of its page whose content varies, which get a fixed height and no content. A block is equal if
its colour is in the range of the stored block and its eight neighbours, so fonts, anti-aliasing and parts that move by
some pixels do not matter. The comparison is made in both directions: a part that is missing is found as well as one
that is new.

`make snapshots` takes the pictures again.
"""

import base64
import io
import re
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep

import numpy as np
from PIL import Image, ImageDraw

from tests.browser.box_font import build_box_font
from tests.servers import ROOT

FOLDER = Path(__file__).parent / "snapshots"
NEW_PICTURES = ROOT / "var" / "snapshots"
WIDTHS = (390, 1280)
HEIGHT = 1600
"""Of the part of a page in its picture, from its top, in pixels."""
BLOCK_PIXELS = 16
IMAGE_REDUCTION = 2
COLOR_TOLERANCE = 40
"""Largest difference of a red, green or blue value (0 to 255) to the range of the neighbourhood."""
TOLERATED_SHARE = 0.005
"""Share of the blocks of a picture that may differ by more."""
MAX_WAIT_SECONDS = 15
"""How long a page may take to look as it does in the stored picture. A page that differs is given as long."""

DRAW_ALIKE = """async ([font, varying]) => {
    if (!document.documentElement.dataset.drawnAlike) {
        document.documentElement.dataset.drawnAlike = "yes";
        const bytes = Uint8Array.from(atob(font), (letter) => letter.charCodeAt(0));
        document.fonts.add(await new FontFace("Boxes", bytes.buffer, { weight: "1 1000" }).load());
        const sheet = new CSSStyleSheet();
        const fixed = Object.entries(varying).map(([selector, height]) =>
            `:is(${selector}) {
                box-sizing: border-box !important; overflow: hidden !important;
                height: ${height}px !important; min-height: 0 !important;
                color: transparent !important; ${height ? "" : "display: none !important;"} }
            :is(${selector}) * { visibility: hidden !important; }`);
        sheet.replaceSync(`
            *:not(.material-symbols-outlined), ::before, ::after, ::file-selector-button, ::placeholder {
                font-family: Boxes !important; font-synthesis: none !important; letter-spacing: normal !important; }
            *, ::before, ::after {
                animation: none !important; caret-color: transparent !important; transition: none !important; }
            input:not([type=button], [type=submit]), select, textarea, ::placeholder { color: transparent !important; }
            input[type=range], meter, progress { visibility: hidden !important; }
            ${fixed.join("")}`);
        document.adoptedStyleSheets.push(sheet);
    }
    document.activeElement?.blur();
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const { parentElement, data } = walker.currentNode;
        const stays = parentElement.closest("script, style, option, textarea, .material-symbols-outlined");
        const varies = /\\d/.test(data) || parentElement.closest("tbody, time");
        if (data.trim() && varies && !stays) walker.currentNode.data = "00000000";
    }
    scrollTo(0, 0);
}"""


@dataclass(frozen=True)
class Difference:
    """The difference of each block of a picture to the range of its neighbourhood, (rows, columns), 0 to 255."""

    excess: np.ndarray

    @property
    def blocks(self):
        """Return the row and the column of each block that differs by more than the tolerance, (n, 2)."""
        return np.argwhere(self.excess > COLOR_TOLERANCE)

    def is_tolerated(self):
        return len(self.blocks) <= TOLERATED_SHARE * self.excess.size

    def __str__(self):
        if not len(self.blocks):
            return "no block differs"
        (y, x), (bottom, right) = self.blocks.min(0) * BLOCK_PIXELS, (self.blocks.max(0) + 1) * BLOCK_PIXELS
        size = f"{len(self.blocks)} blocks differ by up to {self.excess.max()} of 255"
        return f"{size}, from x {x} to {right} and from y {y} to {bottom} pixels"


def compare(stored, new):
    """Return the difference of two pictures, (rows, columns, 3) each."""
    stored, new = stored.astype(int), new.astype(int)
    return Difference(np.maximum(exceed(stored, new), exceed(new, stored)))


def exceed(picture, other):
    """Return how far each block of *picture* is from the range of the 3 × 3 blocks around it in *other*."""
    padded = np.pad(other, ((1, 1), (1, 1), (0, 0)), mode="edge")
    around = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(0, 1))
    low, high = around.min((-2, -1)), around.max((-2, -1))
    return np.maximum(low - picture, picture - high).clip(0).max(-1)


def take_image(page, varying):
    """Return an image of the top of the page, in which *varying* parts have the given heights and no content."""
    page.evaluate(DRAW_ALIKE, [base64.b64encode(build_box_font()).decode(), varying])
    clip = {"x": 0, "y": 0, "width": page.viewport_size["width"], "height": HEIGHT, "scale": 1 / IMAGE_REDUCTION}
    # Six times as fast as `page.screenshot`, at half the size.
    devtools = page.context.new_cdp_session(page)
    image = devtools.send("Page.captureScreenshot", {"format": "png", "optimizeForSpeed": True, "clip": clip})
    devtools.detach()
    return Image.open(io.BytesIO(base64.b64decode(image["data"]))).convert("RGB")


def reduce_image(image):
    """Return the picture of an image: one colour for each block, (rows, columns, 3)."""
    return np.asarray(image.reduce(BLOCK_PIXELS // IMAGE_REDUCTION))


@dataclass
class Snapshots:
    """
    Compares pages with their stored pictures, and collects the differences.

    With *writes*, it stores the new pictures instead. A picture that is equal to the stored one stays as it is.
    """

    writes: bool
    problems: list[str] = field(default_factory=list)
    names: set[str] = field(default_factory=set)

    def take(self, page, name, varying=None):
        """
        Compare the page at each width with its pictures. Its texts are boxes afterwards.

        *varying* has the selectors of parts whose content varies, and the heights in pixels that they get.
        """
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": HEIGHT})
            self.check(page, f"{name}-{width}", varying or {})

    def check(self, page, name, varying):
        """Compare the page with the picture of this name, until it is equal or has had time to load."""
        assert name not in self.names, f"Two pictures have the name {name}."
        self.names.add(name)
        path, deadline = FOLDER / f"{name}.png", monotonic() + MAX_WAIT_SECONDS
        stored = np.asarray(Image.open(path).convert("RGB")) if path.exists() else None
        before = None
        while True:
            image = take_image(page, varying)
            new = reduce_image(image)
            difference = None if stored is None else compare(stored, new)
            if difference is not None and difference.is_tolerated():
                return
            is_settled = before is not None and np.array_equal(before, new)
            if monotonic() > deadline or (self.writes and is_settled):
                break
            before = new
            sleep(0.5)
        if self.writes:
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(new).save(path, optimize=True)
        else:
            reason = "there is no stored picture" if difference is None else difference
            self.problems.append(f"{name}: {reason}. See {save_new_picture(name, image, difference)}.")

    def finish(self):
        """Delete stored pictures that were not taken, or report them."""
        for path in sorted(FOLDER.glob("*.png")):
            if path.stem not in self.names:
                if self.writes:
                    path.unlink()
                else:
                    self.problems.append(f"{path.stem}: no page has this picture.")


def save_new_picture(name, image, difference):
    """Save the image of a page, in which the blocks that differ are framed, and return its path."""
    draw, side = ImageDraw.Draw(image), BLOCK_PIXELS // IMAGE_REDUCTION
    for row, column in () if difference is None else difference.blocks:
        x, y = int(column) * side, int(row) * side
        draw.rectangle((x, y, x + side - 1, y + side - 1), outline=(255, 0, 0))
    NEW_PICTURES.mkdir(parents=True, exist_ok=True)
    path = NEW_PICTURES / (re.sub(r"[^\w-]+", "-", name) + ".png")
    image.save(path)
    return path.relative_to(ROOT)
