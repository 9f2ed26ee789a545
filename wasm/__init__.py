"""
The vector kernel: deterministic scoring in a WebAssembly sandbox. Start with `Space`.

It does not depend on Django, posts or members: rows are numbers, ids break ties, groups are capped.
README.md describes the mathematics, the memory map and the ABI.
"""

from wasm.errors import KernelDeadlineError, KernelError, KernelMemoryError, VectorError
from wasm.fastest import fastest_build
from wasm.kernel import KernelStatistics
from wasm.space import Space, SpaceStatistics, Taste

__all__ = [
    "KernelDeadlineError",
    "KernelError",
    "KernelMemoryError",
    "KernelStatistics",
    "Space",
    "SpaceStatistics",
    "Taste",
    "VectorError",
    "fastest_build",
]
