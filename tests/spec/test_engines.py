"""The law of `ports.Engine`, held by every engine: a new one joins by its name in the list."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommendations.contracts import Interests, SpaceTaste
from recommendations.engines.plain import PlainEngine
from recommendations.engines.wasm_simd import WasmEngine
from recommendations.ports import EngineError, VectorError

DIMENSION = 16
MAKERS = {
    "plain": lambda **extra: PlainEngine(DIMENSION, **extra),
    "wasm_simd": lambda **extra: WasmEngine(DIMENSION, memory_limit_bytes=2**26, **extra),
}
FACTORS, PICTURES = 8, 24
EXTRA_DIMENSIONS = {"factors": FACTORS, "pictures": PICTURES}
AXES = np.eye(DIMENSION, dtype=np.float32)
NO_INTERESTS = Interests.empty(DIMENSION)


@pytest.fixture(params=MAKERS)
def engine(request):
    return MAKERS[request.param]()


@pytest.fixture(params=MAKERS)
def spacious(request):
    """Return an engine with two extra spaces of other dimensions than its own."""
    return MAKERS[request.param](extra_dimensions=EXTRA_DIMENSIONS)


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


def test_nearest_come_best_first_with_their_cosines(engine):
    """Length does not count: a row is found by its direction."""
    put(engine, [AXES[0] * 9, AXES[0] + AXES[1], AXES[1]])
    found, cosines = engine.nearest(AXES[:1] * 5, 3, all_of(3))
    assert found.tolist() == [[0, 1, 2]]
    np.testing.assert_allclose(cosines, [[1, 0.5**0.5, 0]], atol=1e-5)


def test_what_is_not_eligible_is_not_found(engine):
    """The mask is inside the search: k results are k eligible ones."""
    put(engine, [AXES[0], AXES[0] + AXES[1], AXES[1]])
    assert engine.nearest(AXES[:1], 2, np.array([False, True, True]))[0].tolist() == [[1, 2]]


@pytest.mark.parametrize("eligible", [1, 3, 9, 5000])
def test_a_mask_may_be_shorter_or_longer_than_the_rows(engine, eligible):
    """Posts without a vector have rows too; rows that came after the request began are not eligible."""
    put(engine, [AXES[0], AXES[0], AXES[0]])
    found, _ = engine.nearest(AXES[:1], 3, all_of(eligible))
    assert sorted(found[found >= 0].tolist()) == list(range(min(eligible, 3)))


def test_ties_go_to_the_lower_post_id(engine):
    put(engine, [AXES[0]] * 4, post_ids=[40, 10, 30, 20])
    assert engine.nearest(AXES[:1], 3, all_of(4))[0].tolist() == [[1, 3, 2]]


def test_where_there_are_fewer_than_k_the_rest_is_minus_one(engine):
    put(engine, [AXES[0], AXES[1]])
    found, cosines = engine.nearest(AXES[:2], 4, all_of(2))
    assert found.tolist() == [[0, 1, -1, -1], [1, 0, -1, -1]]
    assert np.isneginf(cosines[:, 2:]).all()


def test_an_empty_engine_finds_nothing(engine):
    found, cosines = engine.nearest(AXES[:1], 2, all_of(0))
    assert found.tolist() == [[-1, -1]]
    assert cosines.shape == (1, 2)


def test_a_zero_vector_is_alike_to_nothing(engine):
    """Its cosine is 0, as a row and as a query."""
    put(engine, [np.zeros(DIMENSION), AXES[0], -AXES[0]])
    found, cosines = engine.nearest(AXES[:1], 3, all_of(3))
    assert found.tolist() == [[1, 0, 2]]
    np.testing.assert_allclose(cosines, [[1, 0, -1]], atol=1e-5)
    assert not engine.nearest(np.zeros((1, DIMENSION), np.float32), 3, all_of(3))[1].any()


def test_a_dropped_row_is_forgotten_until_it_is_put_again(engine):
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


def test_put_replaces_what_was_there(engine):
    put(engine, [AXES[0]])
    put(engine, [AXES[1]])
    np.testing.assert_allclose(engine.vectors(rows(0))[0], AXES[1], atol=1e-6)


def test_putting_nothing_changes_nothing(engine):
    engine.put(rows(), ids(), np.zeros((0, DIMENSION), np.float32))
    assert engine.nearest(AXES[:1], 1, all_of(0))[0].tolist() == [[-1]]


# score

WEIGHTS = floats(2, 3, 5)


def test_a_score_is_the_sum_of_its_parts(engine):
    """Taste is the best weight · cosine, dislike its negative twin, then the weighted columns."""
    put(engine, [AXES[0], AXES[1], AXES[2]])
    interests = make_interests([AXES[0], AXES[1]], [1, 0.5], [AXES[2]], [1])
    scores, parts = engine.score(rows(0, 1, 2), interests, np.array([[0.1], [0.2], [0.3]], np.float32), WEIGHTS)
    np.testing.assert_allclose(parts, [[2, 0, 0.5], [1, 0, 1], [0, -3, 1.5]], atol=1e-5)
    np.testing.assert_allclose(scores, parts.sum(axis=1), atol=1e-5)


def test_dislike_never_raises_a_score(engine):
    """Being the opposite of what was turned down is no merit."""
    put(engine, [-AXES[0]])
    _, parts = engine.score(rows(0), make_interests([], [], [AXES[0]], [1]), np.zeros((1, 1), np.float32), WEIGHTS)
    assert parts[0, 1] == 0


def test_without_a_vector_the_likeness_is_zero(engine):
    """A row of -1, one never put and a zero vector keep their columns and have no taste part."""
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
    """The same bytes in any company: else a page would depend on who else was a candidate."""
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


def test_one_extra_space_adds_one_part(spacious):
    """It comes last: its weight times the best weight · cosine over its own interests and vectors."""
    put(spacious, [AXES[0], AXES[1]])
    put_extra(spacious, "factors", [0, 1], [axes(FACTORS, 0)[0] * 7, axes(FACTORS, 0)[0] + axes(FACTORS, 1)[0]])
    collaborative = taste("factors", axes(FACTORS, 0, 1) * 3, 1, 0.5)
    columns = np.array([[0.1], [0.2]], np.float32)
    interests = make_interests([AXES[0]], [1], [AXES[1]], [1])
    scores, parts = spacious.score(rows(0, 1), interests, columns, floats(2, 3, 5, 4), extra_spaces=[collaborative])
    np.testing.assert_allclose(parts, [[2, 0, 0.5, 4], [0, -3, 1, 4 * 0.5**0.5]], atol=1e-5)
    np.testing.assert_allclose(scores, parts.sum(axis=1), atol=1e-5)


def test_two_extra_spaces_add_two_parts_in_the_order_they_are_given(spacious):
    put(spacious, [AXES[0]])
    put_extra(spacious, "factors", [0], axes(FACTORS, 0))
    put_extra(spacious, "pictures", [0], -axes(PICTURES, 20))
    factors, pictures = taste("factors", axes(FACTORS, 0), 0.5), taste("pictures", axes(PICTURES, 20), 1)
    columns, weights = np.ones((1, 1), np.float32), floats(2, 3, 5, 10, 100)
    _, parts = spacious.score(rows(0), NO_INTERESTS, columns, weights, extra_spaces=[factors, pictures])
    np.testing.assert_allclose(parts, [[0, 0, 5, 5, -100]], atol=1e-5)
    _, parts = spacious.score(rows(0), NO_INTERESTS, columns, weights, extra_spaces=[pictures, factors])
    np.testing.assert_allclose(parts, [[0, 0, 5, -10, 50]], atol=1e-5)


def test_a_row_that_an_extra_space_lacks_has_no_part_there(spacious):
    """Never put, beyond all that were put, without a row at all, or a zero vector: 0. The other parts stay."""
    put(spacious, [AXES[0]] * 4)
    put_extra(spacious, "factors", [1, 2], [axes(FACTORS, 0)[0], np.zeros(FACTORS)])
    asked = [taste("factors", axes(FACTORS, 0), 1), taste("pictures", axes(PICTURES, 0), 1)]
    ones, weights = np.ones((6, 1), np.float32), floats(1, 1, 1, 1, 1)
    _, parts = spacious.score(
        rows(0, 1, 2, 3, 999, -1), make_interests([AXES[0]], [1]), ones, weights, extra_spaces=asked
    )
    np.testing.assert_allclose(parts[:, 3], [0, 1, 0, 0, 0, 0], atol=1e-6)
    assert not parts[:, 4].any()
    np.testing.assert_allclose(parts[:, 0], [1, 1, 1, 1, 0, 0], atol=1e-6)


def test_a_row_may_have_a_vector_in_an_extra_space_only(spacious):
    put(spacious, [AXES[0]])
    put_extra(spacious, "factors", [5000], axes(FACTORS, 3))
    asked = [taste("factors", axes(FACTORS, 3), 1)]
    columns = np.zeros((1, 0), np.float32)
    _, parts = spacious.score(rows(5000), make_interests([AXES[0]], [1]), columns, floats(1, 1, 2), extra_spaces=asked)
    np.testing.assert_allclose(parts, [[0, 0, 2]], atol=1e-6)


def test_without_interests_in_an_extra_space_its_part_is_zero(spacious):
    """No interest, and an interest that is a zero vector."""
    put(spacious, [AXES[0]])
    put_extra(spacious, "factors", [0], axes(FACTORS, 0))
    for asked in (taste("factors", np.zeros((0, FACTORS))), taste("factors", np.zeros((1, FACTORS)), 1)):
        _, parts = spacious.score(
            rows(0), NO_INTERESTS, np.ones((1, 1), np.float32), floats(1, 1, 5, 9), extra_spaces=[asked]
        )
        np.testing.assert_allclose(parts, [[0, 0, 5, 0]], atol=1e-6)


def test_no_candidates_have_no_parts_of_extra_spaces(spacious):
    asked = [taste("factors", axes(FACTORS, 0), 1)]
    scores, parts = spacious.score(
        rows(), NO_INTERESTS, np.zeros((0, 1), np.float32), floats(1, 1, 1, 1), extra_spaces=asked
    )
    assert scores.shape == (0,) and parts.shape == (0, 4)


def factor_part(engine, row):
    """Return the part that `factors` adds to the score of *row*."""
    asked = [taste("factors", axes(FACTORS, 0), 1)]
    return engine.score(rows(row), NO_INTERESTS, np.zeros((1, 0), np.float32), floats(0, 0, 1), extra_spaces=asked)[1][
        0, 2
    ]


def test_dropping_from_an_extra_space_leaves_the_others(spacious):
    put(spacious, [AXES[0]])
    put_extra(spacious, "factors", [0], axes(FACTORS, 0))
    spacious.drop(rows(0, 5000), space="factors")
    assert factor_part(spacious, 0) == 0
    np.testing.assert_allclose(spacious.vectors(rows(0)), AXES[:1], atol=1e-6)


def test_dropping_without_a_name_empties_the_row_in_every_space(spacious):
    """The next post at this row must not inherit the factors of the one before."""
    put(spacious, [AXES[0]])
    put_extra(spacious, "factors", [0, 1], axes(FACTORS, 0, 0))
    spacious.drop(rows(0))
    put(spacious, [AXES[1]])
    assert factor_part(spacious, 0) == 0
    assert factor_part(spacious, 1) == pytest.approx(1)


def test_extra_spaces_change_nothing_but_the_score(spacious):
    """What is found, told apart and scored in the own space is what an engine without extra spaces says."""
    single = MAKERS[spacious.name]()
    rng = np.random.default_rng(2)
    vectors, columns = rng.normal(size=(50, DIMENSION)).astype(np.float32), rng.random((50, 1), np.float32)
    put(single, vectors)
    put(spacious, vectors)
    put_extra(spacious, "factors", range(50), rng.normal(size=(50, FACTORS)))
    every_row = np.arange(50, dtype=np.int32)
    answers = [
        (
            *engine.nearest(vectors[:2], 10, all_of(50)),
            *engine.score(every_row, make_interests(vectors[:2], [1, 1]), columns, WEIGHTS),
            engine.cosine(vectors[0], every_row),
            engine.vectors(every_row),
        )
        for engine in (single, spacious)
    ]
    for alone, beside in zip(*answers, strict=True):
        np.testing.assert_array_equal(alone, beside)


# diversify


def diversify_rows(engine, scores, *, groups=None, k=10, trade_off=0.5, cap=10, at=None, post_ids=None):
    n = len(scores)
    at = np.arange(n, dtype=np.int32) if at is None else at
    post_ids = np.arange(n, dtype=np.int64) if post_ids is None else ids(*post_ids)
    groups = np.arange(n, dtype=np.int64) if groups is None else ids(*groups)
    return engine.diversify(at, post_ids, floats(*scores), groups, k, trade_off, cap).tolist()


def test_without_a_trade_off_the_order_is_that_of_the_scores(engine):
    put(engine, [AXES[0]] * 4)
    assert diversify_rows(engine, [1, 4, 2, 3], trade_off=0) == [1, 3, 2, 0]


def test_a_twin_waits_for_something_else(engine):
    """Likeness to an earlier pick costs: of two alike, the second comes after a lower-scored stranger."""
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


def test_k_beyond_the_candidates_gives_them_all(engine):
    put(engine, AXES[:3])
    assert len(diversify_rows(engine, [3, 2, 1], k=99)) == 3
    assert len(diversify_rows(engine, [3, 2, 1], k=2)) == 2


def test_nothing_to_diversify_and_nothing_asked_for(engine):
    assert diversify_rows(engine, []) == []
    put(engine, AXES[:1])
    assert diversify_rows(engine, [1], k=0) == []


def test_opposites_do_not_draw_each_other(engine):
    """A similarity below 0 counts as 0: the opposite of a pick is no better than a stranger to it."""
    put(engine, [AXES[0], -AXES[0], AXES[1]])
    assert diversify_rows(engine, [1, 0.4, 0.5]) == [0, 2, 1]


def test_rows_without_vectors_are_like_nothing(engine):
    put(engine, AXES[:1])
    assert diversify_rows(engine, [1, 3, 2], at=rows(-1, 999, 0)) == [1, 2, 0]


# cosine and vectors


def test_cosine_of_rows_with_a_query(engine):
    put(engine, [AXES[0] * 3, AXES[0] + AXES[1], np.zeros(DIMENSION)])
    cosines = engine.cosine(AXES[0] * 2, rows(0, 1, 2, -1))
    assert cosines.dtype == np.float32
    np.testing.assert_allclose(cosines, [1, 0.5**0.5, 0, 0], atol=1e-5)


def test_vectors_come_back_at_unit_length(engine):
    put(engine, [AXES[0] * 3, np.zeros(DIMENSION)])
    np.testing.assert_allclose(engine.vectors(rows(0, 1, -1, 77)), [AXES[0], *np.zeros((3, DIMENSION))], atol=1e-6)


# bad input


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused_and_change_nothing(engine, bad):
    put(engine, AXES[:2])
    spoiled = AXES[5:7].copy()
    spoiled[1, 3] = bad
    with pytest.raises(VectorError):
        put(engine, spoiled)
    with pytest.raises(VectorError):
        engine.nearest(spoiled, 1, all_of(2))
    with pytest.raises(VectorError):
        engine.cosine(spoiled[1], rows(0))
    with pytest.raises(VectorError):
        engine.score(rows(0), make_interests(spoiled, [1, 1]), np.zeros((1, 1), np.float32), WEIGHTS)
    with pytest.raises(VectorError):
        engine.score(rows(0), make_interests([], [], spoiled, [1, 1]), np.zeros((1, 1), np.float32), WEIGHTS)
    np.testing.assert_allclose(engine.vectors(rows(0, 1)), AXES[:2], atol=1e-6)


def test_a_wrong_dimension_is_refused(engine):
    narrow = np.ones((1, DIMENSION - 1), np.float32)
    with pytest.raises(VectorError):
        put(engine, narrow)
    with pytest.raises(VectorError):
        engine.nearest(narrow, 1, all_of(1))
    with pytest.raises(VectorError):
        engine.cosine(narrow[0], rows(-1))


def test_an_extra_space_that_is_not_there_is_refused(spacious, engine):
    for one, named in ((spacious, "factors, pictures"), (engine, "none")):
        with pytest.raises(VectorError, match=named):
            put_extra(one, "sounds", [0], axes(FACTORS, 0))
        with pytest.raises(VectorError, match=named):
            one.drop(rows(0), space="sounds")
        with pytest.raises(VectorError, match=named):
            scored_with(one, taste("sounds", axes(FACTORS, 0), 1))


def scored_with(engine, extra):
    return engine.score(rows(0), NO_INTERESTS, np.zeros((1, 0), np.float32), floats(1, 1, 1), extra_spaces=[extra])


def test_bad_input_to_an_extra_space_is_refused_and_changes_nothing(spacious):
    put_extra(spacious, "factors", [0], axes(FACTORS, 0))
    spoiled = np.full((1, FACTORS), np.nan, np.float32)
    for bad in (spoiled, axes(DIMENSION, 0)):
        with pytest.raises(VectorError):
            put_extra(spacious, "factors", [0], bad)
        with pytest.raises(VectorError):
            scored_with(spacious, taste("factors", bad, 1))
    with pytest.raises(VectorError):
        scored_with(spacious, taste("factors", axes(FACTORS, 0), 1, 1))
    assert factor_part(spacious, 0) == pytest.approx(1)


def test_the_memory_limit_holds_for_all_spaces_together():
    engine = WasmEngine(DIMENSION, memory_limit_bytes=2**26, extra_dimensions=EXTRA_DIMENSIONS)
    single = WasmEngine(DIMENSION, memory_limit_bytes=2**26)
    assert single.statistics().memory_limit_bytes == 2**26
    assert 2**26 - 3 <= engine.statistics().memory_limit_bytes <= 2**26
    before = engine.statistics()
    put_extra(engine, "pictures", range(3000), np.ones((3000, PICTURES)))
    assert engine.statistics().resident_bytes > before.resident_bytes
    assert engine.statistics().rows == 0


def test_recycling_gives_back_the_scratch_of_every_space_and_keeps_the_vectors():
    engine = WasmEngine(DIMENSION, memory_limit_bytes=2**28, extra_dimensions=EXTRA_DIMENSIONS)
    put_extra(engine, "factors", [0], axes(FACTORS, 0))
    asked = [taste("factors", axes(FACTORS, 0), 1)]
    many = np.zeros(200_000, np.int32)
    engine.score(many, NO_INTERESTS, np.zeros((len(many), 0), np.float32), floats(0, 0, 1), extra_spaces=asked)
    before = [shard.memory_bytes for shard in engine.statistics().shards]
    engine.recycle()
    after = [shard.memory_bytes for shard in engine.statistics().shards]
    assert after[0] < before[0] and after[1] < before[1]
    assert factor_part(engine, 0) == pytest.approx(1)


def test_an_engine_out_of_memory_says_so_and_keeps_what_it_had():
    """The port's other error: another engine may do what this one cannot."""
    engine = WasmEngine(DIMENSION, memory_limit_bytes=2**21)
    put(engine, AXES[:1])
    with pytest.raises(EngineError):
        put(engine, np.ones((200_000, DIMENSION)))
    assert engine.nearest(AXES[:1], 1, all_of(1))[0].tolist() == [[0]]


