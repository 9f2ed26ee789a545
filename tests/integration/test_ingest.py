"""Members and posts through the API: upserted in bulk and one by one, read and removed."""

import json

import pytest
from django.conf import settings
from django.db.models import QuerySet

from recommendations.models import Job, Member, Post, PostEmbedding, PrivacySettings
from recommendations.services import wiring
from recommendations.services.members import preferences
from recommendations.services.serving.recommend import recommend
from recommendations.services.vectors.embedding import embed_posts
from tests import factories
from tests.factories import NOW
from values.types import adapter

pytestmark = pytest.mark.django_db
POST = {"id": "p/1", "author_id": "bob", "visibility": "public", "created_at": "2026-01-30T08:00:00Z", "text": "a film"}


@pytest.fixture
def api(monkeypatch, client):
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update={"api_open": True, "embedder": "tiny"}))
    wiring.reset_parts()
    yield client
    wiring.reset_parts()


def send(client, method, path, body):
    return getattr(client, method)(f"/api/v1/{path}", json.dumps(body), content_type="application/json")


def statuses(response):
    return [result["status"] for result in response.json()["results"]]


def test_members_are_created_then_unchanged_then_updated(api):
    ann = {"id": "ann", "is_private": False, "languages": ["en"], "muted_tags": ["war"], "interest_tags": ["art"]}
    assert statuses(send(api, "post", "members", {"members": [ann]})) == ["created"]
    assert statuses(send(api, "post", "members", {"members": [ann]})) == ["unchanged"]
    response = send(
        api, "post", "members", {"members": [ann | {"languages": ["de"]}, {"id": "bob", "is_private": True}]}
    )
    assert (response.status_code, statuses(response)) == (200, ["updated", "created"])
    row = Member.objects.get(external_id="ann")
    assert (row.languages, row.privacy.muted_tags, row.privacy.interest_tags) == (["de"], ["war"], ["art"])
    assert api.get("/api/v1/members/ann").json()["languages"] == ["de"]


@pytest.mark.django_db(transaction=True)
def test_items_are_written_again_if_a_concurrent_request_creates_one_of_them(api, monkeypatch):
    """The concurrent request is simulated between the query for existing rows and the insert."""
    real_create, calls = QuerySet.bulk_create, []

    def create_twice(rows, objects, **options):
        calls.append(rows.model)
        if len(calls) == 1:
            real_create(rows, [Member(external_id="ann", created_at=NOW, changed_at=NOW)])
        return real_create(rows, objects, **options)

    monkeypatch.setattr(QuerySet, "bulk_create", create_twice)
    ann = {"id": "ann", "is_private": True}
    assert statuses(send(api, "post", "members", {"members": [ann]})) == ["created"]
    assert calls == [Member, Member, PrivacySettings]
    assert Member.objects.get().privacy.is_private


def test_the_privacy_of_a_member_is_required(api):
    response = send(api, "post", "members", {"members": [{"id": "ann"}, {"id": "bob", "is_private": False}]})
    assert (response.status_code, statuses(response)) == (207, ["rejected", "created"])
    rejected = response.json()["results"][0]
    assert rejected["id"] == "ann"
    assert rejected["problem"]["errors"][0]["pointer"] == "/members/0/is_private"


@pytest.mark.parametrize(
    "wrong_fields, pointer, text",
    [
        ({"author_id": "nobody"}, "/posts/0/author_id", "members"),
        ({"visibility": "all"}, "/posts/0/visibility", "public"),
        ({"created_at": "yesterday"}, "/posts/0/created_at", "2026"),
        ({"safety_labels": {"violence": 7}}, "/posts/0/safety_labels", "0 to 1"),
        ({"external_id": "x"}, "/posts/0/external_id", "The names are id, author_id,"),
        ({"author": "x"}, "/posts/0/author", "Did you mean author_id?"),
        ({"colour": "red"}, "/posts/0/colour", "author_id"),
        ({"id": None}, "/posts/0/id", "id"),
        ({"media": [{"kind": "image", "url": "javascript:alert(1)"}]}, "/posts/0/media", "https"),
    ],
)
def test_a_bad_post_is_rejected_with_the_reason_and_affects_no_other(api, wrong_fields, pointer, text):
    factories.member("bob")
    response = send(api, "post", "posts", {"posts": [POST | wrong_fields, POST | {"id": "good"}]})
    assert statuses(response) == ["rejected", "created"]
    problem = response.json()["results"][0]["problem"]
    assert problem["errors"][0]["pointer"] == pointer
    assert text in problem["detail"]


@pytest.mark.parametrize("items", [["x"], [None], [[]], [{}], [{"id": 7.5}]])
def test_an_item_that_is_not_a_post_is_rejected(api, items):
    assert statuses(send(api, "post", "posts", {"posts": items})) == ["rejected"]


