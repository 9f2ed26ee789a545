"""
The only file with views over linear memory.

Danger: a view is an address. It is taken after the memory has grown for a call, used within that call, and
never kept.
"""

import ctypes
import mmap
from dataclasses import dataclass
from typing import Any

import numpy as np
import wasmtime
from numpy.typing import DTypeLike, NDArray

from wasm.errors import KernelMemoryError

PAGE_BYTES = 65_536
ALIGNMENT = 64
ADDRESS_SPACE_BYTES = 1 << 32
LARGE_PAGES = getattr(mmap, "MADV_HUGEPAGE", None)
LIBC = ctypes.CDLL(None)


@dataclass(frozen=True, slots=True)
class Region:
    """Part of the scratch: where the kernel finds it, and the same bytes as an array."""

    address: int
    array: NDArray[Any]


@dataclass(frozen=True, slots=True)
class ArraySpec:
    """An array that a call needs in the scratch."""

    dtype: DTypeLike
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes, rounded up so that the next array is aligned."""
        size = np.dtype(self.dtype).itemsize
        for length in self.shape:
            size *= length
        return -(-size // ALIGNMENT) * ALIGNMENT


class LinearMemory:
    """The memory of one instance, its limit, and views that hold for one call."""

    def __init__(self, store: wasmtime.Store, memory: wasmtime.Memory, limit_bytes: int) -> None:
        self._store = store
        self._memory = memory
        self.limit_bytes = min(limit_bytes, ADDRESS_SPACE_BYTES - PAGE_BYTES)
        self._view = (0, 0, memoryview(b""))
        self._request_large_pages()

    def _request_large_pages(self) -> None:
        """
        Let Linux back the memory with pages of 2 MB: rows are read here and there, and each is a page of its own.

        It is asked for all that the memory may grow to, which is reserved from the start. A system that declines
        costs speed and nothing else.
        """
        if LARGE_PAGES is not None:
            LIBC.madvise(ctypes.c_void_p(self._base()), ctypes.c_size_t(self.limit_bytes), LARGE_PAGES)

    @property
    def nbytes(self) -> int:
        """Bytes that the instance holds now; this never falls."""
        return self._memory.data_len(self._store)

    def grow_to(self, nbytes: int) -> None:
        """Grow to at least *nbytes*, or raise `KernelMemoryError` and change nothing."""
        missing = nbytes - self.nbytes
        if missing <= 0:
            return
        if nbytes > self.limit_bytes:
            raise KernelMemoryError(
                f"{nbytes} bytes of linear memory are needed and {self.limit_bytes} are allowed;"
                " raise the memory limit, or keep or pass fewer vectors"
            )
        try:
            self._memory.grow(self._store, -(-missing // PAGE_BYTES))
        except wasmtime.WasmtimeError as error:
            raise KernelMemoryError(f"the host refused {missing} more bytes of linear memory") from error

    def write(self, address: int, data: bytes) -> None:
        """Copy *data* to an address that the kernel has named."""
        ctypes.memmove(self._base() + address, data, len(data))

    def copy_from(self, other: "LinearMemory", nbytes: int) -> None:
        """Copy the first *nbytes* of another instance's memory; both must hold as many."""
        ctypes.memmove(self._base(), other._base(), nbytes)

    def _base(self) -> int:
        return ctypes.addressof(self._memory.data_ptr(self._store).contents)

    def lay_out(self, start: int, shapes: tuple[ArraySpec, ...]) -> list[Region]:
        """Lay out *shapes* one after another from address *start*, growing the memory where needed."""
        sizes = [shape.nbytes for shape in shapes]
        self.grow_to(start + sum(sizes))
        whole, regions = self._bytes(), []
        for shape, size in zip(shapes, sizes, strict=True):
            regions.append(Region(start, np.ndarray(shape.shape, shape.dtype, whole, start)))
            start += size
        return regions

    def _bytes(self) -> memoryview:
        """Return the memory as it lies now; the view is made anew when it has moved or grown."""
        base, nbytes = self._base(), self.nbytes
        if self._view[:2] != (base, nbytes):
            self._view = (base, nbytes, memoryview((ctypes.c_ubyte * nbytes).from_address(base)))
        return self._view[2]
