"""
Compare the vector kernel with other libraries on one thread, on the same vectors and in the same run.

    pip install -r requirements/dev.txt -r benchmarks/requirements.txt
    python benchmarks/kernel.py [--quick] [--json FILE] [--vectors FILE.npy] [--growth docs/kernel-growth.svg]

Every contender runs once in each round, with another query each time. The table shows the median over the rounds, the
range, and the median of the ratio contender / kernel: above 1 the kernel is faster. Recall is the share of results that
score at least the exact 100th score, so that equal rows count as equal. The vectors are clusters with a falling
spectrum, like embeddings; `--vectors` scans your own (n, d) as well.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import faiss  # noqa: E402
import numkong  # noqa: E402
import numpy as np  # noqa: E402
from usearch.index import MetricKind, search  # noqa: E402

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.growth_chart import Series, growth_chart  # noqa: E402
from wasm import Space  # noqa: E402

K = 100
BATCH = 64
Contender = tuple[str, Callable[[int], Any]]
Row = dict[str, Any]

faiss.omp_set_num_threads(1)


def clustered_vectors(count: int, dimension: int, seed: int = 1) -> np.ndarray:
    """Return unit vectors (count, dimension): 1,000 clusters, the i-th coordinate scaled by 1 / sqrt(i)."""
    rng = np.random.default_rng(seed)
    spectrum = (np.arange(1, dimension + 1) ** -0.5).astype(np.float32)
    vectors = rng.standard_normal((1000, dimension), dtype=np.float32)[rng.integers(1000, size=count)]
    vectors += rng.standard_normal((count, dimension), dtype=np.float32)
    vectors *= spectrum
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def fill_space(vectors: np.ndarray, **options: Any) -> Space:
    """Return a space with *vectors*."""
    space = Space(vectors.shape[1], memory_limit_bytes=(4 << 30) - 65_536, deadline_seconds=600, **options)
    rows = np.arange(len(vectors), dtype=np.int32)
    space.put(rows, rows.astype(np.int64), vectors)
    return space


def measure(case: str, contenders: list[Contender], rounds: int, share: int = 1) -> list[Row]:
    """Time each contender once per round. *share* divides the times (queries of a batch). The first is the kernel."""
    times: dict[str, list[float]] = {name: [] for name, _ in contenders}
    for round_ in range(rounds + 1):
        for name, run in contenders:
            start = time.perf_counter()
            run(round_)
            if round_ > 0:  # the first round warms up
                times[name].append((time.perf_counter() - start) * 1e3 / share)
    kernel_times = times[contenders[0][0]]
    return [
        {
            "case": case,
            "name": name,
            "median_ms": statistics.median(durations),
            "low_ms": min(durations),
            "high_ms": max(durations),
            "ratio": statistics.median(a / b for a, b in zip(durations, kernel_times, strict=True)),
        }
        for name, durations in times.items()
    ]


def top_rows(scores: np.ndarray) -> np.ndarray:
    """Return the rows of the K best scores along the last axis, best first."""
    best = np.argpartition(-scores, K, axis=-1)[..., :K]
    return np.take_along_axis(best, np.argsort(-np.take_along_axis(scores, best, -1), axis=-1), -1)


def measure_scan_topk(name: str, vectors: np.ndarray, queries: np.ndarray, rounds: int) -> list[Row]:
    """Measure the top 100 of all rows: one query at a time, and 64 in one call."""
    dimension = vectors.shape[1]
    space, baseline = fill_space(vectors), fill_space(vectors, build="baseline")
    flat = faiss.IndexFlatIP(dimension)
    flat.add(vectors)
    quantized = faiss.IndexScalarQuantizer(dimension, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
    quantized.train(vectors)
    quantized.add(vectors)
    packed = numkong.dots_pack(vectors, dtype="f32")
    packed_int8 = numkong.dots_pack(np.round(vectors / np.abs(vectors).max() * 127).astype(np.int8))
    integers = np.round(queries / np.abs(queries).max() * 127).astype(np.int8)

    def contenders(part: Callable[[int], slice]) -> list[tuple[str, Callable[[int], np.ndarray]]]:
        return [
            ("kernel", lambda i: space.scan_topk(queries[part(i)], K)[0]),
            ("kernel, without sieve", lambda i: space.scan_topk(queries[part(i)], K, sieve=False)[0]),
            ("kernel, baseline build", lambda i: baseline.scan_topk(queries[part(i)], K)[0]),
            ("NumPy + argpartition", lambda i: top_rows(queries[part(i)] @ vectors.T)),
            ("FAISS IndexFlatIP", lambda i: flat.search(queries[part(i)], K)[1]),
            ("FAISS SQ8", lambda i: quantized.search(queries[part(i)], K)[1]),
            (
                "USearch exact",
                lambda i: search(vectors, queries[part(i)], K, MetricKind.IP, exact=True, threads=1).keys.reshape(
                    -1, K
                ),
            ),
            ("NumKong f32", lambda i: top_rows(np.asarray(numkong.dots_packed(queries[part(i)], packed)))),
            ("NumKong i8", lambda i: top_rows(np.asarray(numkong.dots_packed(integers[part(i)], packed_int8)))),
        ]

    rows = []
    for case, part, share in (
        ("one query", lambda i: slice(i % BATCH, i % BATCH + 1), 1),
        (f"{BATCH} queries, per query", lambda _: slice(0, BATCH), BATCH),
    ):
        measured = measure(
            f"scan_topk {name} {case}", contenders(part), rounds if share == 1 else rounds // 4 + 2, share
        )
        exact = np.partition(queries @ vectors.T, -K, axis=1)[:, -K]
        for row, (_, run) in zip(measured, contenders(lambda i: slice(i, i + 1)), strict=True):
            results = np.concatenate([run(i) for i in range(BATCH)])
            scores = np.einsum("qkd,qd->qk", vectors[results.astype(np.int64)], queries)
            row["recall"] = float((scores >= exact[:, None] - 1e-5).mean())
        rows += measured
    return rows


def measure_rescore(vectors: np.ndarray, rounds: int) -> list[Row]:
    """Measure the float32 cosine of every row, in order, compared with other reads of the same memory."""
    space, rows = fill_space(vectors), np.arange(len(vectors), dtype=np.int32)
    flat = vectors.reshape(-1)
    measured = measure(
        f"rescore {len(vectors):,} × {vectors.shape[1]}",
        [
            ("kernel", lambda i: space.rescore(rows, vectors[i : i + 1])),
            ("NumPy gemv", lambda i: vectors @ vectors[i]),
            ("NumPy max (reads only)", lambda _: flat.max()),
            ("NumPy dot with itself", lambda _: flat @ flat),
        ],
        rounds,
    )
    for row in measured:
        row["gigabytes_per_second"] = vectors.nbytes / row["median_ms"] / 1e6
    return measured


def measure_request(vectors: np.ndarray, rounds: int) -> list[Row]:
    """Measure a request: 1,000 candidates, three interests, four columns, all parts, 50 picks."""
    space, rng = fill_space(vectors), np.random.default_rng(2)
    rows = rng.permutation(len(vectors))[:1000].astype(np.int32)
    columns, weights = rng.random((1000, 4), np.float32), np.array([1, 0.2, 0.2, 0.1, 0.1], np.float32)
    interest_weights, groups, ids = np.ones(3, np.float32), rows.astype(np.int64) % 200, rows.astype(np.int64)
    scores = np.empty(0, np.float32)

    def score(i: int) -> np.ndarray:
        nonlocal scores
        scores = space.score_candidates(rows, vectors[i : i + 3], interest_weights, columns, weights)[0]
        return scores

    def diversify(_: int) -> np.ndarray:
        return space.diversify(rows, scores, groups, 50, 0.3, 2, ids)

    def numpy_score(i: int) -> np.ndarray:
        taste = (vectors[rows] @ vectors[i : i + 3].T * interest_weights).max(axis=1)
        return (np.column_stack([taste, columns]) * weights).sum(axis=1)

    def numpy_diversify(_: int) -> list[int]:
        picks, similarity, is_open = [], np.zeros(1000, np.float32), np.ones(1000, bool)
        candidates, group_picks = vectors[rows], dict.fromkeys(groups.tolist(), 0)
        for _ in range(50):
            best = int(np.argmax(np.where(is_open, 0.7 * scores - 0.3 * similarity, -np.inf)))
            picks.append(best)
            group_picks[int(groups[best])] += 1
            is_open[best] = False
            if group_picks[int(groups[best])] == 2:
                is_open &= groups != groups[best]
            similarity = np.maximum(similarity, candidates @ candidates[best])
        return picks

    score(0)
    assert numpy_diversify(0) == diversify(0).tolist()
    return [
        *measure("score_candidates 1,000", [("kernel", score), ("NumPy", numpy_score)], rounds),
        *measure("diversify 1,000 to 50", [("kernel", diversify), ("NumPy", numpy_diversify)], rounds),
        *measure(
            "request: score_candidates and diversify",
            [("kernel", lambda i: (score(i), diversify(i))), ("NumPy", lambda i: (numpy_score(i), numpy_diversify(i)))],
            rounds,
        ),
    ]


def measure_fold_in(rounds: int) -> list[Row]:
    """Measure why the kernel has no Cholesky solve: NumPy solves a user's factors in the time of one or two calls."""
    rng, one = np.random.default_rng(3), np.zeros(1, np.int32)
    space = fill_space(clustered_vectors(1024, 16))
    query = np.ones((1, 16), np.float32)
    contenders: list[Contender] = [("kernel, minimal call", lambda _: space.rescore(one, query))]
    for factors in (32, 64, 128):
        root = rng.normal(size=(factors, 2 * factors))
        matrix, right = root @ root.T, rng.normal(size=factors)
        contenders.append((f"NumPy solve, {factors} factors", lambda _, a=matrix, b=right: np.linalg.solve(a, b)))
    return measure("fold-in", contenders, rounds * 4)


