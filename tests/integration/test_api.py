"""The REST API on real services and a real database. Redis is available only in tests that use `redis_url`."""

import json
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from django.conf import settings
from django.core.management import call_command
from django.test import Client

from access.problems import CONTENT_TYPE
from monitoring.clock import now
from recommendations.api import serializers as s
from recommendations.models import Interaction, Job, Member, Post, PrivacySettings, Relationship, SeenPost
from recommendations.services import wiring, work
from recommendations.services.vectors.embedding import embed_posts
from recsys_project import openapi
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def open_api(monkeypatch):
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update={"api_open": True, "embedder": "tiny"}))
    wiring.reset_parts()
    yield
    wiring.reset_parts()


@pytest.fixture
def api(open_api, client):
    return client


def member(name, **kwargs):
    then = now() - timedelta(days=30)
    row = Member.objects.create(external_id=name, created_at=then, changed_at=then, **kwargs)
    PrivacySettings.objects.create(member=row, changed_at=then)
    return row


@pytest.fixture
def posts(db):
    ann, bob = member("ann"), member("bob")
    then = now() - timedelta(hours=2)
    for n in range(30):
        text = f"post {n} of {'bread and yeast' if n % 2 else 'war films'} 🍞 مرحبا"
        Post.objects.create(external_id=f"p{n}", author=bob, text=text, created_at=then, changed_at=then)
    Relationship.objects.create(source=ann, target=bob, kind="follow", created_at=then)
    embed_posts(embedder=wiring.embedder(), now=now())
    return [f"p{n}" for n in range(30)]


def send(client, path, body, **kwargs):
    text = body if isinstance(body, str | bytes) else json.dumps(body)
    return client.post(f"/api/v1/{path}", text, content_type="application/json", **kwargs)


def assert_problem(response, status, code):
    assert response.status_code == status, response.content
    assert response["Content-Type"] == CONTENT_TYPE
    body = response.json()
    assert (body["status"], body["code"]) == (status, code)
    assert body["detail"]
    return body


def like(event_id, post="p1", **kwargs):
    return {"event_id": event_id, "member_id": "ann", "post_id": post, "kind": "like"} | kwargs


# Access


@pytest.mark.parametrize("path", ["members/ann/feed", "members", "posts/p1/similar", "jobs", f"jobs/{UUID(int=1)}"])
def test_an_anonymous_request_gets_a_401(client, path):
    response = client.get(f"/api/v1/{path}")
    assert_problem(response, 401, "not-authenticated")
    assert "WWW-Authenticate" in response


def test_an_anonymous_request_records_no_interaction(client, open_api, posts, monkeypatch):
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update={"api_open": False}))
    assert_problem(send(client, "interactions", {"events": [like("e")]}), 401, "not-authenticated")
    assert not Interaction.objects.exists()


def test_a_user_without_staff_status_gets_a_403(client, django_user_model):
    client.force_login(django_user_model.objects.create_user("ann", password="x"))
    assert_problem(client.get("/api/v1/members"), 403, "permission-denied")


def test_staff_need_the_csrf_token_to_post(admin_user):
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)
    assert client.get("/api/v1/members").status_code == 200
    assert_problem(send(client, "jobs", {"kind": "embed_posts"}), 403, "permission-denied")
    page = client.get("/explore/")
    token = page.content.decode().split('csrf-token" content="')[1].split('"')[0]
    response = send(client, "interactions", {"events": [like("e")]}, headers={"X-CSRFToken": token})
    assert response.status_code == 207


# Feeds


def test_a_feed_page_matches_its_schema(api, posts):
    page = api.get("/api/v1/members/ann/feed?limit=5&explain=true").json()
    assert set(page) == set(s.PageOut().fields)
    assert len(page["picks"]) == 5
    for pick in page["picks"]:
        assert set(pick) == set(s.PickOut().fields)
        assert set(pick["post"]) == set(s.PostOut().fields)
        assert sum(pick["parts"].values()) == pytest.approx(pick["score"], abs=1e-3)


