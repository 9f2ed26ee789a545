"""The law of `ports.Engine`, held by every engine: a new one joins by its name in the list."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommendations.contracts import Interests
from recommendations.engines.plain import PlainEngine
from recommendations.engines.wasm_simd import WasmEngine
from recommendations.ports import EngineError, VectorError

DIMENSION = 16
MAKERS = {
    "plain": lambda: PlainEngine(DIMENSION),
    "wasm_simd": lambda: WasmEngine(DIMENSION, memory_limit_bytes=2**26),
}
AXES = np.eye(DIMENSION, dtype=np.float32)
NOBODY = Interests.none(DIMENSION)


@pytest.fixture(params=MAKERS)
def engine(request):
    return MAKERS[request.param]()


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


def liking(positive, weights, negative=(), negative_weights=()):
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
    interests = liking([AXES[0], AXES[1]], [1, 0.5], [AXES[2]], [1])
    scores, parts = engine.score(rows(0, 1, 2), interests, np.array([[0.1], [0.2], [0.3]], np.float32), WEIGHTS)
    np.testing.assert_allclose(parts, [[2, 0, 0.5], [1, 0, 1], [0, -3, 1.5]], atol=1e-5)
    np.testing.assert_allclose(scores, parts.sum(axis=1), atol=1e-5)


def test_dislike_never_raises_a_score(engine):
    """Being the opposite of what was turned down is no merit."""
    put(engine, [-AXES[0]])
    _, parts = engine.score(rows(0), liking([], [], [AXES[0]], [1]), np.zeros((1, 1), np.float32), WEIGHTS)
    assert parts[0, 1] == 0


def test_without_a_vector_the_likeness_is_zero(engine):
    """A row of -1, one never put and a zero vector keep their columns and have no taste part."""
    put(engine, [np.zeros(DIMENSION), AXES[0]])
    interests = liking([AXES[0]], [1], [AXES[0]], [1])
    _, parts = engine.score(rows(-1, 0, 999), interests, np.ones((3, 1), np.float32), WEIGHTS)
    np.testing.assert_allclose(parts, [[0, 0, 5]] * 3, atol=1e-6)


def test_without_interests_the_columns_remain(engine):
    put(engine, [AXES[0]])
    scores, parts = engine.score(rows(0), NOBODY, np.ones((1, 1), np.float32), WEIGHTS)
    np.testing.assert_allclose(parts, [[0, 0, 5]], atol=1e-6)
    np.testing.assert_allclose(scores, [5], atol=1e-6)


def test_no_candidates_have_no_scores(engine):
    scores, parts = engine.score(rows(), NOBODY, np.zeros((0, 1), np.float32), WEIGHTS)
    assert scores.shape == (0,) and parts.shape == (0, 3)


def test_a_score_depends_on_its_own_row_only(engine):
    """The same bytes in any company: else a page would depend on who else was a candidate."""
    rng = np.random.default_rng(1)
    put(engine, rng.normal(size=(300, DIMENSION)))
    interests = liking(rng.normal(size=(3, DIMENSION)), [1, 0.7, 0.3])
    columns = rng.random((300, 1), np.float32)
    together, _ = engine.score(np.arange(300, dtype=np.int32), interests, columns, WEIGHTS)
    alone, _ = engine.score(rows(171), interests, columns[171:172], WEIGHTS)
    np.testing.assert_allclose(together[171], alone[0], atol=1e-6)


# diversify


def diversified(engine, scores, *, groups=None, k=10, trade_off=0.5, cap=10, at=None, post_ids=None):
    n = len(scores)
    at = np.arange(n, dtype=np.int32) if at is None else at
    post_ids = np.arange(n, dtype=np.int64) if post_ids is None else ids(*post_ids)
    groups = np.arange(n, dtype=np.int64) if groups is None else ids(*groups)
    return engine.diversify(at, post_ids, floats(*scores), groups, k, trade_off, cap).tolist()


def test_without_a_trade_off_the_order_is_that_of_the_scores(engine):
    put(engine, [AXES[0]] * 4)
    assert diversified(engine, [1, 4, 2, 3], trade_off=0) == [1, 3, 2, 0]


def test_a_twin_waits_for_something_else(engine):
    """Likeness to an earlier pick costs: of two alike, the second comes after a lower-scored stranger."""
    put(engine, [AXES[0], AXES[0], AXES[1]])
    assert diversified(engine, [1, 0.9, 0.5]) == [0, 2, 1]


def test_no_group_has_more_picks_than_the_cap(engine):
    put(engine, AXES[:4])
    assert diversified(engine, [4, 3, 2, 1], groups=[7, 7, 7, 8], cap=2, trade_off=0) == [0, 1, 3]


def test_the_unknown_group_has_no_cap(engine):
    put(engine, AXES[:3])
    assert diversified(engine, [3, 2, 1], groups=[-1, -1, -1], cap=1, trade_off=0) == [0, 1, 2]


def test_equal_picks_go_to_the_lower_id(engine):
    put(engine, AXES[:3])
    assert diversified(engine, [1, 1, 1], post_ids=[30, 10, 20]) == [1, 2, 0]


def test_k_beyond_the_candidates_gives_them_all(engine):
    put(engine, AXES[:3])
    assert len(diversified(engine, [3, 2, 1], k=99)) == 3
    assert len(diversified(engine, [3, 2, 1], k=2)) == 2


def test_nothing_to_diversify_and_nothing_asked_for(engine):
    assert diversified(engine, []) == []
    put(engine, AXES[:1])
    assert diversified(engine, [1], k=0) == []


def test_opposites_do_not_draw_each_other(engine):
    """A likeness below 0 counts as 0: the opposite of a pick is no better than a stranger to it."""
    put(engine, [AXES[0], -AXES[0], AXES[1]])
    assert diversified(engine, [1, 0.4, 0.5]) == [0, 2, 1]


def test_rows_without_vectors_are_like_nothing(engine):
    put(engine, AXES[:1])
    assert diversified(engine, [1, 3, 2], at=rows(-1, 999, 0)) == [1, 2, 0]


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
        engine.score(rows(0), liking(spoiled, [1, 1]), np.zeros((1, 1), np.float32), WEIGHTS)
    with pytest.raises(VectorError):
        engine.score(rows(0), liking([], [], spoiled, [1, 1]), np.zeros((1, 1), np.float32), WEIGHTS)
    np.testing.assert_allclose(engine.vectors(rows(0, 1)), AXES[:2], atol=1e-6)


def test_a_wrong_dimension_is_refused(engine):
    narrow = np.ones((1, DIMENSION - 1), np.float32)
    with pytest.raises(VectorError):
        put(engine, narrow)
    with pytest.raises(VectorError):
        engine.nearest(narrow, 1, all_of(1))
    with pytest.raises(VectorError):
        engine.cosine(narrow[0], rows(-1))


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
    interests = liking(
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
    np.testing.assert_array_equal(np.where(apart(cosines), theirs[0], near), near)
    np.testing.assert_allclose(theirs[2], totals, atol=1e-5)
    np.testing.assert_allclose(theirs[3], parts, atol=1e-5)
    if trade_off == 0:
        np.testing.assert_array_equal(theirs[4], picks)
    else:
        assert_picks_as_good(control, theirs[4], picks, scores, trade_off, groups, cap)


def apart(cosines):
    """Return which places are further than rounding from their neighbours: only these have one right row."""
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
    free, taken, likeness = np.ones(len(scores), np.bool_), {}, np.zeros(len(scores))
    for pick in theirs.tolist():
        assert free[pick]
        value = np.where(free, (1 - trade_off) * relevance - trade_off * likeness, -np.inf)
        assert value[pick] >= value.max() - 1e-5
        free[pick] = False
        group = int(groups[pick])
        taken[group] = taken.get(group, 0) + 1
        if group >= 0 and taken[group] >= cap:
            free &= groups != group
        likeness = np.maximum(likeness, vectors @ vectors[pick])
