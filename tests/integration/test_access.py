"""Keys, tokens, scopes and rate limits of the API, with a real database and a real Redis."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

import jwt
import pytest
import redis
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import DatabaseError
from django.urls import get_resolver
from rest_framework.views import APIView

from access import keys, throttles, tokens, usage
from access.api import TokensView
from access.errors import BadRequestError
from access.models import ApiKey, UsageAlert
from access.scopes import MEMBER_SCOPES, Scope
from monitoring.clock import now
from recommendations.api.urls import NotFoundView
from recommendations.models import Interaction, PrivacySettings
from recsys_project.schema_view import DocsScriptView, DocsView, SchemaView
from tests import factories
from tests.admin_forms import submit_page

pytestmark = pytest.mark.django_db

ALL_SCOPES = [scope.value for scope in Scope]
SECRET = "a-secret-that-the-platform-shares-" + "x" * 8


@pytest.fixture(autouse=True)
def fresh_process(fresh_wiring, monkeypatch):
    """Clear the process caches before each test."""
    keys.clear_key_cache()
    throttles.rate_limiter.cache_clear()
    usage.usage_recorder.cache_clear()
    yield
    keys.clear_key_cache()


def set_env(monkeypatch, **changes):
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update=changes))


def key(*scopes, **fields):
    """Create a key and return it with its Authorization header."""
    row, secret = keys.create(name="a test", scopes=scopes or ALL_SCOPES, now=now(), **fields)
    return row, {"HTTP_AUTHORIZATION": f"Bearer {secret}"}


def token(member_id, *scopes, **fields):
    """Return the Authorization header of a member token."""
    granted = scopes or [scope.value for scope in MEMBER_SCOPES]
    text = tokens.mint_token(member_id=member_id, scopes=granted, now=now(), **{"ttl_seconds": 60, **fields})
    return {"HTTP_AUTHORIZATION": f"Bearer {text}"}


def assert_problem(response, status, code):
    assert (response.status_code, response.json().get("code")) == (status, code), response.content
    assert response["Content-Type"] == "application/problem+json"
    return response.json()["detail"]


def post(client, path, body, **headers):
    return client.post(f"/api/v1/{path}", json.dumps(body), content_type="application/json", **headers)


# Scopes


def all_views():
    """Return every view of the API with its route."""

    def iter_views(patterns, prefix=""):
        for pattern in patterns:
            route = prefix + str(pattern.pattern)
            if hasattr(pattern, "url_patterns"):
                yield from iter_views(pattern.url_patterns, route)
            elif isinstance(view := getattr(pattern.callback, "view_class", None), type) and issubclass(view, APIView):
                yield route, view

    return [
        (route, view)
        for route, view in iter_views(get_resolver().url_patterns)
        if not view.__module__.startswith("drf_")
    ]


def test_every_view_declares_the_scope_of_each_method():
    """Without a scope, no key can use a view."""
    views = all_views()
    assert len(views) > 20
    for route, view in views:
        if view not in (NotFoundView, SchemaView, DocsView, DocsScriptView):
            for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
                if hasattr(view, method.lower()):
                    assert isinstance(getattr(view, "scopes", {}).get(method), Scope), f"{method} {route}"


def test_every_view_for_member_tokens_declares_its_members():
    """A member token must be rejected if the members of a request are unknown."""
    for route, view in all_views():
        member_scopes = set(getattr(view, "scopes", {}).values()) & MEMBER_SCOPES
        if member_scopes - {Scope.FLAGS_READ}:
            methods = [getattr(view, method.lower(), None) for method in view.scopes]
            operations = [method.operation for method in methods if hasattr(method, "operation")]
            assert "member_id" in route or all(operation.member_ids for operation in operations), route
            assert "member_id" in route or operations, route


def test_an_anonymous_request_gets_a_401_with_the_bearer_scheme(client):
    response = client.get("/api/v1/members")
    assert_problem(response, 401, "not-authenticated")
    assert response["WWW-Authenticate"] == 'Bearer realm="recsys"'


def test_a_key_is_limited_to_its_scopes(client):
    factories.member("ann")
    _, header = key("members:read")
    assert client.get("/api/v1/members", **header).status_code == 200
    assert "feeds:read" in assert_problem(client.get("/api/v1/members/ann/feed", **header), 403, "missing-scope")
    assert_problem(post(client, "members", {"members": [{"id": "bob"}]}, **header), 403, "missing-scope")


def test_a_key_is_limited_to_its_scopes_on_an_open_api(client, monkeypatch):
    set_env(monkeypatch, api_open=True)
    _, header = key("posts:read")
    assert_problem(client.get("/api/v1/members", **header), 403, "missing-scope")
    assert client.get("/api/v1/members").status_code == 200


def test_every_key_may_ask_for_the_methods_of_a_view(client):
    """OPTIONS needs no scope. A method that the view lacks is a 405 and not a missing scope."""
    _, header = key("posts:read")
    assert client.options("/api/v1/members", **header).status_code == 200
    assert client.delete("/api/v1/members", **header).status_code == 405


@pytest.mark.parametrize("credential", ["", "rk_", "rk_abc", "rk_nosuchkeyx_" + "x" * 43, "x.y.z", "ünïcode", "null"])
def test_an_invalid_credential_is_rejected_and_not_repeated(client, credential):
    response = client.get("/api/v1/members", HTTP_AUTHORIZATION=f"Bearer {credential}")
    detail = assert_problem(response, 401, "bad-credential")
    assert len(credential) < 4 or credential not in detail


# Keys


def test_only_the_hash_of_a_secret_is_stored(client):
    row, header = key()
    secret = header["HTTP_AUTHORIZATION"].removeprefix("Bearer ")
    stored = str(ApiKey.objects.filter(pk=row.pk).values())
    assert secret not in stored and secret.split("_", 2)[2] not in stored
    assert bytes(row.secret_hash) == keys.hash_secret(secret) and len(row.secret_hash) == 32


def test_a_rotated_key_has_two_secrets_until_the_old_one_expires(client):
    row, old = key()
    _, secret = keys.rotate(prefix=row.prefix, old_secret_expires_at=now() + timedelta(hours=1), now=now())
    new = {"HTTP_AUTHORIZATION": f"Bearer {secret}"}
    assert [client.get("/api/v1/members", **header).status_code for header in (old, new)] == [200, 200]
    ApiKey.objects.update(old_secret_expires_at=now() - timedelta(seconds=1))
    keys.clear_key_cache()
    assert [client.get("/api/v1/members", **header).status_code for header in (old, new)] == [401, 200]


def test_a_second_rotation_invalidates_the_oldest_secret(client):
    row, first = key()
    for _ in range(2):
        keys.rotate(prefix=row.prefix, old_secret_expires_at=now() + timedelta(hours=1), now=now())
    assert_problem(client.get("/api/v1/members", **first), 401, "bad-credential")


def test_revoking_a_key_revokes_its_tokens(client):
    factories.member("ann")
    row, header = key()
    response = post(client, "tokens", {"member_id": "ann", "scopes": ["profile:read"]}, **header)
    assert response.status_code == 201, response.content
    bearer = {"HTTP_AUTHORIZATION": f"Bearer {response.json()['token']}"}
    assert client.get("/api/v1/members/ann/preferences", **bearer).status_code == 200
    keys.revoke(prefix=row.prefix, now=now())
    assert_problem(client.get("/api/v1/members", **header), 401, "bad-credential")
    assert_problem(client.get("/api/v1/members/ann/preferences", **bearer), 401, "bad-credential")


def test_another_process_rejects_a_revoked_key_within_two_seconds(client, monkeypatch):
    """A process caches a key for a second. The test advances the clock."""
    _, header = key()
    assert client.get("/api/v1/members", **header).status_code == 200
    ApiKey.objects.update(revoked_at=now())  # as another process does, without clearing this cache
    clock = keys.monotonic() + 2
    monkeypatch.setattr(keys, "monotonic", lambda: clock)
    assert_problem(client.get("/api/v1/members", **header), 401, "bad-credential")
    assert keys.CACHE_SECONDS <= 2


def test_an_expired_key_is_rejected(client):
    _, header = key(expires_at=now() + timedelta(hours=1))
    assert client.get("/api/v1/members", **header).status_code == 200
    ApiKey.objects.update(expires_at=now())
    keys.clear_key_cache()
    assert "expired" in assert_problem(client.get("/api/v1/members", **header), 401, "bad-credential")


def test_a_key_with_an_invalid_time_is_neither_created_nor_rotated():
    with pytest.raises(BadRequestError, match="expire in the past") as refused:
        key(expires_at=now())
    assert refused.value.field == "expires_at" and not ApiKey.objects.exists()
    made, _ = key()
    too_late = now() + keys.MAX_OVERLAP + timedelta(minutes=1)
    with pytest.raises(BadRequestError, match="at most 90 days") as refused:
        keys.rotate(prefix=made.prefix, old_secret_expires_at=too_late, now=now())
    assert refused.value.field == "old_secret_expires_at"
    assert bytes(ApiKey.objects.get().secret_hash) == made.secret_hash


def test_a_key_revoked_twice_keeps_the_time_of_the_first(client):
    made, header = key()
    first = keys.revoke(prefix=made.prefix, now=now()).revoked_at
    assert keys.revoke(prefix=made.prefix, now=now() + timedelta(hours=1)).revoked_at == first
    assert_problem(client.get("/api/v1/members", **header), 401, "bad-credential")


def test_a_process_caches_a_limited_number_of_keys(client, monkeypatch):
    """A full cache is cleared. Every key stays valid."""
    monkeypatch.setattr(keys, "MAX_CACHED_KEYS", 2)
    made = [key() for _ in range(5)]
    assert [client.get("/api/v1/members", **header).status_code for _, header in made] == [200] * 5
    assert set(keys._cache) == {made[4][0].prefix}


def test_an_anonymous_request_runs_no_query(client, fresh_wiring, django_assert_num_queries):
    """A feed prefetches the viewer's facts only for a request with credentials."""
    factories.member("ann")
    with django_assert_num_queries(0):
        assert client.get("/api/v1/members/ann/feed").status_code == 401
    _, header = key()
    assert client.get("/api/v1/members/ann/feed", **header).status_code == 200