def measure_growth(quick: bool, rounds: int) -> list[Series]:
    """Measure time per query and memory, by rows and by dimension."""
    series = []
    row_counts = (10_000, 30_000, 100_000) if quick else (10_000, 30_000, 100_000, 300_000, 1_000_000)
    for dimension in (128, 512):
        points = [(count, *measure_cost(clustered_vectors(count, dimension), rounds)) for count in row_counts]
        series.append(Series(f"{dimension} dimensions", "rows", points))
    dimensions = (16, 64, 256, 1024) if quick else (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)
    points = [(dimension, *measure_cost(clustered_vectors(20_000, dimension), rounds)) for dimension in dimensions]
    series.append(Series("20,000 rows", "dimension", points))
    return series


def measure_cost(vectors: np.ndarray, rounds: int) -> tuple[float, float]:
    """Return milliseconds per query and megabytes of memory."""
    space = fill_space(vectors)
    row = measure("growth", [("kernel", lambda i: space.scan_topk(vectors[i * 7 : i * 7 + 1], K))], rounds)[0]
    memory = space.statistics().memory_bytes / 1e6
    space.close()
    return row["median_ms"], memory


def format_table(rows: list[Row]) -> str:
    """Return the measurements as a table."""
    lines, case = [], ""
    for row in rows:
        if row["case"] != case:
            case = row["case"]
            lines.append(f"\n{case}\n{'':28}{'median ms':>10}  {'range':>17}  {'ratio':>6}")
        spread = f"{row['low_ms']:.3f}–{row['high_ms']:.3f}"
        extra = f"  recall {row['recall']:.4f}" if "recall" in row else ""
        if "gigabytes_per_second" in row:
            extra = f"  {row['gigabytes_per_second']:.1f} GB/s"
        lines.append(f"  {row['name']:26}{row['median_ms']:10.3f}  {spread:>17}  {row['ratio']:6.2f}{extra}")
    return "\n".join(lines)


