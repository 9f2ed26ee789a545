"""A small SVG writer, and the shapes that several pictures of the demo have in common."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random

WIDTH, HEIGHT = 480, 320
Point = tuple[float, float]


@dataclass(frozen=True)
class Light:
    """The colors of a picture."""

    sky: tuple[str, str]
    """From the top to the horizon."""
    hills: tuple[str, str, str]
    """From far to near."""
    sun: str
    wall: str
    table: str


LIGHTS = {
    "morning": Light(("#f3c9a5", "#d4e6ea"), ("#a9bfb2", "#7a9d8c", "#4a7263"), "#fff1c9", "#f3e6d6", "#c9a27e"),
    "grey": Light(("#b9c4cb", "#e3e6e6"), ("#a3b0b1", "#7b8b90", "#55666c"), "#f4f4f0", "#dde1df", "#a3988c"),
    "midday": Light(("#6fb1de", "#d6ecf5"), ("#9cc99a", "#67a873", "#3f8057"), "#fff6c2", "#e6f0ee", "#d9b689"),
    "evening": Light(("#ef8a62", "#f9d6a4"), ("#b3738a", "#815274", "#503a5e"), "#ffe6b0", "#f7d9c4", "#9c5f4a"),
    "lamp": Light(("#2f3f6e", "#d99a6c"), ("#6a5f80", "#4c4868", "#2f3148"), "#ffdca0", "#eec68a", "#7a4b2e"),
}


WARM = ("#b5483a", "#d9822b", "#e3b23c", "#8c5a3c", "#c76b4f")
COOL = ("#2f6f8f", "#3f8c86", "#5a6fa8", "#7a5c99", "#4f7f52")


class Canvas:
    """Collects the shapes of a picture, `WIDTH` by `HEIGHT` pixels. The origin is at the top left."""

    def __init__(self, rng: Random, light: Light) -> None:
        self.rng = rng
        self.light = light
        self._shapes: list[str] = []

    def add(self, name: str, **attributes: object) -> None:
        """Add an SVG element. An underscore in the name of an attribute is a hyphen; numbers are rounded."""
        pairs = (f'{key.replace("_", "-")}="{format_value(value)}"' for key, value in attributes.items())
        self._shapes.append(f"<{name} {' '.join(pairs)}/>")

    def rect(self, x: float, y: float, width: float, height: float, fill: str, **more: object) -> None:
        self.add("rect", x=x, y=y, width=width, height=height, fill=fill, **more)

    def circle(self, x: float, y: float, radius: float, fill: str, **more: object) -> None:
        self.add("circle", cx=x, cy=y, r=radius, fill=fill, **more)

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: str, **more: object) -> None:
        self.add("ellipse", cx=x, cy=y, rx=rx, ry=ry, fill=fill, **more)

    def polygon(self, points: Sequence[Point], fill: str, **more: object) -> None:
        self.add("polygon", points=" ".join(f"{x:.0f},{y:.0f}" for x, y in points), fill=fill, **more)

    def path(self, d: str, fill: object = "none", **more: object) -> None:
        self.add("path", d=d, fill=fill, **more)

    def line(self, d: str, color: str, width: float, **more: object) -> None:
        """Add a path that is only stroked."""
        self.path(d, stroke=color, stroke_width=width, stroke_linecap="round", **more)

    def between(self, low: float, high: float) -> int:
        """Return a random whole number from *low* to *high*."""
        return round(self.rng.uniform(low, high))

    def svg(self) -> str:
        """Return the picture."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}">'
        )
        return f"{head}{''.join(self._shapes)}</svg>\n"


def format_value(value: object) -> str:
    """Return an attribute's value; a number with at most one decimal."""
    return f"{round(value, 1):g}" if isinstance(value, float) else str(value)


def draw_sky(canvas: Canvas, top: str = "", bottom: str = "") -> None:
    """Fill the picture with bands from *top* to *bottom*: without them, the colors of the light."""
    first, last = top or canvas.light.sky[0], bottom or canvas.light.sky[1]
    bands = 8
    for band in range(bands):
        canvas.rect(0, band * 32, WIDTH, HEIGHT - band * 32, mix(first, last, band / (bands - 1)))


