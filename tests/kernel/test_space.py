"""Every build gives the results of float64 NumPy on resident rows, with ties broken by the lower id."""

import numpy as np
import pytest

from tests.kernel import oracle
from tests.kernel.conftest import clustered_vectors, descending_ids
from wasm import Space, Taste, VectorError


def all_rows(count):
    return np.ones(count, bool)


@pytest.mark.parametrize("dimension", [8, 17, 64, 128, 384, 512, 1000, 4096])
def test_scan_finds_what_numpy_finds(make_space, build, dimension):
    vectors = clustered_vectors(1500, dimension, seed=dimension)
    space = make_space(vectors, build=build)
    queries = clustered_vectors(3, dimension, seed=dimension)
    rows, scores = space.scan_topk(queries, 20)
    for query, found_rows, score in zip(queries, rows, scores, strict=True):
        expected = oracle.scan_topk(vectors, descending_ids(1500), all_rows(1500), query, 20)
        assert found_rows.tolist() == expected.tolist()
        assert np.allclose(score, oracle.cosine(query, vectors)[expected], atol=1e-5)


@pytest.mark.parametrize("dimension", [16, 256])
def test_scan_returns_only_eligible_rows(make_space, build, dimension):
    vectors = clustered_vectors(3000, dimension, seed=2)
    space = make_space(vectors, build=build)
    eligible = np.random.default_rng(3).random(3000) < 0.02
    rows, scores = space.scan_topk(vectors[:2], 100, np.packbits(eligible, bitorder="little"))
    count = int(eligible.sum())
    for i in range(2):
        expected = oracle.scan_topk(vectors, descending_ids(3000), eligible, vectors[i], 100)
        assert rows[i, :count].tolist() == expected.tolist()
    assert (rows[:, count:] == -1).all()
    assert np.isneginf(scores[:, count:]).all()


def test_equal_rows_are_returned_in_the_order_of_their_ids(make_space, build):
    vectors = np.repeat(clustered_vectors(1, 32, seed=4), 40, axis=0)
    rows, _ = make_space(vectors, build=build).scan_topk(vectors[:1], 10)
    assert rows[0].tolist() == list(range(39, 29, -1))


def test_a_dropped_row_is_not_returned_until_it_is_put_again(make_space, build):
    vectors = clustered_vectors(100, 32, seed=5)
    space = make_space(vectors, build=build)
    row = np.array([7], np.int32)
    space.drop(row)
    assert 7 not in space.scan_topk(vectors[7:8], 100)[0]
    assert space.rescore(row, vectors[7:8])[0, 0] == 0
    space.put(row, np.array([3], np.int64), vectors[7:8])
    assert space.scan_topk(vectors[7:8], 1)[0].tolist() == [[7]]


def test_rows_that_were_not_put_are_not_returned(build):
    space = Space(16, build=build)
    space.put(np.array([5000], np.int32), np.array([1], np.int64), np.ones((1, 16), np.float32))
    assert len(space) == 5001
    assert space.scan_topk(np.ones((1, 16), np.float32), 3)[0].tolist() == [[5000, -1, -1]]


def test_zero_vectors_score_zero(build):
    space = Space(16, build=build)
    space.put(np.arange(2, dtype=np.int32), np.array([9, 4]), np.zeros((2, 16), np.float32))
    rows, scores = space.scan_topk(np.ones((1, 16), np.float32), 2)
    assert rows.tolist() == [[1, 0]]
    assert scores.tolist() == [[0, 0]]
    assert space.scan_topk(np.zeros((1, 16), np.float32), 2)[0].tolist() == [[1, 0]]


def test_an_empty_space_returns_no_rows(build):
    space = Space(16, build=build)
    rows, scores = space.scan_topk(np.ones((2, 16), np.float32), 3, np.empty(0, np.uint8))
    assert rows.tolist() == [[-1] * 3] * 2
    assert np.isneginf(scores).all()
    assert space.scan_topk(np.empty((0, 16), np.float32), 3)[0].shape == (0, 3)


def test_the_number_of_shards_does_not_change_results(make_space):
    vectors = clustered_vectors(5000, 128, seed=6)
    rows = np.random.default_rng(7).integers(-1, 5000, size=300).astype(np.int32)
    eligible = np.packbits(np.random.default_rng(8).random(5000) < 0.5, bitorder="little")
    results = []
    for shards in (1, 3):
        space = make_space(vectors, shards=shards)
        hits = space.scan_topk(vectors[:4], 50, eligible)
        scores = space.rescore(rows, vectors[:2])
        blended = space.score_candidates(
            rows,
            vectors[:3],
            np.ones(3, np.float32),
            np.ones((300, 1), np.float32),
            np.ones(3, np.float32),
            rejected_count=1,
        )
        groups = (rows % 7).astype(np.int64)
        picks = space.diversify(rows, blended[0], groups, 20, 0.3, 4, np.arange(300, dtype=np.int64))
        results.append([array.tobytes() for array in (*hits, scores, *blended, picks, space.vectors(rows))])
    assert results[0] == results[1]