# every engine against the control


@st.composite
def worlds(draw):
    """Generate vectors with a few zero rows, interests, facts and scores far enough apart to have one order."""
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


OTHERS = [name for name in MAKERS if name != "plain"]


@pytest.mark.parametrize("name", OTHERS)
@settings(max_examples=150)
@given(world=worlds(), k=st.integers(1, 250), trade_off=st.sampled_from([0, 0.3, 0.7, 1]), cap=st.integers(1, 4))
def test_every_engine_answers_as_the_control_does(name, world, k, trade_off, cap):
    """The same rows in the same order, and values equal to 1e-5."""
    vectors, interests, columns, eligible, scores, groups = world
    control, other = MAKERS["plain"](), MAKERS[name]()
    every_row = np.arange(len(vectors), dtype=np.int32)
    answers = []
    for engine in (control, other):
        put(engine, vectors)
        near, cosines = engine.nearest(np.vstack([AXES[:1], interests.positive]), k, eligible)
        totals, parts = engine.score(every_row, interests, columns, floats(1, 0.5, 0.15, 0.25, 0.2))
        post_ids = np.arange(len(vectors), dtype=np.int64)
        picks = engine.diversify(every_row, post_ids, scores, groups, k, trade_off, cap)
        answers.append((near, cosines, totals, parts, picks))
    (near, cosines, totals, parts, picks), theirs = answers
    np.testing.assert_allclose(theirs[1], cosines, atol=1e-5)
    np.testing.assert_array_equal(np.where(distinct_places(cosines), theirs[0], near), near)
    np.testing.assert_allclose(theirs[2], totals, atol=1e-5)
    np.testing.assert_allclose(theirs[3], parts, atol=1e-5)
    if trade_off == 0:
        np.testing.assert_array_equal(theirs[4], picks)
    else:
        assert_picks_as_good(control, theirs[4], picks, scores, trade_off, groups, cap)


