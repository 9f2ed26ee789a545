"""
What the generator draws with: a random stream per table, Zipfian shares, weighted draws, distinct rows.

Everything depends on the seed and the size alone. Times are ages: seconds before what the caller calls now.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from recommendations.contracts import Float32Array, Float64Array, Int8Array, Int32Array, Int64Array

SECONDS_PER_DAY = 86_400
NONE = -1
"""Stands in a column for nothing."""
MAX_ROUNDS = 20
"""How often what is missing is drawn again. It ends sooner when a round brings next to nothing new."""


class PlatformTooSmallError(ValueError):
    """There are not enough members and posts for that many different rows."""


@dataclass(frozen=True)
class PlatformSize:
    """How much to make, and of which seed."""

    members: int
    posts: int
    interactions: int
    follows: int
    blocks: int
    mutes: int
    seed: int

    def random_stream(self, table: int) -> Generator:
        """Return the random stream of one table, so that the size of one does not change another's rows."""
        return np.random.default_rng([self.seed, table])


def zipf_shares(n: int, slope: float) -> Float64Array:
    """Return shares (n,) that fall with rank as rank ** -slope and sum to 1."""
    shares = np.arange(1, n + 1, dtype=np.float64) ** -slope
    return shares / shares.sum() if n else shares


def draw_topics(rng: Generator, tastes: Float32Array, rows: Int64Array | Int32Array) -> Int8Array:
    """Return one topic (n,) for each of *rows* (n,) of *tastes*, drawn by its shares."""
    edges = np.cumsum(tastes, axis=1)
    drawn = np.empty(len(rows), np.int8)
    for start in range(0, len(rows), 100_000):
        chunk = rows[start : start + 100_000]
        marks = rng.random(len(chunk), np.float32)[:, None] * edges[chunk, -1:]
        drawn[start : start + len(chunk)] = (edges[chunk, :-1] <= marks).sum(axis=1)
    return drawn


class WeightedCells:
    """Rows in cells, drawn from within a given cell by their weights."""

    def __init__(self, cells: Int64Array, weights: Float64Array, count: int) -> None:
        """Take the cell (n,), from 0 to *count* - 1, and the weight (n,) of each row."""
        self._rows = np.argsort(cells, kind="stable")
        self._edges = np.concatenate(([0.0], np.cumsum(weights[self._rows])))
        self._bounds = np.searchsorted(cells[self._rows], np.arange(count + 1))

    def draw(self, rng: Generator, cells: Int64Array) -> Int64Array:
        """Return a row (n,) from each of *cells* (n,); NONE where the cell has no weight."""
        low, high = self._edges[self._bounds[cells]], self._edges[self._bounds[cells + 1]]
        marks = low + rng.random(len(cells)) * (high - low)
        places = np.searchsorted(self._edges, marks, side="right") - 1
        found = self._rows[np.clip(places, 0, len(self._rows) - 1)]
        return np.where(high > low, found, NONE)


def draw_weighted(rng: Generator, weights: Float64Array, count: int) -> Int64Array:
    """Return *count* rows drawn by their *weights* (n,)."""
    edges = np.cumsum(weights)
    marks = rng.random(count) * edges[-1]
    rows: Int64Array = np.searchsorted(edges, marks, side="right")
    return rows.clip(max=len(weights) - 1)


def draw_distinct(draw: Callable[[int], dict[str, Int64Array]], count: int, row_name: str) -> dict[str, Int64Array]:
    """
    Return *count* rows of what *draw(n)* gives (columns, "key" among them), no key twice, in the order drawn.

    `draw` may give fewer than asked. `WorldTooSmallError` if the keys run out.
    """
    kept: dict[str, Int64Array] = draw(0)
    for _ in range(MAX_ROUNDS):
        missing = count - len(kept["key"])
        if missing == 0:
            return kept
        more = draw(missing + missing // 4 + 100)
        joined = {name: np.concatenate((kept[name], more[name])) for name in kept}
        first = np.sort(np.unique(joined["key"], return_index=True)[1])[:count]
        if len(first) - len(kept["key"]) < missing // 1000:
            break
        kept = {name: column[first] for name, column in joined.items()}
    if len(kept["key"]) == count:
        return kept
    raise PlatformTooSmallError(
        f"Found only {len(kept['key']):,} different {row_name} of {count:,}. Ask for fewer, or for more members and posts."
    )
