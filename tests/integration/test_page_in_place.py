"""A page stays in place when its reader hides or mutes one post, and after other small changes."""

from datetime import timedelta

import pytest

from recommendations.contracts import InteractionKind
from recommendations.models import Post
from recommendations.services.learning import interact, learn
from recommendations.services.learning.interact import Event
from recommendations.services.learning.store_interactions import NEGATIVE_KINDS
from recommendations.services.members.preferences import read_preferences, set_preferences, set_relationship
from recommendations.services.serving import records
from recommendations.services.serving.recommend import recommend
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]

SECOND = timedelta(seconds=1)


@pytest.fixture
def ann():
    """Create Ann, who has liked ten of 200 posts by 40 authors."""
    ann = factories.member("ann")
    for number in range(40):
        factories.posts(factories.member(f"author-{number}"), 5, tags=[f"tag-{number}"])
    factories.embed_all_posts()
    for post in Post.objects.order_by("pk")[:10]:
        factories.interaction(ann, post, at=NOW - timedelta(hours=1))
    learn.learn_interactions(member_ids=[ann.pk], now=NOW)
    return ann


@pytest.fixture(autouse=True)
def run_on_commit(django_capture_on_commit_callbacks):
    return lambda: django_capture_on_commit_callbacks(execute=True)


def read_page(seconds, **options):
    page = recommend(member_id="ann", now=NOW + seconds * SECOND, **options)
    records.record_served(now=NOW)
    return page


def ids(page):
    return [pick.post.id for pick in page.picks]


def send(run_on_commit, post_id, kind, seconds, **fields):
    event = Event(f"{kind}-{post_id}", "ann", post_id, kind, occurred_at=NOW + seconds * SECOND, **fields)
    with run_on_commit():
        assert interact.record_events(events=[event], now=NOW + seconds * SECOND)[0].status == "recorded"


@pytest.mark.parametrize("is_learned", [False, True])
@pytest.mark.parametrize("kind", sorted(NEGATIVE_KINDS))
def test_each_of_the_posts_can_be_hidden_and_the_others_stay_in_order(ann, run_on_commit, kind, is_learned):
    """One after the other, from the last to the first and from the first to the last in turn."""
    page = ids(read_page(1))
    for number in range(20):
        hidden = page[0 if number % 2 else -1]
        send(run_on_commit, hidden, kind, 2 + number)
        if is_learned:
            assert learn.learn_interactions(member_ids=[ann.pk], now=NOW + 2 * SECOND) == 1
        others = [post_id for post_id in page if post_id != hidden]
        page = ids(read_page(2 + number))
        assert page[:19] == others and len(page) == 20 and hidden not in page


MUTES = {
    "author": lambda post: set_relationship(
        member_id="ann", kind="mute", target_id=post.author_id, is_on=True, is_sent_by_member=True, now=NOW
    ),
    "tag": lambda post: set_preferences(member_id="ann", changes={"muted_tags": post.tags}, now=NOW),
    "word": lambda post: set_preferences(member_id="ann", changes={"muted_words": ["spoiler"]}, now=NOW),
}


@pytest.mark.parametrize("what", sorted(MUTES))
def test_the_other_posts_stay_in_order_after_a_mute(ann, run_on_commit, what):
    page = read_page(1, limit=100)
    muted = page.picks[5].post
    Post.objects.filter(author__external_id=muted.author_id).update(text="spoiler", changed_at=NOW)
    with run_on_commit():
        MUTES[what](muted)
    others = [pick.post.id for pick in page.picks if pick.post.author_id != muted.author_id]
    assert len(others) < 100
    assert ids(read_page(2, limit=100))[: len(others)] == others


def test_posts_return_after_a_mute_has_ended(ann, run_on_commit):
    for words in (["spoiler"], []):
        with run_on_commit():
            set_preferences(member_id="ann", changes={"muted_words": words}, now=NOW)
        assert read_preferences(member_id="ann").muted_words == words
        Post.objects.filter(author__external_id="author-7").update(text="spoiler", changed_at=NOW)
        read_page(1)
    page = read_page(2, limit=100)
    rest = read_page(2, limit=100, cursor=page.next_cursor)
    assert "author-7" in {pick.post.author_id for pick in (*page.picks, *rest.picks)}


def test_posts_served_seconds_ago_are_not_tired_when_the_page_is_built_again(ann, run_on_commit):
    """A like of one post builds a new slate. Minutes later, the posts that were not opened are tired."""
    first = read_page(1)
    send(run_on_commit, first.picks[0].post.id, InteractionKind.LIKE, 2)
    learn.learn_interactions(member_ids=[ann.pk], now=NOW + 2 * SECOND)
    again = read_page(3, explain=True)
    assert again.request_id != first.request_id
    assert {pick.parts["fatigue"] for pick in again.picks} == {0}
    assert set(ids(again)) & set(ids(first))
    later = read_page(1_000, explain=True, limit=100)
    tired = {pick.post.id for pick in later.picks if pick.parts["fatigue"] < 0}
    assert tired and tired <= {*ids(first), *ids(again)}
