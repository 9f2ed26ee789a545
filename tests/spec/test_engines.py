"""The contract of `ports.Engine`, for every engine. Add a new engine to `ENGINES`."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommendations.contracts import Interests, SpaceTaste
from recommendations.engines.plain import PlainEngine
from recommendations.engines.wasm_simd import WasmEngine
from recommendations.ports import EngineError, VectorError

DIMENSION = 16
ENGINES = {
    "plain": lambda **extra: PlainEngine(DIMENSION, **extra),
    "wasm_simd": lambda **extra: WasmEngine(DIMENSION, memory_limit_bytes=2**26, **extra),
}
FACTORS, PICTURES = 8, 24
EXTRA_DIMENSIONS = {"factors": FACTORS, "pictures": PICTURES}
AXES = np.eye(DIMENSION, dtype=np.float32)
NO_INTERESTS = Interests.empty(DIMENSION)


@pytest.fixture(params=ENGINES)
def engine(request):
    return ENGINES[request.param]()


@pytest.fixture(params=ENGINES)
def spaced_engine(request):
    """Return an engine with two extra spaces of other dimensions than its own."""
    return ENGINES[request.param](extra_dimensions=EXTRA_DIMENSIONS)


def rows(*numbers):
    return np.array(numbers, np.int32)


def ids(*numbers):
    return np.array(numbers, np.int64)


def floats(*numbers):
    return np.array(numbers, np.float32)


def put(engine, vectors, post_ids=None):
    """Put *vectors* at rows 0, 1, …; ids run against the rows unless given."""
    post_ids = ids(*post_ids) if post_ids else np.arange(len(vectors), 0, -1, dtype=np.int64)
    engine.put(np.arange(len(vectors), dtype=np.int32), post_ids, np.asarray(vectors, np.float32))


def all_of(count):
    return np.ones(count, np.bool_)


def make_interests(positive, weights, negative=(), negative_weights=()):
    shaped = [np.array(v, np.float32).reshape(-1, DIMENSION) for v in (positive, negative)]
    return Interests(shaped[0], floats(*weights), shaped[1], floats(*negative_weights))


# nearest


def test_nearest_rows_come_best_first_with_their_cosines(engine):
    """Only the direction of a vector matters, not its length."""
    put(engine, [AXES[0] * 9, AXES[0] + AXES[1], AXES[1]])
    rows_found, cosines = engine.nearest(AXES[:1] * 5, 3, all_of(3))
    assert rows_found.tolist() == [[0, 1, 2]]
    np.testing.assert_allclose(cosines, [[1, 0.5**0.5, 0]], atol=1e-5)


def test_rows_that_are_not_eligible_are_not_returned(engine):
    """The mask is applied during the search, so k results are k eligible rows."""
    put(engine, [AXES[0], AXES[0] + AXES[1], AXES[1]])
    assert engine.nearest(AXES[:1], 2, np.array([False, True, True]))[0].tolist() == [[1, 2]]


@pytest.mark.parametrize("eligible", [1, 3, 9, 5000])
def test_a_mask_may_be_shorter_or_longer_than_the_rows(engine, eligible):
    """Posts without a vector also have rows, and rows that were added after the mask are not eligible."""
    put(engine, [AXES[0], AXES[0], AXES[0]])
    rows_found, _ = engine.nearest(AXES[:1], 3, all_of(eligible))
    assert sorted(rows_found[rows_found >= 0].tolist()) == list(range(min(eligible, 3)))


def test_ties_go_to_the_lower_post_id(engine):
    put(engine, [AXES[0]] * 4, post_ids=[40, 10, 30, 20])
    assert engine.nearest(AXES[:1], 3, all_of(4))[0].tolist() == [[1, 3, 2]]


def test_fewer_than_k_rows_are_padded_with_minus_one(engine):
    put(engine, [AXES[0], AXES[1]])
    rows_found, cosines = engine.nearest(AXES[:2], 4, all_of(2))
    assert rows_found.tolist() == [[0, 1, -1, -1], [1, 0, -1, -1]]
    assert np.isneginf(cosines[:, 2:]).all()


def test_an_empty_engine_returns_no_rows(engine):
    rows_found, cosines = engine.nearest(AXES[:1], 2, all_of(0))
    assert rows_found.tolist() == [[-1, -1]]
    assert cosines.shape == (1, 2)


def test_a_zero_vector_has_cosine_zero_with_every_vector(engine):
    """As a row and as a query."""
    put(engine, [np.zeros(DIMENSION), AXES[0], -AXES[0]])
    rows_found, cosines = engine.nearest(AXES[:1], 3, all_of(3))
    assert rows_found.tolist() == [[1, 0, 2]]
    np.testing.assert_allclose(cosines, [[1, 0, -1]], atol=1e-5)
    assert not engine.nearest(np.zeros((1, DIMENSION), np.float32), 3, all_of(3))[1].any()


def test_a_dropped_row_is_not_returned_until_it_is_put_again(engine):
    put(engine, [AXES[0], AXES[1]])
    engine.drop(rows(0))
    assert engine.nearest(AXES[:1], 2, all_of(2))[0].tolist() == [[1, -1]]
    assert not engine.vectors(rows(0)).any()
    engine.put(rows(0), ids(7), AXES[2:3])
    assert engine.nearest(AXES[2:3], 1, all_of(2))[0].tolist() == [[0]]


def test_dropping_rows_that_were_never_put_is_no_error(engine):
    engine.drop(rows(0, 5000))
    put(engine, AXES[:1])
    engine.drop(rows(3))
    assert engine.nearest(AXES[:1], 1, all_of(1))[0].tolist() == [[0]]


def test_put_replaces_an_earlier_vector(engine):
    put(engine, [AXES[0]])
    put(engine, [AXES[1]])
    np.testing.assert_allclose(engine.vectors(rows(0))[0], AXES[1], atol=1e-6)


def test_putting_no_rows_changes_nothing(engine):
    engine.put(rows(), ids(), np.zeros((0, DIMENSION), np.float32))
    assert engine.nearest(AXES[:1], 1, all_of(0))[0].tolist() == [[-1]]


# score

WEIGHTS = floats(2, 3, 5)


def test_a_score_is_the_sum_of_its_parts(engine):
    """The parts are taste (the maximum of weight · cosine), dislike (its negative), and the weighted columns."""
    put(engine, [AXES[0], AXES[1], AXES[2]])
    interests = make_interests([AXES[0], AXES[1]], [1, 0.5], [AXES[2]], [1])
    scores, parts = engine.score(rows(0, 1, 2), interests, np.array([[0.1], [0.2], [0.3]], np.float32), WEIGHTS)
    np.testing.assert_allclose(parts, [[2, 0, 0.5], [1, 0, 1], [0, -3, 1.5]], atol=1e-5)
    np.testing.assert_allclose(scores, parts.sum(axis=1), atol=1e-5)


def test_dislike_never_raises_a_score(engine):
    """A post opposite to a negative interest gets no bonus."""
    put(engine, [-AXES[0]])
    _, parts = engine.score(rows(0), make_interests([], [], [AXES[0]], [1]), np.zeros((1, 1), np.float32), WEIGHTS)
    assert parts[0, 1] == 0


def test_without_a_vector_the_similarity_is_zero(engine):
    """For row -1, a row that was never put, and a zero vector. The columns still count."""
    put(engine, [np.zeros(DIMENSION), AXES[0]])
    interests = make_interests([AXES[0]], [1], [AXES[0]], [1])
    _, parts = engine.score(rows(-1, 0, 999), interests, np.ones((3, 1), np.float32), WEIGHTS)
    np.testing.assert_allclose(parts, [[0, 0, 5]] * 3, atol=1e-6)


def test_without_interests_the_columns_remain(engine):
    put(engine, [AXES[0]])
    scores, parts = engine.score(rows(0), NO_INTERESTS, np.ones((1, 1), np.float32), WEIGHTS)
    np.testing.assert_allclose(parts, [[0, 0, 5]], atol=1e-6)
    np.testing.assert_allclose(scores, [5], atol=1e-6)


def test_no_candidates_have_no_scores(engine):
    scores, parts = engine.score(rows(), NO_INTERESTS, np.zeros((0, 1), np.float32), WEIGHTS)
    assert scores.shape == (0,) and parts.shape == (0, 3)


def test_a_score_depends_on_its_own_row_only(engine):
    """Otherwise a page would depend on the other candidates."""
    rng = np.random.default_rng(1)
    put(engine, rng.normal(size=(300, DIMENSION)))
    interests = make_interests(rng.normal(size=(3, DIMENSION)), [1, 0.7, 0.3])
    columns = rng.random((300, 1), np.float32)
    together, _ = engine.score(np.arange(300, dtype=np.int32), interests, columns, WEIGHTS)
    alone, _ = engine.score(rows(171), interests, columns[171:172], WEIGHTS)
    np.testing.assert_allclose(together[171], alone[0], atol=1e-6)


# score with extra spaces


def axes(dimension, *numbers):
    return np.eye(dimension, dtype=np.float32)[list(numbers)]


def put_extra(engine, space, at, vectors):
    engine.put(rows(*at), np.array(at, np.int64) + 1, np.asarray(vectors, np.float32), space=space)


def taste(space, interests, *weights):
    return SpaceTaste(space, np.asarray(interests, np.float32), floats(*weights))


def test_one_extra_space_adds_one_part(spaced_engine):
    """It is last: its weight times the maximum of weight · cosine over its own interests and vectors."""
    put(spaced_engine, [AXES[0], AXES[1]])
    put_extra(spaced_engine, "factors", [0, 1], [axes(FACTORS, 0)[0] * 7, axes(FACTORS, 0)[0] + axes(FACTORS, 1)[0]])
    extra_spaces = [taste("factors", axes(FACTORS, 0, 1) * 3, 1, 0.5)]
    columns = np.array([[0.1], [0.2]], np.float32)
    interests = make_interests([AXES[0]], [1], [AXES[1]], [1])
    scores, parts = spaced_engine.score(rows(0, 1), interests, columns, floats(2, 3, 5, 4), extra_spaces=extra_spaces)
    np.testing.assert_allclose(parts, [[2, 0, 0.5, 4], [0, -3, 1, 4 * 0.5**0.5]], atol=1e-5)
    np.testing.assert_allclose(scores, parts.sum(axis=1), atol=1e-5)


def test_two_extra_spaces_add_two_parts_in_their_order(spaced_engine):
    put(spaced_engine, [AXES[0]])
    put_extra(spaced_engine, "factors", [0], axes(FACTORS, 0))
    put_extra(spaced_engine, "pictures", [0], -axes(PICTURES, 20))
    factors, pictures = taste("factors", axes(FACTORS, 0), 0.5), taste("pictures", axes(PICTURES, 20), 1)
    columns, weights = np.ones((1, 1), np.float32), floats(2, 3, 5, 10, 100)
    _, parts = spaced_engine.score(rows(0), NO_INTERESTS, columns, weights, extra_spaces=[factors, pictures])
    np.testing.assert_allclose(parts, [[0, 0, 5, 5, -100]], atol=1e-5)
    _, parts = spaced_engine.score(rows(0), NO_INTERESTS, columns, weights, extra_spaces=[pictures, factors])
    np.testing.assert_allclose(parts, [[0, 0, 5, -10, 50]], atol=1e-5)


def test_a_row_without_a_vector_in_an_extra_space_has_part_zero(spaced_engine):
    """For a row never put, beyond the last one, of -1, or with a zero vector. The other parts stay."""
    put(spaced_engine, [AXES[0]] * 4)
    put_extra(spaced_engine, "factors", [1, 2], [axes(FACTORS, 0)[0], np.zeros(FACTORS)])
    extra_spaces = [taste("factors", axes(FACTORS, 0), 1), taste("pictures", axes(PICTURES, 0), 1)]
    ones, weights = np.ones((6, 1), np.float32), floats(1, 1, 1, 1, 1)
    _, parts = spaced_engine.score(
        rows(0, 1, 2, 3, 999, -1), make_interests([AXES[0]], [1]), ones, weights, extra_spaces=extra_spaces
    )
    np.testing.assert_allclose(parts[:, 3], [0, 1, 0, 0, 0, 0], atol=1e-6)
    assert not parts[:, 4].any()
    np.testing.assert_allclose(parts[:, 0], [1, 1, 1, 1, 0, 0], atol=1e-6)


def test_a_row_may_have_a_vector_only_in_an_extra_space(spaced_engine):
    put(spaced_engine, [AXES[0]])
    put_extra(spaced_engine, "factors", [5000], axes(FACTORS, 3))
    extra_spaces = [taste("factors", axes(FACTORS, 3), 1)]
    columns = np.zeros((1, 0), np.float32)
    _, parts = spaced_engine.score(
        rows(5000), make_interests([AXES[0]], [1]), columns, floats(1, 1, 2), extra_spaces=extra_spaces
    )
    np.testing.assert_allclose(parts, [[0, 0, 2]], atol=1e-6)


def test_without_interests_in_an_extra_space_its_part_is_zero(spaced_engine):
    """For no interest, and for an interest that is a zero vector."""
    put(spaced_engine, [AXES[0]])
    put_extra(spaced_engine, "factors", [0], axes(FACTORS, 0))
    for extra in (taste("factors", np.zeros((0, FACTORS))), taste("factors", np.zeros((1, FACTORS)), 1)):
        _, parts = spaced_engine.score(
            rows(0), NO_INTERESTS, np.ones((1, 1), np.float32), floats(1, 1, 5, 9), extra_spaces=[extra]
        )
        np.testing.assert_allclose(parts, [[0, 0, 5, 0]], atol=1e-6)


def test_no_candidates_have_no_parts_of_extra_spaces(spaced_engine):
    extra_spaces = [taste("factors", axes(FACTORS, 0), 1)]
    scores, parts = spaced_engine.score(
        rows(), NO_INTERESTS, np.zeros((0, 1), np.float32), floats(1, 1, 1, 1), extra_spaces=extra_spaces
    )
    assert scores.shape == (0,) and parts.shape == (0, 4)


def factor_part(engine, row):
    """Return the score part of the space `factors` for *row*."""
    extra_spaces = [taste("factors", axes(FACTORS, 0), 1)]
    return engine.score(
        rows(row), NO_INTERESTS, np.zeros((1, 0), np.float32), floats(0, 0, 1), extra_spaces=extra_spaces
    )[1][0, 2]


def test_dropping_from_an_extra_space_leaves_the_others(spaced_engine):
    put(spaced_engine, [AXES[0]])
    put_extra(spaced_engine, "factors", [0], axes(FACTORS, 0))
    spaced_engine.drop(rows(0, 5000), space="factors")
    assert factor_part(spaced_engine, 0) == 0
    np.testing.assert_allclose(spaced_engine.vectors(rows(0)), AXES[:1], atol=1e-6)


def test_dropping_without_a_name_empties_the_row_in_every_space(spaced_engine):
    """The next post at this row must not get the factors of the earlier post."""
    put(spaced_engine, [AXES[0]])
    put_extra(spaced_engine, "factors", [0, 1], axes(FACTORS, 0, 0))
    spaced_engine.drop(rows(0))
    put(spaced_engine, [AXES[1]])
    assert factor_part(spaced_engine, 0) == 0
    assert factor_part(spaced_engine, 1) == pytest.approx(1)


def test_extra_spaces_change_only_the_score(spaced_engine):
    """In its own space, it gives the same results as an engine without extra spaces."""
    single = ENGINES[spaced_engine.name]()
    rng = np.random.default_rng(2)
    vectors, columns = rng.normal(size=(50, DIMENSION)).astype(np.float32), rng.random((50, 1), np.float32)
    put(single, vectors)
    put(spaced_engine, vectors)
    put_extra(spaced_engine, "factors", range(50), rng.normal(size=(50, FACTORS)))
    every_row = np.arange(50, dtype=np.int32)
    results = [
        (
            *engine.nearest(vectors[:2], 10, all_of(50)),
            *engine.score(every_row, make_interests(vectors[:2], [1, 1]), columns, WEIGHTS),
            engine.cosine(vectors[0], every_row),
            engine.vectors(every_row),
        )
        for engine in (single, spaced_engine)
    ]
    for expected, actual in zip(*results, strict=True):
        np.testing.assert_array_equal(actual, expected)


# diversify


def diversify_rows(engine, scores, *, groups=None, k=10, trade_off=0.5, cap=10, at=None, post_ids=None):
    n = len(scores)
    at = np.arange(n, dtype=np.int32) if at is None else at
    post_ids = np.arange(n, dtype=np.int64) if post_ids is None else ids(*post_ids)
    groups = np.arange(n, dtype=np.int64) if groups is None else ids(*groups)
    return engine.diversify(at, post_ids, floats(*scores), groups, k, trade_off, cap).tolist()


def test_without_a_trade_off_the_scores_give_the_order(engine):
    put(engine, [AXES[0]] * 4)
    assert diversify_rows(engine, [1, 4, 2, 3], trade_off=0) == [1, 3, 2, 0]


def test_of_two_equal_vectors_the_second_comes_after_another(engine):
    """Similarity to an earlier pick lowers the value, so a post with a lower score comes first."""
    put(engine, [AXES[0], AXES[0], AXES[1]])
    assert diversify_rows(engine, [1, 0.9, 0.5]) == [0, 2, 1]


def test_no_group_has_more_picks_than_the_cap(engine):
    put(engine, AXES[:4])
    assert diversify_rows(engine, [4, 3, 2, 1], groups=[7, 7, 7, 8], cap=2, trade_off=0) == [0, 1, 3]


def test_the_unknown_group_has_no_cap(engine):
    put(engine, AXES[:3])
    assert diversify_rows(engine, [3, 2, 1], groups=[-1, -1, -1], cap=1, trade_off=0) == [0, 1, 2]


def test_equal_picks_go_to_the_lower_id(engine):
    put(engine, AXES[:3])
    assert diversify_rows(engine, [1, 1, 1], post_ids=[30, 10, 20]) == [1, 2, 0]


def test_k_above_the_number_of_candidates_returns_all(engine):
    put(engine, AXES[:3])
    assert len(diversify_rows(engine, [3, 2, 1], k=99)) == 3
    assert len(diversify_rows(engine, [3, 2, 1], k=2)) == 2


def test_no_candidates_or_k_zero_give_no_picks(engine):
    assert diversify_rows(engine, []) == []
    put(engine, AXES[:1])
    assert diversify_rows(engine, [1], k=0) == []


def test_opposite_vectors_do_not_attract_each_other(engine):
    """A similarity below 0 counts as 0: the opposite of a pick is no better than an orthogonal vector."""
    put(engine, [AXES[0], -AXES[0], AXES[1]])
    assert diversify_rows(engine, [1, 0.4, 0.5]) == [0, 2, 1]


def test_rows_without_vectors_have_similarity_zero(engine):
    put(engine, AXES[:1])
    assert diversify_rows(engine, [1, 3, 2], at=rows(-1, 999, 0)) == [1, 2, 0]


# cosine and vectors


def test_cosine_of_rows_with_a_query(engine):
    put(engine, [AXES[0] * 3, AXES[0] + AXES[1], np.zeros(DIMENSION)])
    cosines = engine.cosine(AXES[0] * 2, rows(0, 1, 2, -1))
    assert cosines.dtype == np.float32
    np.testing.assert_allclose(cosines, [1, 0.5**0.5, 0, 0], atol=1e-5)


def test_vectors_have_unit_length(engine):
    put(engine, [AXES[0] * 3, np.zeros(DIMENSION)])
    np.testing.assert_allclose(engine.vectors(rows(0, 1, -1, 77)), [AXES[0], *np.zeros((3, DIMENSION))], atol=1e-6)


# invalid input


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_raise_an_error_and_change_nothing(engine, bad):
    put(engine, AXES[:2])
    invalid = AXES[5:7].copy()
    invalid[1, 3] = bad
    with pytest.raises(VectorError):
        put(engine, invalid)
    with pytest.raises(VectorError):
        engine.nearest(invalid, 1, all_of(2))
    with pytest.raises(VectorError):
        engine.cosine(invalid[1], rows(0))
    with pytest.raises(VectorError):
        engine.score(rows(0), make_interests(invalid, [1, 1]), np.zeros((1, 1), np.float32), WEIGHTS)
    with pytest.raises(VectorError):
        engine.score(rows(0), make_interests([], [], invalid, [1, 1]), np.zeros((1, 1), np.float32), WEIGHTS)
    np.testing.assert_allclose(engine.vectors(rows(0, 1)), AXES[:2], atol=1e-6)


def test_a_wrong_dimension_raises_an_error(engine):
    narrow = np.ones((1, DIMENSION - 1), np.float32)
    with pytest.raises(VectorError):
        put(engine, narrow)
    with pytest.raises(VectorError):
        engine.nearest(narrow, 1, all_of(1))
    with pytest.raises(VectorError):
        engine.cosine(narrow[0], rows(-1))


def test_an_unknown_extra_space_raises_an_error(spaced_engine, engine):
    for target, names in ((spaced_engine, "factors, pictures"), (engine, "none")):
        with pytest.raises(VectorError, match=names):
            put_extra(target, "sounds", [0], axes(FACTORS, 0))
        with pytest.raises(VectorError, match=names):
            target.drop(rows(0), space="sounds")
        with pytest.raises(VectorError, match=names):
            score_with(target, taste("sounds", axes(FACTORS, 0), 1))


def score_with(engine, extra):
    return engine.score(rows(0), NO_INTERESTS, np.zeros((1, 0), np.float32), floats(1, 1, 1), extra_spaces=[extra])


def test_invalid_input_to_an_extra_space_raises_an_error_and_changes_nothing(spaced_engine):
    put_extra(spaced_engine, "factors", [0], axes(FACTORS, 0))
    invalid = np.full((1, FACTORS), np.nan, np.float32)
    for bad in (invalid, axes(DIMENSION, 0)):
        with pytest.raises(VectorError):
            put_extra(spaced_engine, "factors", [0], bad)
        with pytest.raises(VectorError):
            score_with(spaced_engine, taste("factors", bad, 1))
    with pytest.raises(VectorError):
        score_with(spaced_engine, taste("factors", axes(FACTORS, 0), 1, 1))
    assert factor_part(spaced_engine, 0) == pytest.approx(1)


def test_the_memory_limit_is_shared_by_all_spaces():
    engine = WasmEngine(DIMENSION, memory_limit_bytes=2**26, extra_dimensions=EXTRA_DIMENSIONS)
    single = WasmEngine(DIMENSION, memory_limit_bytes=2**26)
    assert single.statistics().memory_limit_bytes == 2**26
    assert 2**26 - 3 <= engine.statistics().memory_limit_bytes <= 2**26
    before = engine.statistics()
    put_extra(engine, "pictures", range(3000), np.ones((3000, PICTURES)))
    assert engine.statistics().resident_bytes > before.resident_bytes
    assert engine.statistics().rows == 0


def test_recycle_releases_the_scratch_memory_of_every_space():
    engine = WasmEngine(DIMENSION, memory_limit_bytes=2**28, extra_dimensions=EXTRA_DIMENSIONS)
    put_extra(engine, "factors", [0], axes(FACTORS, 0))
    extra_spaces = [taste("factors", axes(FACTORS, 0), 1)]
    many = np.zeros(200_000, np.int32)
    engine.score(many, NO_INTERESTS, np.zeros((len(many), 0), np.float32), floats(0, 0, 1), extra_spaces=extra_spaces)
    before = [shard.memory_bytes for shard in engine.statistics().shards]
    engine.recycle()
    after = [shard.memory_bytes for shard in engine.statistics().shards]
    assert after[0] < before[0] and after[1] < before[1]
    assert factor_part(engine, 0) == pytest.approx(1)


def test_an_engine_out_of_memory_raises_an_error_and_keeps_its_vectors():
    """The error is an `EngineError`, after which another engine may be used."""
    engine = WasmEngine(DIMENSION, memory_limit_bytes=2**21)
    put(engine, AXES[:1])
    with pytest.raises(EngineError):
        put(engine, np.ones((200_000, DIMENSION)))
    assert engine.nearest(AXES[:1], 1, all_of(1))[0].tolist() == [[0]]


# every engine compared with the control


@st.composite
def worlds(draw):
    """Draw vectors with some zero rows, interests, columns, and scores that are far enough apart for one order."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(1, 200))
    vectors = rng.normal(size=(n, DIMENSION)).astype(np.float32) * draw(st.sampled_from([0.01, 1.0, 100.0]))
    vectors[rng.random(n) < draw(st.sampled_from([0, 0.1]))] = 0
    likes, dislikes = draw(st.integers(0, 4)), draw(st.integers(0, 3))
    interests = make_interests(
        rng.normal(size=(likes, DIMENSION)),
        rng.random(likes),
        rng.normal(size=(dislikes, DIMENSION)),
        rng.random(dislikes),
    )
    scores = rng.permutation(n).astype(np.float32)
    groups = rng.integers(-1, 6, size=n)
    return vectors, interests, rng.random((n, 3), np.float32), rng.random(n) < 0.8, scores, groups


