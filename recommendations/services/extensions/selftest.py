"""Self-test of the kernel: a fixed query, compared with stored results."""

from __future__ import annotations

import numpy as np

from recommendations.contracts import Float32Array, Int32Array
from recommendations.engines.wasm_simd import WasmEngine
from recommendations.ports import EngineError

ROWS, DIMENSION, K = 64, 16, 4
QUERY_ROWS = (3, 40)
EXPECTED_ROWS = [[3, 15, 53, 59], [9, 35, 31, 3]]
EXPECTED_COSINES = [[1.0, 0.430646, 0.414389, 0.344452], [1.0, 0.571923, 0.473252, 0.258090]]
"""Computed by the NumPy engine, which is the reference."""
TOLERANCE = 1e-5


def fixed_vectors() -> Float32Array:
    """Return the fixed vectors (64, 16): integers from -15 to 15, the same on every machine."""
    row, column = np.arange(ROWS)[:, None], np.arange(DIMENSION)[None, :]
    return ((row * row * 7 + row * column * 13 + column * column * 5) % 31 - 15).astype(np.float32)


def check_kernel() -> None:
    """Raise `EngineError` unless a new kernel finds the stored rows and cosines among the odd rows."""
    engine = WasmEngine(DIMENSION, memory_limit_bytes=2**26)
    rows: Int32Array = np.arange(ROWS, dtype=np.int32)
    engine.put(rows, np.arange(1, ROWS + 1), fixed_vectors())
    found, cosines = engine.nearest(fixed_vectors()[list(QUERY_ROWS)], K, rows % 2 == 1)
    if found.tolist() != EXPECTED_ROWS or np.abs(cosines - np.array(EXPECTED_COSINES)).max() > TOLERANCE:
        raise EngineError(f"The kernel's self-test found rows {found.tolist()} instead of {EXPECTED_ROWS}.")
