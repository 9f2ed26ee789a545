"""
The vector kernel: deterministic scoring in a WebAssembly sandbox. Start with `Space`; README.md has the maths.

It knows nothing of Django, posts or people: rows are numbers, ids break ties, groups are capped.
"""

from wasm.errors import KernelDeadlineError, KernelError, KernelMemoryError, VectorError
from wasm.kernel import KernelStatistics
from wasm.space import Space, SpaceStatistics, Taste
from wasm.vectors import Quantized, cosine, normalize, quantize, weighted_mean

__all__ = [
    "KernelDeadlineError",
    "KernelError",
    "KernelStatistics",
    "KernelMemoryError",
    "Quantized",
    "Space",
    "SpaceStatistics",
    "Taste",
    "VectorError",
    "cosine",
    "normalize",
    "quantize",
    "weighted_mean",
]