def mix(first: str, second: str, share: float) -> str:
    """Return the color with *share*, from 0 to 1, of *second* and the rest of *first*."""
    pairs = zip(bytes.fromhex(first[1:]), bytes.fromhex(second[1:]), strict=True)
    return "#" + bytes(round(a + (b - a) * share) for a, b in pairs).hex()


def draw_sun(canvas: Canvas, low: float = 60, high: float = 140) -> None:
    x, y = canvas.between(60, 420), canvas.between(low, high)
    canvas.circle(x, y, 44, canvas.light.sun, opacity=0.35)
    canvas.circle(x, y, 26, canvas.light.sun)


def draw_ridge(canvas: Canvas, base: float, height: float, fill: str, *, is_sharp: bool = False) -> None:
    """Draw a range of hills around the level *base*, or of sharp mountains, down to the lower edge."""
    steps = 6 if is_sharp else 4
    points = [(step * WIDTH / steps, base - canvas.between(0, height)) for step in range(steps + 1)]
    if is_sharp:
        canvas.polygon([(0, HEIGHT), *points, (WIDTH, HEIGHT)], fill)
        return
    d = f"M0 {HEIGHT}V{points[0][1]:.0f}"
    for (x0, y0), (x1, y1) in pairwise(points):
        middle = (x0 + x1) / 2
        d += f"C{middle:.0f} {y0:.0f} {middle:.0f} {y1:.0f} {x1:.0f} {y1:.0f}"
    canvas.path(f"{d}V{HEIGHT}Z", fill)


def draw_landscape(canvas: Canvas) -> None:
    """Draw the sky, the sun and two ranges of hills."""
    draw_sky(canvas)
    draw_sun(canvas)
    draw_ridge(canvas, 190, 60, canvas.light.hills[0])
    draw_ridge(canvas, 230, 45, canvas.light.hills[1])


def draw_room(canvas: Canvas) -> None:
    """Draw a wall with a patch of light, and a table from y = 230 on."""
    canvas.rect(0, 0, WIDTH, HEIGHT, canvas.light.wall)
    x = canvas.between(-40, 300)
    patch = [(x, 0), (x + 150, 0), (x + 230, 230), (x + 80, 230)]
    canvas.polygon(patch, canvas.light.sun, opacity=0.45)
    canvas.rect(0, 230, WIDTH, 90, canvas.light.table)
    canvas.rect(0, 230, WIDTH, 5, "#000", opacity=0.12)


def draw_sea(canvas: Canvas, level: float, color: str) -> None:
    """Draw water from *level* to the lower edge, with short waves."""
    canvas.rect(0, level, WIDTH, HEIGHT - level, color)
    for _ in range(14):
        x, y = canvas.between(0, 440), canvas.between(level + 8, 312)
        canvas.line(f"M{x} {y}q10 -6 20 0t20 0", "#fff", 2, opacity=0.35)


def draw_tree(canvas: Canvas, x: float, base: float, height: float, color: str) -> None:
    """Draw a conifer."""
    canvas.rect(x - 4, base - height * 0.2, 8, height * 0.2, "#6b4f3a")
    for part in range(3):
        top, width = base - height * (1 - part * 0.22), height * (0.16 + part * 0.08)
        canvas.polygon([(x, top), (x - width, top + height * 0.4), (x + width, top + height * 0.4)], color)


def draw_stars(canvas: Canvas, count: int) -> None:
    for _ in range(count):
        radius = canvas.rng.choice((0.8, 1.2, 1.8, 2.4))
        canvas.circle(canvas.between(0, WIDTH), canvas.between(0, 250), radius, "#fdf6e3")


def ring_points(x: float, y: float, radii: Sequence[float], turn: float = -math.pi / 2) -> list[Point]:
    """Return a point for each of *radii* around (x, y), at equal angles from *turn* on."""
    step = 2 * math.pi / len(radii)
    return [(x + r * math.cos(turn + n * step), y + r * math.sin(turn + n * step)) for n, r in enumerate(radii)]
