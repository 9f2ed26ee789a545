"""Without a member's consent, nothing that they did reaches a feed, whoever asks for it and however."""

import pytest

PERSONAL_PARTS = {"taste", "dislike", "author", "topic", "item_weights", "co_liked", "liked_next"}
CONSENTING, REFUSING = "consent-yes", "consent-no"


@pytest.fixture(scope="module")
def platform(server):
    """The server, with two members who liked the same posts. Only one of them agrees to personalization."""
    author = "consent-author"
    server.add_members(author)
    for member_id in (CONSENTING, REFUSING):
        server.add_members(member_id, is_personalized=member_id == CONSENTING)
    posts = [f"consent-post-{n}" for n in range(12)]
    server.add_posts(*posts, author_id=author, tags=["consent"])
    events = [
        {"event_id": f"consent-{member_id}-{post_id}", "member_id": member_id, "post_id": post_id, "kind": "like"}
        for member_id in (CONSENTING, REFUSING)
        for post_id in posts[:4]
    ]
    assert server.send("POST", "/api/v1/interactions", {"events": events}, credential=server.key).status == 200
    server.manage("embed")
    server.manage("learn")
    return server


def personal_parts(server, member_id, query=""):
    """Return the personal parts that are not 0 in the scores of a feed."""
    path = f"/api/v1/members/{member_id}/feed?limit=50&explain=true{query}"
    picks = server.send("GET", path, credential=server.token(member_id)).json()["picks"]
    assert picks
    return {name for pick in picks for name, value in pick["parts"].items() if value and name in PERSONAL_PARTS}


@pytest.mark.parametrize("query", ["", "&tag=consent", "&feed=trending"])
def test_no_feed_of_a_member_who_refuses_uses_what_they_did(platform, query):
    assert personal_parts(platform, REFUSING, query) == set()
    assert bool(personal_parts(platform, CONSENTING, query)) == (query != "&feed=trending")


def test_who_withdraws_their_consent_is_ranked_without_history_at_once(platform):
    path = f"/api/v1/members/{CONSENTING}/preferences"
    for agrees in (False, True, False):
        sent = platform.send("PATCH", path, {"is_personalized": agrees}, credential=platform.token(CONSENTING))
        assert sent.status == 200, sent.body
        assert personal_parts(platform, CONSENTING) == set(), "a new consent does not bring the deleted history back"
    file = platform.send("GET", f"/api/v1/members/{CONSENTING}/profile", credential=platform.token(CONSENTING)).json()
    assert not file.get("interests")