def test_consecutive_pages_repeat_no_post(api, posts, redis_url):
    seen, cursor = [], ""
    for _ in range(10):
        page = api.get(f"/api/v1/members/ann/feed?limit=7{f'&cursor={cursor}' if cursor else ''}").json()
        seen += [pick["post"]["id"] for pick in page["picks"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert cursor is None
    assert len(seen) == len(set(seen)) > 7


@pytest.mark.parametrize("feed", s.FEEDS)
def test_every_feed_has_picks(api, posts, feed):
    page = api.get(f"/api/v1/members/ann/feed?feed={feed}").json()
    assert page["feed"] == feed
    assert page["picks"]


def test_a_feed_of_an_empty_database_is_empty(api):
    member("ann")
    page = api.get("/api/v1/members/ann/feed").json()
    assert page["picks"] == []
    assert page["next_cursor"] is None


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=ten", "limit"),
        ("feed=best", "feed"),
        ("explain=perhaps", "explain"),
        ("cursor=nonsense", "cursor"),
    ],
)
def test_an_invalid_query_parameter_is_named_in_the_problem(api, posts, query, parameter):
    body = assert_problem(api.get(f"/api/v1/members/ann/feed?{query}"), 400, "invalid-request")
    assert [error["parameter"] for error in body["errors"]] == [parameter]


def test_unknown_members_and_posts_get_a_404(api, posts):
    assert_problem(api.get("/api/v1/members/nobody/feed"), 404, "unknown-member")
    assert_problem(api.get("/api/v1/posts/none/similar?viewer_id=ann"), 404, "unknown-post")
    assert_problem(api.get("/api/v1/posts/p1/similar?viewer_id=nobody"), 404, "unknown-member")
    assert_problem(send(api, "members/nobody/seen", {"post_ids": ["p1"]}), 404, "unknown-member")


def test_similar_posts_exclude_the_post_itself(api, posts):
    picks = api.get("/api/v1/posts/p1/similar?viewer_id=ann&limit=3").json()["picks"]
    assert len(picks) == 3
    assert "p1" not in [pick["post"]["id"] for pick in picks]


def test_the_feed_of_an_inactive_member_gets_a_409(api):
    member("ann", is_active=False)
    assert_problem(api.get("/api/v1/members/ann/feed"), 409, "inactive-member")


@pytest.mark.parametrize(
    "path",
    [
        "members/%00",
        "members/a%00b/feed",
        "members/ann/relationships/follow/%00",
        "posts/%00",
        "posts/%00/similar?viewer_id=ann",
        "members?prefix=%00",
        "search?text=%00&viewer_id=ann",
        "members/ann/feed?cursor=%00",
    ],
)
def test_nul_in_a_url_is_an_error_of_the_client(api, posts, path):
    """PostgreSQL cannot compare a text with NUL, so it must not reach a query."""
    assert api.get(f"/api/v1/{path}").status_code in (400, 404, 405)


@pytest.mark.parametrize(
    "path, body",
    [
        ("posts/p99", {"author_id": "ann", "visibility": "public", "created_at": "2026-01-31T12:00:00Z", "text": "\0"}),
        ("members/m99", {"is_private": False, "region": "\0"}),
        ("members/m99", {"is_private": False, "languages": ["\0"]}),
    ],
)
def test_nul_in_an_upsert_is_an_error_of_the_client(api, posts, path, body):
    assert_problem(
        api.put(f"/api/v1/{path}", json.dumps(body), content_type="application/json"), 400, "invalid-request"
    )


def test_nul_in_the_ids_of_a_job_is_an_error_of_the_client(api, posts):
    body = {"kind": "batch_feeds", "params": {"member_ids": ["ann", "\0"]}}
    assert_problem(send(api, "jobs", body), 400, "invalid-request")


def test_members_are_listed_by_the_prefix_of_their_id(api, posts):
    assert [m["id"] for m in api.get("/api/v1/members?prefix=b").json()["members"]] == ["bob"]
    assert api.get("/api/v1/members?prefix=%25").json() == {"members": []}


