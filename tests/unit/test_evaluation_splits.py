"""Splits never show a system what happened at the moment of a case or later, and never ask for a known post."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommendations.contracts import InteractionKind
from recommendations.evaluation.folds import count_cases, join_members
from recommendations.evaluation.interactions import KINDS, Interactions, index_ids
from recommendations.evaluation.slices import (
    find_first_times,
    slice_by_history,
    slice_by_likes,
    slice_by_post_age,
    slice_by_segment,
)
from recommendations.evaluation.splits import (
    CUT_SHARES,
    DAY,
    cut_to_first_likes,
    find_cuts,
    last_n_out,
    last_one_out,
    random_one_out,
    split_by_time,
)


def build(rows, *, has_times=True):
    """Return interactions from rows of member, post, whether the member liked it, and time."""
    members, posts, liked, times = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Interactions.from_columns(
        [str(member) for member in members],
        [str(post) for post in posts],
        is_positive=list(liked),
        times=list(times) if has_times else None,
    )


ROWS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 7), st.booleans(), st.integers(0, 12)), min_size=1, max_size=40
)


def check_fold(fold, interactions):
    """Check what holds for every fold: each target is unknown, was liked, and is not in the training set."""
    for case, member in enumerate(fold.members):
        known, targets = set(fold.known[case].tolist()), set(fold.targets[case].tolist())
        rows = fold.histories[case]
        assert (fold.train.members[rows] == member).all()
        assert known == set(fold.train.posts[fold.train.members == member].tolist())
        assert targets and not targets & known
        mine = interactions.take(interactions.members == member)
        assert targets <= set(mine.posts[mine.is_positive].tolist())
        liked = fold.train.posts[rows][fold.train.is_positive[rows]]
        assert set(fold.likes[[case]].indices.tolist()) == set(liked.tolist())
    assert fold.train.post_ids == interactions.post_ids


@given(ROWS, st.integers(1, 3), st.integers(0, 3))
def test_last_n_out_leaks_nothing(rows, n, min_history):
    interactions = build(rows)
    (fold,) = last_n_out(interactions, n, min_history=min_history)
    check_fold(fold, interactions)
    ordered = interactions.sort_by_time()
    for case, member in enumerate(fold.members):
        history = fold.train.take(fold.histories[case])
        mine = ordered.take(ordered.members == member)
        first_target = np.flatnonzero(np.isin(mine.posts, fold.targets[case]))[0]
        assert mine.times[first_target] == fold.moments[case]
        # Equal times are ordered by the input, so the history is exactly what comes before in that order.
        assert history.posts.tolist() == mine.posts[:first_target].tolist()
        assert len(fold.targets[case]) == n
        assert history.is_positive.sum() >= min_history
    others = ~np.isin(interactions.members, fold.members)
    assert others.sum() == (~np.isin(fold.train.members, fold.members)).sum()


@given(ROWS, st.sets(st.integers(0, 4), min_size=1), st.sets(st.integers(0, 3), min_size=1))
def test_histories_cut_to_the_first_likes_leak_nothing(rows, cut, counts):
    interactions = build(rows)
    cut = np.array([i for i, id in enumerate(interactions.member_ids) if int(id) in cut], np.int64)
    folds = cut_to_first_likes(interactions, sorted(counts), members=cut)
    ordered = interactions.sort_by_time()
    expected = set()
    for member in cut.tolist():
        mine = ordered.take(ordered.members == member)
        liked = set(mine.posts[mine.is_positive].tolist())
        met = [post for post in dict.fromkeys(mine.posts.tolist()) if post in liked]
        expected |= {(count, member, met[count]) for count in counts if len(met) > count}
    found = set()
    for fold in folds:
        check_fold(fold, interactions)
        others = ordered.take(~np.isin(ordered.members, cut))
        assert len(fold.train) == len(others) + len(fold.histories.values)
        for case, member in enumerate(fold.members.tolist()):
            mine = ordered.take(ordered.members == member)
            (target,) = fold.targets[case].tolist()
            first = np.flatnonzero(mine.posts == target)[0]
            assert fold.train.posts[fold.histories[case]].tolist() == mine.posts[:first].tolist()
            assert fold.moments[case] == mine.times[first]
            liked = set(mine.posts[mine.is_positive].tolist())
            found.add((len(liked & set(mine.posts[:first].tolist())), member, target))
    assert found == expected


@given(ROWS)
def test_last_one_out_holds_out_the_liked_post_that_was_new_to_the_member_last(rows):
    (fold,) = last_one_out(build(rows))
    ordered = sorted(rows, key=lambda row: row[3])
    liked = {(member, post) for member, post, is_liked, _ in rows if is_liked}
    expected = {}
    for place, (member, post, *_) in enumerate(ordered):
        is_new = not any(row[:2] == (member, post) for row in ordered[:place])
        if is_new and (member, post) in liked:
            expected[str(member)] = [str(post)]
    found = {
        fold.train.member_ids[member]: [fold.train.post_ids[post] for post in posts]
        for member, posts in zip(fold.members, fold.targets, strict=True)
    }
    assert found == expected


def test_last_one_out_takes_the_later_row_of_a_tie_and_drops_what_follows():
    rows = [("1", "10", True, 5), ("1", "11", True, 9), ("1", "12", True, 9), ("1", "13", False, 9)]
    (fold,) = last_one_out(build([*rows, ("2", "13", True, 99)]))
    assert fold.train.member_ids == ("1", "2")
    first = fold.take(np.array([0]))
    assert [fold.train.post_ids[post] for post in first.targets[0]] == ["12"]
    assert [fold.train.post_ids[post] for post in first.known[0]] == ["10", "11"]
    assert first.moments.tolist() == [9]


def test_a_post_that_was_viewed_before_it_was_liked_is_held_out_with_the_view():
    rows = [(1, 10, True, 1), (1, 11, False, 2), (1, 12, False, 3), (1, 11, True, 4)]
    (fold,) = last_one_out(build(rows))
    assert [fold.train.post_ids[post] for post in fold.targets[0]] == ["11"]
    assert fold.moments.tolist() == [2]
    assert len(fold.train) == 1


def test_only_the_given_members_are_tested():
    interactions = build([(member, member * 10 + post, True, post) for member in range(4) for post in range(3)])
    members = np.array([1, 3])
    (last,) = last_one_out(interactions, members=members)
    (drawn,) = random_one_out(interactions, seed=1, members=members)
    assert last.members.tolist() == drawn.members.tolist() == [1, 3]
    assert len(last.train) == len(drawn.train) == 10


@given(ROWS, st.integers(0, 5), st.integers(0, 2))
def test_random_one_out_leaks_nothing(rows, seed, min_history):
    interactions = build(rows, has_times=False)
    (fold,) = random_one_out(interactions, seed=seed, min_history=min_history)
    check_fold(fold, interactions)
    assert np.isnan(fold.moments).all()
    assert (fold.targets.lengths == 1).all()
    held_out = {(member, int(post)) for member, (post,) in zip(fold.members.tolist(), fold.targets, strict=True)}
    pairs = list(zip(interactions.members.tolist(), interactions.posts.tolist(), strict=True))
    assert len(fold.train) == sum(pair not in held_out for pair in pairs)
    assert all(fold.likes.sum(axis=1) >= min_history)


def test_random_one_out_depends_on_the_seed_only():
    interactions = build([(member, post, True, 0) for member in range(20) for post in range(20)], has_times=False)
    (fold,), (same,), (other,) = (random_one_out(interactions, seed=seed) for seed in (1, 1, 2))
    assert fold.targets.values.tolist() == same.targets.values.tolist() != other.targets.values.tolist()
    assert len(set(fold.targets.values.tolist())) > 5


@given(ROWS, st.lists(st.integers(0, 13), max_size=3), st.integers(1, 6), st.integers(0, 2))
def test_a_time_split_leaks_nothing(rows, cuts, window, min_history):
    interactions = build(rows)
    folds = split_by_time(interactions, cuts, window=window, min_history=min_history)
    found = 0
    for fold in folds:
        check_fold(fold, interactions)
        cut = fold.moments[0]
        assert (fold.moments == cut).all()
        assert len(fold.train) == (interactions.times < cut).sum()
        assert (fold.train.times < cut).all()
        assert (np.array([fold.train.is_positive[rows].sum() for rows in fold.histories]) >= min_history).all()
        found += len(fold.targets.values)
    expected = {
        (cut, member, post)
        for cut in cuts
        for member, post, liked, time in rows
        if liked
        and cut <= time < cut + window
        and not any(m == member and p == post and t < cut for m, p, _, t in rows)
        and sum(m == member and is_liked and t < cut for m, _, is_liked, t in rows) >= min_history
    }
    assert found == sum(cuts.count(cut) for cut, _, _ in expected)
    assert count_cases(folds) == len(join_members(folds)) if folds else not expected


def test_cuts_are_where_the_shares_of_interactions_have_happened():
    interactions = build([(1, post, True, 100 - post) for post in range(100)])
    assert find_cuts(interactions, [0, 0.5, 0.99]).tolist() == [1, 51, 100]
    assert CUT_SHARES == (0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
    with pytest.raises(ValueError, match="less than 1"):
        find_cuts(interactions, [1.0])


@pytest.mark.parametrize(
    "split",
    [
        last_one_out,
        find_cuts,
        lambda data: split_by_time(data, [1.0]),
        lambda data: cut_to_first_likes(data, [1], members=np.array([0])),
    ],
)
def test_splits_by_time_need_times(split):
    with pytest.raises(ValueError, match="no times"):
        split(build([(1, 1, True, 0)], has_times=False))


def test_no_interactions_have_no_cuts():
    with pytest.raises(ValueError, match="no times"):
        find_cuts(build([]))


def test_ids_that_are_numbers_are_sorted_by_number():
    vocabulary, indexes = index_ids(["10", "b", "9", "a", "010", "9"], ["²", "-1"])
    assert vocabulary == ("9", "010", "10", "-1", "a", "b", "²")
    assert [vocabulary[index] for index in indexes] == ["10", "b", "9", "a", "010", "9"]


def test_columns_have_defaults():
    interactions = Interactions.from_columns(["a", "b"], ["x", "x"], is_positive=[True, False], catalogue=["w", "y"])
    assert [KINDS[kind] for kind in interactions.kinds] == [InteractionKind.LIKE, InteractionKind.VIEW]
    assert interactions.values.tolist() == [1, 1]
    assert not interactions.has_times
    assert interactions.post_ids == ("w", "x", "y")
    assert interactions.positive_matrix().toarray().tolist() == [[0, 1, 0], [0, 0, 0]]


def test_columns_that_do_not_fit_are_rejected():
    with pytest.raises(ValueError, match="same length"):
        Interactions.from_columns(["a"], ["x"], is_positive=[True, False])
    with pytest.raises(ValueError, match="out of range"):
        Interactions.from_columns(["a"], ["x"], is_positive=[True], kinds=[len(KINDS)])
    with pytest.raises(ValueError, match="or for none"):
        Interactions.from_columns(["a", "a"], ["x", "y"], is_positive=[True, True], times=[1, np.nan])


def test_slices_by_history_and_segment_hold_every_case_once():
    rows = [(member, post, True, post) for member in range(1, 6) for post in range(member)]
    folds = last_one_out(build(rows))
    slices = slice_by_history(folds, edges=(0, 1, 3))
    assert [(part.label, part.cases.tolist()) for part in slices] == [("0", [0]), ("1–2", [1, 2]), ("3+", [3, 4])]
    assert sum(len(part.targets.values) for part in slices) == 5
    segments = slice_by_segment(folds, "country", ["de", "fr", "de", "", "fr"])
    assert [(part.group, part.label, part.cases.tolist()) for part in segments] == [
        ("country", "de", [0, 2]),
        ("country", "fr", [1, 4]),
    ]


def test_slices_by_likes_have_the_cases_with_these_numbers_only():
    rows = [(member, post, post != 1, post) for member in range(5) for post in range(member + 1)]
    slices = slice_by_likes(last_one_out(build(rows)), (0, 2))
    # Post 1 is never liked, so the members 0 to 4 have 0, 0, 1, 2 and 3 likes before their last.
    assert [(part.group, part.label, part.cases.tolist()) for part in slices] == [
        ("likes of the member", "0", [0, 1]),
        ("likes of the member", "2", [3]),
    ]


def test_slices_by_age_divide_the_targets_of_a_case():
    rows = [(1, 0, True, 0), (1, 1, True, 11 * DAY), (1, 2, True, 12 * DAY), (1, 3, True, 12 * DAY)]
    folds = split_by_time(build(rows), [10 * DAY], min_history=1)
    created_at = np.array([0, 9.5 * DAY, 11 * DAY, np.nan])
    young, *others = slice_by_post_age(folds, created_at, edges=(0, 1, 7))
    assert not others
    assert (young.label, young.cases.tolist(), young.targets[0].tolist()) == ("0 to 1", [0], [1, 2])
    assert [part.label for part in slice_by_post_age(folds, np.zeros(4), edges=(0, 1, 7))] == ["7+"]
    first = find_first_times(np.array([1, 0, 1]), np.array([5.0, 3, 4]), 3)
    assert first[:2].tolist() == [3, 4] and np.isnan(first[2])


def test_cases_can_be_selected():
    (fold,) = last_one_out(build([(member, post, True, post) for member in range(4) for post in range(3)]))
    part = fold.take(np.array([2, 0]))
    assert part.members.tolist() == [2, 0]
    assert part.known[0].tolist() == [0, 1]
    assert all(a <= b for a, b in pairwise(part.train.times))