@pytest.mark.parametrize("name", OTHERS)
@settings(max_examples=100)
@given(
    world=worlds(),
    seed=st.integers(0, 2**32 - 1),
    order=st.permutations(sorted(EXTRA_DIMENSIONS)),
    used=st.integers(1, 2),
)
def test_every_engine_scores_extra_spaces_as_the_control_does(name, world, seed, order, used):
    """The same parts to 1e-5 and the same order, also where a space lacks rows or the viewer has no interests in it."""
    vectors, interests, columns, *_ = world
    rng = np.random.default_rng(seed)
    tastes, held = [], {}
    for space, dimension in EXTRA_DIMENSIONS.items():
        at = np.flatnonzero(rng.random(len(vectors)) < 0.7)
        held[space] = at, rng.normal(size=(len(at), dimension))
        count = rng.integers(0, 4)
        tastes.append(taste(space, rng.normal(size=(count, dimension)), *rng.random(count)))
    asked = sorted(tastes, key=lambda one: order.index(one.space))[:used]
    weights = floats(1, 0.5, 0.15, 0.25, 0.2, *rng.random(used))
    candidates = np.append(rng.permutation(len(vectors)), [-1, 5000]).astype(np.int32)
    facts = np.vstack([columns, columns[:1], columns[:1]])
    answers = []
    for engine in (made(extra_dimensions=EXTRA_DIMENSIONS) for made in (MAKERS["plain"], MAKERS[name])):
        put(engine, vectors)
        for space, (at, extra) in held.items():
            put_extra(engine, space, at.tolist(), extra)
        answers.append(engine.score(candidates, interests, facts, weights, extra_spaces=asked))
    (scores, parts), (their_scores, their_parts) = answers
    np.testing.assert_allclose(their_parts, parts, atol=1e-5)
    np.testing.assert_allclose(their_scores, scores, atol=1e-5)
    best_first = np.sort(scores)[::-1]
    ours, theirs = np.argsort(-scores, kind="stable"), np.argsort(-their_scores, kind="stable")
    surely = distinct_places(np.append(best_first, -np.inf)[None])[0, :-1]
    np.testing.assert_array_equal(np.where(surely, theirs, ours), ours)