# Interactions


def test_valid_events_are_recorded_beside_invalid_ones(api, posts):
    events = [
        like("e1"),
        "not an event",
        like("e2", kind="adore"),
        like("e3", post="none"),
        like("e1"),
        like("e4", occurred_at="yesterday"),
        like("e5", post="p2"),
        {"event_id": "e6"},
        like("e7", occurred_at=(now() + timedelta(days=2)).isoformat()),
        like("\x00"),
        like("e" * 200),
    ]
    response = send(api, "interactions", {"events": events})
    assert response.status_code == 207
    body = response.json()
    states = [result["status"] for result in body["results"]]
    assert states == ["recorded", *["rejected"] * 3, "duplicate", "rejected", "recorded", *["rejected"] * 4]
    assert (body["recorded"], body["duplicate"], body["rejected"]) == (2, 1, 8)
    assert set(Interaction.objects.values_list("event_id", flat=True)) == {"e1", "e5"}
    assert body["results"][2]["problem"]["errors"][0]["pointer"] == "/events/2/kind"
    assert all(result["problem"]["detail"] for result in body["results"] if result["status"] == "rejected")


def test_an_event_sent_twice_is_recorded_once(api, posts):
    assert send(api, "interactions", {"events": [like("e1")]}).status_code == 200
    assert send(api, "interactions", {"events": [like("e1")]}).json()["duplicate"] == 1
    assert Interaction.objects.count() == 1


