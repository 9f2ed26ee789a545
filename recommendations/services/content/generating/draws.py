"""
Random draws of the generator: a random stream per table, Zipfian shares, weighted draws and distinct rows.

All draws depend on the seed and the size only. Times are ages: seconds before the caller's current time.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from recommendations.contracts import Float32Array, Float64Array, Int8Array, Int32Array, Int64Array

SECONDS_PER_DAY = 86_400
NONE = -1
"""The value of a column without a value."""
MAX_ROUNDS = 20
"""Maximum number of rounds that draw missing rows. Drawing stops earlier if a round adds almost no new row."""


class PlatformTooSmallError(ValueError):
    """There are too few members and posts for the requested number of distinct rows."""


@dataclass(frozen=True)
class PlatformSize:
    """The numbers of rows to generate, and the seed."""

    members: int
    posts: int
    interactions: int
    follows: int
    blocks: int
    mutes: int
    seed: int

    def random_stream(self, table: int) -> Generator:
        """Return the random stream of a table. The size of one table does not change the rows of another."""
        return np.random.default_rng([self.seed, table])


def zipf_shares(n: int, slope: float) -> Float64Array:
    """Return shares (n,) proportional to rank ** -slope that sum to 1."""
    shares = np.arange(1, n + 1, dtype=np.float64) ** -slope
    return shares / shares.sum() if n else shares


def draw_topics(rng: Generator, tastes: Float32Array, rows: Int64Array | Int32Array) -> Int8Array:
    """Return one topic (n,) for each of *rows* (n,) of *tastes* (members, topics), drawn by the row's shares."""
    edges = np.cumsum(tastes, axis=1)
    topics = np.empty(len(rows), np.int8)
    for start in range(0, len(rows), 100_000):
        chunk = rows[start : start + 100_000]
        marks = rng.random(len(chunk), np.float32)[:, None] * edges[chunk, -1:]
        topics[start : start + len(chunk)] = (edges[chunk, :-1] <= marks).sum(axis=1)
    return topics


class WeightedCells:
    """Rows grouped into cells; `draw` draws rows of given cells by their weights."""

    def __init__(self, cells: Int64Array, weights: Float64Array, count: int) -> None:
        """Group rows by their cell (n,), from 0 to *count* - 1, with a weight (n,) per row."""
        self._rows = np.argsort(cells, kind="stable")
        self._edges = np.concatenate(([0.0], np.cumsum(weights[self._rows])))
        self._bounds = np.searchsorted(cells[self._rows], np.arange(count + 1))

    def draw(self, rng: Generator, cells: Int64Array) -> Int64Array:
        """Return a row (n,) of each of *cells* (n,), or `NONE` if the cell's total weight is zero."""
        low, high = self._edges[self._bounds[cells]], self._edges[self._bounds[cells + 1]]
        marks = low + rng.random(len(cells)) * (high - low)
        positions = np.searchsorted(self._edges, marks, side="right") - 1
        rows = self._rows[np.clip(positions, 0, len(self._rows) - 1)]
        return np.where(high > low, rows, NONE)


def draw_weighted(rng: Generator, weights: Float64Array, count: int) -> Int64Array:
    """Return *count* row numbers, drawn with replacement by their *weights* (n,)."""
    edges = np.cumsum(weights)
    marks = rng.random(count) * edges[-1]
    rows: Int64Array = np.searchsorted(edges, marks, side="right")
    return rows.clip(max=len(weights) - 1)


def draw_distinct(draw: Callable[[int], dict[str, Int64Array]], count: int, row_name: str) -> dict[str, Int64Array]:
    """
    Return *count* rows of *draw* with distinct keys, in the order drawn.

    *draw(n)* returns columns, one of them "key", of about n rows; it may return fewer. Raises `PlatformTooSmallError`
    if there are too few distinct keys.
    """
    rows: dict[str, Int64Array] = draw(0)
    for _ in range(MAX_ROUNDS):
        missing = count - len(rows["key"])
        if missing == 0:
            return rows
        new_rows = draw(missing + missing // 4 + 100)
        joined = {name: np.concatenate((rows[name], new_rows[name])) for name in rows}
        first = np.sort(np.unique(joined["key"], return_index=True)[1])[:count]
        if len(first) - len(rows["key"]) < missing // 1000:
            break
        rows = {name: column[first] for name, column in joined.items()}
    if len(rows["key"]) == count:
        return rows
    raise PlatformTooSmallError(
        f"Found only {len(rows['key']):,} of {count:,} distinct {row_name}. Use fewer, or more members and posts."
    )