def test_a_post_is_created_updated_read_and_removed_by_its_url(api):
    factories.member("bob")
    fields = {name: value for name, value in POST.items() if name != "id"}
    assert send(api, "put", "posts/p/1", fields).status_code == 201
    response = send(api, "put", "posts/p/1", fields | {"safety_labels": {"nudity": 0.9}})
    assert (response.status_code, response.json()["status"]) == (200, "updated")
    post = api.get("/api/v1/posts/p/1").json()
    assert (post["text"], post["sensitivity"], post["embeddings"]) == ("a film", "adult", [])
    assert send(api, "put", "posts/p/1", fields | {"id": "p/2"}).status_code == 400
    assert send(api, "put", "posts/p/1", ["x"]).status_code == 400
    wrong = send(api, "put", "posts/p/1", fields | {"visibility": "all"}).json()
    assert wrong["errors"][0]["pointer"] == "/visibility"
    assert api.delete("/api/v1/posts/p/1").status_code == 204
    assert api.get("/api/v1/posts/p/1").json()["removed_at"]
    assert api.get("/api/v1/posts/nothing").status_code == api.delete("/api/v1/posts/nothing").status_code == 404


def test_a_post_is_embedded_again_only_if_its_text_changes(api):
    post = factories.post(factories.member("bob"), "p/1", text="a film", created_at=NOW)
    embed_posts(embedder=wiring.embedder(), now=NOW)
    old_vector = PostEmbedding.objects.get().vector
    fields = {"author_id": "bob", "visibility": "followers", "created_at": NOW.isoformat(), "text": "a film"}
    send(api, "put", "posts/p/1", fields)
    assert PostEmbedding.objects.count() == 1
    for change in (
        {"tags": ["bread"]},
        {"text": "a loaf"},
        {"media": [{"kind": "image", "url": "https://x/y", "alt": "oven"}]},
    ):
        send(api, "put", "posts/p/1", fields | change)
        assert not PostEmbedding.objects.exists(), change
        embed_posts(embedder=wiring.embedder(), now=NOW)
    assert PostEmbedding.objects.get(post=post).vector != old_vector


def test_a_new_post_is_in_the_next_feed_and_a_removed_post_is_not(api):
    factories.member("ann")
    factories.member("bob")
    send(api, "post", "posts", {"posts": [POST | {"id": f"p{n}"} for n in range(5)]})
    post_ids = [pick["post"]["id"] for pick in api.get("/api/v1/members/ann/feed").json()["picks"]]
    assert sorted(post_ids) == [f"p{n}" for n in range(5)]
    api.delete("/api/v1/posts/p3")
    post_ids = [pick["post"]["id"] for pick in api.get("/api/v1/members/ann/feed").json()["picks"]]
    assert sorted(post_ids) == ["p0", "p1", "p2", "p4"]


def test_consent_withdrawn_by_an_upsert_deletes_learned_interests(api):
    ann = factories.member("ann")
    send(api, "post", "members", {"members": [{"id": "ann", "is_private": False, "is_personalized": False}]})
    ann.refresh_from_db()
    assert ann.interests_reset_at is not None
    assert not PrivacySettings.objects.get(member=ann).is_personalized
    assert not preferences.read_preferences(member_id="ann").is_personalized


def test_an_invalid_list_is_rejected_as_a_whole(api):
    for body in ({"posts": []}, {"posts": "x"}, {}, {"members": []}):
        assert send(api, "post", "posts", body).status_code == 400
    assert not Post.objects.exists() and not Job.objects.exists()


def test_a_new_member_gets_an_empty_feed(api):
    send(api, "put", "members/new", {"is_private": False})
    assert recommend(member_id="new", now=NOW).picks == ()


def test_the_first_of_two_items_with_one_id_is_created_and_the_second_updates_it(api):
    first, second = {"id": "ann", "is_private": True}, {"id": "ann", "is_private": False}
    response = send(api, "post", "members", {"members": [first, second, {"id": "bob", "is_private": True}]})
    assert statuses(response) == ["created", "updated", "created"]
    assert not PrivacySettings.objects.get(member__external_id="ann").is_private
    assert statuses(send(api, "post", "members", {"members": [second, second]})) == ["unchanged", "unchanged"]


def test_null_restores_a_removed_post_and_is_no_value_of_other_fields(api):
    factories.member("bob")
    assert send(api, "put", "posts/p/1", POST).status_code == 201
    assert api.delete("/api/v1/posts/p/1").status_code == 204
    assert api.get("/api/v1/posts/p/1").json()["removed_at"] is not None
    response = send(api, "put", "posts/p/1", POST | {"removed_at": None, "text": None})
    assert response.json()["status"] == "updated"
    stored = api.get("/api/v1/posts/p/1").json()
    assert stored["removed_at"] is None and stored["text"] == POST["text"]


def test_a_half_of_a_surrogate_pair_is_quoted_as_its_escape_sequence(api):
    response = send(api, "post", "members", {"members": [{"id": "ann", "is_private": True, "\ud800": ["\ud800"]}]})
    (result,) = response.json()["results"]
    assert result["status"] == "rejected" and "\\ud800" in result["problem"]["errors"][0]["pointer"]


def test_a_request_builds_no_types_of_its_own(api):
    """Types are kept with their parsers, so one that depends on the request's time would never be freed."""
    factories.member("bob")
    bodies = [
        ("members", {"members": [{"id": "ann", "is_private": False, "created_at": "2026-01-30T08:00:00Z"}]}),
        ("posts", {"posts": [POST]}),
        (
            "interactions",
            {"events": [{"event_id": "e", "member_id": "bob", "post_id": "p/1", "kind": "like"}]},
        ),
    ]
    built = []
    for _ in range(2):
        for path, body in bodies:
            assert send(api, "post", path, body).status_code == 200
        built.append(adapter.cache_info().misses)
    assert built[1] == built[0]
