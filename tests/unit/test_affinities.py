"""Affinities: what an interaction says about a post's author, topics and kind, how it fades, and how much is kept."""

import pytest

from recommendations.services.learning import affinities

DAY = 86_400.0


def test_an_interaction_speaks_of_the_author_the_first_three_tags_and_the_kind():
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


def test_weights_add_up_by_subject():
    sums = affinities.decay_affinities({}, 0)
    affinities.add_affinity(sums, [("author", "7"), ("topic", "a")], 1.5)
    affinities.add_affinity(sums, [("author", "7"), ("topic", "b")], -2.0)
    assert sums == {"author": {"7": -0.5}, "topic": {"a": 1.5, "b": -2.0}, "kind": {}}


@pytest.mark.parametrize(("subject", "kept"), [("author", 200), ("topic", 100), ("kind", 16)])
def test_the_strongest_of_each_subject_are_kept_whether_liked_or_disliked(subject, kept):
    values = {str(i): (-1) ** i * float(i) for i in range(1, kept + 6)}
    found = affinities.trim_affinities({subject: values})[subject]
    assert sorted(map(int, found)) == list(range(6, kept + 6))
    assert found == {key: values[key] for key in found}


def test_a_kept_sum_has_four_decimals():
    assert affinities.trim_affinities({"author": {"7": 1.23456, "8": -0.00004}}) == {"author": {"7": 1.2346, "8": -0.0}}
