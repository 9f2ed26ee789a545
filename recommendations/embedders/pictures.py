"""Opens pictures that the platform sends: what is none, or too large, is refused by its number among those given."""

import io

from PIL import Image, UnidentifiedImageError

from recommendations.ports import ImageError

MAX_PIXELS = 50_000_000
"""A picture of more is refused before it is unpacked: it would take 150 MB."""


def open_picture(number: int, image: bytes) -> Image.Image:
    """Return the picture in RGB, or raise `ImageError` with its number among those given."""
    try:
        picture = Image.open(io.BytesIO(image))
        if picture.width * picture.height > MAX_PIXELS:
            raise ImageError(f"Image {number} has {picture.width} x {picture.height} pixels; send at most 50 million.")
        return picture.convert("RGB")
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise ImageError(f"Image {number} cannot be read: give a whole JPEG, PNG or WebP file.") from error