def test_last_use_is_written_once_a_minute(client, django_assert_num_queries):
    row, header = key()
    client.get("/api/v1/members", **header)
    first = ApiKey.objects.get(pk=row.pk).last_used_at
    keys.clear_key_cache()
    client.get("/api/v1/members", **header)
    assert first is not None and ApiKey.objects.get(pk=row.pk).last_used_at == first
    with django_assert_num_queries(0):
        keys.verify(header["HTTP_AUTHORIZATION"].removeprefix("Bearer "), now())


def test_the_command_creates_lists_rotates_and_revokes_keys(client, capsys):
    call_command("key", "create", "backend", "--scope", "members:read", "--days", "30", "--per-minute", "10")
    secret = capsys.readouterr().out.strip().splitlines()[-1]
    header = {"HTTP_AUTHORIZATION": f"Bearer {secret}"}
    assert client.get("/api/v1/members", **header).status_code == 200
    prefix = ApiKey.objects.get().prefix
    call_command("key", "list")
    output = capsys.readouterr().out
    assert prefix in output and "backend" in output and secret not in output
    call_command("key", "rotate", prefix, "--overlap-hours", "0")
    other = capsys.readouterr().out.strip().splitlines()[-1]
    assert_problem(client.get("/api/v1/members", **header), 401, "bad-credential")
    assert client.get("/api/v1/members", HTTP_AUTHORIZATION=f"Bearer {other}").status_code == 200
    call_command("key", "revoke", prefix)
    assert_problem(client.get("/api/v1/members", HTTP_AUTHORIZATION=f"Bearer {other}"), 401, "bad-credential")
    call_command("key", "list")
    assert "revoked" in capsys.readouterr().out
    for arguments in (["revoke", "nosuch"], ["rotate", prefix], ["create", "x", "--scope", "all"], ["create", "x"]):
        with pytest.raises(CommandError):
            call_command("key", *arguments)


