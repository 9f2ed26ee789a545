"""Vectors as the kernel takes them: padded with zeros to a multiple of 16 floats."""

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]

LANES = 16


def padded_dimension(dimension: int) -> int:
    """Return the floats that a vector takes inside: the next multiple of 16."""
    return -(-dimension // LANES) * LANES


def pad_into(target: Float32Array, source: Float32Array) -> None:
    """Write *source* (n, d) to the left of *target* (n, padded(d)) and zeros to its right."""
    dimension = source.shape[-1]
    target[..., :dimension] = source
    target[..., dimension:] = 0
