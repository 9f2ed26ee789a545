"""The arithmetic of collaborative scores: reactions, pair counts, co-likes, item weights and contributions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommendations.collaborative import reactions as reactions_module
from recommendations.collaborative.item_weights import ItemWeightTable
from recommendations.collaborative.nearest import (
    ENTRY,
    MAX_AFTER,
    MAX_TOGETHER,
    PostCounts,
    join_co_likes,
    pack_nearest,
    unpack_nearest,
)
from recommendations.collaborative.pair_counts import PairCounts, add_counts, count_change, count_pairs
from recommendations.collaborative.part_scores import FULL_STRENGTH, WEIGHT_UNIT, PartScores, round_unit
from recommendations.collaborative.reactions import Reactions
from recommendations.collaborative.recorded import NAMED, pack_contributions, unpack_reasons
from recommendations.collaborative.strengths import weigh_all, weigh_latest

sequences = st.lists(st.integers(1, 12), unique=True, max_size=12).map(lambda ids: np.array(ids, np.int64))
events = st.lists(st.tuples(st.integers(1, 5), st.booleans(), st.integers(0, 4)), max_size=12)


def columns(rows):
    signed = np.array([post_id if is_like else -post_id for post_id, is_like, _ in rows], np.int64)
    return signed, np.array([time for _, _, time in rows], np.float64)


def as_rows(counts):
    names = ("sources", "targets", "together", "after")
    return list(zip(*(getattr(counts, name).tolist() for name in names), strict=True))


# Reactions


@given(rows=events, split=st.integers(0, 12), order=st.randoms(use_true_random=False))
def test_reactions_do_not_depend_on_the_order_or_the_batches_in_which_events_arrive(rows, split, order):
    expected = Reactions.from_events(*columns(rows))
    shuffled = list(rows)
    order.shuffle(shuffled)
    first, second = columns(shuffled[:split]), columns(shuffled[split:])
    built = Reactions.empty().add(*first).add(*second)
    assert built.signed_ids.tolist() == expected.signed_ids.tolist()
    assert built.times.tolist() == expected.times.tolist()


def test_the_latest_reaction_to_a_post_counts_and_a_rejection_wins_a_tie():
    reactions = Reactions.from_events(
        *columns([(1, True, 0), (1, False, 5), (2, True, 3), (3, True, 4), (3, False, 4)])
    )
    assert reactions.signed_ids.tolist() == [2, -3, -1]
    assert reactions.liked_ids.tolist() == [2]
    assert reactions.liked_times.tolist() == [3]
    assert reactions.rejected_ids.tolist() == [3, 1]


def test_only_the_newest_reactions_are_stored(monkeypatch):
    monkeypatch.setattr(reactions_module, "MAX_REACTIONS", 3)
    reactions = Reactions.from_events(np.arange(1, 6), np.arange(5.0))
    assert reactions.signed_ids.tolist() == [3, 4, 5]


def test_reactions_can_be_stored_and_posts_removed():
    reactions = Reactions.from_events(np.array([5, -6, 7]), np.arange(3.0))
    assert len(reactions) == 3
    stored = Reactions.from_bytes(reactions.signed_ids.tobytes(), reactions.times.tobytes())
    assert stored.without(np.array([6, 7])).signed_ids.tolist() == [5]


# Pair counts


def test_likes_count_together_in_both_directions_and_after_in_one():
    assert as_rows(count_pairs(np.array([7, 3, 9]))) == [
        (3, 7, 1, 0),
        (3, 9, 1, 60),
        (7, 3, 1, 60),
        (7, 9, 1, 30),
        (9, 3, 1, 0),
        (9, 7, 1, 0),
    ]


def test_likes_that_are_far_apart_are_not_a_pair():
    counts = count_pairs(np.arange(1, 30))
    pairs = {(source, target) for source, target, _, _ in as_rows(counts)}
    assert (1, 21) in pairs and (1, 22) not in pairs
    after = {(source, target): after for source, target, _, after in as_rows(counts)}
    assert after[1, 6] == 12 and after[1, 7] == 0


@given(before=sequences, after=sequences)
def test_a_change_of_likes_gives_the_counts_of_the_new_likes(before, after):
    changed = add_counts([count_pairs(before), *count_change(before, after)])
    assert as_rows(changed) == as_rows(count_pairs(after))


@given(likes=sequences, split=st.integers(0, 12))
def test_appended_likes_add_only_their_own_pairs(likes, split):
    (added,) = count_change(likes[:split], likes)
    assert as_rows(add_counts([count_pairs(likes[:split]), added])) == as_rows(count_pairs(likes))
    assert len(added) <= 2 * len(likes) * max(len(likes) - split, 0)


@given(members=st.lists(sequences, max_size=5), erased=st.integers(0, 4))
def test_subtracting_a_member_equals_counting_without_them(members, erased):
    total = add_counts(map(count_pairs, members))
    without = [likes for i, likes in enumerate(members) if i != erased]
    subtracted = add_counts([total, *(-count_pairs(likes) for likes in members[erased : erased + 1])])
    assert as_rows(subtracted) == as_rows(add_counts(map(count_pairs, without)))


def test_no_likes_give_no_counts():
    assert len(count_pairs(np.array([4]))) == len(PairCounts.empty()) == 0


# The nearest co-likes


def test_the_weight_of_a_pair_is_a_cosine_that_is_shrunk():
    counts = PostCounts(6, np.array([4, 9]), np.array([3, 2], np.int32), np.array([120, 0], np.int32))
    entries = unpack_nearest(pack_nearest(counts, np.array([15, 6])), min_members=1)
    assert entries["target"].tolist() == [4, 9]
    assert entries["members"].tolist() == [3, 2]
    assert entries["together"] * WEIGHT_UNIT == pytest.approx([3 / np.sqrt(16 * 25), 2 / 16], abs=WEIGHT_UNIT)
    assert entries["after"] * WEIGHT_UNIT == pytest.approx([2 / np.sqrt(16 * 25), 0], abs=WEIGHT_UNIT)


def test_only_the_strongest_entries_are_packed():
    n = 400
    counts = PostCounts(50, np.arange(n), np.arange(1, n + 1, dtype=np.int32), np.arange(n, 0, -1, dtype=np.int32))
    entries = unpack_nearest(pack_nearest(counts, np.full(n, 50)), min_members=1)
    assert entries["target"].tolist() == [*range(MAX_AFTER), *range(n - MAX_TOGETHER, n)]


def test_entries_that_few_members_support_are_not_read():
    counts = PostCounts(9, np.array([1, 2, 3]), np.array([1, 2, 3], np.int32), np.zeros(3, np.int32))
    packed = pack_nearest(counts, np.full(3, 9))
    assert unpack_nearest(packed, min_members=3)["target"].tolist() == [3]
    assert unpack_nearest(b"", min_members=1).dtype == ENTRY


# Scores and contributions


def table(rows):
    """Return an item weight table from weights by target, by source, in units."""
    ids = sorted({*rows, *(target for row in rows.values() for target in row)})
    entries = [sorted((ids.index(target), weight) for target, weight in rows.get(source, {}).items()) for source in ids]
    flat = [entry for row in entries for entry in row]
    return ItemWeightTable(
        np.array(ids, np.int64),
        np.cumsum([0, *map(len, entries)]),
        np.array([target for target, _ in flat], np.int32),
        np.array([weight for _, weight in flat], np.int16),
    )


def test_item_weights_add_up_over_the_reactions():
    weights = table({5: {7: 8192, 9: -4096}, 6: {7: 4096}})
    affinity = weights.score([(5, FULL_STRENGTH), (6, -FULL_STRENGTH // 2), (404, FULL_STRENGTH)], scale=0.5).affinity
    assert dict(zip(affinity.ids.tolist(), affinity.weights.tolist(), strict=True)) == {7: 0.75, 9: -0.5}


def test_a_table_without_posts_and_a_member_without_known_posts_give_no_scores():
    for weights, reactions in ((table({}), [(5, 64)]), (table({5: {7: 1}}), [(404, 64)])):
        scores = weights.score(reactions, scale=1.0)
        assert not len(scores.affinity.ids)
        assert scores.contributions(np.array([7])).totals.shape == (0, 1)


def test_co_likes_are_scored_by_kind():
    counts = PostCounts(6, np.array([4, 9]), np.array([3, 2], np.int32), np.array([120, 0], np.int32))
    nearest = {1: unpack_nearest(pack_nearest(counts, np.array([15, 6])), min_members=1)}
    reactions = {"co_liked": [(2, FULL_STRENGTH), (1, FULL_STRENGTH)], "liked_next": [(1, FULL_STRENGTH // 2)]}
    joined = join_co_likes(reactions, nearest)
    assert joined.score("co_liked", scale=1.0).affinity.weights == pytest.approx([3 / 20, 2 / 16], abs=1e-3)
    assert joined.score("liked_next", scale=1.0).affinity.weights == pytest.approx([2 / 20 / 2], abs=1e-3)


def part(related, unit=1.0, key_ids=(7, 8)):
    """Return a part from the strength, positions and weights of each reaction, to the posts 1000, 1001 and so on."""
    return PartScores(
        source_ids=np.arange(1000, 1000 + len(related)),
        strengths=np.array([strength for strength, _, _ in related], np.int64),
        lengths=np.array([len(positions) for _, positions, _ in related], np.int64),
        keys=np.array([position for _, positions, _ in related for position in positions], np.int32),
        weights=np.array([weight for _, _, weights in related for weight in weights], np.int16),
        key_ids=np.array(key_ids, np.int64),
        unit=unit,
    )


@st.composite
def relations(draw):
    """Return the reactions, key ids and unit of a part."""
    key_ids = sorted(draw(st.sets(st.integers(1, 99), min_size=1, max_size=12)))
    related = []
    for _ in range(draw(st.integers(0, 6))):
        positions = sorted(draw(st.sets(st.integers(0, len(key_ids) - 1))))
        weights = draw(st.lists(st.integers(-32768, 32767), min_size=len(positions), max_size=len(positions)))
        related.append((draw(st.integers(-512, 512)), positions, weights))
    return related, round_unit(draw(st.floats(1e-9, 1e3))), key_ids


POST_IDS = st.lists(st.integers(1, 99), unique=True, max_size=12)


@given(relations=relations(), post_ids=POST_IDS, weight=st.floats(0.01, 10))
def test_recorded_contributions_add_up_to_the_part_to_the_last_bit(relations, post_ids, weight):
    picks, scores = np.array(post_ids, np.int64), part(*relations)
    packed = pack_contributions({"item_weights": scores}, {"item_weights": weight}, picks)
    expected = scores.affinity.weights_of(picks)
    for position, value in enumerate(expected):
        reasons = unpack_reasons(packed, position, len(picks))
        total = sum(value for reason in reasons for _, value in reason.named) + sum(r.others for r in reasons)
        assert np.float32(total).tobytes() == (value + np.float32(0)).tobytes()
        for reason in reasons:
            assert reason.weight == weight and len(reason.named) <= NAMED
            assert all(source >= 1000 for source, _ in reason.named)


@given(relations=relations(), post_ids=POST_IDS)
def test_contributions_name_every_reaction(relations, post_ids):
    related, _, key_ids = relations
    contributions = part(*relations).contributions(np.array(post_ids, np.int64))
    for column, post_id in enumerate(post_ids):
        for row, (strength, positions, weights) in enumerate(related):
            by_id = dict(zip([key_ids[position] for position in positions], weights, strict=True))
            assert contributions.totals[row, column] == strength * by_id.get(post_id, 0)


def test_the_largest_contributions_are_named_and_the_rest_is_summed():
    scores = part([(1, [0], [weight]) for weight in (1, -9, 4, 2, 3)], 0.5)
    (reason,) = unpack_reasons(pack_contributions({"co_liked": scores}, {"co_liked": 2.0}, np.array([7])), 0, 1)
    assert reason.named == ((1001, -4.5), (1002, 2.0), (1004, 1.5))
    assert reason.others == 1.5
    assert reason.part == "co_liked"


def test_a_part_without_weight_or_without_contributions_is_not_recorded():
    scores = part([(1, [0], [5])])
    assert pack_contributions({"co_liked": scores}, {"co_liked": 0.0}, np.array([7])) == b""
    assert pack_contributions({"co_liked": scores}, {"co_liked": 1.0}, np.array([8])) == b""
    packed = pack_contributions({"co_liked": scores}, {"co_liked": 1.0}, np.array([7, 8]))
    assert len(unpack_reasons(packed, 0, 2)) == 1 and not unpack_reasons(packed, 1, 2)
    assert unpack_reasons(b"", 0, 2) == []


@given(unit=st.floats(1e-12, 1e12))
def test_a_unit_is_rounded_to_few_bits(unit):
    rounded = round_unit(unit)
    assert rounded == pytest.approx(unit, rel=2**-8)
    assert float(np.frexp(rounded)[0]) * 256 % 1 == 0


# Strengths


def test_all_likes_count_alike_for_item_weights_and_rejections_less():
    assert weigh_all(np.array([1, -2, 3])) == [(3, 64), (1, 64), (2, -16)]
    assert len(weigh_all(np.arange(1, 700))) == 500


def test_the_latest_likes_count_most_for_co_likes_and_fewer_count_for_what_is_liked_next():
    latest = weigh_latest(np.arange(1, 31))
    assert latest["co_liked"][:3] == [(30, 64), (29, 54), (28, 46)] and len(latest["co_liked"]) == 20
    assert latest["liked_next"] == [(30, 64), (29, 45), (28, 31), (27, 22), (26, 15)]
    assert weigh_latest(np.array([-1])) == {"co_liked": [(1, -16)], "liked_next": [(1, -16)]}


def test_reactions_that_count_for_one_part_add_nothing_to_the_other():
    counts = PostCounts(9, np.array([40]), np.array([5], np.int32), np.array([120], np.int32))
    nearest = {post: unpack_nearest(pack_nearest(counts, np.array([9])), min_members=1) for post in (1, 2, 3)}
    reactions = {"co_liked": [(1, 64), (2, 54), (3, -16)], "liked_next": [(1, 64), (3, -16)]}
    joined = join_co_likes(reactions, nearest)
    assert joined.source_ids.tolist() == [1, 2, 3]
    contributions = joined.score("liked_next", scale=1.0).contributions(np.array([40]))
    assert contributions.totals[1].tolist() == [0]
    assert contributions.totals[0, 0] == -4 * contributions.totals[2, 0] > 0