# Tokens


def test_a_token_accesses_only_its_own_member(client):
    """The response is the same whether the other member exists or not."""
    for name in ("ann", "bob"):
        factories.post(factories.member(name), f"by {name}")
    ann = token("ann")
    assert client.get("/api/v1/members/ann/preferences", **ann).status_code == 200
    refusals = {
        assert_problem(client.get(f"/api/v1/members/{member_id}/feed", **ann), 403, "different-member")
        for member_id in ("bob", "x")
    }
    assert len(refusals) == 1
    for path in ("posts/by bob/similar?viewer_id=bob", "search?viewer_id=bob"):
        assert_problem(client.get(f"/api/v1/{path}", **ann), 403, "different-member")
    assert_problem(client.get("/api/v1/search?viewer_id=bob&viewer_id=ann", **ann), 400, "invalid-request")
    vector = [1.0] * 64
    assert_problem(post(client, "search", {"viewer_id": "bob", "vector": vector}, **ann), 403, "different-member")
    assert post(client, "search", {"viewer_id": "ann", "space": "content", "vector": vector}, **ann).status_code == 200
    events = [
        {"event_id": f"e{n}", "member_id": member_id, "post_id": "by bob", "kind": "like"}
        for n, member_id in enumerate(["ann", "bob"])
    ]
    assert_problem(post(client, "interactions", {"events": events}, **ann), 403, "different-member")
    assert not Interaction.objects.exists()
    assert post(client, "interactions", {"events": events[:1]}, **ann).status_code == 200


