"""The peers against their formulas, and the selection of their hyperparameters."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from recommendations.evaluation.interactions import Interactions
from recommendations.evaluation.measure import measure
from recommendations.evaluation.peers import (
    CaseBatch,
    DecayedPopularity,
    Ease,
    ItemNeighbors,
    PeerSystem,
    Popularity,
    Random,
    RecentPopularity,
)
from recommendations.evaluation.read_files import read_movielens
from recommendations.evaluation.splits import DAY, find_cuts, last_one_out, random_one_out, split_by_time
from recommendations.evaluation.tuning import Family, TunedSystem, assign_halves, build_validation, tune

SAMPLE = Path(__file__).parents[2] / "recommendations" / "sample" / "movielens"


def draw_interactions(seed, members=15, posts=12, *, has_times=True):
    """Return random interactions, some of them not positive."""
    rng = np.random.default_rng(seed)
    chosen = np.argwhere(rng.random((members, posts)) < 0.4)
    times = rng.permutation(len(chosen)).astype(float)
    return Interactions.from_columns(
        [str(member) for member, _ in chosen],
        [str(post) for _, post in chosen],
        is_positive=rng.random(len(chosen)) < 0.8,
        times=times if has_times else None,
        catalogue=[str(post) for post in range(posts)],
    )


def build_batch(train, moments=None):
    """Return all members of *train* as cases."""
    members = np.arange(len(train.member_ids), dtype=np.int32)
    return CaseBatch(members, train.positive_matrix(), np.full(len(members), np.nan) if moments is None else moments)


def test_popularity_counts_likes():
    train = draw_interactions(1)
    scores = Popularity().fit(train)(build_batch(train))
    assert (scores == train.positive_matrix().sum(axis=0)).all()


@given(st.integers(0, 50))
def test_popularity_at_a_moment_reads_nothing_later(seed):
    train = draw_interactions(seed)
    moments = np.random.default_rng(seed).integers(0, len(train) + 2, len(train.member_ids)).astype(float)
    recent = RecentPopularity(10 / DAY).fit(train)(build_batch(train, moments))
    decayed = DecayedPopularity(5 / DAY).fit(train)(build_batch(train, moments))
    for case, moment in enumerate(moments):
        for post in range(len(train.post_ids)):
            times = train.times[(train.posts == post) & train.is_positive & (train.times < moment)]
            assert np.floor(recent[case, post]) == (times >= moment - 10).sum()
            assert decayed[case, post] == pytest.approx((0.5 ** ((moment - times) / 5)).sum())


def test_posts_without_recent_likes_are_ordered_by_older_likes():
    train = Interactions.from_columns(
        ["a", "b", "a", "a"], ["1", "1", "2", "3"], is_positive=[1, 1, 1, 1], times=range(4)
    )
    (scores,) = RecentPopularity(1 / DAY).fit(train)(CaseBatch(np.array([0]), csr_array((1, 3)), np.array([4.0])))
    assert np.argsort(-scores, kind="stable").tolist() == [2, 0, 1]


@pytest.mark.parametrize("peer", [RecentPopularity(), DecayedPopularity(1.0)])
def test_popularity_at_a_moment_needs_times(peer):
    with pytest.raises(ValueError, match="no times"):
        peer.fit(draw_interactions(1, has_times=False))


@pytest.mark.parametrize(("neighbors", "shrinkage"), [(100, 0.0), (100, 3.0), (4, 3.0), (1, 0.0)])
def test_item_neighbors_agree_with_the_formula(neighbors, shrinkage, monkeypatch):
    monkeypatch.setattr("recommendations.evaluation.peers.POSTS_PER_CHUNK", 5)
    train = draw_interactions(3)
    matrix = train.positive_matrix().toarray()
    both, counts = matrix.T @ matrix, matrix.sum(axis=0)
    similarity = both / (np.sqrt(np.outer(counts, counts)) + shrinkage)
    np.fill_diagonal(similarity, 0)
    for row in similarity:
        row[np.argsort(-row, kind="stable")[neighbors:]] = 0
    scores = ItemNeighbors(neighbors, shrinkage).fit(train)(build_batch(train))
    assert scores == pytest.approx(matrix @ similarity.T)


@given(st.integers(0, 50), st.sampled_from([0.5, 10.0, 300.0]))
def test_ease_is_the_same_in_both_spaces(seed, ridge):
    train = draw_interactions(seed)
    matrix = train.positive_matrix().toarray()
    inverse = np.linalg.inv(matrix.T @ matrix + ridge * np.eye(matrix.shape[1]))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    batch = build_batch(train)
    for space in ("posts", "members"):
        assert Ease(ridge, space).fit(train)(batch) == pytest.approx(matrix @ weights, abs=1e-9)


@pytest.mark.parametrize(("members", "posts", "solved"), [(5, 9, "fit_members"), (9, 5, "fit_posts")])
def test_ease_is_solved_in_the_smaller_space(members, posts, solved, monkeypatch):
    other = {"fit_members": "fit_posts", "fit_posts": "fit_members"}[solved]
    monkeypatch.setattr(Ease, other, None)
    train = draw_interactions(2, members, posts)
    assert np.isfinite(Ease().fit(train)(build_batch(train))).all()


def test_random_scores_are_reproducible():
    train = draw_interactions(1)
    first, second, other = (Random(seed).fit(train)(build_batch(train)) for seed in (1, 1, 2))
    assert (first == second).all() and (first != other).any()


@given(st.integers(0, 30))
def test_a_peer_never_lists_a_known_post(seed):
    folds = last_one_out(draw_interactions(seed))
    for peer in (Random(), Popularity(), RecentPopularity(5 / DAY), ItemNeighbors(), Ease()):
        measured = measure(PeerSystem("peer", peer), folds)
        assert not measured.by_case["known"].any()
        # Fewer posts than places: every unknown post is listed, so every target is.
        assert measured.by_case["hit_rate"].size == 0 or measured.lists.shape[1] == 20
        assert (np.sort(measured.lists, axis=1)[:, -1] >= 0).all()


def test_cases_are_ranked_in_batches(monkeypatch):
    folds = last_one_out(draw_interactions(5))
    whole = PeerSystem("EASE", Ease()).rank(folds[0], 5)
    monkeypatch.setattr("recommendations.evaluation.peers.CASES_PER_BATCH", 4)
    assert PeerSystem("EASE", Ease()).rank(folds[0], 5).tolist() == whole.tolist()


@dataclass(frozen=True)
class Recorder:
    """A peer that has one random order of posts, and records its training sets and the members whom it scores for."""

    seed: int
    calls: list

    def __hash__(self):
        return self.seed

    def fit(self, train):
        """See `Peer`."""
        scores = np.random.default_rng(self.seed).random(len(train.post_ids))

        def score(batch):
            self.calls.append((train, set(batch.members.tolist())))
            return np.tile(scores, (len(batch.members), 1))

        return score


@pytest.mark.parametrize("has_times", [True, False])
def test_a_configuration_is_never_selected_on_the_members_it_is_tested_on(has_times):
    data = draw_interactions(4, members=40, has_times=has_times)
    folds = last_one_out(data) if has_times else random_one_out(data, seed=1)
    calls = [], []
    peers = tuple(Recorder(seed, calls[seed]) for seed in (0, 1))
    system = tune(Family("recorders", peers), folds, budget=2, seed=3)
    halves = assign_halves(len(data.member_ids), 3)
    validated = [members for _, members in calls[0]]
    assert validated[0] <= set(np.flatnonzero(halves == 1).tolist())
    assert validated[1] <= set(np.flatnonzero(halves == 0).tolist())
    assert validated == [members for _, members in calls[1]]
    # Validation reads the training set only: a target of the test is in none of its training sets.
    for train, _ in calls[0]:
        assert not set(train.pair_keys.tolist()) - set(folds[0].train.pair_keys.tolist())
    lists = system.rank(folds[0], 5)
    for half in (0, 1):
        cases = np.flatnonzero(halves[folds[0].members] == half)
        alone = PeerSystem("", Recorder(system.choices[half].seed, [])).rank(folds[0].take(cases), 5)
        assert lists[cases].tolist() == alone.tolist()
    assert system.name == "recorders"


def test_a_budget_takes_the_first_configurations():
    folds = last_one_out(draw_interactions(4, members=40))
    family = Family("EASE", (Ease(1.0), Ease(1e9), Ease(100.0)))
    assert tune(family, folds, budget=1, seed=1).choices == (Ease(1.0), Ease(1.0))
    assert set(tune(family, folds, budget=2, seed=1).choices) <= {Ease(1.0), Ease(1e9)}
    assert "Ease(ridge=1.0, space='smaller')" in tune(family, folds, budget=1, seed=1).description


def test_a_half_without_cases_is_not_ranked():
    (fold,) = last_one_out(draw_interactions(4, members=40))
    system = TunedSystem("EASE", assign_halves(40, 1), (Ease(1.0), Ease(1e9)))
    one_half = fold.take(np.flatnonzero(system.halves[fold.members] == 1))
    assert system.rank(one_half, 3).tolist() == PeerSystem("", Ease(1e9)).rank(one_half, 3).tolist()


def test_halves_are_equal_and_validation_needs_members():
    assert np.bincount(assign_halves(11, 1)).tolist() == [6, 5]
    lonely = Interactions.from_columns(["a", "b"], ["x", "y"], is_positive=[True, True], times=[1, 2])
    with pytest.raises(ValueError, match="no validation members"):
        build_validation(lonely, np.array([0, 1]), 1)


@pytest.fixture(scope="module")
def films():
    """The sample: MovieLens small."""
    return read_movielens(SAMPLE)


def test_the_figures_of_the_sample_last_one_out_are_reproduced(films):
    folds = last_one_out(films)
    figures = {}
    for system in (PeerSystem("popularity", Popularity()), PeerSystem("EASE", Ease(100.0))):
        by_case = measure(system, folds).by_case
        figures[system.name] = [round(float(by_case[key].mean()), 3) for key in ("hit_rate", "ndcg")]
    assert len(folds[0]) == 671
    assert figures["popularity"] == pytest.approx([0.057, 0.032], abs=0.002)
    assert figures["EASE"] == pytest.approx([0.110, 0.058], abs=0.002)


def test_the_figures_of_the_sample_by_global_time_are_reproduced(films):
    folds = split_by_time(films, find_cuts(films))
    by_case = measure(PeerSystem("popularity", Popularity()), folds).by_case
    assert (len(folds), sum(map(len, folds))) == (11, 200)
    assert by_case["hit_rate"].mean() == pytest.approx(0.310, abs=0.002)
    assert by_case["ndcg"].mean() == pytest.approx(0.0855, abs=0.002)
