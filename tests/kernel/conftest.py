"""Clustered vectors, and a fixture that runs a test on each of the three builds."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from wasm import Space
from wasm.module import BUILD_FILES
from wasm.padding import padded_dimension
from wasm.shard import SEGMENT_ROWS

Float32Array = NDArray[np.float32]


def clustered_vectors(count: int, dimension: int, seed: int, clusters: int = 50) -> Float32Array:
    """Return vectors (count, dimension) around random centers, not at unit length."""
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(clusters, dimension))
    vectors = centers[rng.integers(clusters, size=count)] + 0.5 * rng.normal(size=(count, dimension))
    return vectors.astype(np.float32)


@pytest.fixture(params=sorted(BUILD_FILES))
def build(request: pytest.FixtureRequest) -> str:
    """Run the test on every build."""
    return str(request.param)


@pytest.fixture
def make_space() -> Callable[..., Space]:
    """Return a function that creates a space with *vectors*, whose ids fall as its rows rise."""

    def fill(vectors: Float32Array, **options: object) -> Space:
        space = Space(vectors.shape[1], **options)  # type: ignore[arg-type]
        rows = np.arange(len(vectors), dtype=np.int32)
        space.put(rows, descending_ids(len(vectors)), vectors)
        return space

    return fill


def descending_ids(count: int) -> NDArray[np.int64]:
    """Return post ids (count,) in falling order, above 32 bits."""
    return np.arange(count, 0, -1, dtype=np.int64) + (1 << 40)


SCALE = np.dtype([("factor", "<f4"), ("error", "<f4"), ("sum", "<i4")])
"""`struct scale` of `wasm/src/layout.h`."""


def quantized_forms(space: Space) -> tuple[NDArray[np.int8], Float32Array, Float32Array, NDArray[np.int32]]:
    """
    Return the int8 values (n, d), scales, error bounds and sums (n,) of the rows of a space with one segment.

    No call returns these, so they are read from the addresses that `open_space` of `wasm/src/space.c` assigns.
    """
    kernel, width = space._shards[0].kernel, padded_dimension(space.dimension)
    code_bits = max(256, 1 << (width - 1).bit_length())
    quantized = kernel.call("scratch_base", 0) + SEGMENT_ROWS * 4 * width
    scales = quantized + SEGMENT_ROWS * (width + code_bits // 8 + 8)
    memory = kernel.memory._bytes
    values = np.ndarray((len(space), width), np.int8, memory, quantized)[:, : space.dimension].copy()
    scale = np.ndarray(len(space), SCALE, memory, scales).copy()
    return values, scale["factor"].copy(), scale["error"].copy(), scale["sum"].copy()