def test_a_token_cannot_use_the_endpoints_of_the_platform(client):
    factories.member("ann")
    ann = token("ann")
    for path in ("members", "members/ann", "posts/x", "jobs"):
        assert_problem(client.get(f"/api/v1/{path}", **ann), 403, "missing-scope")
    put = client.put("/api/v1/members/ann", json.dumps({"is_adult": True}), content_type="application/json", **ann)
    assert_problem(put, 403, "missing-scope")
    assert_problem(post(client, "tokens", {"member_id": "bob", "scopes": ["feeds:read"]}, **ann), 403, "missing-scope")


@pytest.mark.parametrize(
    ("change", "kid", "secret"),
    [
        ({"exp": -1}, "web", SECRET),
        ({"exp": 7200}, "web", SECRET),
        ({"iat": 600, "exp": 900}, "web", SECRET),
        ({"aud": "another"}, "web", SECRET),
        ({"scope": "feeds:read posts:write"}, "web", SECRET),
        ({"scope": ""}, "web", SECRET),
        ({"sub": " ann"}, "web", SECRET),
        ({"exp": float("nan")}, "web", SECRET),
        ({}, "web", "another-secret-" + "x" * 32),
        ({}, "unknown", SECRET),
    ],
)
def test_a_token_with_one_invalid_claim_is_rejected(client, monkeypatch, change, kid, secret):
    monkeypatch.setattr(settings, "TOKEN_SIGNING_KEYS", {"web": SECRET, "old": "y" * 40})
    factories.member("ann")
    moment = int(now().timestamp())

    def send_token(claims, kid, secret):
        text = jwt.encode(claims, secret, "HS256", {"kid": kid})
        return client.get("/api/v1/members/ann/preferences", HTTP_AUTHORIZATION=f"Bearer {text}")

    valid_claims = {"sub": "ann", "scope": "profile:read", "aud": "recsys", "iat": moment, "exp": moment + 60}
    assert send_token(valid_claims, "web", SECRET).status_code == 200
    assert send_token(valid_claims, "old", "y" * 40).status_code == 200, "an older secret is still accepted"
    times = {name: value + moment for name, value in change.items() if name in ("iat", "exp")}
    assert_problem(send_token(valid_claims | change | times, kid, secret), 401, "bad-credential")


def test_an_unsigned_token_is_rejected(client):
    factories.member("ann")
    moment = int(now().timestamp())
    claims = {"sub": "ann", "scope": "profile:read", "aud": "recsys", "iat": moment, "exp": moment + 60}
    text = jwt.encode(claims, None, "none", {"kid": tokens.DERIVED_KEY_NAME})
    assert_problem(
        client.get("/api/v1/members/ann/preferences", HTTP_AUTHORIZATION=f"Bearer {text}"), 401, "bad-credential"
    )


def test_minting_requires_its_scope_and_allows_only_member_scopes(client):
    _, reader = key("feeds:read")
    assert_problem(
        post(client, "tokens", {"member_id": "ann", "scopes": ["feeds:read"]}, **reader), 403, "missing-scope"
    )
    _, minter = key("tokens:mint")
    for body in (
        {"member_id": "ann", "scopes": ["posts:write"]},
        {"member_id": "ann", "scopes": ["feeds:read"], "ttl_seconds": 3601},
        {"member_id": "ann", "scopes": []},
        {"scopes": ["feeds:read"]},
    ):
        assert_problem(post(client, "tokens", body, **minter), 400, "invalid-request")
    response = post(client, "tokens", {"member_id": "ann", "scopes": ["feeds:read"], "ttl_seconds": 30}, **minter)
    assert response.status_code == 201 and response["Cache-Control"] == "no-store"
    assert tokens.verify_token(response.json()["token"], now()).member_id == "ann"


# Rates


