"""Padding of vectors to the kernel's width: zeros up to a multiple of 16 floats."""

import numpy as np
from numpy.typing import NDArray

Float32Array = NDArray[np.float32]

LANES = 16


def padded_dimension(dimension: int) -> int:
    """Return the number of floats of a padded vector: the next multiple of 16."""
    return -(-dimension // LANES) * LANES


def pad_into(target: Float32Array, source: Float32Array) -> None:
    """Write *source* (n, d) into the first d columns of *target* (n, padded d), and zeros into the others."""
    dimension = source.shape[-1]
    target[..., :dimension] = source
    target[..., dimension:] = 0
