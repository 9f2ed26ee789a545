"""
Views over linear memory. No other file creates them.

Danger: a view is a raw address. Create it after the memory has grown for a call, use it within that call, and
do not store it.
"""

import ctypes
import math
import mmap
from typing import Any, NamedTuple

import numpy as np
import wasmtime
from numpy.typing import DTypeLike, NDArray

from wasm.errors import KernelMemoryError

PAGE_BYTES = 65_536
ALIGNMENT = 64
ADDRESS_SPACE_BYTES = 1 << 32
LARGE_PAGES = getattr(mmap, "MADV_HUGEPAGE", None)
LIBC = ctypes.CDLL(None)


class Region(NamedTuple):
    """Part of the scratch: its address in the kernel, and the same bytes as an array."""

    address: int
    array: NDArray[Any]


class ArraySpec(NamedTuple):
    """Dtype and shape of an array that a call needs in the scratch."""

    dtype: DTypeLike
    shape: tuple[int, ...]


class LinearMemory:
    """The memory of one instance, its limit, and views that are valid for one call."""

    def __init__(self, store: wasmtime.Store, memory: wasmtime.Memory, limit_bytes: int) -> None:
        self._store = store
        self._memory = memory
        self.limit_bytes = min(limit_bytes, ADDRESS_SPACE_BYTES - PAGE_BYTES)
        self._read_extent()
        self._request_large_pages()

    def _read_extent(self) -> None:
        """Read where the memory is and how large. Both change only when it grows, and only `grow_to` grows it."""
        self._base = ctypes.addressof(self._memory.data_ptr(self._store).contents)
        self._nbytes = self._memory.data_len(self._store)
        self._bytes = memoryview((ctypes.c_ubyte * self._nbytes).from_address(self._base))

    def _request_large_pages(self) -> None:
        """
        Ask Linux to back the memory with pages of 2 MB: rows are read at random, and each is on another page.

        The request covers the whole reserved range, up to the memory limit. If the system ignores it, only speed is
        lost.
        """
        if LARGE_PAGES is not None:
            LIBC.madvise(ctypes.c_void_p(self._base), ctypes.c_size_t(self.limit_bytes), LARGE_PAGES)

    @property
    def nbytes(self) -> int:
        """Current size in bytes. It never shrinks."""
        return self._nbytes

    def grow_to(self, nbytes: int) -> None:
        """Grow to at least *nbytes*, or raise `KernelMemoryError` and change nothing."""
        missing = nbytes - self.nbytes
        if missing <= 0:
            return
        if nbytes > self.limit_bytes:
            raise KernelMemoryError(
                f"{nbytes} bytes of linear memory are needed and {self.limit_bytes} are allowed;"
                " raise the memory limit, or store or pass fewer vectors"
            )
        try:
            self._memory.grow(self._store, -(-missing // PAGE_BYTES))
        except wasmtime.WasmtimeError as error:
            raise KernelMemoryError(f"the host refused {missing} more bytes of linear memory") from error
        self._read_extent()

    def write(self, address: int, data: bytes) -> None:
        """Copy *data* to an address that the kernel returned."""
        ctypes.memmove(self._base + address, data, len(data))

    def copy_from(self, other: "LinearMemory", nbytes: int) -> None:
        """Copy the first *nbytes* of another instance's memory. Both memories must be at least that large."""
        ctypes.memmove(self._base, other._base, nbytes)

    def lay_out(self, start: int, shapes: tuple[ArraySpec, ...]) -> list[Region]:
        """Return regions for *shapes*, one after another from address *start*; grow the memory if needed."""
        addresses = [start]
        for dtype, shape in shapes:
            size = np.dtype(dtype).itemsize * math.prod(shape)
            addresses.append(addresses[-1] + -(-size // ALIGNMENT) * ALIGNMENT)
        self.grow_to(addresses[-1])
        return [
            Region(address, np.ndarray(shape, dtype, self._bytes, address))
            for (dtype, shape), address in zip(shapes, addresses, strict=False)
        ]
