"""
The vector kernel: deterministic scoring in a WebAssembly sandbox. Start with `Space`.

It knows nothing of Django, posts or people: rows are numbers, ids break ties, groups are capped.
README.md has the maths, the memory map and the ABI.
"""

from wasm.arena import Arena, ArenaStatistics, Lease
from wasm.errors import KernelDeadlineError, KernelError, KernelMemoryError, VectorError
from wasm.kernel import KernelStatistics
from wasm.pool import forget_idle
from wasm.space import Space, SpaceStatistics, Taste
from wasm.vectors import Quantized, cosine, normalize, quantize, weighted_mean

__all__ = [
    "Arena",
    "ArenaStatistics",
    "KernelDeadlineError",
    "KernelError",
    "KernelMemoryError",
    "KernelStatistics",
    "Lease",
    "Quantized",
    "Space",
    "SpaceStatistics",
    "Taste",
    "VectorError",
    "cosine",
    "forget_idle",
    "normalize",
    "quantize",
    "weighted_mean",
]
