"""Training of item weights equals the closed form, on small random likes, and its measurement ranks held-out posts."""

import numpy as np
import pytest
from scipy import sparse

from recommendations.collaborative.item_weights import WEIGHT_UNIT, ItemWeightTable
from recommendations.collaborative.reactions import Reactions
from recommendations.training import held_out, item_weights
from recommendations.training.item_weights import ItemWeightSettings, train_item_weights
from recommendations.training.likes import Likes

KEEP_ALL = ItemWeightSettings(ridge=5.0, mean_entries=1_000, min_members=0)
NEIGHBORHOODS = ItemWeightSettings(ridge=5.0, min_members=0, max_exact=0)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Use several blocks, splits and batches on small inputs."""
    monkeypatch.setattr(item_weights, "BLOCK_POSTS", 7)
    monkeypatch.setattr(item_weights, "INVERTED_AT_ONCE", 4)
    monkeypatch.setattr(item_weights, "DENSE_POSTS", 11)
    monkeypatch.setattr(held_out, "CASES_PER_BATCH", 4)


def random_likes(members, posts, share=0.2, seed=0):
    matrix = np.random.default_rng(seed).random((members, posts)) < share
    return sparse.csr_matrix(matrix.astype(np.float32))


def train(likes, settings):
    return train_item_weights(likes, np.arange(likes.shape[1]), settings)


def to_dense(table):
    return held_out.to_matrix(table, table.post_ids).toarray()


def to_bytes(table):
    return [getattr(table, name).tobytes() for name in ("post_ids", "starts", "targets", "weights")]


def solve_densely(likes, ridge):
    """EASE as in the paper: one inverse over the posts."""
    matrix = likes.toarray().astype(np.float64)
    inverse = np.linalg.inv(matrix.T @ matrix + ridge * np.eye(matrix.shape[1]))
    weights = inverse / -np.diag(inverse)
    np.fill_diagonal(weights, 0)
    return weights


@pytest.mark.parametrize("shape", [(60, 25), (25, 60), (33, 33)], ids=["over posts", "over members", "square"])
def test_the_exact_table_is_the_closed_form_in_both_spaces(shape):
    likes = random_likes(*shape)
    table = train(likes, KEEP_ALL)
    np.testing.assert_allclose(to_dense(table), solve_densely(likes, 5.0), atol=WEIGHT_UNIT * 0.51)
    assert (table.weights != 0).all()


def test_a_neighborhood_of_all_posts_gives_the_exact_table():
    likes = random_likes(80, 20, share=0.5)
    assert (likes.T @ likes).toarray().all()  # a neighborhood consists of posts with common likes
    assert to_bytes(train(likes, NEIGHBORHOODS)) == to_bytes(train(likes, KEEP_ALL))


def test_a_neighborhood_is_the_posts_with_the_most_common_likes():
    likes = random_likes(80, 20, share=0.3)
    common = (likes.T @ likes).toarray()
    np.fill_diagonal(common, 0)
    settings = ItemWeightSettings(ridge=5.0, min_members=0, max_exact=0, neighborhood=3)
    weights = to_dense(train(likes, settings))
    for post in range(20):
        used = np.flatnonzero(weights[:, post])
        assert len(used) <= 3 and common[used, post].min() >= np.sort(common[:, post])[-3]


@pytest.mark.parametrize("settings", [KEEP_ALL, NEIGHBORHOODS], ids=["exact", "neighborhoods"])
def test_a_post_keeps_its_largest_weights(settings):
    likes = random_likes(50, 24, share=0.4)
    whole, kept = to_dense(train(likes, settings)), to_dense(train(likes, replaced(settings, max_entries=5)))
    for post in range(24):
        used = np.flatnonzero(kept[post])
        assert len(used) == 5
        assert (kept[post, used] == whole[post, used]).all()
        assert np.abs(kept[post, used]).min() >= np.delete(np.abs(whole[post]), used).max()


def test_the_exact_table_keeps_the_weights_that_count_in_most_scores():
    likes = random_likes(50, 24, share=0.4)
    whole, kept = to_dense(train(likes, KEEP_ALL)), to_dense(train(likes, replaced(KEEP_ALL, mean_entries=5)))
    assert np.count_nonzero(kept) == 5 * 24
    assert (kept[kept != 0] == whole[kept != 0]).all()
    effect = np.abs(whole) * likes.toarray().sum(axis=0)[:, None]
    assert effect[kept != 0].min() >= effect[kept == 0].max()
    assert len(set(np.count_nonzero(kept, axis=1).tolist())) > 1, "posts with more likes keep more"


def replaced(settings, **changes):
    return ItemWeightSettings(**{**vars(settings), **changes})


def test_the_lower_posts_are_kept_of_equally_large_weights():
    sizes = np.array([[3, 1, 1, 2, 1], [0, 0, 0, 0, 7]], np.int16)
    assert item_weights.find_largest(sizes, 3).tolist() == [[True, True, False, True, False], [False] * 4 + [True]]


@pytest.mark.parametrize("settings", [KEEP_ALL, NEIGHBORHOODS], ids=["exact", "neighborhoods"])
def test_a_positive_weight_needs_enough_members_who_liked_both(settings):
    likes = random_likes(50, 24)
    common = (likes.T @ likes).toarray()
    whole, kept = to_dense(train(likes, settings)), to_dense(train(likes, replaced(settings, min_members=3)))
    revealing = (whole > 0) & (common < 3)
    assert revealing.any()
    assert (kept == np.where(revealing, 0, whole)).all()


@pytest.mark.parametrize("settings", [KEEP_ALL, NEIGHBORHOODS], ids=["exact", "neighborhoods"])
def test_equal_likes_give_equal_bytes(settings):
    first, second = (train(random_likes(40, 30), settings) for _ in range(2))
    assert to_bytes(first) == to_bytes(second)


@pytest.mark.parametrize("settings", [KEEP_ALL, NEIGHBORHOODS], ids=["exact", "neighborhoods"])
def test_the_progress_ends_with_all_posts(settings):
    calls = []
    train_item_weights(random_likes(40, 30), np.arange(30), settings, lambda *call: calls.append(call))
    assert calls[0] == (0, 30) and calls[-1] == (30, 30) and calls == sorted(calls)


def test_weights_beyond_the_range_of_the_table_are_limited():
    assert item_weights.to_units(np.array([-3.0, 0.5, 3.0])).tolist() == [-32_767, 8_192, 32_767]


def test_settings_that_another_release_stored_are_read():
    stored = {"ridge": 7.0, "gone": 1}
    assert ItemWeightSettings.from_stored(stored) == ItemWeightSettings(ridge=7.0)


# Likes


def test_likes_are_the_liked_posts_of_the_histories():
    histories = [
        (7, Reactions(np.array([30, -20, 10]), np.array([1.0, 2.0, 3.0]))),
        (5, Reactions(np.array([-10]), np.array([1.0]))),
        (3, Reactions(np.array([30]), np.array([5.0]))),
    ]
    likes = Likes.from_histories(histories)
    assert likes.member_ids.tolist() == [3, 7] and likes.post_ids.tolist() == [10, 30]
    assert likes.matrix.toarray().tolist() == [[0, 1], [1, 1]]
    assert likes.times.tolist() == [5.0, 1.0, 3.0]


def test_likes_of_other_posts_are_left_out():
    likes = Likes.from_columns(np.array([1, 1, 2]), np.array([10, 20, 20]), np.array([1.0, 2.0, 3.0]))
    kept = likes.of_posts(np.array([10, 99]))
    assert (kept.member_ids.tolist(), kept.post_ids.tolist(), len(kept)) == ([1], [10], 1)


def test_no_histories_give_no_likes():
    assert len(Likes.from_histories([])) == 0


# Measurement


def random_histories(members, posts, likes_each, seed=0):
    rng = np.random.default_rng(seed)
    rows = [rng.choice(posts, likes_each, replace=False) + 1 for _ in range(members)]
    ids = np.repeat(np.arange(members) * 3, likes_each)
    return Likes.from_columns(ids, np.concatenate(rows), rng.random(members * likes_each))


def test_the_newest_like_of_each_case_is_held_out():
    likes = random_histories(20, 30, 5)
    cases = held_out.hold_out(likes, 0, min_likes=3)
    assert len(cases) == 20 and len(cases.train) == len(likes) - 20
    for member, post, moment in zip(cases.members, cases.posts, cases.times, strict=True):
        own = likes.members == member
        assert moment == likes.times[own].max() and not cases.train.matrix[member, post]


def test_members_with_few_likes_are_not_cases():
    assert len(held_out.hold_out(random_histories(20, 30, 2), 0, min_likes=3)) == 0


def test_the_cases_are_a_sample_that_depends_on_the_seed_and_on_member_ids_only(monkeypatch):
    monkeypatch.setattr(held_out, "MAX_CASES", 10)
    likes = random_histories(40, 30, 4)
    chosen = {seed: set(likes.member_ids[held_out.hold_out(likes, seed, min_likes=3).members]) for seed in (0, 1)}
    assert len(chosen[0]) == 10 and chosen[0] != chosen[1]
    fewer = likes.take(likes.member_ids[likes.members] < 60)
    still = set(fewer.member_ids[held_out.hold_out(fewer, 0, min_likes=3).members])
    assert {member for member in chosen[0] if member < 60} <= still


def test_places_count_the_better_posts_that_the_member_did_not_like():
    likes = random_histories(20, 30, 5)
    cases = held_out.hold_out(likes, 0, min_likes=3)
    table = train_item_weights(cases.train.matrix, likes.post_ids, KEEP_ALL)
    places = held_out.rank_targets(cases, held_out.to_matrix(table, likes.post_ids))
    popular = held_out.rank_targets_by_likes(cases)
    liked, weights = cases.train.matrix.toarray(), to_dense(table)
    for number, (member, post) in enumerate(zip(cases.members, cases.posts, strict=True)):
        for scores, place in ((liked[member] @ weights, places[number]), (liked.sum(axis=0), popular[number])):
            open_posts = np.flatnonzero(liked[member] == 0)
            ranked = open_posts[np.argsort(-scores[open_posts], kind="stable")]
            assert ranked.tolist().index(post) + 1 == place


def test_measures_of_places():
    places = np.array([1, 3, 10, 11])
    assert held_out.compute_hits(places).tolist() == [1, 1, 1, 0]
    np.testing.assert_allclose(held_out.compute_ndcg(places), [1, 0.5, 1 / np.log2(11), 0])


def test_a_table_over_other_posts_is_read_over_these_posts():
    table = ItemWeightTable(
        np.array([1, 5, 9]), np.array([0, 2, 3, 4]), np.array([1, 2, 0, 0], np.int32), np.array([4, 8, 2, 1], np.int16)
    )
    weights = held_out.to_matrix(table, np.array([1, 4, 9])).toarray() / WEIGHT_UNIT
    assert weights.tolist() == [[0, 0, 8], [0, 0, 0], [1, 0, 0]]


def test_the_scale_is_the_mean_score_at_the_end_of_a_first_page():
    likes = random_histories(30, 60, 5)
    table = train_item_weights(likes.matrix, likes.post_ids, KEEP_ALL)
    scores = likes.matrix.toarray() @ to_dense(table)
    scores[likes.matrix.toarray() > 0] = -np.inf
    expected = np.sort(scores[:9], axis=1)[:, -20].mean()
    scale = held_out.compute_scale(likes, np.arange(9, dtype=np.int32), table)
    assert expected > 0 and scale == pytest.approx(expected)


@pytest.mark.parametrize("members", [0, 3])
def test_the_scale_is_1_without_a_positive_score(members):
    likes = random_histories(3, 8, 3)
    empty = ItemWeightTable(
        likes.post_ids, np.zeros(len(likes.post_ids) + 1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.int16)
    )
    assert held_out.compute_scale(likes, np.arange(members, dtype=np.int32), empty) == 1.0
