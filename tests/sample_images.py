"""Drawings for tests of image embedding models. The repository contains no photographs."""

import io
import math

from PIL import Image, ImageDraw

SIDE = 320


def analog_clock() -> Image.Image:
    """Return a drawing of a white dial with hours and two hands."""
    picture = Image.new("RGB", (SIDE, SIDE), (150, 120, 90))
    draw = ImageDraw.Draw(picture)
    draw.ellipse((30, 30, 290, 290), fill=(245, 245, 240), outline=(20, 20, 20), width=12)
    for hour in range(12):
        x, y = 160 + 108 * math.sin(hour * math.pi / 6), 160 - 108 * math.cos(hour * math.pi / 6)
        draw.text((x - 8, y - 12), str(hour or 12), fill=(10, 10, 10), font_size=24)
    draw.line((160, 160, 160, 75), fill=(0, 0, 0), width=6)
    draw.line((160, 160, 215, 195), fill=(0, 0, 0), width=9)
    return picture


def traffic_light() -> Image.Image:
    """Return a drawing of a red, an amber and a green lamp on a dark post in front of the sky."""
    picture = Image.new("RGB", (SIDE, SIDE), (150, 190, 230))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((150, 250, 170, 320), fill=(60, 60, 60))
    draw.rounded_rectangle((105, 20, 215, 260), 18, fill=(25, 25, 25))
    for y, color in ((60, (240, 40, 30)), (140, (90, 70, 10)), (220, (10, 70, 30))):
        draw.ellipse((125, y - 35, 195, y + 35), fill=color, outline=(60, 60, 60), width=4)
    return picture


def crossword() -> Image.Image:
    """Return a drawing of a grid of white and black squares with letters."""
    picture = Image.new("RGB", (SIDE, SIDE), (255, 255, 255))
    draw = ImageDraw.Draw(picture)
    for row in range(10):
        for column in range(10):
            left, top = column * 32, row * 32
            is_black = (row * 7 + column * 3) % 5 == 0
            draw.rectangle((left, top, left + 32, top + 32), fill=(0, 0, 0) if is_black else None, outline=(0, 0, 0))
            if not is_black:
                draw.text((left + 10, top + 8), chr(65 + (row * 5 + column * 11) % 26), fill=(0, 0, 0), font_size=18)
    return picture


def solid_color(color: str) -> Image.Image:
    """Return a picture filled with *color*."""
    return Image.new("RGB", (300, 240), color)


def to_png(picture: Image.Image) -> bytes:
    """Return the picture as the bytes of a PNG file."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
