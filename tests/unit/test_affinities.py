"""Affinities: the keys that an interaction counts for, the decay of the sums, and the limit of stored sums."""

import pytest

from recommendations.services.learning import affinities

DAY = 86_400.0


def test_an_interaction_counts_for_the_author_the_first_three_tags_and_the_kind():
    assert affinities.affinity_keys(7, ["a", "b", "c", "d"], "image") == [
        ("author", "7"),
        ("topic", "a"),
        ("topic", "b"),
        ("topic", "c"),
        ("kind", "image"),
    ]


def test_sums_halve_every_56_days():
    sums = {"author": {"7": 4.0}, "topic": {"a": -2.0}}
    assert affinities.decay_affinities(sums, 0) == {"author": {"7": 4.0}, "topic": {"a": -2.0}, "kind": {}}
    assert affinities.decay_affinities(sums, 56 * DAY) == {"author": {"7": 2.0}, "topic": {"a": -1.0}, "kind": {}}
    assert affinities.decay_affinities(sums, 112 * DAY)["author"]["7"] == pytest.approx(1.0)


def test_weights_are_summed_by_target_and_key():
    sums = affinities.decay_affinities({}, 0)
    affinities.add_affinity(sums, [("author", "7"), ("topic", "a")], 1.5)
    affinities.add_affinity(sums, [("author", "7"), ("topic", "b")], -2.0)
    assert sums == {"author": {"7": -0.5}, "topic": {"a": 1.5, "b": -2.0}, "kind": {}}


@pytest.mark.parametrize(("target", "limit"), [("author", 200), ("topic", 100), ("kind", 16)])
def test_the_largest_sums_of_each_target_are_stored_positive_or_negative(target, limit):
    values = {str(i): (-1) ** i * float(i) for i in range(1, limit + 6)}
    stored = affinities.trim_affinities({target: values})[target]
    assert sorted(map(int, stored)) == list(range(6, limit + 6))
    assert stored == {key: values[key] for key in stored}


def test_a_stored_sum_has_four_decimals():
    assert affinities.trim_affinities({"author": {"7": 1.23456, "8": -0.00004}}) == {"author": {"7": 1.2346, "8": -0.0}}