OTHER_ENGINES = [name for name in ENGINES if name != "plain"]


@pytest.mark.parametrize("name", OTHER_ENGINES)
@settings(max_examples=150)
@given(world=worlds(), k=st.integers(1, 250), trade_off=st.sampled_from([0, 0.3, 0.7, 1]), cap=st.integers(1, 4))
def test_every_engine_agrees_with_the_control(name, world, k, trade_off, cap):
    """The same rows in the same order, and values within 1e-5."""
    vectors, interests, columns, eligible, scores, groups = world
    control, other = ENGINES["plain"](), ENGINES[name]()
    every_row = np.arange(len(vectors), dtype=np.int32)
    results = []
    for engine in (control, other):
        put(engine, vectors)
        near, cosines = engine.nearest(np.vstack([AXES[:1], interests.positive]), k, eligible)
        totals, parts = engine.score(every_row, interests, columns, floats(1, 0.5, 0.15, 0.25, 0.2))
        post_ids = np.arange(len(vectors), dtype=np.int64)
        picks = engine.diversify(every_row, post_ids, scores, groups, k, trade_off, cap)
        results.append((near, cosines, totals, parts, picks))
    (near, cosines, totals, parts, picks), actual = results
    np.testing.assert_allclose(actual[1], cosines, atol=1e-5)
    np.testing.assert_array_equal(np.where(distinct_positions(cosines), actual[0], near), near)
    np.testing.assert_allclose(actual[2], totals, atol=1e-5)
    np.testing.assert_allclose(actual[3], parts, atol=1e-5)
    if trade_off == 0:
        np.testing.assert_array_equal(actual[4], picks)
    else:
        assert_greedy_picks(control, actual[4], picks, scores, trade_off, groups, cap)


