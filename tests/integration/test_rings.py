"""Rings: crowds of new accounts that like one author. They are damped; the readers of a popular post are not."""

import random
from datetime import timedelta

import pytest

from monitoring.maintenance import MaintenanceResult
from recommendations.models import AuthorCrowd, CrowdNewcomer, Interaction, Member, PostStats, RegionStats
from recommendations.services.learning import learn, rings
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
READERS = 40


class Platform:
    """A platform whose readers like posts of many authors. Every choice is random."""

    def __init__(self, seed=1):
        self.random = random.Random(seed)
        self.authors = [factories.member(f"author-{number}") for number in range(8)]
        self.posts = {author: factories.posts(author, 3) for author in self.authors}
        self.readers = [factories.member(f"reader-{number}", region="DE") for number in range(READERS)]
        factories.embed_all_posts()
        for reader in self.readers:
            for author in self.random.sample(self.authors[:6], 4):
                self.like(reader, author, ago=DAY)
        self.learn()

    def like(self, member, author, *, posts=1, ago=HOUR):
        """Let the member like some posts of the author, within an hour."""
        for post in self.random.sample(self.posts[author], posts):
            factories.interaction(member, post, at=NOW - ago - self.random.random() * HOUR / 2)

    def gather(self, author, *, readers, newcomers, posts=1):
        """Let members like posts of the author in a random order, and learn it event by event. Return the newcomers."""
        new = [factories.member(f"new-{author.external_id}-{number}", region="DE") for number in range(newcomers)]
        crowd = [*self.random.sample(self.readers, readers), *new]
        self.random.shuffle(crowd)
        for member in crowd:
            self.like(member, author, posts=posts)
        self.learn()
        return new

    def learn(self):
        members = set(Interaction.objects.filter(is_learned=False).values_list("member_id", flat=True))
        learn.learn_interactions(member_ids=sorted(members), now=NOW)

    def popularity(self, author, model=PostStats):
        """Return the sum of what the likes of the author's posts have added."""
        return sum(model.objects.filter(post__author=author).values_list("total_sum", flat=True))


def damp():
    return rings.damp_rings(now=NOW)


@pytest.fixture
def platform():
    return Platform()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("posts", [1, 2])
def test_a_ring_of_accounts_with_one_or_two_likes_each_counts_as_ten_of_them(seed, posts):
    """In total and by region. Of the other members, every like counts."""
    platform = Platform(seed)
    ringed = platform.authors[7]
    platform.gather(ringed, readers=2, newcomers=40, posts=posts)
    assert platform.popularity(ringed) == pytest.approx(42 * posts), "until the next run"
    assert damp() == MaintenanceResult(rows=40, note="rings: 1")
    for model in (PostStats, RegionStats):
        assert platform.popularity(ringed, model) == pytest.approx(12 * posts)
    (crowd,) = AuthorCrowd.objects.filter(share__lt=1)
    assert (crowd.author, crowd.newcomers, crowd.others, crowd.share) == (ringed, 40, 2, 0.25)
    assert set(CrowdNewcomer.objects.filter(author=ringed).values_list("share", flat=True)) == {0.25}
    assert damp() == MaintenanceResult(rows=0, note="rings: 1"), "a second run changes nothing"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("readers", "newcomers"), [(30, 0), (30, 30), (12, 30), (0, 10)])
def test_a_popular_post_is_not_damped(seed, readers, newcomers):
    """Even if it brings as many new members as others react, or three times as many, or a few new members start it."""
    platform = Platform(seed)
    author = platform.authors[7]
    platform.gather(author, readers=readers, newcomers=newcomers)
    assert damp() == MaintenanceResult(rows=0, note="rings: 0")
    assert platform.popularity(author) == pytest.approx(readers + newcomers)


def test_a_ring_does_not_lower_what_other_members_give(platform):
    """So it is no means against an author. The ring is damped although it is more than all other members."""
    author = platform.authors[7]
    platform.gather(author, readers=20, newcomers=0)
    damp()
    platform.gather(author, readers=0, newcomers=200)
    damp()
    assert platform.popularity(author) == pytest.approx(20 + 3 * 20)


def test_a_newcomer_who_goes_on_to_others_counts_in_full_again(platform):
    ringed = platform.authors[7]
    new = platform.gather(ringed, readers=0, newcomers=20)
    damp()
    assert platform.popularity(ringed) == pytest.approx(10)
    for member in new[:5]:
        for author in platform.authors[:3]:
            platform.like(member, author)
    platform.learn()
    assert damp().rows == 20
    assert platform.popularity(ringed) == pytest.approx(20), "15 newcomers may count beside five others"
    crowd = AuthorCrowd.objects.get(author=ringed)
    assert (crowd.newcomers, crowd.others, crowd.share) == (15, 5, 1)
    assert damp().rows == 0


