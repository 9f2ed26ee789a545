"""Which build is the fastest on this machine. All builds give the same results."""

import time
from functools import cache

import numpy as np

from wasm.module import Build
from wasm.space import Space

CANDIDATES: tuple[Build, ...] = ("relaxed", "baseline")
ROWS, DIMENSION, NEAREST, ROUNDS = 1024, 256, 100, 12


@cache
def fastest_build() -> Build:
    """
    Return the build whose scans take the least time on this machine, measured once in each process.

    Relaxed instructions are fast only on processors that have them, and slower than the baseline on others. It takes
    about 0.1 s, most of which compiles the build that is not used. Time is that of the thread, so other processes do
    not change the choice.
    """
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(ROWS, DIMENSION)).astype(np.float32)
    spaces = {build: _fill(vectors, build) for build in CANDIDATES}
    times = {
        build: [_time_scan(space, vectors[at : at + 1]) for at in range(ROUNDS)] for build, space in spaces.items()
    }
    for space in spaces.values():
        space.close()
    return min(CANDIDATES, key=lambda build: min(times[build]))


def _fill(vectors: np.ndarray, build: Build) -> Space:
    space = Space(DIMENSION, build=build)
    space.put(np.arange(ROWS, dtype=np.int32), np.arange(1, ROWS + 1, dtype=np.int64), vectors)
    return space


def _time_scan(space: Space, query: np.ndarray) -> float:
    """Return the seconds of the thread that one scan takes."""
    start = time.thread_time()
    space.scan_topk(query, NEAREST)
    return time.thread_time() - start
