"""
The pictures of the demo's posts, drawn as SVG. Each name and number gives a picture of its own, always the same.

A picture is drawn when it is requested (`recommendations/api/demo_pictures.py`), so that nothing has to be stored.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from random import Random
from types import ModuleType

from recommendations.services.content.demo import indoors, outdoors
from recommendations.services.content.demo.canvas import LIGHTS, Canvas

NIGHT_PICTURES = frozenset({"moon", "saturn"})
"""Pictures with a light of their own."""
MAX_NUMBER = 9_999


def find_drawings(module: ModuleType) -> dict[str, Callable[[Canvas], None]]:
    """Return the drawings that *module* defines, by the name of the picture."""
    return {
        name.removeprefix("draw_"): drawing
        for name, drawing in vars(module).items()
        if name.startswith("draw_") and drawing.__module__ == module.__name__
    }


DRAWINGS = find_drawings(outdoors) | find_drawings(indoors)


@lru_cache(maxsize=256)
def draw_picture(name: str, number: int) -> str:
    """Return picture *number* of the kind *name*, a key of `DRAWINGS`, as an SVG document."""
    canvas = Canvas(Random(f"{name} {number}"), LIGHTS[find_light(number)])
    DRAWINGS[name](canvas)
    return canvas.svg()


def find_light(number: int) -> str:
    """Return the name of the light in picture *number*."""
    return list(LIGHTS)[number % len(LIGHTS)]
