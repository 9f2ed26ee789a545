"""The sums of posts in the database: bounded for each member, exact after undos. And the feeds that rank by them."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from importlib import import_module
from itertools import count

import pytest
from django.apps import apps
from django.db import connection
from django.utils import timezone
from hypothesis import given, settings
from hypothesis import strategies as st

from recommendations.contracts import POPULARITY_SUMS, Policy
from recommendations.models import DampedEngagement, Interaction, PostStats, RankingPolicy, RegionStats
from recommendations.services import policies, wiring
from recommendations.services.learning import learn, popularity
from recommendations.services.serving.recommend import recommend
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
numbers = count()
initial_data = import_module("recommendations.migrations._initial_data")
popularity_data = import_module("recommendations.migrations._popularity")


@pytest.fixture
def post():
    post = factories.post(factories.member("bob"), "p1")
    factories.embed_all_posts()
    return post


def act(member, post, kind="like", *, ago=HOUR):
    return factories.interaction(member, post, kind, at=NOW - ago)


def learn_of(*members):
    learn.learn_interactions(member_ids=[member.pk for member in members], now=NOW)


def sums(model=PostStats):
    """Return the sums of every stored row that has any, decayed to now."""
    half_lives = Policy().popularity_half_lives
    rows = {}
    for row in model.objects.all():
        age = (NOW - row.summed_at).total_seconds()
        values = [getattr(row, name) * 0.5 ** (age / h) for name, h in zip(POPULARITY_SUMS, half_lives, strict=True)]
        if row.total_sum:
            rows[(row.post_id, getattr(row, "region", ""))] = values
    return rows


def up_to_rounding(rows):
    """Return what equals these rows up to rounding errors."""
    return {key: pytest.approx(values, abs=1e-9) for key, values in rows.items()}


# The bound of a member's weight


def test_a_member_adds_at_most_three_however_often_an_event_is_repeated(post):
    """In one batch or in many, in total and by region. Another member adds as much again."""
    ann, cat = factories.member("ann", region="DE", is_adult=True), factories.member("cat", region="DE", is_adult=True)
    for _ in range(3):
        for _ in range(4):
            act(ann, post)
        learn_of(ann)
    assert PostStats.objects.get().total_sum == RegionStats.objects.get().total_sum == 3
    assert (PostStats.objects.get().interaction_count, PostStats.objects.get().positive_count) == (12, 1)
    act(cat, post, "share")
    learn_of(cat)
    assert PostStats.objects.get().total_sum == RegionStats.objects.get().total_sum == 5


def test_negative_interactions_do_not_lower_the_sums(post):
    ann = factories.member("ann", is_adult=True)
    act(ann, post)
    act(ann, post, "hide")
    learn_of(ann)
    assert (PostStats.objects.get().total_sum, PostStats.objects.get().interaction_count) == (1, 2)


def test_one_member_with_300_likes_is_behind_20_members_with_one_each(post):
    """In the sums and in the quality: a member counts once in the number of positive interactions."""
    popular = factories.post(post.author, "popular")
    factories.embed_all_posts()
    ann = factories.member("ann")
    others = [factories.member(f"fan-{number}") for number in range(20)]
    for number in range(300):
        act(ann, post, ago=HOUR + number * timedelta(seconds=1))
    for member in others:
        act(member, popular)
    learn_of(ann, *others)
    by_post = {row.post_id: (row.total_sum, row.positive_count) for row in PostStats.objects.all()}
    assert by_post == {post.pk: (3.0, 1), popular.pk: (20.0, 20)}
    (damped,) = DampedEngagement.objects.all()
    assert (damped.member, damped.post, damped.reason, damped.given, damped.counted) == (ann, post, "one post", 300, 3)
    assert str(damped).endswith("of which 3 counts")


def like_all(members, posts, *, ago=HOUR):
    for member in members:
        for liked in posts:
            act(member, liked, ago=ago)


def test_a_ring_that_likes_everything_of_one_author_adds_less_than_as_many_other_members():
    """Ten members like 30 posts each on one day. Each adds 6 to them together, so each post gets 10 · 6 / 30 = 2."""
    ringed = factories.posts(factories.member("ringed"), 30)
    honest = factories.posts(factories.member("honest"), 6)
    factories.embed_all_posts()
    ring = [factories.member(f"ring-{number}", region="DE") for number in range(10)]
    fans = [factories.member(f"fan-{number}", region="DE") for number in range(10)]
    like_all(ring, ringed)
    like_all(fans, honest)
    learn_of(*ring, *fans)
    for model in (PostStats, RegionStats):
        totals = dict(model.objects.values_list("post", "total_sum"))
        assert [totals[row.pk] for row in ringed] == pytest.approx([2.0] * 30)
        assert [totals[row.pk] for row in honest] == pytest.approx([10.0] * 6), (
            "six likes of one author a day count in full"
        )
    listed = set(DampedEngagement.objects.values_list("member__external_id", "author__external_id", "given", "counted"))
    assert listed == {(member.external_id, "ringed", 30.0, 6.0) for member in ring}
    assert {row.reason for row in DampedEngagement.objects.all()} == {"one author on one day"}


def test_the_likes_of_other_days_count_in_full():
    posts = factories.posts(factories.member("bob"), 12)
    factories.embed_all_posts()
    ann = factories.member("ann")
    for number, liked in enumerate(posts):
        act(ann, liked, ago=(number % 4) * DAY + HOUR)
    learn_of(ann)
    assert set(PostStats.objects.values_list("total_sum", flat=True)) == {1.0}


def test_what_a_member_adds_on_one_day_is_bounded():
    posts = [factories.post(factories.member()) for _ in range(250)]
    factories.embed_all_posts()
    ann = factories.member("ann")
    like_all([ann], posts)
    learn_of(ann)
    totals = list(PostStats.objects.values_list("total_sum", flat=True))
    assert totals == pytest.approx([0.4] * 250)
    (damped,) = DampedEngagement.objects.all()
    assert (damped.reason, damped.given, damped.counted) == ("all posts on one day", 250, 100)


def test_damped_engagement_is_listed_as_long_as_it_is_damped():
    posts = factories.posts(factories.member("bob"), 13)
    factories.embed_all_posts()
    ann = factories.member("ann")
    like_all([ann], posts)
    learn_of(ann)
    assert DampedEngagement.objects.get().given == 13
    undone = Interaction.objects.filter(post__in=posts[:3])
    undone.update(undone_at=NOW)
    learn_of(ann)
    assert not DampedEngagement.objects.exists()
    assert {round(total, 6) for total in PostStats.objects.values_list("total_sum", flat=True)} == {0.0, 0.6}


PLACES = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.integers(0, 5),
        st.sampled_from(["view", "like", "share"]),
        st.integers(0, 3),
        st.booleans(),
    ),
    min_size=1,
    max_size=25,
)
"""Member, post, kind, age in days, and whether the event is undone. Three of the six posts are of one author."""


@pytest.mark.django_db
@given(events=PLACES, data=st.data())
@settings(max_examples=15)
def test_learning_event_by_event_gives_the_sums_and_the_list_of_learning_at_once(monkeypatch_module, events, data):
    monkeypatch_module(MAX_AUTHOR_DAY_WEIGHT=1.5, MAX_DAY_WEIGHT=2.5, LISTED_SHARE=0.9)
    for model in (PostStats, RegionStats, Interaction, DampedEngagement):
        model.objects.all().delete()
    authors = [factories.member(f"a{next(numbers)}") for _ in range(2)]
    posts = [factories.post(authors[number % 2], f"q{next(numbers)}") for number in range(6)]
    factories.embed_all_posts()
    members = [factories.member(f"m{next(numbers)}", is_adult=True, region="DE") for _ in range(2)]
    order = data.draw(st.permutations(range(len(events))))
    rows = {}
    for number in order:
        member, post, kind, days, _ = events[number]
        rows[number] = act(members[member], posts[post], kind, ago=days * DAY + number * timedelta(seconds=1))
        if data.draw(st.booleans()):
            learn_of(*members)
    learn_of(*members)
    undone = [rows[number].pk for number in order if events[number][-1]]
    Interaction.objects.filter(pk__in=undone).update(undone_at=NOW)
    learn_of(*members)
    found = read_popularity()
    for model in (PostStats, RegionStats, DampedEngagement):
        model.objects.all().delete()
    Interaction.objects.update(is_learned=False)
    learn_of(*members)
    assert found == read_popularity(up_to_rounding)


def read_popularity(convert=dict):
    """Return the sums, converted, and the counts and the list, rounded."""
    counts = PostStats.objects.exclude(interaction_count=0).values_list("post", "interaction_count", "positive_count")
    listed = DampedEngagement.objects.values_list("member", "author", "post", "day", "given", "counted")
    rounded = [(*row[:4], *(round(number, 6) for number in row[4:])) for row in listed]
    return convert(sums()), convert(sums(RegionStats)), set(counts), sorted(rounded, key=str)


@pytest.fixture
def monkeypatch_module(monkeypatch):
    """Return a function that replaces constants of the counting."""
    return lambda **values: [monkeypatch.setattr(popularity, name, value) for name, value in values.items()]


KINDS = st.sampled_from(["view", "like", "share", "comment", "hide"])
EVENTS = st.lists(st.tuples(st.integers(0, 1), KINDS, st.integers(0, 90), st.booleans()), min_size=1, max_size=8)
"""Member, kind, age in hours, and whether the event is undone."""


@pytest.mark.django_db
@given(EVENTS, st.data())
@settings(max_examples=25)
def test_sums_do_not_depend_on_the_order_of_learning_and_undoing(post, events, data):
    """They equal those of the events that stay, learned at once: an undone event might as well never have happened."""
    PostStats.objects.all().delete()
    Interaction.objects.all().delete()
    members = [factories.member(f"m{next(numbers)}", is_adult=True) for _ in range(2)]
    rows = []
    for member, kind, hours, _ in data.draw(st.permutations(events)):
        rows.append(act(members[member], post, kind, ago=hours * HOUR))
        if data.draw(st.booleans()):
            learn_of(*members)
    learn_of(*members)
    undone = [row for row, (*_, is_undone) in zip(rows, events, strict=True) if is_undone]
    Interaction.objects.filter(pk__in=[row.pk for row in undone]).update(undone_at=NOW)
    learn_of(*members)
    found = sums()
    kept = PostStats.objects.get().interaction_count
    PostStats.objects.all().delete()
    Interaction.objects.update(is_learned=False)
    learn_of(*members)
    assert found == up_to_rounding(sums())
    assert kept == len(rows) - len(undone)


@pytest.mark.django_db(transaction=True)
def test_workers_that_learn_of_the_same_new_posts_at_once_lose_nothing():
    posts = factories.posts(factories.member("bob"), 6)
    factories.embed_all_posts()
    members = [factories.member(f"m{i}", region="DE", is_adult=True) for i in range(4)]
    for member in members:
        for row in posts:
            act(member, row)

    def work(member):
        try:
            learn_of(member)
        finally:
            connection.close()

    workers = 4 if connection.vendor == "postgresql" else 1  # SQLite has one writer
    with ThreadPoolExecutor(workers) as threads:
        list(threads.map(work, members))
    for model in (PostStats, RegionStats):
        assert list(model.objects.values_list("total_sum", flat=True)) == [4.0] * 6


# Half-lives


def set_control(**settings):
    policies.put_policy(variant="control", settings=settings, note="", version=None)
    wiring.policies.reset()


def test_a_changed_half_life_applies_to_the_decay_from_then_on(post):
    ann, cat = factories.member("ann", is_adult=True), factories.member("cat", is_adult=True)
    act(ann, post, ago=2 * DAY)
    learn_of(ann)
    set_control(day_half_life_hours=48)
    act(cat, post, ago=timedelta(0))
    learn_of(cat)
    assert PostStats.objects.get().day_sum == pytest.approx(1.5)


def test_the_catalogue_follows_a_changed_half_life():
    """The first post has the greater sums, from a year earlier. With a short half-life, the second leads."""
    posts = factories.posts(factories.member("bob"), 2)
    factories.popularity(posts[0], 4, at=NOW - 365 * DAY)
    factories.popularity(posts[1], 3, at=NOW)
    set_control(year_half_life_hours=876_000)
    catalogue = wiring.catalogue()

    def popular(now):
        catalogue.refresh(now)
        return catalogue.popular(2, ~catalogue.all_posts().is_removed).tolist()

    assert popular(NOW) == [posts[0].pk, posts[1].pk]
    set_control(year_half_life_hours=24)
    assert popular(NOW + HOUR) == [posts[1].pk, posts[0].pk]


# Feeds


def served(viewer, feed):
    return [pick.post.id for pick in recommend(member_id=viewer.external_id, feed=feed, now=NOW).picks]


@pytest.fixture
def platform():
    """Create a post of all time, a post that trends, and a new post, a year apart."""
    author, viewer = factories.member("bob"), factories.member("ann", is_adult=True)
    for name, age in (("classic", 700 * DAY), ("hit", 30 * DAY), ("new", HOUR), ("old", 400 * DAY)):
        factories.post(author, name, created_at=NOW - age, tags=[name])
    return viewer


def store(name, recent, total):
    sums = {"hour_sum": recent, "day_sum": recent, "week_sum": recent, "year_sum": recent, "total_sum": total}
    PostStats.objects.create(post_id=post_id(name), **sums, summed_at=NOW, changed_at=NOW)


def post_id(name):
    return factories.Post.objects.get(external_id=name).pk


@pytest.mark.parametrize("feed", ["trending", "non_personalized"])
def test_a_post_that_trends_is_ahead_of_the_most_popular_post_of_all_time(platform, feed):
    store("classic", 0, 900)
    store("hit", 200, 200)
    assert served(platform, feed) == ["hit", "classic", "new", "old"]


@pytest.mark.parametrize("feed", ["trending", "non_personalized"])
def test_where_nothing_happens_posts_are_ranked_by_their_popularity_of_all_time(platform, feed):
    """The last interaction is that of one member with the old post. A new post does not displace the popular ones."""
    store("classic", 0, 900)
    store("hit", 0, 500)
    store("old", 1, 1)
    assert served(platform, feed)[:2] == ["classic", "hit"]


# The migration


def test_the_migration_sums_learned_interactions_as_learning_does(post):
    ann, cat = factories.member("ann", region="DE", is_adult=True), factories.member("cat", is_adult=True)
    other = factories.post(ann, "p2")
    factories.embed_all_posts()
    for _ in range(4):
        act(ann, post)
    act(cat, post, "share", ago=9 * DAY)
    act(cat, other, "view")
    learn_of(ann, cat)
    expected = sums(), sums(RegionStats)
    assert len(expected[0]) == 2 and len(expected[1]) == 1
    for model in (PostStats, RegionStats):
        model.objects.update(**dict.fromkeys(POPULARITY_SUMS, 0.0))
    factories.popularity(factories.post(ann, "p3"), 0)  # served, without interactions
    factories.interaction(cat, other, "share")  # not learned yet
    popularity_data.sum_learned_interactions(apps, None)
    assert expected == (up_to_rounding(sums()), up_to_rounding(sums(RegionStats)))


def test_the_migration_does_nothing_without_interactions_and_without_policies(post):
    RankingPolicy.objects.all().delete()
    factories.popularity(post, 0)
    popularity_data.sum_learned_interactions(apps, None)
    assert sums() == {}


def active(variant):
    return RankingPolicy.objects.get(variant=variant, is_active=True)


def test_the_migration_activates_the_new_defaults_of_shipped_policies_only():
    """A variant whose active version an operator wrote stays as it is, and a second run changes nothing."""
    shipped = RankingPolicy.objects.get(variant="wasm_aggressive")
    for row in RankingPolicy.objects.all():
        RankingPolicy.objects.filter(pk=row.pk).update(settings=row.settings | {"recency": 0.15, "popularity": 0.3})
    set_control(taste=2)
    for _ in range(2):
        initial_data.activate_new_defaults(apps, None)
        assert (active("control").version, active("control").settings["taste"]) == (2, 2)
        assert (active("wasm_conservative").version, active("wasm_aggressive").version) == (2, 2)
        assert active("wasm_aggressive").settings == shipped.settings
        assert Policy.from_stored(active("wasm_conservative").settings) == Policy()


def test_a_new_installation_has_the_defaults_in_its_first_versions():
    initial_data.activate_new_defaults(apps, None)
    assert {row.version for row in RankingPolicy.objects.all()} == {1}
    assert timezone.is_aware(active("control").created_at)