@pytest.mark.parametrize("name", OTHER_ENGINES)
@settings(max_examples=100)
@given(
    world=worlds(),
    seed=st.integers(0, 2**32 - 1),
    order=st.permutations(sorted(EXTRA_DIMENSIONS)),
    used=st.integers(1, 2),
)
def test_every_engine_agrees_with_the_control_in_extra_spaces(name, world, seed, order, used):
    """The same parts within 1e-5 and the same order, also for spaces without some rows or without interests."""
    vectors, interests, columns, *_ = world
    rng = np.random.default_rng(seed)
    tastes, vectors_by_space = [], {}
    for space, dimension in EXTRA_DIMENSIONS.items():
        at = np.flatnonzero(rng.random(len(vectors)) < 0.7)
        vectors_by_space[space] = at, rng.normal(size=(len(at), dimension))
        count = rng.integers(0, 4)
        tastes.append(taste(space, rng.normal(size=(count, dimension)), *rng.random(count)))
    extra_spaces = sorted(tastes, key=lambda one: order.index(one.space))[:used]
    weights = floats(1, 0.5, 0.15, 0.25, 0.2, *rng.random(used))
    candidates = np.append(rng.permutation(len(vectors)), [-1, 5000]).astype(np.int32)
    facts = np.vstack([columns, columns[:1], columns[:1]])
    results = []
    for engine in (build(extra_dimensions=EXTRA_DIMENSIONS) for build in (ENGINES["plain"], ENGINES[name])):
        put(engine, vectors)
        for space, (at, extra) in vectors_by_space.items():
            put_extra(engine, space, at.tolist(), extra)
        results.append(engine.score(candidates, interests, facts, weights, extra_spaces=extra_spaces))
    (scores, parts), (actual_scores, actual_parts) = results
    np.testing.assert_allclose(actual_parts, parts, atol=1e-5)
    np.testing.assert_allclose(actual_scores, scores, atol=1e-5)
    best_first = np.sort(scores)[::-1]
    order, actual_order = np.argsort(-scores, kind="stable"), np.argsort(-actual_scores, kind="stable")
    is_distinct = distinct_positions(np.append(best_first, -np.inf)[None])[0, :-1]
    np.testing.assert_array_equal(np.where(is_distinct, actual_order, order), order)


