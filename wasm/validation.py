"""Validate the kernel's arguments. An error names the argument; a valid array is not copied."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wasm.errors import VectorError

MIN_DIMENSION = 8
MAX_DIMENSION = 4096


def check_dimension(value: int) -> int:
    """Return *value* if it is a dimension that the kernel supports, else raise `VectorError`."""
    if not MIN_DIMENSION <= value <= MAX_DIMENSION:
        raise VectorError(f"dimension is {value}; use {MIN_DIMENSION} to {MAX_DIMENSION}")
    return value


def check_array(name: str, value: Any, dtype: type[np.generic], shape: tuple[int | None, ...]) -> NDArray[Any]:
    """
    Return *value* as a contiguous array.

    Raises `VectorError` unless *dtype* and *shape* (None: any length) match and every float is finite.
    """
    if not isinstance(value, np.ndarray):
        raise VectorError(f"{name} is a {type(value).__name__}; pass a NumPy array of {dtype.__name__}")
    if value.dtype != np.dtype(dtype):
        raise VectorError(f"{name} has dtype {value.dtype}; convert it to {dtype.__name__}")
    expected = tuple("n" if length is None else length for length in shape)
    if value.ndim != len(shape) or any(
        length not in (None, actual) for length, actual in zip(shape, value.shape, strict=True)
    ):
        raise VectorError(f"{name} has shape {value.shape}; it needs {expected}")
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        raise VectorError(f"{name} contains NaN or infinity; remove or replace such values first")
    return np.ascontiguousarray(value)


def check_rows(name: str, value: Any, limit: int, lowest: int = -1) -> NDArray[np.int32]:
    """Return row numbers (n,) if each is from *lowest* to *limit* - 1, else raise `VectorError`."""
    rows = check_array(name, value, np.int32, (None,))
    if rows.size and not (lowest <= rows.min() and rows.max() < limit):
        raise VectorError(f"{name} contains {rows.min()} to {rows.max()}; valid rows are {lowest} to {limit - 1}")
    return rows


def check_positive(name: str, value: int) -> int:
    """Return *value* if it is at least 1, else raise `VectorError`."""
    if value < 1:
        raise VectorError(f"{name} is {value}; use 1 or more")
    return int(value)


def check_range(name: str, value: float, lowest: float, highest: float) -> float:
    """Return *value* if it is a number from *lowest* to *highest*, else raise `VectorError`."""
    if not lowest <= value <= highest:
        raise VectorError(f"{name} is {value}; use {lowest} to {highest}")
    return float(value)
