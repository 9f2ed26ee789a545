"""The list of what a member did, newest first, without what was undone and without hidden posts."""

from datetime import timedelta

import pytest
from django.test import Client

from access import keys, tokens
from access.scopes import Scope
from monitoring import clock
from recommendations.models import Interaction, Member, Post
from recommendations.services.errors import InvalidRequest
from recommendations.services.members import interactions
from recommendations.services.members.interactions import MAX_INTERACTIONS, list_interactions
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]
HOUR = timedelta(hours=1)


@pytest.fixture
def ann():
    """Create Ann, who has done something with each of five posts by Bob. Two of them happened at the same time."""
    ann, bob = factories.member("ann"), factories.member("bob")
    for number, (kind, hours) in enumerate([("like", 5), ("view", 4), ("like", 3), ("share", 3), ("like", 1)]):
        post = factories.post(bob, f"p{number}", text=f"Post {number}", tags=["war"])
        factories.interaction(ann, post, kind, at=NOW - hours * HOUR)
    return ann


def listed(**options):
    page = list_interactions(member_id="ann", now=NOW, **options)
    return [(row.post.id, row.kind) for row in page.interactions], page.next_cursor


def test_interactions_are_listed_newest_first_with_their_posts(ann):
    page = list_interactions(member_id="ann", now=NOW)
    assert [row.post.id for row in page.interactions] == ["p4", "p3", "p2", "p1", "p0"]
    newest = page.interactions[0]
    assert (newest.kind, newest.occurred_at, newest.target, newest.value) == ("like", NOW - HOUR, "", None)
    assert (newest.post.author_id, newest.post.text, newest.post.tags) == ("bob", "Post 4", ["war"])
    assert page.next_cursor is None


def test_kinds_limit_the_list(ann):
    assert listed(kinds=["like"]) == ([("p4", "like"), ("p2", "like"), ("p0", "like")], None)
    assert listed(kinds=["view", "share"]) == ([("p3", "share"), ("p1", "view")], None)
    assert listed(kinds=["report"]) == ([], None)


@pytest.mark.parametrize("limit", [1, 2, 4])
def test_pages_repeat_and_skip_nothing(ann, limit):
    rows, cursor = listed(limit=limit)
    while cursor:
        more, cursor = listed(limit=limit, cursor=cursor)
        assert more
        rows += more
    assert [post_id for post_id, _ in rows] == ["p4", "p3", "p2", "p1", "p0"]


def test_undone_interactions_and_those_of_others_are_left_out(ann):
    Interaction.objects.filter(post__external_id="p4").update(undone_at=NOW)
    factories.interaction(factories.member("eve"), factories.post(ann, "p9"))
    assert [post_id for post_id, _ in listed()[0]] == ["p3", "p2", "p1", "p0"]


@pytest.mark.parametrize("limit", [1, 2, 3])
@pytest.mark.parametrize("gone", [["p4"], ["p3", "p2"], ["p0"], ["p4", "p1", "p0"], ["p4", "p3", "p2", "p1", "p0"]])
def test_hidden_posts_are_left_out_like_erased_ones(ann, gone, limit):
    """The pages and their number would else tell that the member may no longer see a post that still exists."""
    posts = Post.objects.filter(external_id__in=gone)

    def read_pages():
        rows, cursor = listed(limit=limit)
        pages = [rows]
        while cursor:
            rows, cursor = listed(limit=limit, cursor=cursor)
            pages.append(rows)
        return pages

    posts.update(author=factories.member("eve"))
    factories.block(Member.objects.get(external_id="eve"), ann)
    hidden = read_pages()
    posts.delete()
    assert hidden == read_pages()


def test_a_page_gives_up_after_many_hidden_posts(ann, monkeypatch):
    monkeypatch.setattr(interactions, "BATCH_SIZE", 1)
    monkeypatch.setattr(interactions, "MAX_SCANNED", 2)
    Post.objects.filter(external_id__in=["p4", "p3"]).update(removed_at=NOW)
    rows, cursor = listed(limit=2)
    assert rows == [] and cursor
    rows, cursor = listed(limit=1, cursor=cursor)
    assert rows == [("p2", "like")] and cursor
    assert listed(limit=5, cursor=cursor)[0] == [("p1", "view"), ("p0", "like")]


@pytest.mark.parametrize("options", [{"limit": 0}, {"limit": MAX_INTERACTIONS + 1}, {"cursor": "nonsense"}])
def test_an_invalid_limit_or_cursor_is_refused(ann, options):
    with pytest.raises(InvalidRequest):
        listed(**options)


def test_the_scope_and_the_member_are_checked(ann):
    factories.member("eve")
    token = tokens.mint_token(member_id="ann", scopes=[Scope.PROFILE_READ], now=clock.now(), ttl_seconds=600)
    _, feeds_key = keys.create(name="feeds", scopes=[Scope.FEEDS_READ], now=NOW)

    def answer(member_id, credential):
        headers = {"Authorization": f"Bearer {credential}"}
        return Client().get(f"/api/v1/interactions?member_id={member_id}&kind=like", headers=headers)

    own = answer("ann", token)
    assert own.status_code == 200
    assert [row["post"]["id"] for row in own.json()["interactions"]] == ["p4", "p2", "p0"]
    assert answer("eve", token).json()["code"] == answer("nobody", token).json()["code"] == "different-member"
    assert answer("ann", feeds_key).json()["code"] == "missing-scope"
