"""Reasons come in the member's language or in that of the request, over REST and GraphQL; pages in the reader's."""

import json
from datetime import timedelta

import pytest
from django.conf import settings
from django.utils import translation

from monitoring.clock import now
from recommendations.models import Member
from recommendations.services import wiring
from recommendations.services.serving import records
from recommendations.services.vectors.embedding import embed_posts
from tests import factories

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]

SENTENCE = {"en": "By someone you follow", "de": "Von jemandem, dem Sie folgen"}
SERVED = {
    "en": "The post was served on a page of this request.",
    "de": "Der Beitrag wurde auf einer Seite dieser Anfrage ausgeliefert.",
}
NOBODY = {"en": "The member follows nobody yet.", "de": "Das Mitglied folgt noch niemandem."}


@pytest.fixture
def read(client, monkeypatch):
    """Create members, posts and a follow, and return a function that reads a page and its headers."""
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update={"api_open": True}))
    at = now() - timedelta(hours=2)
    author = factories.member("author", at=at)
    for number in range(3):
        factories.post(author, f"post-{number}", text=f"bread {number}", at=at)
    for name, languages in {"anna": ["de-AT", "en"], "ann": ["en"], "anne": ["fr"], "aiko": []}.items():
        factories.follow(factories.member(name, at=at, languages=languages), author)
    embed_posts(embedder=wiring.embedder(), now=now())

    def read(path, accepted=None, **query):
        headers = {} if accepted is None else {"Accept-Language": accepted}
        return client.get(f"/api/v1/{path}", query, headers=headers)

    return read


def sentences(response):
    return {r["sentence"] for pick in response.json()["picks"] for r in pick["reasons"] if r["code"] == "followed"}


@pytest.mark.parametrize(
    ("member", "accepted", "language"),
    [
        ("anna", None, "de"),
        ("ann", None, "en"),
        ("anne", None, "en"),
        ("aiko", None, "en"),
        ("ann", "de-DE,de;q=0.9", "de"),
        ("anna", "en", "en"),
        ("anna", "*", "de"),
        ("anna", "fr", "de"),
    ],
)
def test_reasons_of_a_feed_are_in_one_language_and_the_response_names_it(read, member, accepted, language):
    response = read(f"members/{member}/feed", accepted)
    assert sentences(response) == {SENTENCE[language]}
    assert response.headers["Content-Language"] == language
    assert "Accept-Language" in response.headers["Vary"]


def test_a_cached_page_is_served_in_the_language_of_each_request(read):
    first, *pages = (read("members/ann/feed", accepted) for accepted in ("en", "de", "en", "de", "en"))
    assert not first.json()["is_cached"] and all(page.json()["is_cached"] for page in pages)
    assert sentences(first) == {SENTENCE["en"]}
    assert [sentences(page) for page in pages] == 2 * [{SENTENCE["de"]}, {SENTENCE["en"]}]
    rendered = [json.dumps(page.json()["picks"]) for page in pages]
    assert rendered[0] == rendered[2] and rendered[1] == rendered[3]


def test_a_changed_language_of_the_member_takes_effect_on_the_cached_page(read, client):
    assert sentences(read("members/ann/feed")) == {SENTENCE["en"]}
    changed = client.patch(
        "/api/v1/members/ann/preferences", json.dumps({"languages": ["de"]}), content_type="application/json"
    )
    assert changed.status_code == 200
    assert sentences(read("members/ann/feed")) == {SENTENCE["de"]}


def test_selected_fields_and_empty_pages_are_translated(read):
    picks = read("members/anna/feed", fields="reasons").json()["picks"]
    assert all(pick["reasons"][0]["sentence"] == SENTENCE["de"] for pick in picks)
    Member.objects.filter(external_id="author").update(is_active=False)
    page = read("members/anna/feed", feed="following").json()
    assert page["empty_reason"] == {"code": "no_follows", "sentence": NOBODY["de"]}


def test_similar_posts_and_search_and_previews_are_translated(read):
    for path, query in [
        ("posts/post-0/similar", {"viewer_id": "anna"}),
        ("search", {"viewer_id": "anna", "text": "bread"}),
        ("feed-preview", {"member_id": "anna"}),
    ]:
        response = read(path, **query)
        assert response.status_code == 200, response.content
        assert response.headers["Content-Language"] == "de"
        assert not any("post" in r["sentence"].split() for pick in response.json()["picks"] for r in pick["reasons"])


