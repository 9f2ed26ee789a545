"""Members and posts by the API: sent in bulk and one by one, read back, taken down."""

import json

import pytest
from django.conf import settings

from recommendations.models import Job, Member, Post, PostEmbedding, PrivacySettings
from recommendations.services import wiring
from recommendations.services.members import preferences
from recommendations.services.serving.recommend import recommend
from recommendations.services.vectors.embedding import embed_posts
from tests import factories
from tests.factories import NOW

pytestmark = pytest.mark.django_db
POST = {"id": "p/1", "author_id": "bob", "visibility": "public", "created_at": "2026-01-30T08:00:00Z", "text": "a film"}


@pytest.fixture
def api(monkeypatch, client):
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update={"api_open": True, "embedder": "tiny"}))
    wiring.reset_parts()
    yield client
    wiring.reset_parts()


def send(client, method, address, body):
    return getattr(client, method)(f"/api/v1/{address}", json.dumps(body), content_type="application/json")


def statuses(response):
    return [result["status"] for result in response.json()["results"]]


def test_members_are_made_then_changed_then_left_alone(api):
    ann = {"id": "ann", "is_private": False, "languages": ["en"], "muted_tags": ["war"]}
    assert statuses(send(api, "post", "members", {"members": [ann]})) == ["created"]
    assert statuses(send(api, "post", "members", {"members": [ann]})) == ["unchanged"]
    answer = send(api, "post", "members", {"members": [ann | {"languages": ["de"]}, {"id": "bob", "is_private": True}]})
    assert (answer.status_code, statuses(answer)) == (200, ["updated", "created"])
    row = Member.objects.get(external_id="ann")
    assert (row.languages, row.privacy.muted_tags) == (["de"], ["war"])
    assert api.get("/api/v1/members/ann").json()["languages"] == ["de"]


def test_who_may_see_a_member_s_posts_must_be_said(api):
    answer = send(api, "post", "members", {"members": [{"id": "ann"}, {"id": "bob", "is_private": False}]})
    assert (answer.status_code, statuses(answer)) == (207, ["refused", "created"])
    refused = answer.json()["results"][0]
    assert refused["id"] == "ann"
    assert refused["problem"]["errors"][0]["pointer"] == "/members/0/is_private"


@pytest.mark.parametrize(
    "wrong, pointer, said",
    [
        ({"author_id": "nobody"}, "/posts/0/author_id", "members"),
        ({"visibility": "all"}, "/posts/0/visibility", "public"),
        ({"created_at": "yesterday"}, "/posts/0/created_at", "2026"),
        ({"safety_labels": {"violence": 7}}, "/posts/0/safety_labels", "0 to 1"),
        ({"external_id": "x"}, "/posts/0/external_id", "Write id"),
        ({"author": "x"}, "/posts/0/author", "Write author_id"),
        ({"colour": "red"}, "/posts/0/colour", "author_id"),
        ({"id": None}, "/posts/0/id", "id"),
        ({"media": [{"kind": "image", "url": "javascript:alert(1)"}]}, "/posts/0/media", "https"),
    ],
)
def test_a_bad_post_says_what_is_wrong_and_loses_no_other(api, wrong, pointer, said):
    factories.member("bob")
    answer = send(api, "post", "posts", {"posts": [POST | wrong, POST | {"id": "good"}]})
    assert statuses(answer) == ["refused", "created"]
    problem = answer.json()["results"][0]["problem"]
    assert problem["errors"][0]["pointer"] == pointer
    assert said in problem["detail"]


@pytest.mark.parametrize("items", [["x"], [None], [[]], [{}], [{"id": 7.5}]])
def test_what_is_no_post_is_refused(api, items):
    assert statuses(send(api, "post", "posts", {"posts": items})) == ["refused"]


def test_a_post_by_its_address(api):
    factories.member("bob")
    rest = {name: value for name, value in POST.items() if name != "id"}
    assert send(api, "put", "posts/p/1", rest).status_code == 201
    answer = send(api, "put", "posts/p/1", rest | {"safety_labels": {"nudity": 0.9}})
    assert (answer.status_code, answer.json()["status"]) == (200, "updated")
    found = api.get("/api/v1/posts/p/1").json()
    assert (found["text"], found["sensitivity"], found["embedded"]) == ("a film", "adult", [])
    assert send(api, "put", "posts/p/1", rest | {"id": "p/2"}).status_code == 400
    assert send(api, "put", "posts/p/1", ["x"]).status_code == 400
    wrong = send(api, "put", "posts/p/1", rest | {"visibility": "all"}).json()
    assert wrong["errors"][0]["pointer"] == "/visibility"
    assert api.delete("/api/v1/posts/p/1").status_code == 204
    assert api.get("/api/v1/posts/p/1").json()["removed_at"]
    assert api.get("/api/v1/posts/nothing").status_code == api.delete("/api/v1/posts/nothing").status_code == 404


def test_a_post_that_says_something_new_is_embedded_anew_and_one_that_moves_is_not(api):
    post = factories.post(factories.member("bob"), "p/1", text="a film", created_at=NOW)
    embed_posts(embedder=wiring.embedder(), now=NOW)
    before = PostEmbedding.objects.get().vector
    same = {"author_id": "bob", "visibility": "followers", "created_at": NOW.isoformat(), "text": "a film"}
    send(api, "put", "posts/p/1", same)
    assert PostEmbedding.objects.count() == 1
    for new in (
        {"tags": ["bread"]},
        {"text": "a loaf"},
        {"media": [{"kind": "image", "url": "https://x/y", "alt": "oven"}]},
    ):
        send(api, "put", "posts/p/1", same | new)
        assert not PostEmbedding.objects.exists(), new
        embed_posts(embedder=wiring.embedder(), now=NOW)
    assert PostEmbedding.objects.get(post=post).vector != before


def test_a_post_that_was_sent_is_in_the_next_feed_and_one_taken_down_is_not(api):
    factories.member("ann")
    factories.member("bob")
    send(api, "post", "posts", {"posts": [POST | {"id": f"p{n}"} for n in range(5)]})
    shown = [pick["post"]["id"] for pick in api.get("/api/v1/members/ann/feed").json()["picks"]]
    assert sorted(shown) == [f"p{n}" for n in range(5)]
    api.delete("/api/v1/posts/p3")
    shown = [pick["post"]["id"] for pick in api.get("/api/v1/members/ann/feed").json()["picks"]]
    assert sorted(shown) == ["p0", "p1", "p2", "p4"]


def test_consent_taken_back_by_an_upsert_deletes_what_was_learned(api):
    ann = factories.member("ann")
    send(api, "post", "members", {"members": [{"id": "ann", "is_private": False, "is_personalized": False}]})
    ann.refresh_from_db()
    assert ann.interests_reset_at is not None
    assert not PrivacySettings.objects.get(member=ann).is_personalized
    assert not preferences.read_preferences(member_id="ann").is_personalized


def test_a_list_that_is_none_is_refused_as_a_whole(api):
    for body in ({"posts": []}, {"posts": "x"}, {}, {"members": []}):
        assert send(api, "post", "posts", body).status_code == 400
    assert not Post.objects.exists() and not Job.objects.exists()


def test_feeds_of_a_member_who_was_just_sent(api):
    send(api, "put", "members/new", {"is_private": False})
    assert recommend(member_id="new", now=NOW).picks == ()
