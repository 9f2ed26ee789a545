"""
Compare the time and size of the caches with a plain Redis GET of JSON and with django-redis (pickle).

    python -m benchmarks.caches [--quick] [--json FILE]

The benchmark starts and stops its own Redis. Times are medians in microseconds with quartiles. Alternatives alternate,
so that a busy machine slows all of them alike; a ratio is the time of an alternative divided by that of the first.
NumPy runs on one thread: idle threads would keep spinning while the other alternatives run.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

from benchmarks.feed import free_port, run_server
from recsys_project.stack.redis import find_binary

PICKS, MEMBERS, CANDIDATES, DIMENSION = 100, 500, 2_000, 256
Alternatives = dict[str, Callable[[], object]]
Figures = dict[str, dict[str, float]]


def time_alternately(calls: Alternatives, rounds: int) -> Figures:
    """Return median and quartiles of each call in microseconds over *rounds*, after one round of warm-up."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if number:
                times[name].append((time.perf_counter() - start) * 1e6)
    return {name: quartiles(durations) for name, durations in times.items()}


def quartiles(times: list[float]) -> dict[str, float]:
    low, middle, high = statistics.quantiles(times, n=4)
    return {"median": round(middle, 1), "p25": round(low, 1), "p75": round(high, 1)}


def measure(rounds: int, posts: int, entries: int) -> dict[str, object]:
    """Return all results. Imports Django here, because the settings need the URL of the started Redis."""
    # ruff: noqa: PLC0415
    import django

    django.setup()
    import numpy as np
    from django.conf import settings
    from django.core.cache import cache

    from recommendations.contracts import Candidates, Interests, Policy, Query, Slate
    from recommendations.engines.plain import PlainEngine
    from recommendations.engines.wasm_simd import WasmEngine
    from recommendations.services import wiring
    from recommendations.services.serving.inputs import pack_inputs
    from recommendations.services.serving.records import inputs_record, slate_record
    from recommendations.stores.redis_neighbors import neighbors_key
    from recommendations.stores.redis_slates import slates_key

    rng = np.random.default_rng(11)
    slate = Slate(
        request_id=UUID(int=7),
        engine="wasm_simd",
        variant="control",
        policy_version=1,
        fallback="",
        built_at=time.time(),
        candidate_count=CANDIDATES,
        post_ids=rng.integers(1, 10**6, PICKS),
        scores=rng.random(PICKS).astype(np.float32),
        origins=rng.integers(0, 2**16, PICKS, np.uint16),
        reasons=rng.integers(0, 2**16, PICKS, np.uint16),
        part_names=("taste", "recency", "popularity"),
        parts=rng.random((PICKS, 3)).astype(np.float32),
    )
    slates, plain = wiring.slate_cache(), wiring.redis_client(settings.ENV.cache_redis_url)
    as_rows = [
        {"id": int(post), "score": float(score), "origins": int(origin), "reasons": int(reason)}
        for post, score, origin, reason in zip(slate.post_ids, slate.scores, slate.origins, slate.reasons, strict=True)
    ]

    def put_slate() -> None:
        slates.put(1, "discovery", slate, b"")

    def put_json() -> None:
        plain.set("json", json.dumps(as_rows), ex=600)

    def put_pickle() -> None:
        cache.set("slate", as_rows, 600)

    for put in (put_slate, put_json, put_pickle):
        put()
    assert slates.get(1, "discovery") is not None
    results: dict[str, object] = {
        "bytes of a slate of 100 in Redis": {
            "slate cache, encrypted": plain.memory_usage(slates_key(1)),
            "JSON": plain.memory_usage("json"),
            "django-redis": plain.memory_usage(cache.make_key("slate")),
        },
        "reading a slate": time_alternately(
            {
                "slate cache, encrypted": lambda: slates.get(1, "discovery"),
                "JSON": lambda: json.loads(plain.get("json") or b""),
                "django-redis": lambda: cache.get("slate"),
            },
            rounds,
        ),
        "storing a slate": time_alternately(
            {"slate cache, encrypted": put_slate, "JSON": put_json, "django-redis": put_pickle}, rounds
        ),
    }

    value, seal = os.urandom(1_300), wiring.seal()
    sealed = seal.seal(value, "here")
    results["encrypting 1,300 bytes"] = time_alternately(
        {"encrypt": lambda: seal.seal(value, "here"), "decrypt": lambda: seal.open(sealed, "here")}, rounds
    )

    vectors = {n: rng.normal(size=DIMENSION).astype(np.float32) for n in range(100)}
    cached = wiring.post_vector_cache()

    def put_vectors() -> None:
        cached.put(vectors, time.time())

    def put_vectors_pickled() -> None:
        cache.set_many({f"v{n}": vector for n, vector in vectors.items()}, 600)

    put_vectors(), put_vectors_pickled()
    results["reading 100 post vectors"] = time_alternately(
        {
            "vector cache": lambda: cached.get(vectors, time.time()),
            "django-redis": lambda: cache.get_many([f"v{n}" for n in vectors]),
        },
        rounds,
    )
    results["storing 100 post vectors"] = time_alternately(
        {"vector cache": put_vectors, "django-redis": put_vectors_pickled}, rounds
    )

    centers = rng.normal(size=(200, DIMENSION))
    rows = (centers[rng.integers(200, size=posts)] + 0.5 * rng.normal(size=(posts, DIMENSION))).astype(np.float32)
    at, mask, query = np.arange(posts, dtype=np.int32), np.ones(posts, np.bool_), rows[:1]
    engines = {"kernel": WasmEngine(DIMENSION, memory_limit_bytes=2**31), "NumPy": PlainEngine(DIMENSION)}
    for engine in engines.values():
        engine.put(at, at.astype(np.int64) + 1, rows)
    neighbors, cosines = engines["kernel"].nearest(query, 130, mask)
    cache_of_neighbors, key = wiring.neighbor_cache(), neighbors_key("content", "benchmark", 130, query[0])
    cache_of_neighbors.put(key, neighbors[0].astype(np.int64), cosines[0])
    plain.set("neighbors", json.dumps([neighbors[0].tolist(), cosines[0].tolist()]), ex=300)
    results["nearest neighbors of a vector, cached"] = time_alternately(
        {
            "slate cache, encrypted": lambda: cache_of_neighbors.get(key),
            "JSON": lambda: json.loads(plain.get("neighbors") or b""),
        },
        rounds,
    )
    results[f"nearest neighbors of a vector, of {posts:,}"] = time_alternately(
        {
            "kernel's scan": lambda: engines["kernel"].nearest(query, 20, mask),
            "NumPy's scan": lambda: engines["NumPy"].nearest(query, 20, mask),
        },
        max(10, rounds // 10),
    )
    results["recycling a kernel"] = time_alternately({"recycle": engines["kernel"].recycle}, 5)

    request = Query(
        request_id=UUID(int=7),
        viewer_id=1,
        feed="discovery",
        size=150,
        now=time.time(),
        policy=Policy(),
        variant="control",
        policy_version=1,
        interests=Interests(rows[:5], np.ones(5, np.float32), rows[5:7], np.ones(2, np.float32)),
        excluded_post_ids=at[:0].astype(np.int64),
        max_sensitivity=1,
        language_ids=at[:0],
        followed_author_ids=np.arange(200, dtype=np.int64),
        blocked_author_ids=at[:0].astype(np.int64),
        muted_author_ids=at[:0].astype(np.int64),
        hidden_post_ids=at[:0].astype(np.int64),
        muted_tag_ids=at[:0],
        muted_words=(),
        region_id=-1,
    )
    candidates = Candidates.unknown(np.arange(CANDIDATES, dtype=np.int64), np.zeros(CANDIDATES, np.uint16))
    records, packed_inputs = wiring.record_queue(), pack_inputs(request, candidates)

    def push_record(with_inputs: bool) -> Callable[[], object]:
        def push() -> int:
            packed = [slate_record(slate, 1, "discovery", 5.0)]
            if with_inputs:
                packed.append(inputs_record(slate.request_id, slate.built_at, pack_inputs(request, candidates)))
            return records.push(*packed)

        return push

    results["recording a slate of 2,000 candidates"] = time_alternately(
        {"without its inputs": push_record(False), "with its inputs, for replay": push_record(True)},
        max(10, rounds // 5),
    )
    results["bytes of inputs"] = {
        "in memory": len(packed_inputs),
        "as recorded": len(inputs_record(slate.request_id, slate.built_at, packed_inputs)),
    }

    for member in range(entries):
        slates.put(member, "discovery", slate, b"")
    start = time.perf_counter()
    swept = slates.sweep(time.time() + 60, max_entries=entries // 2)
    results["a sweep that evicts half"] = {
        "entries": entries,
        "evicted": swept.evicted,
        "us per entry": round((time.perf_counter() - start) * 1e6 / max(1, swept.evicted), 1),
        "bytes per remaining member": round(swept.size_bytes / max(1, swept.entries)),
    }
    plain.flushall()
    return results


def format_results(results: dict[str, object]) -> str:
    """Return the results as a table. Ratios compare with the first alternative of each case."""
    lines = []
    for case, alternatives in results.items():
        lines.append(case)
        first = None
        for name, figure in alternatives.items():  # type: ignore[attr-defined]
            if not isinstance(figure, dict):
                lines.append(f"    {name:30} {figure:>12,}")
                continue
            first = first or figure["median"]
            span = f"{figure['p25']:,.1f}–{figure['p75']:,.1f}"
            lines.append(f"    {name:30} {figure['median']:>12,.1f} us  ({span})  x{figure['median'] / first:.2f}")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    port = free_port()
    os.environ.update(
        OPENBLAS_NUM_THREADS="1",
        DJANGO_SETTINGS_MODULE="recsys_project.settings",
        SECRET_KEY="for-benchmarks-only-" + "x" * 32,
        LOG_LEVEL="ERROR",
        EMBEDDER="tiny",
        REDIS_URL=f"redis://127.0.0.1:{port}/0",
        CACHE_REDIS_URL=f"redis://127.0.0.1:{port}/1",
    )
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DATABASE_URL"] = f"sqlite:///{folder}/db.sqlite3"
        command = [str(find_binary()), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        with run_server(command, port, dict(os.environ), Path(folder) / "redis.log"):
            import django
            from django.core.management import call_command

            django.setup()
            call_command("migrate", verbosity=0)
            results = measure(*((100, 10_000, 500) if options.quick else (1_000, 100_000, 10_000)))
    print(format_results(results))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
