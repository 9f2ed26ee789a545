"""Opens pictures that the platform sends. Raises an error for a file that is not a picture or is too large."""

import io

from PIL import Image, UnidentifiedImageError

from recommendations.ports import ImageError

MAX_PIXELS = 50_000_000
"""A larger picture is rejected before it is decoded. At this size, a decoded picture takes 150 MB."""


def open_picture(number: int, image: bytes) -> Image.Image:
    """Return the picture in RGB. Raises `ImageError` with *number*, its position among the given images."""
    try:
        picture = Image.open(io.BytesIO(image))
        if picture.width * picture.height > MAX_PIXELS:
            raise ImageError(f"Image {number} has {picture.width} x {picture.height} pixels; send at most 50 million.")
        return picture.convert("RGB")
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise ImageError(f"Image {number} cannot be read. Send a complete JPEG, PNG or WebP file.") from error
