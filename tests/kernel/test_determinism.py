"""The same inputs give the same bytes on wasmtime, in Node and in Chromium, in every build."""

import functools
import json
import os
import shutil
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import sync_playwright

from tests.kernel.conftest import clustered_vectors, descending_ids
from wasm import Space
from wasm.module import DIST

HERE = Path(__file__).parent
BROWSER = DIST.parent / "browser"
COUNT, DIMENSION, K = 3000, 100, 40


def find_program(program, variable):
    """Return the path of *program*. If it is missing, fail if CI is true and skip otherwise."""
    path = os.environ.get(variable) or shutil.which(program)
    if not path and os.environ.get("CI") == "true":
        pytest.fail(f"{program} is missing: install it, or name it in {variable}")
    if not path:
        pytest.skip(f"{program} is missing: install it, or name it in {variable}")
    return path


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(30)
    vectors = clustered_vectors(COUNT, DIMENSION, seed=31)
    vectors[9] = 0
    vectors[10:20] = vectors[11]
    candidates = rng.integers(-1, COUNT, size=200).astype(np.int32)
    return {
        "ids": descending_ids(COUNT),
        "vectors": vectors,
        "queries": vectors[:4] + clustered_vectors(4, DIMENSION, seed=32),
        "eligible": np.packbits(rng.random(COUNT) < 0.7, bitorder="little"),
        "candidates": candidates,
        "candidateIds": candidates.astype(np.int64) * 7 % 1009,
        "interestWeights": np.array([1, 0.5, -0.25, 2], np.float32),
        "columns": rng.random((200, 3), np.float32),
        "weights": np.array([1, 0.3, 0.2, -0.1], np.float32),
        "rejectedWeights": np.array([1, -0.5, 0.3, 0.2, -0.1], np.float32),
        "groups": rng.integers(-1, 30, size=200),
    }


def run_operations(inputs, build):
    """Return the bytes of every operation's result, as kernel_results.js does."""
    space = Space(DIMENSION, build=build)
    space.put(np.arange(COUNT, dtype=np.int32), inputs["ids"], inputs["vectors"])
    space.drop(np.array([5], np.int32))
    queries, candidates = inputs["queries"], inputs["candidates"]
    with_sieve = space.scan_topk(queries, K, inputs["eligible"])
    without_sieve = space.scan_topk(queries, K, sieve=False)
    exact = space.rescore(candidates, queries)
    totals, parts = space.score_candidates(
        candidates, queries, inputs["interestWeights"], inputs["columns"], inputs["weights"]
    )
    with_rejected = space.score_candidates(
        candidates,
        queries,
        inputs["interestWeights"],
        inputs["columns"],
        inputs["rejectedWeights"],
        rejected_count=2,
    )
    picks = space.diversify(candidates, totals, inputs["groups"], 20, 0.3, 3, inputs["candidateIds"])
    results = (*with_sieve, *without_sieve, exact, totals, parts, *with_rejected, picks)
    return b"".join(array.tobytes() for array in results)


@pytest.fixture(scope="module")
def expected(inputs):
    return run_operations(inputs, "reference")


@pytest.fixture(scope="module")
def folder(inputs, tmp_path_factory):
    """Return a folder with every file that the page fetches."""
    folder = tmp_path_factory.mktemp("page")
    for source in (
        *DIST.glob("*.wasm"),
        BROWSER / "kernel.js",
        HERE / "kernel_results.js",
        HERE / "kernel_results.html",
    ):
        shutil.copy(source, folder)
    for name, array in inputs.items():
        (folder / f"{name}.bin").write_bytes(array.tobytes())
    settings = {"dimension": DIMENSION, "count": COUNT, "k": K, "arrays": list(inputs)}
    (folder / "inputs.json").write_text(json.dumps(settings))
    return folder


@pytest.mark.parametrize("build", ["baseline", "relaxed"])
def test_wasmtime_gives_the_bytes_of_the_reference_build(inputs, expected, build):
    assert run_operations(inputs, build) == expected


@pytest.mark.parametrize("build", ["baseline", "relaxed"])
def test_node_gives_the_bytes_of_the_reference_build(folder, expected, build):
    node = find_program("node", "NODE")
    script = [node, str(HERE / "kernel_results_node.mjs"), str(folder), build]
    printed = subprocess.run(script, capture_output=True, text=True, check=True).stdout
    if build == "relaxed" and printed == "unsupported":
        pytest.skip("this Node has no relaxed SIMD; kernel.js falls back to the baseline build")
    assert bytes.fromhex(printed) == expected


@pytest.fixture(scope="module")
def server_url(folder):
    class QuietHandler(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(QuietHandler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("build", ["baseline", "relaxed"])
def test_chromium_gives_the_bytes_of_the_reference_build(server_url, expected, build):
    chromium = find_program("chromium", "CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"{server_url}/kernel_results.html#{build}")
        page.wait_for_function("document.title === 'done'", timeout=60_000)
        printed = page.evaluate("window.hex")
        browser.close()
    assert bytes.fromhex(printed) == expected