def distinct_positions(cosines):
    """Return a mask of positions whose cosine differs from its neighbors by more than rounding errors."""
    finite = np.nan_to_num(cosines, neginf=-9)
    gaps = np.abs(np.diff(finite, axis=1)) > 1e-5
    edge = np.ones((len(finite), 1), np.bool_)
    # The last position may tie with a row that was not returned, so it does not count as distinct.
    return np.hstack([edge, gaps]) & np.hstack([gaps, ~edge])


def assert_greedy_picks(control, actual, expected, scores, trade_off, groups, cap):
    """Assert that each of the *actual* picks is the best of those that were free, within rounding errors."""
    assert len(actual) == len(expected) == len(set(actual.tolist()))
    spread = max(float(np.ptp(scores)), 1e-9)
    relevance = (scores - scores.min()) / spread
    vectors = control.vectors(np.arange(len(scores), dtype=np.int32))
    is_free, group_sizes, similarity = np.ones(len(scores), np.bool_), {}, np.zeros(len(scores))
    for pick in actual.tolist():
        assert is_free[pick]
        value = np.where(is_free, (1 - trade_off) * relevance - trade_off * similarity, -np.inf)
        assert value[pick] >= value.max() - 1e-5
        is_free[pick] = False
        group = int(groups[pick])
        group_sizes[group] = group_sizes.get(group, 0) + 1
        if group >= 0 and group_sizes[group] >= cap:
            is_free &= groups != group
        similarity = np.maximum(similarity, vectors @ vectors[pick])