def distinct_places(cosines):
    """Return which places are further than rounding from their neighbors: only these have one right row."""
    finite = np.nan_to_num(cosines, neginf=-9)
    gaps = np.abs(np.diff(finite, axis=1)) > 1e-5
    edge = np.ones((len(finite), 1), np.bool_)
    # The last place may have a rival that did not come in: rounding decides between the two.
    return np.hstack([edge, gaps]) & np.hstack([gaps, ~edge])


def assert_picks_as_good(control, theirs, ours, scores, trade_off, groups, cap):
    """Hold *theirs* to the greedy rule: each pick is the best that was free, but for rounding."""
    assert len(theirs) == len(ours) == len(set(theirs.tolist()))
    spread = max(float(np.ptp(scores)), 1e-9)
    relevance = (scores - scores.min()) / spread
    vectors = control.vectors(np.arange(len(scores), dtype=np.int32))
    free, taken, similarity = np.ones(len(scores), np.bool_), {}, np.zeros(len(scores))
    for pick in theirs.tolist():
        assert free[pick]
        value = np.where(free, (1 - trade_off) * relevance - trade_off * similarity, -np.inf)
        assert value[pick] >= value.max() - 1e-5
        free[pick] = False
        group = int(groups[pick])
        taken[group] = taken.get(group, 0) + 1
        if group >= 0 and taken[group] >= cap:
            free &= groups != group
        similarity = np.maximum(similarity, vectors @ vectors[pick])
