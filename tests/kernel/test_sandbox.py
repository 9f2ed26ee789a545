"""The sandbox holds: no imports, a memory limit, a deadline, one process, any number of threads."""

import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import wasmtime

from tests.kernel.conftest import clustered_vectors
from wasm import KernelDeadlineError, KernelError, KernelMemoryError, Space
from wasm.kernel import Kernel
from wasm.module import BUILD_FILES, compiled_module, read_build

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", sorted(BUILD_FILES))
def test_the_module_imports_nothing(name):
    assert wasmtime.Module(wasmtime.Engine(), read_build(name)).imports == []


def test_a_runaway_call_is_stopped_and_the_rows_are_unharmed(make_space):
    vectors = clustered_vectors(4000, 512, seed=40)
    space = make_space(vectors, build="reference", deadline_seconds=0.02)
    with pytest.raises(KernelDeadlineError, match="scan_topk ran longer than"):
        space.scan_topk(np.repeat(vectors, 2, axis=0), 100)
    assert space.rescore(np.array([3], np.int32), vectors[3:4])[0, 0] == pytest.approx(1, abs=1e-6)
    assert space.statistics().shards[0].deadlines_exceeded == 1


def test_a_stopped_call_gives_its_stack_back(make_space):
    vectors = clustered_vectors(4000, 512, seed=40)
    space = make_space(vectors, deadline_seconds=0.000001)
    for _ in range(500):
        space.scan_topk(vectors[:1], 5)
    kernel = space._shards[0].kernel
    top = kernel._current.stack_pointer.value(kernel._current.store)
    kernel._ticks = 0
    with pytest.raises(KernelDeadlineError):
        space.scan_topk(vectors[:1], 5)
    assert kernel._current.stack_pointer.value(kernel._current.store) == top


@pytest.mark.parametrize("shards", [1, 2])
def test_a_recycled_space_gives_the_same_bytes_and_less_memory(make_space, shards):
    """Every kind of call, with rows that were dropped, and a scratch that a large call has left."""
    vectors = clustered_vectors(5000, 64, seed=43)
    space = make_space(vectors, shards=shards)
    rows, ids = np.arange(5000, dtype=np.int32), np.arange(5000, 0, -1, dtype=np.int64)
    space.drop(rows[::7])

    def answers():
        found = space.scan_topk(vectors[:64], 4000)
        scores = np.arange(5000, dtype=np.float32)[:300]
        picks = space.diversify(rows[:300], scores, ids[:300] % 9, 50, 0.3, 4, ids[:300])
        return [array.tobytes() for array in (*found, space.vectors(rows), space.rescore(rows, vectors[:3]), picks)]

    before = answers()
    held = space.statistics().memory_bytes
    given_back = space.recycle()
    assert given_back > 0 and space.statistics().memory_bytes == held - given_back
    assert answers() == before
    space.put(np.array([5000], np.int32), np.array([9], np.int64), vectors[:1])
    assert space.scan_topk(vectors[:1], 1)[0].tolist() in ([[5000]], [[0]])


def test_a_recycle_that_finds_no_memory_changes_nothing(make_space):
    space = make_space(clustered_vectors(3000, 64, seed=44))
    shard = space._shards[0]
    before = space.scan_topk(clustered_vectors(2, 64, seed=45), 10)
    with pytest.raises(KernelMemoryError):
        shard.kernel.recycle(1 << 33)
    assert [a.tolist() for a in space.scan_topk(clustered_vectors(2, 64, seed=45), 10)] == [a.tolist() for a in before]


def test_threads_that_ask_during_a_recycle_get_the_same_answer(make_space):
    vectors = clustered_vectors(3000, 64, seed=46)
    space = make_space(vectors)
    right = [array.tobytes() for array in space.scan_topk(vectors[:4], 100)]
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(space.scan_topk, vectors[:4], 100) for _ in range(200)]
        for _ in range(20):
            space.recycle()
        assert all([array.tobytes() for array in one.result()] == right for one in asked)