def test_an_undo_takes_back_what_was_given(platform):
    """From a member of a ring, from another member, and of an earlier day."""
    ringed = platform.authors[7]
    platform.gather(ringed, readers=2, newcomers=38)
    damp()
    Interaction.objects.filter(post__author=ringed).update(undone_at=NOW)
    learn.learn_interactions(member_ids=sorted(Interaction.objects.values_list("member_id", flat=True)), now=NOW)
    assert platform.popularity(ringed) == 0
    crowd = AuthorCrowd.objects.get(author=ringed)
    assert (crowd.newcomers, crowd.others) == (0, 0)
    assert not CrowdNewcomer.objects.filter(author=ringed).exists()
    assert damp() == MaintenanceResult(rows=0, note="rings: 0")


def test_a_ring_whose_interactions_were_deleted_changes_no_sums(platform):
    """As by the erasure of the author's posts, between two runs."""
    ringed = platform.authors[7]
    platform.gather(ringed, readers=2, newcomers=40)
    Interaction.objects.filter(post__author=ringed).delete()
    damp()
    assert platform.popularity(ringed) == 42


def test_learning_again_gives_the_same_sums(platform):
    """They depend on the interactions and the shares, not on when the shares were set."""
    ringed = platform.authors[7]
    new = platform.gather(ringed, readers=1, newcomers=30, posts=2)
    for member in new[:3]:
        factories.interaction(member, platform.posts[ringed][0], "comment", at=NOW - HOUR)
        factories.interaction(member, platform.posts[ringed][0], "view", at=NOW - HOUR)
    Member.objects.filter(pk__in=[member.pk for member in new]).update(is_adult=True)
    platform.learn()
    damp()
    platform.like(new[0], ringed, posts=3)
    Interaction.objects.filter(member=new[1]).exclude(kind="view").update(undone_at=NOW)
    platform.learn()
    learn.learn_interactions(member_ids=[new[1].pk], now=NOW)
    assert CrowdNewcomer.objects.filter(author=ringed).count() == 29
    found = {row.post_id: (row.total_sum, row.day_sum) for row in PostStats.objects.all()}
    PostStats.objects.all().delete()
    Interaction.objects.filter(undone_at=None).update(is_learned=False)
    platform.learn()
    again = {row.post_id: (row.total_sum, row.day_sum) for row in PostStats.objects.all()}
    assert found == {post_id: pytest.approx(sums) for post_id, sums in again.items()}


def test_nothing_is_damped_where_most_members_are_new():
    """On a new platform, newcomers say nothing."""
    author = factories.member("author")
    post = factories.post(author)
    factories.embed_all_posts()
    members = [factories.member(f"m{number}") for number in range(15)]
    for member in members:
        factories.interaction(member, post, at=NOW - HOUR)
    learn.learn_interactions(member_ids=[member.pk for member in members], now=NOW)
    assert damp().note == "most authors have mostly newcomers: nothing is damped"
    assert PostStats.objects.get().total_sum == 15


def test_interactions_of_earlier_weeks_are_not_looked_at(platform):
    old = platform.authors[6]
    for number in range(30):
        platform.like(factories.member(f"old-{number}"), old, ago=9 * DAY)
    platform.learn()
    assert not AuthorCrowd.objects.filter(author=old).exists()
    assert platform.popularity(old) == 30


def test_the_admin_lists_rings_and_their_members_only(platform, admin_client):
    ringed = platform.authors[7]
    platform.gather(ringed, readers=2, newcomers=40)
    platform.gather(platform.authors[6], readers=20, newcomers=3)
    damp()
    ring_list = admin_client.get("/admin/recommendations/authorcrowd/").content.decode()
    assert "author-7" in ring_list and "author-6" not in ring_list
    crowd = AuthorCrowd.objects.get(author=ringed)
    ring_page = admin_client.get(f"/admin/recommendations/authorcrowd/{crowd.pk}/change/").content.decode()
    link = f"/admin/recommendations/crowdnewcomer/?author={ringed.pk}&amp;day={crowd.day}"
    assert link in ring_page
    assert f">{100 * crowd.share:.3g} %<" in ring_list
    members = admin_client.get(link.replace("&amp;", "&"))
    assert members.context["cl"].result_count == 40 and "new-author-7-" in members.content.decode()
