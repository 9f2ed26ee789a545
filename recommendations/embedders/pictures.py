"""
Opens pictures that the platform sends. Raises an error for a file that is not a picture or is too large.

A small file may decode to a large picture: a PNG of 6 KB to 50 million pixels. So formats and sizes are read from the
headers of all pictures before the pixels of one are decoded.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Sequence
from typing import TypeVar

from PIL import Image

from recommendations.ports import ImageError

T = TypeVar("T")
UNREADABLE = "cannot be read. Send a complete JPEG, PNG or WebP file."
FORMATS = ("JPEG", "PNG", "WEBP")
"""Pillow knows 40 more formats, each with a parser that reads what a stranger sent."""
MAX_PIXELS = 25_000_000
"""Pixels of one picture. At this size, a decoded picture takes 75 MB until it is reduced."""
MAX_TOTAL_PIXELS = 50_000_000
"""Pixels of all pictures of a request, which bounds its time."""
MIN_SIDE = 512
"""Shorter side to which a large picture is reduced: twice the side that the models read."""
DECODING_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error)
"""What Pillow raises for files that are incomplete or contradict themselves."""


def open_pictures(images: Sequence[bytes]) -> list[Image.Image]:
    """Return the pictures in RGB, large ones reduced. Raises `ImageError` with what is wrong with each invalid one."""
    pictures = apply_to_each(open_header, images)
    if sum(picture.width * picture.height for picture in pictures) > MAX_TOTAL_PIXELS:
        raise ImageError(f"The pictures have more than {MAX_TOTAL_PIXELS:,} pixels in total. Send smaller or fewer.")
    return apply_to_each(decode_pixels, pictures)


def apply_to_each(function: Callable[[T], Image.Image], items: Sequence[T]) -> list[Image.Image]:
    """Return the result for each item. Raises `ImageError` with the problem of each item that has none."""
    results: list[Image.Image] = []
    problems: dict[int, str] = {}
    for number, item in enumerate(items):
        try:
            results.append(function(item))
        except PictureError as error:
            problems[number] = str(error)
    if problems:
        number, problem = next(iter(problems.items()))
        raise ImageError(f"Image {number} {problem}", {n: f"The picture {text}" for n, text in problems.items()})
    return results


class PictureError(ValueError):
    """What is wrong with one picture, as the end of a sentence that begins with it."""


def open_header(image: bytes) -> Image.Image:
    """Return the picture with its size and without its pixels. Raises `PictureError`."""
    try:
        picture = Image.open(io.BytesIO(image), formats=FORMATS)
    except (*DECODING_ERRORS, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PictureError(UNREADABLE) from error
    if picture.width * picture.height > MAX_PIXELS:
        size = f"{picture.width} x {picture.height} pixels"
        raise PictureError(f"has {size}; send at most {MAX_PIXELS:,} pixels.")
    # Telephones write JPEG files with a second picture, which is not decoded.
    if picture.format in ("PNG", "WEBP") and getattr(picture, "is_animated", False):
        raise PictureError("is an animation. Send one of its frames.")
    return picture


def decode_pixels(picture: Image.Image) -> Image.Image:
    """Return the picture in RGB, reduced if both sides are several times `MIN_SIDE`. Raises `PictureError`."""
    try:
        decoded = picture.convert("RGB")
    except DECODING_ERRORS as error:
        raise PictureError(UNREADABLE) from error
    return decoded.reduce(max(1, min(decoded.size) // MIN_SIDE))
