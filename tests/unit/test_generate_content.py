"""The generated platform: deterministic per seed, with clusters of taste, Zipfian popularity and valid visibility."""

import dataclasses
import hashlib

import numpy as np
import pytest

from recommendations.contracts import Visibility
from recommendations.services.content.generating.draws import (
    MAX_ROUNDS,
    NONE,
    PlatformSize,
    PlatformTooSmallError,
    WeightedCells,
    draw_distinct,
)
from recommendations.services.content.generating.interactions import INTERACTION_KINDS, make_interactions
from recommendations.services.content.generating.people import make_people
from recommendations.services.content.generating.posts import make_posts
from recommendations.services.content.generating.relationships import is_blocked, make_blocks, make_follows, make_mutes
from recommendations.services.content.generating.texts import make_tags, make_texts
from recommendations.services.content.generating.vectors import make_vectors
from recommendations.services.content.generating.vocabulary import LANGUAGES, OPENERS, REGIONS, TOPICS, WORDS

SIZE = PlatformSize(members=800, posts=4_000, interactions=60_000, follows=8_000, blocks=300, mutes=100, seed=7)


def make_platform(size):
    people = make_people(size)
    posts = make_posts(size, people)
    blocks = make_blocks(size, people)
    follows = make_follows(size, people, posts, blocks)
    interactions = make_interactions(size, people, posts, follows, blocks)
    return people, posts, blocks, make_mutes(size, people), follows, interactions


@pytest.fixture(scope="module")
def platform():
    return make_platform(SIZE)


def digest(platform):
    columns = [getattr(table, f.name) for table in platform for f in dataclasses.fields(table)]
    return hashlib.sha256(b"".join(np.ascontiguousarray(c).tobytes() for c in columns)).hexdigest()


def test_the_same_seed_gives_the_same_bytes(platform):
    assert digest(make_platform(SIZE)) == digest(platform)
    posts = platform[1]
    assert list(make_texts(SIZE, posts)) == list(make_texts(SIZE, posts))


def test_another_seed_gives_different_bytes(platform):
    assert digest(make_platform(dataclasses.replace(SIZE, seed=8))) != digest(platform)


def test_the_number_of_interactions_does_not_change_members_and_posts(platform):
    size = dataclasses.replace(SIZE, interactions=70_000)
    assert digest(make_platform(size)[:5]) == digest(platform[:5])


def test_the_counts_are_those_of_the_size(platform):
    _, _, blocks, mutes, follows, interactions = platform
    assert [len(t.source) for t in (blocks, mutes, follows)] == [300, 100, 8_000]
    assert len(interactions.member) == 60_000


def test_popularity_is_zipfian(platform):
    counts = np.sort(np.bincount(platform[5].post, minlength=SIZE.posts))[::-1][5:300]
    slope = np.polyfit(np.log(np.arange(5, 300)), np.log(counts), 1)[0]
    assert -1.3 < slope < -0.6


def test_members_of_a_cluster_like_the_same_topics(platform):
    people, posts, *_, interactions = platform
    likes = interactions.kind == INTERACTION_KINDS.index("like")
    topics = np.zeros((SIZE.members, len(TOPICS)))
    np.add.at(topics, (interactions.member[likes], posts.topic[interactions.post[likes]]), 1)
    active = topics.sum(axis=1) >= 5
    shares = topics[active] / np.linalg.norm(topics[active], axis=1, keepdims=True)
    cosines, cluster = shares @ shares.T, people.cluster[active]
    same = (cluster[:, None] == cluster) & ~np.eye(len(cluster), dtype=bool)
    assert cosines[same].mean() > cosines[cluster[:, None] != cluster].mean() + 0.2


def test_members_reject_more_posts_outside_their_taste(platform):
    people, posts, *_, interactions = platform
    is_negative = np.isin(
        interactions.kind, [INTERACTION_KINDS.index("hide"), INTERACTION_KINDS.index("not_interested")]
    )
    is_in_taste = people.tastes[interactions.member, posts.topic[interactions.post]] > 1 / len(TOPICS)
    assert is_negative[~is_in_taste].mean() > 5 * is_negative[is_in_taste].mean()


def test_members_interact_only_with_posts_that_they_may_see(platform):
    people, posts, blocks, _, follows, interactions = platform
    author = posts.author[interactions.post]
    visibility = posts.visibility[interactions.post]
    assert not np.isin(visibility, [Visibility.PRIVATE, Visibility.UNLISTED]).any()
    assert not posts.is_removed[interactions.post].any()
    assert people.is_active[interactions.member].all() and people.is_active[author].all()
    assert not is_blocked(blocks, interactions.member, author, SIZE.members).any()
    for_followers = (visibility == Visibility.FOLLOWERS) | people.is_private[author]
    follows_author = np.isin(
        interactions.member * SIZE.members + author, follows.source * SIZE.members + follows.target
    )
    assert for_followers.any(), "without interactions with posts for followers, this checks nothing"
    assert follows_author[for_followers].all()