def test_explanations_are_translated(read):
    page = read("members/anna/feed").json()
    records.record_served(now=now())
    path = f"requests/{page['request_id']}/explain/{page['picks'][0]['post']['id']}"
    for accepted, language in ((None, "de"), ("en", "en")):
        response = read(path, accepted, viewer_id="anna")
        assert response.json()["sentence"] == SERVED[language]
        assert SENTENCE[language] in {reason["sentence"] for reason in response.json()["reasons"]}
        assert response.headers["Content-Language"] == language
        assert "languages" not in response.json()


GRAPHQL = """{
  feed(name: "discovery", memberId: "MEMBER") { requestId edges { node { post { id } reasons { code sentence } } } }
  similarPosts(postId: "post-0", viewerId: "MEMBER") { reasons { sentence } }
}"""


def post_graphql(client, query, **headers):
    response = client.post("/graphql", {"query": query}, content_type="application/json", headers=headers)
    assert "errors" not in response.json(), response.content
    assert "Accept-Language" in response.headers["Vary"]
    return response.json()["data"]


@pytest.mark.parametrize(
    ("member", "headers", "language"),
    [("anna", {}, "de"), ("ann", {}, "en"), ("ann", {"Accept-Language": "de"}, "de"), ("anne", {}, "en")],
)
def test_graphql_translates_for_the_member_of_each_field(read, client, member, headers, language):
    data = post_graphql(client, GRAPHQL.replace("MEMBER", member), **headers)
    reasons = [reason for edge in data["feed"]["edges"] for reason in edge["node"]["reasons"]]
    assert {r["sentence"] for r in reasons if r["code"] == "followed"} == {SENTENCE[language]}
    records.record_served(now=now())
    request_id, post_id = data["feed"]["requestId"], data["feed"]["edges"][0]["node"]["post"]["id"]
    query = f'{{ explain(requestId: "{request_id}", postId: "{post_id}", viewerId: "{member}") {{ sentence }} }}'
    assert post_graphql(client, query, **headers)["explain"]["sentence"] == SERVED[language]


def test_graphql_says_in_the_members_language_why_a_page_is_empty(read, client):
    Member.objects.filter(external_id="author").update(is_active=False)
    data = post_graphql(client, '{ feed(name: "following", memberId: "anna") { emptyReason } }')
    assert data["feed"]["emptyReason"] == NOBODY["de"]


def test_main_parameters_are_translated_and_their_version_is_the_same(read):
    english, german = (read("main-parameters", accepted) for accepted in ("en", "de"))
    assert german.json()["version"] == english.json()["version"]
    assert german.json()["policies"][0]["feeds"][0]["title"] == "Entdecken"
    assert german.headers["Content-Language"] == "de"
    signals = [signal for feed in german.json()["policies"][0]["feeds"] for signal in feed["signals"]]
    assert {signal["change"] for signal in signals} >= {"", "Wählen Sie Ihre Region."}


def test_problems_stay_english(read, client):
    for path in ("members/nobody/feed", "members/ann/feed?limit=0", "nothing"):
        english, german = (client.get(f"/api/v1/{path}", headers={"Accept-Language": code}) for code in ("en", "de"))
        assert english.status_code == german.status_code >= 400
        assert {**english.json(), "request_id": ""} == {**german.json(), "request_id": ""}


# Pages


def test_a_page_is_in_the_language_of_the_cookie_or_of_the_browser(client):
    def page(**headers):
        return client.get("/main-parameters/", headers=headers)

    assert page().headers["Content-Language"] == "en"
    german = page(**{"Accept-Language": "de-CH,de;q=0.9,en;q=0.5"})
    assert german.headers["Content-Language"] == "de"
    assert {"Accept-Language", "Cookie"} <= {name.strip() for name in german.headers["Vary"].split(",")}
    client.cookies[settings.LANGUAGE_COOKIE_NAME] = "en"
    assert page(**{"Accept-Language": "de"}).headers["Content-Language"] == "en"
    client.cookies[settings.LANGUAGE_COOKIE_NAME] = "xx"
    assert page(**{"Accept-Language": "de"}).headers["Content-Language"] == "de"


def test_the_language_ends_with_the_request(client):
    client.get("/main-parameters/", headers={"Accept-Language": "de"})
    assert translation.get_language() == "en"