def test_concurrent_requests_never_exceed_the_limit(client):
    """800 requests in 16 threads against 50 a minute, on a real Redis."""
    bucket = throttles.RateLimitBucket("key", "one", 50)
    barrier = threading.Barrier(16)

    def send_requests(_):
        barrier.wait()
        return [throttles.rate_limiter().admit(bucket).allowed for _ in range(50)]

    with ThreadPoolExecutor(16) as threads:
        allowed = [is_allowed for part in threads.map(send_requests, range(16)) for is_allowed in part]
    assert len(allowed) == 800 and sum(allowed) == 50


def test_a_key_above_its_rate_limit_gets_a_429(client):
    _, header = key(per_minute=3)
    responses = [client.get("/api/v1/members", **header) for _ in range(4)]
    assert [response.status_code for response in responses] == [200, 200, 200, 429]
    assert responses[0]["RateLimit-Policy"] == '"key";q=3;w=60'
    assert [response["RateLimit"].split(";")[1] for response in responses] == ["r=2", "r=1", "r=0", "r=0"]
    assert_problem(responses[3], 429, "throttled")
    assert 1 <= int(responses[3]["Retry-After"]) <= 60
    _, other = key(per_minute=0)
    response = client.get("/api/v1/members", **other)
    assert response.status_code == 200 and "RateLimit" not in response


def test_each_member_has_a_separate_rate_limit(client, monkeypatch):
    set_env(monkeypatch, rate_per_member=2)
    factories.member("ann"), factories.member("bob")
    responses = [
        client.get(f"/api/v1/members/{member_id}/preferences", **token(member_id))
        for member_id in ("ann", "ann", "ann", "bob")
    ]
    assert [response.status_code for response in responses] == [200, 200, 429, 200]
    assert responses[0]["RateLimit"].startswith('"member";r=1')


def remaining(response):
    """Return the units that the response says are left."""
    return int(response["RateLimit"].split(";")[1].removeprefix("r="))


def charged(client, send):
    """Return how many units the rate limit of a new key counts for a request."""
    _, header = key(per_minute=1_000)
    return 1_000 - remaining(send(client, header))


def events(count, **fields):
    return [{"event_id": f"e{n}", "member_id": "ann", "post_id": "p", "kind": "view"} | fields for n in range(count)]


@pytest.mark.parametrize(
    ("path", "body", "units"),
    [
        ("interactions", {"events": events(9)}, 1),
        ("interactions", {"events": events(100)}, 11),
        ("members", {"members": [{"id": f"m{n}"} for n in range(100)]}, 11),
        ("posts", {"posts": [{"id": f"p{n}", "tags": ["a", "b"]} for n in range(100)]}, 11),
        ("members/ann/seen", {"post_ids": ["p"] * 100}, 11),
        ("search", {"viewer_id": "ann", "vector": [0.5] * 4_096}, 1),
        ("jobs", {"kind": "member_feed", "params": {"member_ids": ["ann"] * 50}}, 6),
        ("jobs", {"kind": "batch_feeds"}, 101),
        (f"jobs/{UUID(int=1)}/retry", {}, 101),
    ],
)
def test_a_bulk_request_counts_by_its_items(client, path, body, units):
    factories.member("ann")
    assert charged(client, lambda client, header: post(client, path, body, **header)) == units


@pytest.mark.parametrize(
    ("method", "path", "body", "units"),
    [
        ("get", "members/ann/preferences", None, 1),
        ("get", "members/ann/profile", None, 11),
        ("put", "members/ann/profile", {"relationships": {"block": ["a"] * 30, "mute": ["b"] * 20}}, 6),
        ("get", f"jobs/{UUID(int=1)}/result", None, 11),
        ("put", "spaces/image/pictures", {"pictures": [{"post_id": "p"}] * 7}, 8),
        ("put", "spaces/image/vectors", {"vectors": [{"post_id": "p", "vector": [0.5] * 8}] * 20}, 3),
        ("delete", "members/ann/relationships/mute/ann", {"ids": ["a"] * 100}, 1),
    ],
)
def test_other_requests_count_by_their_work(client, method, path, body, units):
    factories.member("ann")

    def send(client, header):
        return client.generic(method.upper(), f"/api/v1/{path}", json.dumps(body or {}), "application/json", **header)

    assert charged(client, send) == units


def test_a_body_that_cannot_be_parsed_counts_as_one(client):
    send = lambda client, header: client.post("/api/v1/members", "[", "application/json", **header)  # noqa: E731
    assert charged(client, send) == 1


