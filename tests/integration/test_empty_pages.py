"""A page without posts says why, over REST and GraphQL, and a page with posts does not."""

from types import SimpleNamespace

import pytest
from django.conf import settings

from recommendations.contracts import EMPTY_SENTENCES, EmptyReason
from recommendations.models import Member
from recommendations.services import wiring
from recommendations.services.serving.recommend import find_empty_reason
from recommendations.services.vectors.embedding import embed_posts
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]


@pytest.fixture
def read(client, monkeypatch):
    """Create Ann and one post, and return a function that reads a page."""
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update={"api_open": True}))
    factories.member("ann")
    factories.post(factories.member("bob"), "p1", text="bread")
    embed_posts(embedder=wiring.embedder(), now=NOW)
    return lambda path, **query: client.get(f"/api/v1/{path}", query).json()


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"feed": "following"}, "no_follows"),
        ({"tag": "unused"}, "request_filters"),
        ({"exclude_post_id": "p1"}, "request_filters"),
    ],
)
def test_an_empty_feed_has_a_reason(read, query, reason):
    page = read("members/ann/feed", **query)
    assert page["picks"] == []
    assert page["empty_reason"] == {"code": reason, "sentence": EMPTY_SENTENCES[EmptyReason(reason)]}


def test_a_feed_with_posts_has_none_and_a_member_who_has_seen_all_gets_another(read, client):
    assert read("members/ann/feed")["picks"] and read("members/ann/feed")["empty_reason"] is None
    client.post("/api/v1/members/ann/seen", {"post_ids": ["p1"]}, content_type="application/json")
    assert read("members/ann/feed")["empty_reason"]["code"] == "no_posts"


HIDE = {
    "deactivated": lambda member: Member.objects.filter(pk=member.pk).update(is_active=False),
    "blocks the member": lambda member: factories.block(member, Member.objects.get(external_id="ann")),
}


@pytest.mark.parametrize("name", HIDE)
def test_a_followed_member_who_is_hidden_is_answered_like_one_who_was_erased(read, name):
    """Another reason would tell that the account still exists."""
    ann, carl = Member.objects.get(external_id="ann"), factories.member("carl")
    factories.follow(ann, carl)
    assert read("members/ann/feed", feed="following")["empty_reason"]["code"] == "no_posts"
    HIDE[name](carl)
    assert read("members/ann/feed", feed="following")["empty_reason"]["code"] == "no_follows"


def test_similar_posts_have_a_reason_of_their_own(read):
    assert read("posts/p1/similar", viewer_id="ann")["empty_reason"]["code"] == "no_match"


@pytest.mark.parametrize(
    "position", [SimpleNamespace(offset=20, earlier_steps=()), SimpleNamespace(offset=0, earlier_steps=(1,))]
)
def test_after_the_first_page_a_feed_has_ended(position):
    assert find_empty_reason(None, position) == EmptyReason.END_OF_FEED


def test_graphql_says_it_in_a_sentence(read, client):
    query = '{ feed(memberId: "ann", name: "following") { emptyReason edges { cursor } } }'
    answer = client.post("/graphql", {"query": query}, content_type="application/json").json()
    assert answer["data"]["feed"] == {"emptyReason": EMPTY_SENTENCES[EmptyReason.NO_FOLLOWS], "edges": []}