def test_interactions_are_after_their_post_and_not_in_the_future(platform):
    _, posts, *_, interactions = platform
    assert (interactions.ages >= 0).all() and (interactions.ages <= posts.ages[interactions.post]).all()
    assert (np.diff(interactions.ages) <= 0).all(), "oldest first"


def test_interactions_are_distinct_and_never_with_the_members_own_post(platform):
    _, posts, *_, interactions = platform
    assert len(np.unique(np.stack([interactions.member, interactions.post, interactions.kind]), axis=1).T) == len(
        interactions.member
    )
    assert (posts.author[interactions.post] != interactions.member).all()


def test_relationships_are_distinct_and_no_follow_crosses_a_block(platform):
    _, _, blocks, mutes, follows, _ = platform
    for relationships in (blocks, mutes, follows):
        assert (relationships.source != relationships.target).all()
        assert len(np.unique(np.stack([relationships.source, relationships.target]), axis=1).T) == len(
            relationships.source
        )
    assert not is_blocked(blocks, follows.source, follows.target, SIZE.members).any()


def test_only_known_adults_accept_sensitive_content(platform):
    people = platform[0]
    assert (people.is_adult[people.sensitivity > 0] == 1).all()


def test_only_a_dwell_has_seconds(platform):
    interactions = platform[5]
    np.testing.assert_array_equal(
        np.isfinite(interactions.seconds), interactions.kind == INTERACTION_KINDS.index("dwell")
    )


def test_texts_match_the_language_and_the_topic(platform):
    posts = platform[1]
    for row, (text, post_tags) in enumerate(zip(make_texts(SIZE, posts), make_tags(posts), strict=True)):
        language, topic = LANGUAGES[posts.language[row]], posts.topic[row]
        assert text.startswith(OPENERS[language])
        assert any(word in text for word in WORDS[language][topic])
        assert post_tags[0] == TOPICS[topic] and len(set(post_tags)) == len(post_tags)


def test_vectors_are_unit_vectors_and_similar_within_a_topic(platform):
    posts = platform[1]
    vectors = np.concatenate(list(make_vectors(SIZE, posts, 64)))
    assert vectors.shape == (SIZE.posts, 64) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    sample = vectors[:500] @ vectors[:500].T
    same = posts.topic[:500, None] == posts.topic[:500]
    assert sample[same & ~np.eye(500, dtype=bool)].mean() > sample[~same].mean() + 0.3


def test_too_many_rows_for_the_members_raise_an_error_with_advice():
    size = PlatformSize(members=3, posts=2, interactions=1_000, follows=0, blocks=0, mutes=0, seed=1)
    with pytest.raises(PlatformTooSmallError, match="Use fewer"):
        make_platform(size)


@pytest.mark.parametrize("members, posts", [(1, 0), (1, 5), (5, 1)])
def test_the_smallest_platforms_can_be_generated(members, posts):
    size = PlatformSize(members, posts, interactions=0, follows=0, blocks=0, mutes=0, seed=1)
    assert len(make_platform(size)[1].ages) == posts


def test_an_empty_cell_draws_none():
    cells = WeightedCells(np.array([0, 0, 2]), np.array([1.0, 0.0, 3.0]), 3)
    drawn = cells.draw(np.random.default_rng(1), np.repeat([0, 1, 2], 50))
    assert set(drawn[:50]) == {0} and set(drawn[50:100]) == {NONE} and set(drawn[100:]) == {2}


def test_every_language_has_openers_regions_and_words_for_every_topic():
    assert len(REGIONS) == len(LANGUAGES)
    for language in LANGUAGES:
        assert OPENERS[language] and len(WORDS[language]) == len(TOPICS)
        assert all(len(words) >= 3 for words in WORDS[language])


def draw_one_key_per_round():
    """Return a function that draws one new key in each round, and none in the call that asks for none."""
    keys = iter(range(2 * MAX_ROUNDS))
    return lambda n: {"key": np.array([next(keys)] if n else [], np.int64)}


def test_rows_that_the_last_round_completes_are_returned():
    rows = draw_distinct(draw_one_key_per_round(), MAX_ROUNDS, "follows")
    assert rows["key"].tolist() == list(range(MAX_ROUNDS))


def test_drawing_stops_with_an_error_after_the_last_round():
    with pytest.raises(PlatformTooSmallError, match=f"only {MAX_ROUNDS} of {MAX_ROUNDS + 1} distinct follows"):
        draw_distinct(draw_one_key_per_round(), MAX_ROUNDS + 1, "follows")
