"""How much item weights count beside co-likes: measured on held-out likes, and 1 unless another factor is better."""

import numpy as np
import pytest

from recommendations.collaborative.nearest import PostCounts, join_co_likes, pack_nearest, unpack_nearest
from recommendations.collaborative.strengths import weigh_latest
from recommendations.training import held_out
from recommendations.training.held_out import hold_out, to_matrix
from recommendations.training.item_weight_factor import FACTORS, find_item_factor, score_co_likes
from recommendations.training.item_weights import ItemWeightSettings, train_item_weights
from recommendations.training.likes import Likes

SETTINGS = ItemWeightSettings(ridge=20.0, min_members=2)
POSTS = 120


def likes_of(histories):
    members = np.repeat(np.arange(len(histories)), [len(history) for history in histories])
    times = np.concatenate([np.arange(len(history)) for history in histories]).astype(float)
    return Likes.from_columns(members, np.concatenate(histories), times)


def find_factor(histories):
    cases = hold_out(likes_of(histories), 0, min_likes=3)
    table = train_item_weights(cases.train.matrix, cases.train.post_ids, SETTINGS)
    return find_item_factor(cases, to_matrix(table, cases.train.post_ids), min_members=2)


def one_interest_and_news(draw):
    """Twelve likes of one of four interests, five of news that say nothing, and again one of the interest."""
    interest = draw.permutation(30)[:13] + 30 * draw.integers(4)
    news = POSTS + 10 * draw.integers(6) + draw.permutation(10)[:5]
    return np.concatenate([interest[:12], news, interest[12:]])


def a_new_interest(draw):
    """Fifteen likes of one of four interests, and then eight of another one."""
    before, after = 30 * draw.permutation(4)[:2]
    return np.concatenate([before + draw.permutation(30)[:15], after + draw.permutation(30)[:8]])


@pytest.mark.parametrize(("history", "factor"), [(one_interest_and_news, 5.6), (a_new_interest, 0.5)])
def test_the_factor_follows_what_says_more_on_the_platform(history, factor):
    draw = np.random.default_rng(1)
    assert find_factor([history(draw) for _ in range(400)]) == factor


def test_a_gain_that_may_be_chance_changes_nothing():
    draw = np.random.default_rng(2)
    assert find_factor([draw.permutation(POSTS)[:8] for _ in range(60)]) == FACTORS[0] == 1


@pytest.mark.parametrize("min_members", [1, 2])
def test_co_like_scores_are_those_that_are_served(min_members, monkeypatch):
    monkeypatch.setattr(held_out, "CASES_PER_BATCH", 4)
    draw = np.random.default_rng(3)
    cases = hold_out(likes_of([draw.permutation(30)[:8] for _ in range(15)]), 0, min_likes=3)
    liked = cases.train.matrix.toarray().astype(int)
    together, counts = liked.T @ liked, liked.sum(axis=0)
    nearest = {}
    for post in range(len(counts)):
        targets = np.flatnonzero((together[post] > 0) & (np.arange(len(counts)) != post))
        entries = PostCounts(int(counts[post]), targets + 1, together[post, targets], np.zeros(len(targets), np.int32))
        nearest[post + 1] = unpack_nearest(pack_nearest(entries, counts[targets]), min_members=min_members)
    for at, scores in score_co_likes(cases, min_members):
        assert len(scores) <= 4
        for row, member in zip(scores, cases.members[at], strict=True):
            history = cases.train.posts[cases.train.members == member]
            latest = weigh_latest(history.astype(np.int64) + 1)
            served = join_co_likes(latest, nearest).score("co_liked", scale=1.0).affinity
            expected = np.zeros(len(counts))
            expected[served.ids - 1] = served.weights
            is_open = liked[member] == 0
            np.testing.assert_allclose(row[is_open], expected[is_open], atol=0.02)
            assert np.isneginf(row[~is_open]).all()