def graphql(client, query, header, **variables):
    body = json.dumps({"query": query, "variables": variables})
    return client.post("/graphql", body, content_type="application/json", **header)


FIELD = 'preferences(memberId: "ann") { region }'
RECORD = "mutation($e: [EventInput!]!) { recordInteractions(events: $e) { status } }"
GRAPHQL_EVENTS = [{"eventId": f"e{n}", "memberId": "ann", "postId": "p", "kind": "view"} for n in range(100)]


@pytest.mark.parametrize(
    ("query", "variables", "units"),
    [
        (f"{{ {FIELD} }}", {}, 1),
        (f"{{ {' '.join(f'a{n}: {FIELD}' for n in range(10))} }}", {}, 10),
        (RECORD, {"e": GRAPHQL_EVENTS}, 11),
        ("mutation { batchDiscoveryFeeds { id } }", {}, 101),
        ("{ __typename }", {"unused": ["x"] * 500}, 1),
        ("{ nothing }", {}, 1),
        ("{", {}, 1),
    ],
)
def test_a_graphql_request_counts_as_the_rest_requests_that_do_its_work(client, query, variables, units):
    factories.member("ann")
    assert charged(client, lambda client, header: graphql(client, query, header, **variables)) == units


def test_the_writes_of_a_member_have_a_limit_of_their_own(client, monkeypatch):
    set_env(monkeypatch, rate_per_member=100, write_rate_per_member=30)
    factories.member("ann")
    header = token("ann")
    responses = [post(client, "interactions", {"events": events(100)}, **header) for _ in range(3)]
    assert [response.status_code for response in responses] == [207, 207, 429]
    assert {response["RateLimit-Policy"] for response in responses} == {'"member-writes";q=30;w=60'}
    assert [remaining(response) for response in responses] == [19, 8, 7], "the rejected request itself counts"
    assert_problem(responses[2], 429, "throttled")
    assert 60 <= int(responses[2]["Retry-After"]) <= 120
    feed = client.get("/api/v1/members/ann/preferences", **header)
    assert (feed.status_code, feed["RateLimit-Policy"], remaining(feed)) == (200, '"member";q=100;w=60', 99)
    # Over GraphQL, the request counts against the first limit, and what it writes against the second.
    over_graphql = graphql(client, RECORD, header, e=GRAPHQL_EVENTS)
    assert_problem(over_graphql, 429, "throttled")
    assert over_graphql["RateLimit-Policy"] == '"member-writes";q=30;w=60'
    assert remaining(client.get("/api/v1/members/ann/preferences", **header)) == 97


def test_a_request_counts_at_most_half_of_the_limit_so_that_it_is_admitted_at_some_time(client):
    factories.member("ann")
    _, header = key(per_minute=20)
    responses = [post(client, "jobs", {"kind": "batch_feeds"}, **header) for _ in range(2)]
    assert [response.status_code for response in responses] == [202, 429]
    assert remaining(responses[0]) == 20 - 1 - 10


def test_a_request_above_the_limit_is_not_executed(client):
    factories.member("ann")
    _, header = key(per_minute=5)
    query = f"{{ {' '.join(f'a{n}: {FIELD}' for n in range(4))} }}"
    responses = [graphql(client, query, header) for _ in range(3)]
    assert [response.status_code for response in responses] == [200, 429, 429]
    assert "data" not in responses[1].json()
    _, header = key(per_minute=0)
    assert graphql(client, query, header).status_code == 200


def test_each_key_and_staff_user_has_idempotency_keys_of_its_own(client, admin_client, monkeypatch):
    """A second request with the same key is the same job, and another job under that key is an error."""
    factories.member("ann"), factories.member("bob")
    set_env(monkeypatch, api_open=True)
    senders = [(client, key()[1]), (client, key()[1]), (admin_client, {}), (client, {})]

    def submit(client, header, member_id):
        body = {"kind": "member_feed", "params": {"member_ids": [member_id]}}
        return post(client, "jobs", body, HTTP_IDEMPOTENCY_KEY="nightly", **header)

    jobs = [[submit(*sender, "ann").json()["id"] for _ in range(2)] for sender in senders]
    assert all(first == second for first, second in jobs) and len({first for first, _ in jobs}) == 4
    for sender in senders:
        assert_problem(submit(*sender, "bob"), 400, "invalid-request")