def test_an_infinite_value_is_rejected(api, posts):
    body = json.dumps({"events": [like("e1", kind="dwell", value=7)]})
    assert send(api, "interactions", body.replace("7}", "1e999}")).json()["rejected"] == 1
    assert_problem(send(api, "interactions", body.replace("7}", "NaN}")), 400, "parse-error")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/events"),
        ("", "/events"),
        ([], ""),
        ("7", ""),
        ({"events": []}, "/events"),
        ({"events": {"a": 1}}, "/events"),
        ({"events": [1] * 1001}, "/events"),
    ],
)
def test_a_body_of_the_wrong_type_gets_a_400(api, body, pointer):
    body = assert_problem(send(api, "interactions", body), 400, "invalid-request")
    assert body["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize("text", ["{", b"\xff\xfe", "[]]"])
def test_invalid_json_gets_a_400(api, text):
    assert_problem(send(api, "interactions", text), 400, "parse-error")


def test_a_body_above_the_size_limit_gets_a_413(api):
    big = json.dumps({"events": ["x" * settings.DATA_UPLOAD_MAX_MEMORY_SIZE]})
    assert_problem(send(api, "interactions", big), 413, "body-too-large")


def test_a_form_body_gets_a_415(api):
    assert_problem(api.post("/api/v1/interactions", {"events": "1"}), 415, "unsupported-media-type")


def test_seen_posts_are_not_served_again(api, posts, redis_url):
    first = [p["post"]["id"] for p in api.get("/api/v1/members/ann/feed?limit=5").json()["picks"]]
    assert send(api, "members/ann/seen", {"post_ids": [*first, "none"]}).json() == {"marked": 5, "rejected": []}
    assert SeenPost.objects.count() == 5
    again = [p["post"]["id"] for p in api.get("/api/v1/members/ann/feed?limit=5").json()["picks"]]
    assert not set(first) & set(again)


# Jobs


def test_a_job_is_submitted_read_and_cancelled(api, posts):
    response = send(api, "jobs", {"kind": "batch_feeds"})
    assert response.status_code == 202
    job = api.get(response["Location"]).json()
    assert set(job) == set(s.JobOut().fields)
    assert (job["state"], job["total"], job["is_finished"]) == ("queued", 2, False)
    assert api.delete(response["Location"]).json()["is_cancel_requested"]
    assert api.get(response["Location"]).json()["state"] == "cancelled"


def test_a_job_has_a_priority_and_a_deadline(api, posts):
    deadline = (now() + timedelta(hours=1)).isoformat().replace("+00:00", "Z")
    job = send(api, "jobs", {"kind": "batch_feeds", "priority": "low", "deadline": deadline}).json()
    assert (job["priority"], job["deadline"], job["is_expired"]) == ("low", deadline, False)


def test_the_failed_items_of_a_job_are_listed_in_pages_and_retried(api, posts):
    job_id = send(api, "jobs", {"kind": "batch_feeds"}).json()["id"]
    chunk = work.claim_chunk(job_id, 0, now())
    work.complete_chunk(chunk, "done", [{"item_id": item, "problem": "no luck"} for item in chunk.item_ids], now())
    address = f"/api/v1/jobs/{job_id}/failures"
    first = api.get(address, {"limit": 1}).json()
    rest = api.get(address, {"limit": 1, "cursor": first["next_cursor"]}).json()
    assert rest["next_cursor"] is None
    failures = first["failures"] + rest["failures"]
    assert [failure["item_id"] for failure in failures] == chunk.item_ids
    assert {failure["id"] for failure in failures} == {"ann", "bob"}
    assert {failure["problem"] for failure in failures} == {"no luck"}
    one = send(api, f"jobs/{job_id}/retry", {"item_ids": [chunk.item_ids[1], 10**12]}).json()
    assert (one["state"], one["failed"]) == ("running", 1)
    assert [failure["id"] for failure in api.get(address).json()["failures"]] == ["ann"]
    again = work.claim_chunk(job_id, 1, now())
    assert again.item_ids == chunk.item_ids[1:]
    work.complete_chunk(again, "done", [], now())
    retried = send(api, f"jobs/{job_id}/retry", {}).json()
    assert (retried["state"], retried["failed"]) == ("running", 0)
    assert api.get(address).json() == {"failures": [], "next_cursor": None}
    for invalid in ([], ["ann"], [-1], [1.5], "1", [1] * 1001):
        assert_problem(send(api, f"jobs/{job_id}/retry", {"item_ids": invalid}), 400, "invalid-request")
    assert_problem(api.get(f"/api/v1/jobs/{uuid4()}/failures"), 404, "unknown-job")
    assert_problem(api.get(address, {"cursor": "x"}), 400, "invalid-request")


def test_the_same_idempotency_key_returns_the_same_job(api, posts):
    headers = {"Idempotency-Key": "k1"}
    ids = {send(api, "jobs", {"kind": "batch_feeds"}, headers=headers).json()["id"] for _ in range(2)}
    assert len(ids) == 1
    assert Job.objects.count() == 1
    assert_problem(send(api, "jobs", {"kind": "embed_posts"}, headers=headers), 400, "invalid-request")
    assert_problem(
        send(api, "jobs", {"kind": "embed_posts"}, headers={"Idempotency-Key": "k" * 201}), 400, "invalid-request"
    )


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"kind": "bake"}, "/kind"),
        ({"kind": "batch_feeds", "params": 3}, "/params"),
        ({"kind": "batch_feeds", "params": {"color": "red"}}, "/params"),
        ({"kind": "member_feed"}, "/params/member_ids"),
        ({"kind": "batch_feeds", "priority": "urgent"}, "/priority"),
        ({"kind": "batch_feeds", "deadline": "tomorrow"}, "/deadline"),
        ({"kind": "batch_feeds", "deadline": "2020-01-01T00:00:00Z"}, "/deadline"),
    ],
)
def test_an_invalid_job_gets_a_400(api, body, pointer):
    body = assert_problem(send(api, "jobs", body), 400, "invalid-request")
    assert body["errors"][0]["pointer"] == pointer
    assert not Job.objects.exists()


def test_jobs_are_paginated_newest_first(api):
    then = now()
    for n in range(5):
        Job.objects.create(kind="embed_posts", created_at=then - timedelta(minutes=n))
    first = api.get("/api/v1/jobs?limit=3").json()
    rest = api.get("/api/v1/jobs", {"limit": 3, "cursor": first["next_cursor"]}).json()
    times = [job["created_at"] for job in first["jobs"] + rest["jobs"]]
    assert len(times) == 5
    assert times == sorted(times, reverse=True)
    assert rest["next_cursor"] is None


