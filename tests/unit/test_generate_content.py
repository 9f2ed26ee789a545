"""The generated platform: one seed, the same bytes; taste in clusters; Zipfian popularity; its rules hold."""

import dataclasses
import hashlib

import numpy as np
import pytest

from recommendations.contracts import Visibility
from recommendations.services.content.generating.draws import NONE, PlatformSize, PlatformTooSmallError, WeightedCells
from recommendations.services.content.generating.interactions import INTERACTION_KINDS, make_interactions
from recommendations.services.content.generating.people import make_people
from recommendations.services.content.generating.posts import make_posts
from recommendations.services.content.generating.relationships import is_blocked, make_blocks, make_follows, make_mutes
from recommendations.services.content.generating.texts import make_tags, make_texts
from recommendations.services.content.generating.vectors import make_vectors
from recommendations.services.content.generating.vocabulary import LANGUAGES, OPENERS, REGIONS, TOPICS, WORDS

SIZE = PlatformSize(members=800, posts=4_000, interactions=60_000, follows=8_000, blocks=300, mutes=100, seed=7)


def make_world(size):
    people = make_people(size)
    posts = make_posts(size, people)
    blocks = make_blocks(size, people)
    follows = make_follows(size, people, posts, blocks)
    acts = make_interactions(size, people, posts, follows, blocks)
    return people, posts, blocks, make_mutes(size, people), follows, acts


@pytest.fixture(scope="module")
def world():
    return make_world(SIZE)


def digest(world):
    columns = [getattr(table, f.name) for table in world for f in dataclasses.fields(table)]
    return hashlib.sha256(b"".join(np.ascontiguousarray(c).tobytes() for c in columns)).hexdigest()


def test_the_same_seed_gives_the_same_bytes(world):
    assert digest(make_world(SIZE)) == digest(world)
    posts = world[1]
    assert list(make_texts(SIZE, posts)) == list(make_texts(SIZE, posts))


def test_another_seed_gives_other_bytes(world):
    assert digest(make_world(dataclasses.replace(SIZE, seed=8))) != digest(world)


def test_more_interactions_leave_people_and_posts_as_they_were(world):
    size = dataclasses.replace(SIZE, interaction_count=70_000)
    assert digest(make_world(size)[:5]) == digest(world[:5])


def test_counts_are_those_asked_for(world):
    _, _, blocks, mutes, follows, acts = world
    assert [len(t.source) for t in (blocks, mutes, follows)] == [300, 100, 8_000]
    assert len(acts.member) == 60_000


def test_popularity_is_zipfian(world):
    counts = np.sort(np.bincount(world[5].post, minlength=SIZE.posts))[::-1][5:300]
    slope = np.polyfit(np.log(np.arange(5, 300)), np.log(counts), 1)[0]
    assert -1.3 < slope < -0.6


def test_members_of_a_cluster_like_the_same_topics(world):
    people, posts, *_, acts = world
    likes = acts.kind == INTERACTION_KINDS.index("like")
    topics = np.zeros((SIZE.members, len(TOPICS)))
    np.add.at(topics, (acts.member[likes], posts.topic[acts.post[likes]]), 1)
    active = topics.sum(axis=1) >= 5
    shares = topics[active] / np.linalg.norm(topics[active], axis=1, keepdims=True)
    cosines, cluster = shares @ shares.T, people.cluster[active]
    same = (cluster[:, None] == cluster) & ~np.eye(len(cluster), dtype=bool)
    assert cosines[same].mean() > cosines[cluster[:, None] != cluster].mean() + 0.2


def test_members_refuse_more_outside_their_taste(world):
    people, posts, *_, acts = world
    refused = np.isin(acts.kind, [INTERACTION_KINDS.index("hide"), INTERACTION_KINDS.index("not_interested")])
    inside = people.tastes[acts.member, posts.topic[acts.post]] > 1 / len(TOPICS)
    assert refused[~inside].mean() > 5 * refused[inside].mean()


