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

import wasm
from tests.kernel.conftest import clustered
from wasm import KernelDeadlineError, KernelError, KernelMemoryError, Space
from wasm.kernel import Kernel
from wasm.module import FILES, compiled, read_build
from wasm.pool import MOST_BYTES_KEPT, borrowed

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", sorted(FILES))
def test_the_module_imports_nothing(name):
    assert wasmtime.Module(wasmtime.Engine(), read_build(name)).imports == []


def test_a_runaway_call_is_stopped_and_the_rows_are_unharmed(filled):
    vectors = clustered(4000, 512, seed=40)
    space = filled(vectors, build="reference", deadline_seconds=0.02)
    with pytest.raises(KernelDeadlineError, match="scan_topk ran longer than"):
        space.scan_topk(np.repeat(vectors, 2, axis=0), 100)
    assert space.rescore(np.array([3], np.int32), vectors[3:4])[0, 0] == pytest.approx(1, abs=1e-6)
    assert space.statistics().shards[0].deadlines_exceeded == 1


def test_a_stopped_call_gives_its_stack_back(filled):
    vectors = clustered(4000, 512, seed=40)
    space = filled(vectors, deadline_seconds=0.000001)
    for _ in range(500):
        space.scan_topk(vectors[:1], 5)
    kernel = space._shards[0].kernel
    top = kernel._stack_pointer.value(kernel._store)
    kernel._ticks = 0
    with pytest.raises(KernelDeadlineError):
        space.scan_topk(vectors[:1], 5)
    assert kernel._stack_pointer.value(kernel._store) == top


def test_rows_beyond_the_memory_limit_are_refused_before_anything_is_written(filled):
    space = Space(64, memory_limit_bytes=2 << 20)
    vectors = clustered(2000, 64, seed=41)
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
        kernel.memory.ensure(1 << 21)


def test_too_little_memory_for_an_instance_is_said():
    with pytest.raises(KernelError, match="raise the memory limit"):
        Kernel(memory_limit_bytes=1 << 10)


def test_many_threads_get_the_answers_of_one(filled):
    vectors = clustered(3000, 128, seed=42)
    space = filled(vectors)
    expected = [space.scan_topk(vectors[i : i + 1], 10)[0].tobytes() for i in range(64)]
    means = [wasm.normalize(vectors[i : i + 1]).tobytes() for i in range(64)]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda i: space.scan_topk(vectors[i : i + 1], 10)[0].tobytes(), range(64)))
        normalized = list(threads.map(lambda i: wasm.normalize(vectors[i : i + 1]).tobytes(), range(64)))
    assert found == expected
    assert normalized == means


def test_threads_that_put_lose_no_row():
    vectors = clustered(8192, 16, seed=45)
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


def test_a_scan_leaves_other_threads_running(filled):
    vectors = clustered(4000, 512, seed=43)
    space = filled(vectors, build="reference")
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


def test_an_instance_that_grew_is_not_kept():
    with borrowed() as kernel:
        kernel.memory.ensure(MOST_BYTES_KEPT + 1)
        big = kernel
    with borrowed() as kernel:
        assert kernel is not big


def test_an_instance_that_failed_is_not_kept():
    with pytest.raises(ZeroDivisionError), borrowed() as kernel:
        failed = kernel
        1 / 0  # noqa: B018
    with borrowed() as kernel:
        assert kernel is not failed


def test_a_child_starts_from_nothing():
    script = """
        import os, sys
        import numpy as np
        import wasm
        from wasm import KernelError, Space

        ones, rows, ids = np.ones((1, 16), np.float32), np.zeros(1, np.int32), np.ones(1, np.int64)
        parent = Space(16)
        parent.put(rows, ids, ones)
        wasm.normalize(ones)
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
        good = own.scan_topk(ones, 1)[0][0, 0] == 0 and wasm.normalize(ones)[0, 0] == 0.25
        os._exit(0 if good else 4)
    """
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(script)]
    assert subprocess.run(command, cwd=ROOT, timeout=60, check=False).returncode == 0


def test_a_module_is_compiled_once():
    assert compiled("baseline") is compiled("baseline")


def test_an_unknown_build_is_named():
    with pytest.raises(KernelError, match="relaxed"):
        Space(16, build="fastest")


def test_a_space_that_is_closed_gives_its_memory_back(filled):
    space = filled(clustered(100, 16, seed=44))
    space.close()
    with pytest.raises(KernelError, match="closed"):
        space.scan_topk(np.ones((1, 16), np.float32), 1)