def main() -> None:
    """Run the selected cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="use 20,000 rows and few rounds")
    parser.add_argument("--json", type=Path, help="also write the measurements to this file")
    parser.add_argument("--vectors", type=Path, help="also scan the vectors (n, d) of this .npy file")
    parser.add_argument("--growth", type=Path, help="measure growth and write a chart to this SVG file")
    options = parser.parse_args()
    count, rounds = (20_000, 5) if options.quick else (100_000, 25)

    rows: list[Row] = []
    for dimension in (512, 128):
        vectors = clustered_vectors(count + BATCH, dimension)
        rows += measure_scan_topk(f"{count:,} × {dimension}", vectors[BATCH:], vectors[:BATCH], rounds)
    if options.vectors:
        own = np.load(options.vectors).astype(np.float32)
        own /= np.linalg.norm(own, axis=1, keepdims=True)
        own = own[np.random.default_rng(4).permutation(len(own))]
        name = f"{options.vectors.stem} {len(own) - BATCH:,} × {own.shape[1]}"
        rows += measure_scan_topk(name, np.ascontiguousarray(own[BATCH:]), own[:BATCH].copy(), rounds)
    vectors = clustered_vectors(count, 512)
    rows += measure_rescore(vectors, rounds) + measure_request(vectors, 2 * rounds) + measure_fold_in(rounds)
    print(format_table(rows))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))
    if options.growth:
        options.growth.write_text(growth_chart(measure_growth(options.quick, max(5, rounds // 2))))


if __name__ == "__main__":
    main()
