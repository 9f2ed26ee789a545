"""Refuse an array that the kernel would misread, naming the argument. Nothing here copies a good array."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wasm.errors import VectorError

MIN_DIMENSION = 8
MAX_DIMENSION = 4096


def check_dimension(value: int) -> int:
    """Return *value* if the kernel can hold vectors of that many floats."""
    if not MIN_DIMENSION <= value <= MAX_DIMENSION:
        raise VectorError(f"dimension is {value}; use {MIN_DIMENSION} to {MAX_DIMENSION}")
    return value


def check_array(name: str, value: Any, dtype: type[np.generic], shape: tuple[int | None, ...]) -> NDArray[Any]:
    """Return *value*, contiguous, if it has this dtype and shape (None: any length) and is finite."""
    if not isinstance(value, np.ndarray):
        raise VectorError(f"{name} is a {type(value).__name__}; pass a NumPy array of {dtype.__name__}")
    if value.dtype != np.dtype(dtype):
        raise VectorError(f"{name} has dtype {value.dtype}; convert it to {dtype.__name__}")
    wanted = tuple("n" if length is None else length for length in shape)
    if value.ndim != len(shape) or any(
        length not in (None, found) for length, found in zip(shape, value.shape, strict=True)
    ):
        raise VectorError(f"{name} has shape {value.shape}; it needs {wanted}")
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        raise VectorError(f"{name} holds NaN or infinity; drop or repair such values first")
    return np.ascontiguousarray(value)


def check_rows(name: str, value: Any, limit: int, lowest: int = -1) -> NDArray[np.int32]:
    """Return row numbers (n,) if each is from *lowest* to *limit* - 1."""
    checked = check_array(name, value, np.int32, (None,))
    if checked.size and not (lowest <= checked.min() and checked.max() < limit):
        raise VectorError(f"{name} holds {checked.min()} to {checked.max()}; rows go from {lowest} to {limit - 1}")
    return checked


def check_positive(name: str, value: int) -> int:
    """Return *value* if it is at least 1."""
    if value < 1:
        raise VectorError(f"{name} is {value}; use 1 or more")
    return int(value)


def check_range(name: str, value: float, lowest: float, highest: float) -> float:
    """Return *value* if it is a number from *lowest* to *highest*."""
    if not lowest <= value <= highest:
        raise VectorError(f"{name} is {value}; use {lowest} to {highest}")
    return float(value)
