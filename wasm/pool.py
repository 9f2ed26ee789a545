"""Idle sandboxes of this process, lent to operations that keep no rows."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from wasm.kernel import Kernel

MEMORY_LIMIT_BYTES = 512 << 20
MOST_BYTES_KEPT = 64 << 20
"""An instance that grew beyond this is let go: linear memory never shrinks."""

_idle: list[Kernel] = []  # list.append and list.pop are atomic


@contextmanager
def borrowed() -> Iterator[Kernel]:
    """Lend an instance that no other thread uses; it is made when none is idle."""
    try:
        kernel = _idle.pop()
    except IndexError:
        kernel = Kernel(memory_limit_bytes=MEMORY_LIMIT_BYTES)
    yield kernel  # after an error the instance is dropped, not returned
    if kernel.memory.nbytes <= MOST_BYTES_KEPT:
        _idle.append(kernel)


def forget_idle() -> int:
    """Give back the memory of the sandboxes that nobody has borrowed; return its bytes."""
    given_back = 0
    while _idle:
        with suppress(IndexError):  # another thread was faster
            given_back += _idle.pop().memory.nbytes
    return given_back


os.register_at_fork(after_in_child=_idle.clear)
