"""For every input, the fast builds give the bytes of the scalar reference and the values of float64."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernel import oracle
from tests.kernel.conftest import clustered_vectors, quantized_forms
from wasm import Space

FAST = ["relaxed", "baseline"]
EXAMPLES = settings(max_examples=40)


@st.composite
def matrices(draw, max_rows=60):
    """Draw vectors of many dimensions and lengths, including zeros, repeated rows and constant rows."""
    dimension = draw(st.sampled_from([8, 15, 16, 40, 127, 128, 130, 300]))
    count = draw(st.integers(1, max_rows))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    vectors = rng.normal(size=(count, dimension)) * 10.0 ** rng.integers(-12, 12, size=(count, 1))
    vectors[rng.random(count) < 0.1] = 0
    vectors[rng.random(count) < 0.1] = vectors[0]
    vectors[rng.random(count) < 0.1] = 1
    return vectors.astype(np.float32)


def spaces_of_every_build(vectors, ids):
    for build in (*FAST, "reference"):
        space = Space(vectors.shape[1], build=build)
        space.put(np.arange(len(vectors), dtype=np.int32), ids, vectors)
        yield space


def are_equal(results):
    return len({b"".join(array.tobytes() for array in arrays) for arrays in results}) == 1


@EXAMPLES
@given(matrices(), st.integers(1, 80), st.integers(0, 2**32), st.booleans())
def test_every_build_gives_the_same_exact_scan(vectors, k, seed, masked):
    rng = np.random.default_rng(seed)
    ids = rng.permutation(len(vectors)).astype(np.int64)
    queries = rng.normal(size=(3, vectors.shape[1])).astype(np.float32)
    eligible = np.packbits(rng.random(len(vectors)) < 0.5, bitorder="little") if masked else None
    assert are_equal(
        [space.scan_topk(queries, k, eligible, sieve=False) for space in spaces_of_every_build(vectors, ids)]
    )


@EXAMPLES
@given(matrices(), st.integers(0, 2**32))
def test_rescore_returns_the_cosine(vectors, seed):
    rng = np.random.default_rng(seed)
    queries = rng.normal(size=(2, vectors.shape[1])).astype(np.float32)
    rows = rng.integers(-1, len(vectors), size=30).astype(np.int32)
    results = [space.rescore(rows, queries) for space in spaces_of_every_build(vectors, np.arange(len(vectors)))]
    assert are_equal([[result] for result in results])
    known = np.where(rows[:, None] < 0, 0, vectors[rows])
    assert np.allclose(results[0], oracle.normalize_rows(known) @ oracle.normalize_rows(queries).T, atol=1e-5)


@EXAMPLES
@given(matrices(), st.integers(0, 2**32), st.integers(0, 3))
def test_every_build_scores_candidates_alike(vectors, seed, rejected_count):
    rng = np.random.default_rng(seed)
    rows = rng.integers(-1, len(vectors), size=30).astype(np.int32)
    interests, interest_weights = vectors[:3].copy(), rng.normal(size=3).astype(np.float32)[: len(vectors)]
    rejected_count = min(rejected_count, len(interests))
    columns = rng.random((30, 2), np.float32)
    weights = rng.normal(size=3 + (rejected_count > 0)).astype(np.float32)
    arguments = (rows, interests, interest_weights, columns, weights)
    results = [
        space.score_candidates(*arguments, rejected_count=rejected_count)
        for space in spaces_of_every_build(vectors, np.arange(len(vectors)))
    ]
    assert are_equal(results)
    known = np.where(rows[:, None] < 0, 0, vectors[rows])
    expected = oracle.score_candidates(known, *arguments[1:], rejected_count)
    assert np.allclose(results[0][1], expected, atol=1e-4)


@EXAMPLES
@given(matrices(), st.integers(0, 2**32), st.floats(0, 1), st.integers(1, 4), st.integers(1, 30))
def test_lazy_greedy_picks_what_full_greedy_picks(vectors, seed, trade_off, cap, k):
    rng = np.random.default_rng(seed)
    rows = rng.integers(-1, len(vectors), size=40).astype(np.int32)
    scores = rng.integers(0, 10, size=40).astype(np.float32) / 10
    groups, ids = rng.integers(-1, 8, size=40), rng.permutation(40)
    arguments = (rows, scores, groups, k, trade_off, cap, ids)
    results = [space.diversify(*arguments) for space in spaces_of_every_build(vectors, np.arange(len(vectors)))]
    assert are_equal([[result] for result in results])
    picked = groups[results[0]]
    assert all((picked == group).sum() <= cap for group in set(picked.tolist()) - {-1})


@EXAMPLES
@given(matrices())
def test_a_quantized_row_is_within_its_error_bound(vectors):
    """The exact scan relies on this: a row differs from its int8 form times its scale by at most its error bound."""
    forms = []
    for space in spaces_of_every_build(vectors, np.arange(len(vectors))):
        values, scales, errors, sums = quantized_forms(space)
        restored = values * scales[:, None].astype(np.float64)
        rows = space.vectors(np.arange(len(vectors), dtype=np.int32)).astype(np.float64)
        residuals = np.linalg.norm(rows - restored, axis=1)
        assert (residuals <= errors * (1 + 1e-5)).all()
        assert sums.tolist() == values.sum(axis=1, dtype=np.int32).tolist()
        forms.append((values, scales, errors, sums))
    assert are_equal(forms)


def test_the_error_bound_of_a_quantized_row_is_small():
    """The bound is tight enough to reject rows: below a hundredth of their length."""
    for space in spaces_of_every_build(clustered_vectors(50, 30, seed=18), np.arange(50)):
        assert (quantized_forms(space)[2] < 0.01).all()


@pytest.mark.parametrize("build", FAST)
def test_the_sieve_keeps_a_recall_of_0_999(build):
    """Recall over 12,800 results on vectors without structure, where the sieve loses most."""
    rng = np.random.default_rng(50)
    vectors, queries = rng.normal(size=(20_000, 128)), rng.normal(size=(128, 128))
    space = Space(128, build=build)
    rows = np.arange(20_000, dtype=np.int32)
    space.put(rows, rows.astype(np.int64), vectors.astype(np.float32))
    queries = queries.astype(np.float32)
    exact, with_sieve = space.scan_topk(queries, 100, sieve=False)[0], space.scan_topk(queries, 100)[0]
    common = sum(len(np.intersect1d(a, b)) for a, b in zip(exact, with_sieve, strict=True))
    assert common >= 0.999 * exact.size
