"""
Reads arrays from a file that PyTorch saved before its version 1.6, without PyTorch.

Such a file is a pickle, and a pickle can run any code. This reader allows dictionaries and array descriptions only.
"""

from __future__ import annotations

import collections
import pickle
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

MAGIC = 0x1950A86A20F9469CFC6C
DTYPES = {"FloatStorage": "<f4", "LongStorage": "<i8"}

Array = NDArray[Any]
ArrayLayout = tuple[str, int, tuple[int, ...], tuple[int, ...]]
"""The description of an array: key of the storage, offset, shape and strides, in elements."""


class TorchFileError(ValueError):
    """The file has a format that this reader does not support."""


class TorchUnpickler(pickle.Unpickler):
    """Unpickles the names and shapes of arrays. Raises `TorchFileError` for any other type."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)
        self.dtypes: dict[str, str] = {}

    def find_class(self, module: str, name: str) -> Any:
        """Return the replacement of a global that the file refers to."""
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda key, offset, shape, strides, *_: (key, offset, shape, strides)
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        raise TorchFileError(f"The file refers to {module}.{name}, which a file of weights does not need.")

    def persistent_load(self, pid: Any) -> str:
        """Return the key of a storage, and record its type."""
        _, dtype, key, *_ = pid
        self.dtypes[key] = dtype
        return str(key)


def read_arrays(path: Path) -> dict[str, Array]:
    """Return the arrays of the file by name. Raises `TorchFileError` if the file is not supported."""
    with path.open("rb") as file:
        magic, _protocol, _system = (TorchUnpickler(file).load() for _ in range(3))
        if magic != MAGIC:
            raise TorchFileError(f"{path.name} was not saved by PyTorch before 1.6.")
        reader = TorchUnpickler(file)
        layouts: dict[str, ArrayLayout] = reader.load()
        storages = {key: read_storage(file, reader.dtypes[key]) for key in TorchUnpickler(file).load()}
    return {
        name: array_from_storage(storages[key], offset, shape, strides)
        for name, (key, offset, shape, strides) in layouts.items()
    }


def read_storage(file: BinaryIO, dtype: str) -> Array:
    """Return the next storage of the file: the number of elements, followed by the elements."""
    count = int.from_bytes(file.read(8), "little")
    return np.frombuffer(file.read(count * np.dtype(dtype).itemsize), dtype)


def array_from_storage(numbers: Array, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> Array:
    """Return the array at *offset* in *numbers*. Raises `TorchFileError` if it does not fit."""
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if not 0 <= offset <= last < len(numbers):
        raise TorchFileError(f"An array of shape {shape} does not fit in its storage of {len(numbers)} elements.")
    steps = tuple(step * numbers.itemsize for step in strides)
    return np.ascontiguousarray(np.lib.stride_tricks.as_strided(numbers[offset:], shape, steps))