def test_a_job_names_at_most_ten_thousand_items(client):
    """A longer list is rejected by its length: its items are not even ids."""
    _, header = key(per_minute=0)
    body = {"kind": "member_feed", "params": {"member_ids": [1] * 10_001}}
    assert "at most 10,000 ids" in assert_problem(post(client, "jobs", body, **header), 400, "invalid-request")


def test_guessing_keys_is_limited_by_the_address(client, monkeypatch):
    set_env(monkeypatch, rate_per_address=2)
    responses = [client.get("/api/v1/members", HTTP_AUTHORIZATION=f"Bearer rk_{n:010}_x") for n in range(3)]
    assert [response.status_code for response in responses] == [401, 401, 429]
    assert client.get("/api/v1/members").status_code == 429
    assert client.get("/api/v1/members", REMOTE_ADDR="10.0.0.9").status_code == 401
    _, header = key()
    assert client.get("/api/v1/members", **header).status_code == 200, "a valid key is not counted by path"


def test_rejected_requests_are_counted(client):
    _, header = key("posts:read", per_minute=2)
    assert [client.get("/api/v1/members", **header).status_code for _ in range(3)] == [403, 403, 429]


def test_every_request_is_served_without_redis(client, monkeypatch):
    set_env(monkeypatch, cache_redis_url="redis://127.0.0.1:1/0")
    throttles.rate_limiter.cache_clear()
    _, header = key(per_minute=1)
    assert [client.get("/api/v1/members", **header).status_code for _ in range(3)] == [200, 200, 200]
    throttles.rate_limiter.cache_clear()


def test_the_scripts_are_loaded_again_after_a_flush(client):
    bucket = throttles.RateLimitBucket("key", "one", 5)
    assert throttles.rate_limiter().admit(bucket).remaining == 4
    with redis.Redis.from_url(settings.ENV.cache_redis_url) as client_:
        client_.script_flush()
    assert throttles.rate_limiter().admit(bucket).remaining == 3


# Unusual usage


def test_unknown_ids_and_rejections_raise_one_alert_per_hour(client, monkeypatch, caplog):
    monkeypatch.setattr(usage, "FLUSH_SECONDS", 0)
    monkeypatch.setattr(usage, "MIN_NOT_FOUND", 5)
    monkeypatch.setattr(usage, "MIN_REFUSALS", 4)
    row, header = key("members:read")
    for n in range(8):
        client.get(f"/api/v1/members/secret-id-{n}", **header)
    for _ in range(6):
        client.get("/api/v1/jobs", **header)
        client.get("/api/v1/jobs")
    found = set(UsageAlert.objects.values_list("kind", "key__prefix"))
    assert found == {("enumeration", row.prefix), ("refusals", row.prefix), ("refusals", None)}
    logged = [record for record in caplog.records if record.message == "usage_alert_raised"]
    assert len(logged) == 3
    assert "secret-id" not in str([vars(record) for record in logged])
    assert row.prefix not in str([vars(record) for record in logged])


def test_an_alert_about_a_member_contains_no_id(client, monkeypatch):
    monkeypatch.setattr(usage, "FLUSH_SECONDS", 0)
    monkeypatch.setattr(usage, "MIN_REFUSALS", 2)
    factories.member("ann")
    for _ in range(3):
        client.get("/api/v1/members/bob/feed", **token("ann"))
    alert = UsageAlert.objects.get()
    assert alert.caller.startswith("member:") and "ann" not in alert.caller and alert.key is None


def test_a_request_is_served_if_its_alert_cannot_be_stored(client, monkeypatch, caplog):
    def fail(**_):
        raise DatabaseError("unavailable")

    monkeypatch.setattr(usage, "FLUSH_SECONDS", 0)
    monkeypatch.setattr(usage, "MIN_REFUSALS", 1)
    monkeypatch.setattr(UsageAlert.objects, "get_or_create", fail)
    _, header = key("posts:read")
    assert_problem(client.get("/api/v1/members", **header), 403, "missing-scope")
    assert [record.message for record in caplog.records if record.name == "access.usage"] == ["usage_alert_not_stored"]


# Limits of a body


@pytest.mark.parametrize("body", ["[" * 40 + "]" * 40, '{"a":' * 40 + "1" + "}" * 40, "[" * 100_000])
def test_a_deeply_nested_body_is_rejected_before_parsing(client, body):
    _, header = key()
    response = client.post("/api/v1/interactions", body, content_type="application/json", **header)
    assert_problem(response, 400, "body-too-deep")


