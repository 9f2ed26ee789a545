"""
Visual snapshots: small pictures of pages that are stored in the repository, and the comparison with them.

A picture has one colour for each block of 16 × 16 pixels. All texts are drawn in `box_font`, so neither fonts nor
anti-aliasing matter, and an id or a number may change. A block is equal if its colour is in the range of the stored
block and its eight neighbours, so a part that moves by less than a block is equal, too. The comparison is made in both
directions: a part that is missing is found as well as one that is new.

The pictures of the pages that one module of tests visits are in one PNG file, `snapshots/<module>.png`.
`make snapshots` takes them again.
"""

import base64
import io
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from tests.browser.box_font import build_box_font
from tests.servers import ROOT

FOLDER = Path(__file__).parent / "snapshots"
NEW_PICTURES = ROOT / "var" / "snapshots"
BLOCK_PIXELS = 16
IMAGE_REDUCTION = 2
MAX_HEIGHT_PIXELS = 2400
COLOR_TOLERANCE = 40
"""Largest difference of a red, green or blue value (0 to 255) to the range of the neighbourhood."""
BLOCK_TOLERANCE = 3
"""Number of blocks of a picture that may differ by more."""
SHEET_WIDTH = 640

DRAW_BOXES = """async ([font, without]) => {
    const bytes = Uint8Array.from(atob(font), (letter) => letter.charCodeAt(0));
    document.fonts.add(await new FontFace("Boxes", bytes.buffer, { weight: "1 1000" }).load());
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(`
        *:not(.material-symbols-outlined), ::before, ::after, ::placeholder {
            font-family: Boxes !important; font-synthesis: none !important; letter-spacing: normal !important; }
        *, ::before, ::after {
            animation: none !important; caret-color: transparent !important; transition: none !important; }
        ${without || "no-part"} { display: none !important; }`);
    document.adoptedStyleSheets.push(sheet);
    document.activeElement?.blur();
    scrollTo(0, 0);
    const { scrollHeight } = document.documentElement;
    return { scheme: matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light",
        width: innerWidth, height: Math.max(innerHeight, scrollHeight) };
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
        return len(self.blocks) <= BLOCK_TOLERANCE

    def __str__(self):
        if not len(self.blocks):
            return "no block differs"
        (y, x), (bottom, right) = self.blocks.min(0) * BLOCK_PIXELS, (self.blocks.max(0) + 1) * BLOCK_PIXELS
        size = f"{len(self.blocks)} blocks differ by up to {self.excess.max()} of 255"
        return f"{size}, from x {x} to {right} and from y {y} to {bottom} pixels"


def compare(stored, new):
    """Return the difference of two pictures, (rows, columns, 3) each. Rows that only one of them has differ."""
    rows = max(len(stored), len(new))
    excess = np.full((rows, stored.shape[1]), 255)
    if abs(len(stored) - len(new)) == 1:
        stored, new = (np.pad(one, ((0, rows - len(one)), (0, 0), (0, 0)), mode="edge") for one in (stored, new))
    common = min(len(stored), len(new))
    stored, new = stored[:common].astype(int), new[:common].astype(int)
    excess[:common] = np.maximum(exceed(stored, new), exceed(new, stored))
    return Difference(excess)


def exceed(picture, other):
    """Return how far each block of *picture* is from the range of the 3 × 3 blocks around it in *other*."""
    padded = np.pad(other, ((1, 1), (1, 1), (0, 0)), mode="edge")
    around = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(0, 1))
    low, high = around.min((-2, -1)), around.max((-2, -1))
    return np.maximum(low - picture, picture - high).clip(0).max(-1)


def take_picture(page, without):
    """Return the name of the page's screen, and an image of the page from its top, without what a selector selects."""
    page.mouse.move(0, 0)
    screen = page.evaluate(DRAW_BOXES, [base64.b64encode(build_box_font()).decode(), without])
    clip = {"x": 0, "y": 0, "width": screen["width"], "height": min(screen["height"], MAX_HEIGHT_PIXELS)}
    # Six times as fast as `page.screenshot`, at half the size.
    devtools = page.context.new_cdp_session(page)
    options = {"format": "png", "optimizeForSpeed": True, "captureBeyondViewport": True}
    image = devtools.send("Page.captureScreenshot", options | {"clip": clip | {"scale": 1 / IMAGE_REDUCTION}})
    devtools.detach()
    name = f"{screen['scheme']} {screen['width']}"
    return name, Image.open(io.BytesIO(base64.b64decode(image["data"]))).convert("RGB")


def read_sheet(path):
    """Return the pictures of a file by name."""
    if not path.exists():
        return {}
    with Image.open(path) as image:
        sheet, boxes = np.asarray(image.convert("RGB")), json.loads(image.text["boxes"])
    return {name: sheet[y : y + height, x : x + width] for name, (x, y, width, height) in boxes.items()}


def write_sheet(path, pictures):
    """Write the pictures to one file, in rows from left to right."""
    boxes, x, y, row_height = {}, 0, 0, 0
    for name in sorted(pictures):
        height, width = pictures[name].shape[:2]
        if x + width > SHEET_WIDTH:
            x, y, row_height = 0, y + row_height, 0
        boxes[name] = (x, y, width, height)
        x, row_height = x + width, max(row_height, height)
    sheet = np.zeros((y + row_height, SHEET_WIDTH, 3), np.uint8)
    for name, (x, y, width, height) in boxes.items():
        sheet[y : y + height, x : x + width] = pictures[name]
    text = PngInfo()
    text.add_text("boxes", json.dumps(boxes))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).save(path, optimize=True, pnginfo=text)


@dataclass
class Snapshots:
    """
    Compares the pages that a module of tests visits with their stored pictures, and collects the differences.

    With *writes*, it stores the new pictures instead. A picture that is equal to the stored one stays as it is.
    """

    group: str
    writes: bool
    problems: list[str] = field(default_factory=list)
    taken: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self):
        self.stored = read_sheet(self.path)

    @property
    def path(self):
        return FOLDER / f"{self.group}.png"

    def take(self, page, name, *, without=""):
        """Take a picture of a page, without the parts that vary and that a selector selects, and compare it."""
        screen, image = take_picture(page, without)
        self.check(f"{name} {screen}", image)

    def check(self, name, image):
        """Compare an image of a page with the picture of this name."""
        assert name not in self.taken, f"Two pictures have the name {name}."
        new = np.asarray(image.reduce(BLOCK_PIXELS // IMAGE_REDUCTION))
        stored = self.stored.get(name)
        difference = None if stored is None else compare(stored, new)
        is_equal = difference is not None and difference.is_tolerated()
        self.taken[name] = stored if is_equal else new
        if not is_equal and not self.writes:
            path = save_new_picture(f"{self.group} {name}", image, difference)
            reason = "there is no stored picture" if difference is None else difference
            self.problems.append(f"{name}: {reason}. See {path}.")

    def write(self):
        """Write the pictures that were taken."""
        write_sheet(self.path, self.taken)


def save_new_picture(name, image, difference):
    """Save the image of a page, in which the blocks that differ are framed, and return its path."""
    draw, side = ImageDraw.Draw(image), BLOCK_PIXELS // IMAGE_REDUCTION
    for row, column in () if difference is None else difference.blocks:
        x, y = int(column) * side, int(row) * side
        draw.rectangle((x, y, x + side - 1, y + side - 1), outline=(255, 0, 0))
    NEW_PICTURES.mkdir(parents=True, exist_ok=True)
    path = NEW_PICTURES / (re.sub(r"\W+", "-", name).strip("-") + ".png")
    image.save(path)
    return path.relative_to(ROOT)