def test_a_total_is_the_sum_of_its_parts(make_space, build):
    rng = np.random.default_rng(9)
    vectors, facts = clustered_vectors(400, 48, seed=10), clustered_vectors(400, 24, seed=11)
    space, other = make_space(vectors, build=build), make_space(facts, build=build)
    rows = rng.integers(-1, 400, size=100).astype(np.int32)
    interests, interest_weights = vectors[:3], np.array([1, 0.5, -0.5], np.float32)
    columns, weights = rng.random((100, 2), np.float32), np.array([2, 1, -1, 0.5], np.float32)
    extra = [Taste(other, rows, facts[:1], np.ones(1, np.float32))]
    total, parts = space.score_candidates(rows, interests, interest_weights, columns, weights, extra)
    known = np.where(rows[:, None] < 0, 0, vectors[rows])
    known_facts = np.where(rows[:, None] < 0, 0, facts[rows])
    taste = oracle.score_candidates(known, interests, interest_weights, columns, weights[:3])
    second = oracle.cosine(facts[0], known_facts) * 0.5
    assert np.allclose(parts, np.column_stack([taste, second]), atol=1e-5)
    summed = parts[:, 0]
    for part in parts.T[1:]:
        summed = summed + part
    assert summed.tobytes() == total.tobytes()


@pytest.mark.parametrize("trade_off", [0.0, 0.3, 1.0])
def test_diversify_picks_what_numpy_picks(make_space, build, trade_off):
    rng = np.random.default_rng(12)
    vectors = clustered_vectors(120, 40, seed=13, clusters=10)
    space = make_space(vectors, build=build)
    rows = np.arange(120, dtype=np.int32)
    scores, groups = rng.random(120, np.float32), rng.integers(-1, 12, size=120)
    picks = space.diversify(rows, scores, groups, 30, trade_off, 2, descending_ids(120))
    assert picks.tolist() == oracle.diversify(vectors, scores, groups, descending_ids(120), 30, trade_off, 2)


def test_diversify_stops_when_every_group_is_full(make_space, build):
    space = make_space(clustered_vectors(10, 16, seed=14), build=build)
    rows, scores = np.arange(10, dtype=np.int32), np.ones(10, np.float32)
    picks = space.diversify(rows, scores, np.zeros(10, np.int64), 5, 0.5, 2, descending_ids(10))
    assert len(picks) == 2
    assert picks[0] == 9


INVALID_CALLS = {
    "float64 queries": lambda space: space.scan_topk(np.ones((1, 16)), 1),
    "wrong dimension": lambda space: space.scan_topk(np.ones((1, 15), np.float32), 1),
    "one-dimensional queries": lambda space: space.scan_topk(np.ones(16, np.float32), 1),
    "a list": lambda space: space.scan_topk([[1.0] * 16], 1),
    "NaN": lambda space: space.scan_topk(np.full((1, 16), np.nan, np.float32), 1),
    "infinity": lambda space: space.put(
        np.zeros(1, np.int32), np.zeros(1, np.int64), np.full((1, 16), np.inf, np.float32)
    ),
    "k of zero": lambda space: space.scan_topk(np.ones((1, 16), np.float32), 0),
    "k too large": lambda space: space.scan_topk(np.ones((1, 16), np.float32), 10**9),
    "mask too long": lambda space: space.scan_topk(np.ones((1, 16), np.float32), 1, np.ones(9, np.uint8)),
    "a row out of range": lambda space: space.rescore(np.array([64], np.int32), np.ones((1, 16), np.float32)),
    "a negative row": lambda space: space.drop(np.array([-1], np.int32)),
    "too few ids": lambda space: space.put(np.zeros(2, np.int32), np.zeros(1, np.int64), np.ones((2, 16), np.float32)),
    "too few rows in an extra space": lambda space: space.score_candidates(
        np.zeros(2, np.int32),
        np.ones((1, 16), np.float32),
        np.ones(1, np.float32),
        np.ones((2, 0), np.float32),
        np.ones(2, np.float32),
        [Taste(space, np.zeros(1, np.int32), np.ones((1, 16), np.float32), np.ones(1, np.float32))],
    ),
    "more rejected interests than interests": lambda space: space.score_candidates(
        np.zeros(1, np.int32),
        np.ones((1, 16), np.float32),
        np.ones(1, np.float32),
        np.ones((1, 0), np.float32),
        np.ones(2, np.float32),
        rejected_count=2,
    ),
    "a trade-off of two": lambda space: space.diversify(
        np.zeros(1, np.int32), np.ones(1, np.float32), np.ones(1, np.int64), 1, 2.0, 1, np.ones(1, np.int64)
    ),
}


@pytest.mark.parametrize("mistake", INVALID_CALLS)
def test_invalid_input_raises_an_error_and_changes_nothing(make_space, mistake):
    space = make_space(clustered_vectors(64, 16, seed=15))
    before = space.vectors(np.arange(64, dtype=np.int32)).tobytes()
    with pytest.raises(VectorError, match=r"use|needs|pass|convert|remove or replace|need|valid rows"):
        INVALID_CALLS[mistake](space)
    assert space.vectors(np.arange(64, dtype=np.int32)).tobytes() == before


@pytest.mark.parametrize("dimension", [7, 4097])
def test_a_dimension_out_of_range_raises_an_error(dimension):
    with pytest.raises(VectorError, match="dimension is"):
        Space(dimension)