def test_an_unknown_job_and_an_unknown_url_get_problems(api):
    assert_problem(api.get(f"/api/v1/jobs/{uuid4()}"), 404, "unknown-job")
    assert_problem(api.get("/api/v1/jobs/12"), 404, "not-found")
    assert_problem(api.post("/api/nothing"), 404, "not-found")
    assert_problem(api.put("/api/v1/jobs"), 405, "method-not-allowed")


# Documentation and explorer pages


def test_the_openapi_schema_is_valid_without_warnings(tmp_path):
    path = tmp_path / "schema.yml"
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(path))
    schema = path.read_text()
    assert "openapi: 3.1" in schema
    assert CONTENT_TYPE in schema


def test_the_openapi_schema_is_valid_without_recorded_examples(tmp_path, monkeypatch):
    monkeypatch.setattr(openapi, "EXAMPLES", tmp_path / "missing.json")
    path = tmp_path / "schema.yml"
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(path))
    description = path.read_text()
    assert description.count("examples:") == 1 and "experiment,analyzed_at," in description, "that of the CSV form only"


def test_the_api_documentation_loads_no_external_resource(client):
    page = client.get("/api/docs/").content.decode()
    assert "swagger-ui" in page
    assert "https://" not in page.split("<script>")[0]


def test_the_explorer_redirects_an_anonymous_user_to_the_login(client):
    assert client.get("/").url == "/explore/"
    assert client.get("/explore/?member_id=ann").url == "/account/login/?next=/explore/%3Fmember_id%3Dann"


PARTS = {
    "likes": 'id="likes-list"',
    "actions": "data-may-interact",
    "comparison": 'id="compare"',
    "settings": 'id="settings"',
    "new member": 'id="new-member"',
}


@pytest.mark.parametrize(
    ("role", "parts"),
    [
        ("Viewer", None),
        ("Editor", {"comparison"}),
        ("Releaser", {"comparison"}),
        ("Privacy officer", {"likes", "comparison", "settings", "new member"}),
        ("superuser", set(PARTS)),
    ],
)
def test_the_explorer_has_the_parts_that_the_reader_has_the_permissions_for(client, role, parts):
    """A part that the API would refuse is not on the page, so it makes no request that fails."""
    user = factories.staff(*([] if role == "superuser" else [role]))
    user.is_superuser = role == "superuser"
    user.save()
    client.force_login(user)
    response = client.get("/explore/")
    if parts is None:
        assert response.status_code == 403
        return
    page = response.content.decode()
    assert {part for part, mark in PARTS.items() if mark in page} == parts


@pytest.mark.parametrize(
    ("path", "headers", "is_allowed"),
    [
        ("", {}, False),
        ("remote-pictures/", {}, True),
        ("remote-pictures/", {"Sec-Fetch-Site": "same-origin"}, True),
        ("remote-pictures/", {"Sec-Fetch-Site": "cross-site"}, False),
        ("remote-pictures/", {"Sec-Fetch-Site": "same-site"}, False),
    ],
)
def test_remote_pictures_are_allowed_on_request_and_not_by_a_link_from_another_site(client, path, headers, is_allowed):
    client.force_login(factories.staff("Editor"))
    response = client.get(f"/explore/{path}", headers=headers, follow=True)
    assert response.redirect_chain == ([] if is_allowed or not path else [("/explore/", 302)])
    policy = response["Content-Security-Policy"]
    assert ("img-src 'self' data: https:" in policy) == is_allowed
    assert ("data-remote-pictures" in response.content.decode()) == is_allowed
    assert "script-src 'self';" in policy and "connect-src 'self';" in policy
    client.logout()
    signed_out = client.get(f"/explore/{path}", headers=headers)
    assert ("remote-pictures" in signed_out.url) == is_allowed  # nor does such a link have an effect after the sign-in
    assert "https:" not in client.get("/main-parameters/")["Content-Security-Policy"]
