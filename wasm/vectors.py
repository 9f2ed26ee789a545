"""Operations on vectors that are passed in rather than resident. All are float32; shapes are (n, d)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wasm import checks
from wasm.memory import Shape
from wasm.pool import borrowed

Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]

LANES = 16


def padded(dimension: int) -> int:
    """Return the floats that a vector takes inside: the next multiple of 16."""
    return -(-dimension // LANES) * LANES


def pad_into(target: Float32Array, source: Float32Array) -> None:
    """Write *source* (n, d) to the left of *target* (n, padded(d)) and zeros to its right."""
    dimension = source.shape[-1]
    target[..., :dimension] = source
    target[..., dimension:] = 0


def _matrix(name: str, value: Float32Array, dimension: int | None = None) -> Float32Array:
    checked = checks.array(name, value, np.float32, (None, dimension))
    checks.dimension(checked.shape[1])
    return checked


def normalize(vectors: Float32Array) -> Float32Array:
    """Return each row of *vectors* (n, d) at unit length; a zero vector stays zero."""
    vectors = _matrix("vectors", vectors)
    count, dimension = vectors.shape
    with borrowed() as kernel:
        (area,) = kernel.reserve(Shape(np.float32, (count, padded(dimension))))
        pad_into(area.array, vectors)
        kernel.operate("normalize", area.address, count, padded(dimension))
        return area.array[:, :dimension].copy()


def cosine(query: Float32Array, vectors: Float32Array) -> Float32Array:
    """Return the cosine (n,) of *query* (d,) with each row of *vectors* (n, d); 0 with a zero vector."""
    query = checks.array("query", query, np.float32, (None,))
    vectors = _matrix("vectors", vectors, query.shape[0])
    count, width = vectors.shape[0], padded(query.shape[0])
    with borrowed() as kernel:
        one, many, out = kernel.reserve(
            Shape(np.float32, (width,)), Shape(np.float32, (count, width)), Shape(np.float32, (count,))
        )
        pad_into(one.array, query)
        pad_into(many.array, vectors)
        kernel.operate("cosine", one.address, many.address, count, width, out.address)
        return out.array.copy()


@dataclass(frozen=True, slots=True)
class Quantized:
    """Vectors in eight bits: vector = values * scale, within *error* in length."""

    values: NDArray[np.int8]  # (n, d) from -127 to 127
    scales: Float32Array  # (n,)
    sums: NDArray[np.int32]  # (n,) of the values
    errors: Float32Array  # (n,) upper bound of the length of what is lost


def quantize(vectors: Float32Array) -> Quantized:
    """Return *vectors* (n, d) in eight bits, each row with its own scale (its largest size / 127)."""
    vectors = _matrix("vectors", vectors)
    count, dimension = vectors.shape
    width = padded(dimension)
    with borrowed() as kernel:
        source, values, scales, sums, errors = kernel.reserve(
            Shape(np.float32, (count, width)),
            Shape(np.int8, (count, width)),
            Shape(np.float32, (count,)),
            Shape(np.int32, (count,)),
            Shape(np.float32, (count,)),
        )
        pad_into(source.array, vectors)
        kernel.operate(
            "quantize",
            *(source.address, count, width, values.address, scales.address, sums.address, errors.address),
        )
        return Quantized(
            values.array[:, :dimension].copy(), scales.array.copy(), sums.array.copy(), errors.array.copy()
        )


def weighted_mean(
    vectors: Float32Array,
    weights: Float32Array,
    ages: Float64Array | None = None,
    half_life: float = 1.0,
) -> Float32Array:
    """
    Return sum w x / sum |w| over *vectors* (n, d) as (d,), with w = weight * 2 ** (-age / half_life).

    *weights* (n,) may be negative (dislikes). *ages* (n,) are 0 or more, in the unit of *half_life*; without
    them nothing decays. Zeros where every weight is zero, or n = 0.
    """
    vectors = _matrix("vectors", vectors)
    count, dimension = vectors.shape
    weights = checks.array("weights", weights, np.float32, (count,))
    ages = np.zeros(count) if ages is None else checks.array("ages", ages, np.float64, (count,))
    checks.finite("half_life", half_life, 1e-30, 1e30)
    if count:
        checks.finite("the least of ages", ages.min(), 0, np.inf)
    width = padded(dimension)
    with borrowed() as kernel:
        source, weight, age, work, out = kernel.reserve(
            Shape(np.float32, (count, width)),
            Shape(np.float32, (count,)),
            Shape(np.float64, (count,)),
            Shape(np.float64, (width,)),
            Shape(np.float32, (width,)),
        )
        pad_into(source.array, vectors)
        weight.array[:] = weights
        # What all are aged by cancels out; kept, it would make zeros of a history that is many half-lives old.
        age.array[:] = ages - ages.min() if count else ages
        kernel.operate(
            "weighted_mean",
            *(
                source.address,
                count,
                width,
                weight.address,
                age.address,
                half_life,
                work.address,
                out.address,
            ),
        )
        return out.array[:dimension].copy()