def test_brackets_in_strings_do_not_count_as_nesting(client):
    factories.member("ann")
    _, header = key()
    words = {"muted_words": ["[" * 90 + '"\\{', "{[" * 40]}
    path = "/api/v1/members/ann/preferences"
    response = client.patch(path, json.dumps(words), content_type="application/json", **header)
    assert response.status_code == 200, response.content
    assert PrivacySettings.objects.get().muted_words == words["muted_words"]


# The OpenAPI page


def test_the_openapi_schema_has_the_scope_of_each_endpoint(client):
    page = client.get("/api/schema/", HTTP_ACCEPT="application/vnd.oai.openapi+json").json()
    assert page["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    assert {"bearer": ["tokens:mint"]} in page["paths"]["/api/v1/tokens"]["post"]["security"]
    assert {"bearer": ["feeds:read"]} in page["paths"]["/api/v1/members/{member_id}/feed"]["get"]["security"]
    assert TokensView.scopes["POST"] is Scope.TOKENS_MINT


# The admin


def test_the_admin_creates_a_key_and_displays_its_secret_once(admin_client, client):
    form = {"name": "backend", "scopes": ["members:read"], "per_minute": "", "expires_at_0": "", "expires_at_1": ""}
    page = admin_client.post("/admin/access/apikey/add/", form)
    assert page.status_code == 200 and "no-store" in page["Cache-Control"]
    secret = page.context["secret"]
    assert secret in page.content.decode()
    assert client.get("/api/v1/members", HTTP_AUTHORIZATION=f"Bearer {secret}").status_code == 200
    row = ApiKey.objects.get()
    assert row.created_by.is_superuser
    for path in ("/admin/access/apikey/", f"/admin/access/apikey/{row.pk}/change/"):
        content = admin_client.get(path).content.decode()
        assert row.prefix in content and secret not in content and secret.split("_", 2)[2] not in content
    assert "past" in str(admin_client.post("/admin/access/apikey/add/", form | {
        "expires_at_0": "2020-01-01", "expires_at_1": "00:00:00"}).context["errors"])  # fmt: skip


def test_the_admin_rotates_and_revokes_after_confirmation(admin_client, client):
    row, header = key("members:read")
    page = f"/admin/access/apikey/{row.pk}"
    assert "secret" not in admin_client.get(f"{page}/rotate/").context
    rotated = admin_client.post(f"{page}/rotate/", {"overlap_hours": "0"})
    other = {"HTTP_AUTHORIZATION": f"Bearer {rotated.context['secret']}"}
    assert [client.get("/api/v1/members", **headers).status_code for headers in (header, other)] == [401, 200]
    assert admin_client.get(f"{page}/revoke/").status_code == 200
    assert client.get("/api/v1/members", **other).status_code == 200, "a GET revokes nothing"
    admin_client.post(f"{page}/revoke/")
    assert client.get("/api/v1/members", **other).status_code == 401
    assert "revoked" in admin_client.get(f"{page}/change/").content.decode()
    refused = admin_client.post(f"{page}/rotate/", {"overlap_hours": "0"}, follow=True)
    assert f"Key {row.prefix} is revoked. Create a new key." in refused.content.decode()
    assert ApiKey.objects.get().rotated_at == rotated.context["key"].rotated_at, "a revoked key is not rotated"


def test_the_admin_changes_the_scopes_of_a_key(admin_client, client):
    row, header = key("posts:read")
    form = {"name": "n", "scopes": ["members:read"], "per_minute": "", "expires_at_0": "", "expires_at_1": ""}
    assert submit_page(admin_client, f"/admin/access/apikey/{row.pk}/change/", form).status_code == 302
    assert client.get("/api/v1/members", **header).status_code == 200


def test_the_admin_lists_and_reviews_alerts(admin_client):
    UsageAlert.objects.create(kind="spike", caller="abc", hour=now(), raised_at=now(), count=9, baseline=1.5)
    page = admin_client.get("/admin/access/usagealert/")
    assert page.status_code == 200 and b"abc" in page.content
    assert str(UsageAlert.objects.get()) == "abc: far more requests than this caller usually sends"
    form = {"action": "mark_reviewed", "_selected_action": [UsageAlert.objects.get().pk]}
    admin_client.post("/admin/access/usagealert/", form)
    assert UsageAlert.objects.get().is_reviewed
