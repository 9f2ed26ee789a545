"""The sandbox: no imports, a memory limit, a deadline, one process, any number of threads."""

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
from wasm import KernelDeadlineError, KernelError, KernelMemoryError, Space, memory
from wasm.kernel import Kernel
from wasm.module import BUILD_FILES, compiled_module, read_build

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", sorted(BUILD_FILES))
def test_the_module_imports_nothing(name):
    assert wasmtime.Module(wasmtime.Engine(), read_build(name)).imports == []


def test_a_runaway_call_is_stopped_and_the_rows_stay_intact(make_space):
    vectors = clustered_vectors(16_000, 512, seed=40)
    space = make_space(vectors, build="reference", deadline_seconds=0.02)
    with pytest.raises(KernelDeadlineError, match="scan_topk ran longer than"):
        space.scan_topk(vectors[:64], 100)
    assert space.rescore(np.array([3], np.int32), vectors[3:4])[0, 0] == pytest.approx(1, abs=1e-6)
    assert space.statistics().shards[0].deadlines_exceeded == 1


def test_a_trap_raises_kernel_error_and_the_kernel_stays_usable(make_space):
    space = make_space(clustered_vectors(100, 16, seed=47))
    kernel = space._shards[0].kernel
    with pytest.raises(KernelError, match=r"scan_topk stopped with a trap .*; this is a bug in the kernel"):
        kernel.call("scan_topk", 0xFFFF_FFF0)  # the arguments of the operation are outside of the memory
    assert space.scan_topk(np.ones((1, 16), np.float32), 1)[0].shape == (1, 1)


def test_a_system_without_large_pages_gives_the_same_results(make_space, monkeypatch):
    vectors = clustered_vectors(1000, 64, seed=48)
    expected = [array.tobytes() for array in make_space(vectors).scan_topk(vectors[:4], 10)]
    monkeypatch.setattr(memory, "LARGE_PAGES", None)
    assert [array.tobytes() for array in make_space(vectors).scan_topk(vectors[:4], 10)] == expected


def test_stopped_calls_free_their_stack(make_space):
    vectors = clustered_vectors(4000, 512, seed=40)
    space = make_space(vectors)
    kernel = space._shards[0].kernel
    top = kernel._current.stack_pointer.value(kernel._current.store)
    kernel._ticks = 0
    for _ in range(500):
        with pytest.raises(KernelDeadlineError):
            space.scan_topk(vectors[:1], 5)
    assert kernel._current.stack_pointer.value(kernel._current.store) == top


@pytest.mark.parametrize("shards", [1, 2])
def test_a_recycled_space_gives_the_same_bytes_and_less_memory(make_space, shards):
    """Runs every operation, with dropped rows and with a scratch that a large call has enlarged."""
    vectors = clustered_vectors(5000, 64, seed=43)
    space = make_space(vectors, shards=shards)
    rows, ids = np.arange(5000, dtype=np.int32), np.arange(5000, 0, -1, dtype=np.int64)
    space.drop(rows[::7])

    def run_operations():
        hits = space.scan_topk(vectors[:64], 4000)
        scores = np.arange(5000, dtype=np.float32)[:300]
        picks = space.diversify(rows[:300], scores, ids[:300] % 9, 50, 0.3, 4, ids[:300])
        return [array.tobytes() for array in (*hits, space.vectors(rows), space.rescore(rows, vectors[:3]), picks)]

    before = run_operations()
    bytes_before = space.statistics().memory_bytes
    freed = space.recycle()
    assert freed > 0 and space.statistics().memory_bytes == bytes_before - freed
    assert run_operations() == before
    space.put(np.array([5000], np.int32), np.array([9], np.int64), vectors[:1])
    assert space.scan_topk(vectors[:1], 1)[0].tolist() in ([[5000]], [[0]])


def test_a_recycle_without_enough_memory_changes_nothing(make_space):
    space = make_space(clustered_vectors(3000, 64, seed=44))
    shard = space._shards[0]
    before = space.scan_topk(clustered_vectors(2, 64, seed=45), 10)
    with pytest.raises(KernelMemoryError):
        shard.kernel.recycle(1 << 33)
    assert [a.tolist() for a in space.scan_topk(clustered_vectors(2, 64, seed=45), 10)] == [a.tolist() for a in before]


def test_a_scan_during_a_recycle_gives_the_same_result(make_space):
    vectors = clustered_vectors(3000, 64, seed=46)
    space = make_space(vectors)
    expected = [array.tobytes() for array in space.scan_topk(vectors[:4], 100)]
    with ThreadPoolExecutor(3) as pool:
        scans = [pool.submit(space.scan_topk, vectors[:4], 100) for _ in range(200)]
        for _ in range(20):
            space.recycle()
        assert all([array.tobytes() for array in scan.result()] == expected for scan in scans)


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


def test_the_wasmtime_store_refuses_memory_over_the_limit():
    kernel = Kernel(memory_limit_bytes=1 << 20)
    kernel.memory.limit_bytes = 1 << 30
    with pytest.raises(KernelMemoryError, match="the host refused"):
        kernel.memory.grow_to(1 << 21)


def test_a_limit_too_small_for_an_instance_raises_an_error():
    with pytest.raises(KernelError, match="raise the memory limit"):
        Kernel(memory_limit_bytes=1 << 10)


def test_many_threads_get_the_results_of_one_thread(make_space):
    vectors = clustered_vectors(3000, 128, seed=42)
    space = make_space(vectors)
    expected = [space.scan_topk(vectors[i : i + 1], 10)[0].tobytes() for i in range(64)]
    with ThreadPoolExecutor(8) as threads:
        rows = list(threads.map(lambda i: space.scan_topk(vectors[i : i + 1], 10)[0].tobytes(), range(64)))
    assert rows == expected


def test_concurrent_puts_lose_no_row():
    vectors = clustered_vectors(8192, 16, seed=45)
    space = Space(16)

    def put(start):
        rows = np.arange(start, start + 128, dtype=np.int32)
        space.put(rows, rows.astype(np.int64), vectors[start : start + 128])

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(put, reversed(range(0, 8192, 128))))
    everything = np.arange(8192, dtype=np.int32)
    assert len(space) == 8192
    assert np.allclose((space.vectors(everything) ** 2).sum(axis=1), 1, atol=1e-5)
    assert (space.scan_topk(vectors[:50], 1)[1] > 0.99999).all()


def test_other_threads_run_during_a_scan(make_space):
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


def test_a_forked_child_cannot_use_the_parents_space_and_can_create_one():
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
        is_right = own.scan_topk(ones, 1)[0][0, 0] == 0
        os._exit(0 if is_right else 4)
    """
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(script)]
    assert subprocess.run(command, cwd=ROOT, timeout=60, check=False).returncode == 0


def test_a_module_is_compiled_once():
    assert compiled_module("baseline") is compiled_module("baseline")


def test_an_unknown_build_raises_an_error():
    with pytest.raises(KernelError, match="relaxed"):
        Space(16, build="fastest")


@pytest.mark.parametrize("shards", [1, 2])
def test_a_closed_space_refuses_calls(make_space, shards):
    space = make_space(clustered_vectors(100, 16, seed=44), shards=shards)
    space.close()
    for call in (
        lambda: space.scan_topk(np.ones((1, 16), np.float32), 1),
        lambda: space.rescore(np.zeros(1, np.int32), np.ones((1, 16), np.float32)),
        lambda: space.put(np.zeros(1, np.int32), np.ones(1, np.int64), np.ones((1, 16), np.float32)),
    ):
        with pytest.raises(KernelError, match="closed"):
            call()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("wasm-scan")]