def test_rows_beyond_the_memory_limit_are_refused_before_anything_is_written(make_space):
    space = Space(64, memory_limit_bytes=2 << 20)
    vectors = clustered_vectors(2000, 64, seed=41)
    first = np.arange(1000, dtype=np.int32)
    space.put(first, first.astype(np.int64), vectors[:1000])
    before = space.scan_topk(vectors[:3], 5)
    everything = np.arange(10_000, dtype=np.int32)
    with pytest.raises(KernelMemoryError, match=r"are allowed; raise the memory limit"):
        space.put(everything, everything.astype(np.int64), np.zeros((10_000, 64), np.float32))
    assert len(space) == 1000
    assert all(a.tobytes() == b.tobytes() for a, b in zip(before, space.scan_topk(vectors[:3], 5), strict=True))


def test_the_store_itself_refuses_more_memory():
    kernel = Kernel(memory_limit_bytes=1 << 20)
    kernel.memory.limit_bytes = 1 << 30
    with pytest.raises(KernelMemoryError, match="the host refused"):
        kernel.memory.grow_to(1 << 21)


def test_too_little_memory_for_an_instance_is_said():
    with pytest.raises(KernelError, match="raise the memory limit"):
        Kernel(memory_limit_bytes=1 << 10)


def test_many_threads_get_the_answers_of_one(make_space):
    vectors = clustered_vectors(3000, 128, seed=42)
    space = make_space(vectors)
    expected = [space.scan_topk(vectors[i : i + 1], 10)[0].tobytes() for i in range(64)]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda i: space.scan_topk(vectors[i : i + 1], 10)[0].tobytes(), range(64)))
    assert found == expected


def test_threads_that_put_lose_no_row():
    vectors = clustered_vectors(8192, 16, seed=45)
    space = Space(16)

    def put(at):
        rows = np.arange(at, at + 128, dtype=np.int32)
        space.put(rows, rows.astype(np.int64), vectors[at : at + 128])

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(put, reversed(range(0, 8192, 128))))
    everything = np.arange(8192, dtype=np.int32)
    assert len(space) == 8192
    assert np.allclose((space.vectors(everything) ** 2).sum(axis=1), 1, atol=1e-5)
    assert (space.scan_topk(vectors[:50], 1)[1] > 0.99999).all()


def test_a_scan_leaves_other_threads_running(make_space):
    vectors = clustered_vectors(4000, 512, seed=43)
    space = make_space(vectors, build="reference")
    ticks, done = 0, threading.Event()

    def scan():
        space.scan_topk(np.repeat(vectors[:50], 4, axis=0), 100)
        done.set()

    thread = threading.Thread(target=scan)
    thread.start()
    while not done.wait(0.001):
        ticks += 1
    thread.join()
    assert ticks > 10


def test_a_child_starts_from_nothing():
    script = """
        import os, sys
        import numpy as np
        from wasm import KernelError, Space

        ones, rows, ids = np.ones((1, 16), np.float32), np.zeros(1, np.int32), np.ones(1, np.int64)
        parent = Space(16)
        parent.put(rows, ids, ones)
        child = os.fork()
        if child:
            sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        try:
            parent.scan_topk(ones, 1)
        except KernelError as error:
            assert "before a fork" in str(error)
        else:
            os._exit(3)
        own = Space(16)
        own.put(rows, ids, ones)
        good = own.scan_topk(ones, 1)[0][0, 0] == 0
        os._exit(0 if good else 4)
    """
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(script)]
    assert subprocess.run(command, cwd=ROOT, timeout=60, check=False).returncode == 0


def test_a_module_is_compiled_once():
    assert compiled_module("baseline") is compiled_module("baseline")


def test_an_unknown_build_is_named():
    with pytest.raises(KernelError, match="relaxed"):
        Space(16, build="fastest")


def test_a_space_that_is_closed_gives_its_memory_back(make_space):
    space = make_space(clustered_vectors(100, 16, seed=44))
    space.close()
    with pytest.raises(KernelError, match="closed"):
        space.scan_topk(np.ones((1, 16), np.float32), 1)
