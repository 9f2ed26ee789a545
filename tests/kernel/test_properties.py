"""Promises for every input: the fast builds give the bytes of the scalar twin, and the values of float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernel import oracle
from tests.kernel.conftest import clustered_vectors, quantised_forms
from wasm import Space

FAST = ["relaxed", "baseline"]
EXAMPLES = settings(max_examples=40)


@st.composite
def matrices(draw, most_rows=60):
    """Vectors of many lengths and sizes, with zeros, repeats and flat rows among them."""
    dimension = draw(st.sampled_from([8, 15, 16, 40, 127, 128, 130, 300]))
    count = draw(st.integers(1, most_rows))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    vectors = rng.normal(size=(count, dimension)) * 10.0 ** rng.integers(-12, 12, size=(count, 1))
    vectors[rng.random(count) < 0.1] = 0
    vectors[rng.random(count) < 0.1] = vectors[0]
    vectors[rng.random(count) < 0.1] = 1
    return vectors.astype(np.float32)


def spaces(vectors, ids):
    for build in (*FAST, "reference"):
        space = Space(vectors.shape[1], build=build)
        space.put(np.arange(len(vectors), dtype=np.int32), ids, vectors)
        yield space


def same(answers):
    return len({b"".join(array.tobytes() for array in answer) for answer in answers}) == 1


@EXAMPLES
@given(matrices(), st.integers(1, 80), st.integers(0, 2**32), st.booleans())
def test_scan_topk_is_the_exact_scan(vectors, k, seed, masked):
    rng = np.random.default_rng(seed)
    ids = rng.permutation(len(vectors)).astype(np.int64)
    queries = rng.normal(size=(3, vectors.shape[1])).astype(np.float32)
    eligible = np.packbits(rng.random(len(vectors)) < 0.5, bitorder="little") if masked else None
    assert same([space.scan_topk(queries, k, eligible, sieve=False) for space in spaces(vectors, ids)])


@EXAMPLES
@given(matrices(), st.integers(0, 2**32))
def test_rescore_is_the_cosine(vectors, seed):
    rng = np.random.default_rng(seed)
    queries = rng.normal(size=(2, vectors.shape[1])).astype(np.float32)
    rows = rng.integers(-1, len(vectors), size=30).astype(np.int32)
    answers = [space.rescore(rows, queries) for space in spaces(vectors, np.arange(len(vectors)))]
    assert same([[answer] for answer in answers])
    known = np.where(rows[:, None] < 0, 0, vectors[rows])
    assert np.allclose(answers[0], oracle.normalize_rows(known) @ oracle.normalize_rows(queries).T, atol=1e-5)


@EXAMPLES
@given(matrices(), st.integers(0, 2**32))
def test_score_candidates_are_the_same_in_every_build(vectors, seed):
    rng = np.random.default_rng(seed)
    rows = rng.integers(-1, len(vectors), size=30).astype(np.int32)
    columns, weights = rng.random((30, 2), np.float32), rng.normal(size=3).astype(np.float32)
    likes = rng.normal(size=2).astype(np.float32)
    asked = (rows, vectors[:2].copy(), likes[: len(vectors[:2])], columns, weights)
    assert same([space.score_candidates(*asked) for space in spaces(vectors, np.arange(len(vectors)))])


@EXAMPLES
@given(matrices(), st.integers(0, 2**32), st.floats(0, 1), st.integers(1, 4), st.integers(1, 30))
def test_lazy_greedy_picks_what_full_greedy_picks(vectors, seed, trade_off, cap, k):
    rng = np.random.default_rng(seed)
    rows = rng.integers(-1, len(vectors), size=40).astype(np.int32)
    scores = rng.integers(0, 10, size=40).astype(np.float32) / 10
    groups, ids = rng.integers(-1, 8, size=40), rng.permutation(40)
    asked = (rows, scores, groups, k, trade_off, cap, ids)
    answers = [space.diversify(*asked) for space in spaces(vectors, np.arange(len(vectors)))]
    assert same([[answer] for answer in answers])
    picked = groups[answers[0]]
    assert all((picked == group).sum() <= cap for group in set(picked.tolist()) - {-1})


@EXAMPLES
@given(matrices())
def test_a_quantised_row_is_as_near_as_it_says(vectors):
    """What a scan is exact by: the int8 form of a row, its scale, and the bound of what both lose."""
    forms = []
    for space in spaces(vectors, np.arange(len(vectors))):
        values, scales, errors, sums = quantised_forms(space)
        restored = values * scales[:, None].astype(np.float64)
        rows = space.vectors(np.arange(len(vectors), dtype=np.int32)).astype(np.float64)
        lost = np.linalg.norm(rows - restored, axis=1)
        assert (lost <= errors * (1 + 1e-5)).all()
        assert sums.tolist() == values.sum(axis=1, dtype=np.int32).tolist()
        forms.append((values, scales, errors, sums))
    assert same(forms)


def test_a_quantised_row_loses_little():
    """The bound is tight enough to turn rows away by: within a hundredth of their length."""
    for space in spaces(clustered_vectors(50, 30, seed=18), np.arange(50)):
        assert (quantised_forms(space)[2] < 0.01).all()


@pytest.mark.parametrize("build", FAST)
def test_the_sieve_loses_next_to_nothing(build):
    """Recall over 12,800 results on vectors without structure, where the sieve's odds are worst."""
    rng = np.random.default_rng(50)
    vectors, queries = rng.normal(size=(20_000, 128)), rng.normal(size=(128, 128))
    space = Space(128, build=build)
    rows = np.arange(20_000, dtype=np.int32)
    space.put(rows, rows.astype(np.int64), vectors.astype(np.float32))
    queries = queries.astype(np.float32)
    exact, sieved = space.scan_topk(queries, 100, sieve=False)[0], space.scan_topk(queries, 100)[0]
    found = sum(len(np.intersect1d(a, b)) for a, b in zip(exact, sieved, strict=True))
    assert found >= 0.999 * exact.size