def test_nobody_acts_on_what_they_may_not_see(world):
    people, posts, blocks, _, follows, acts = world
    author = posts.author[acts.post]
    visibility = posts.visibility[acts.post]
    assert not np.isin(visibility, [Visibility.PRIVATE, Visibility.UNLISTED]).any()
    assert not posts.is_removed[acts.post].any()
    assert people.is_active[acts.member].all() and people.is_active[author].all()
    assert not is_blocked(blocks, acts.member, author, SIZE.members).any()
    closed = (visibility == Visibility.FOLLOWERS) | people.is_private[author]
    follows_author = np.isin(acts.member * SIZE.members + author, follows.source * SIZE.members + follows.target)
    assert closed.any(), "the world must hold posts for followers, or this tests nothing"
    assert follows_author[closed].all()


def test_nobody_acts_before_the_post_or_after_now(world):
    _, posts, *_, acts = world
    assert (acts.ages >= 0).all() and (acts.ages <= posts.ages[acts.post]).all()
    assert (np.diff(acts.ages) <= 0).all(), "oldest first"


def test_an_act_happens_once_and_never_on_ones_own_post(world):
    _, posts, *_, acts = world
    assert len(np.unique(np.stack([acts.member, acts.post, acts.kind]), axis=1).T) == len(acts.member)
    assert (posts.author[acts.post] != acts.member).all()


def test_ties_are_distinct_between_two_and_no_follow_crosses_a_block(world):
    _, _, blocks, mutes, follows, _ = world
    for ties in (blocks, mutes, follows):
        assert (ties.source != ties.target).all()
        assert len(np.unique(np.stack([ties.source, ties.target]), axis=1).T) == len(ties.source)
    assert not is_blocked(blocks, follows.source, follows.target, SIZE.members).any()


def test_only_known_adults_take_adult_content(world):
    people = world[0]
    assert (people.is_adult[people.sensitivity > 0] == 1).all()


def test_only_a_dwell_has_seconds(world):
    acts = world[5]
    np.testing.assert_array_equal(np.isfinite(acts.seconds), acts.kind == INTERACTION_KINDS.index("dwell"))


def test_texts_are_in_the_language_and_on_the_topic(world):
    posts = world[1]
    for row, (text, post_tags) in enumerate(zip(make_texts(SIZE, posts), make_tags(posts), strict=True)):
        language, topic = LANGUAGES[posts.language[row]], posts.topic[row]
        assert text.startswith(OPENERS[language])
        assert any(word in text for word in WORDS[language][topic])
        assert post_tags[0] == TOPICS[topic] and len(set(post_tags)) == len(post_tags)


def test_vectors_are_unit_and_near_those_of_the_same_topic(world):
    posts = world[1]
    vectors = np.concatenate(list(make_vectors(SIZE, posts, 64)))
    assert vectors.shape == (SIZE.posts, 64) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    sample = vectors[:500] @ vectors[:500].T
    same = posts.topic[:500, None] == posts.topic[:500]
    assert sample[same & ~np.eye(500, dtype=bool)].mean() > sample[~same].mean() + 0.3


def test_too_much_for_so_few_is_refused_with_what_to_do():
    size = PlatformSize(members=3, posts=2, interactions=1_000, follows=0, blocks=0, mutes=0, seed=1)
    with pytest.raises(PlatformTooSmallError, match="Ask for fewer"):
        make_world(size)


@pytest.mark.parametrize("members, posts", [(1, 0), (1, 5), (5, 1)])
def test_the_smallest_worlds_can_be_made(members, posts):
    size = PlatformSize(members, posts, interactions=0, follows=0, blocks=0, mutes=0, seed=1)
    assert len(make_world(size)[1].ages) == posts


def test_an_empty_cell_draws_nothing():
    cells = WeightedCells(np.array([0, 0, 2]), np.array([1.0, 0.0, 3.0]), 3)
    drawn = cells.draw(np.random.default_rng(1), np.repeat([0, 1, 2], 50))
    assert set(drawn[:50]) == {0} and set(drawn[50:100]) == {NONE} and set(drawn[100:]) == {2}


def test_every_language_has_openers_regions_and_words_for_every_topic():
    assert len(REGIONS) == len(LANGUAGES)
    for language in LANGUAGES:
        assert OPENERS[language] and len(WORDS[language]) == len(TOPICS)
        assert all(len(words) >= 3 for words in WORDS[language])
