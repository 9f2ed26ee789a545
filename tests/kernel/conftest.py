"""Vectors with structure, and the three builds."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from wasm import Space
from wasm.module import FILES

Float32Array = NDArray[np.float32]


def clustered(count: int, dimension: int, seed: int, clusters: int = 50) -> Float32Array:
    """Return vectors (count, dimension) around random centres, not at unit length."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(clusters, dimension))
    vectors = centres[rng.integers(clusters, size=count)] + 0.5 * rng.normal(size=(count, dimension))
    return vectors.astype(np.float32)


@pytest.fixture(params=sorted(FILES))
def build(request: pytest.FixtureRequest) -> str:
    """Name each build in turn: one law, every engine."""
    return str(request.param)


@pytest.fixture
def filled() -> Callable[..., Space]:
    """Return a maker of spaces whose ids run against their rows."""

    def fill(vectors: Float32Array, **options: object) -> Space:
        space = Space(vectors.shape[1], **options)  # type: ignore[arg-type]
        rows = np.arange(len(vectors), dtype=np.int32)
        space.put(rows, ids_of(len(vectors)), vectors)
        return space

    return fill


def ids_of(count: int) -> NDArray[np.int64]:
    """Return post ids (count,) in falling order, beyond 32 bits."""
    return np.arange(count, 0, -1, dtype=np.int64) + (1 << 40)
