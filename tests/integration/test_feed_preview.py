"""A preview ranks a feed with a chosen engine and policy, and leaves no trace of it."""

from dataclasses import asdict, replace
from datetime import timedelta

import pytest
from django.test import Client

from access import keys
from access.scopes import Scope
from monitoring import clock
from recommendations.contracts import Policy
from recommendations.models import FeedRequest, Member, ServedPage
from recommendations.services import policies, wiring
from recommendations.services.errors import FactsUnavailable, InvalidRequest, UnknownMember
from recommendations.services.serving import preview, records
from recommendations.services.serving.preview import preview_feed
from recommendations.services.serving.ranking import NoSlateError
from recommendations.services.serving.recommend import recommend
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]


@pytest.fixture
def ann():
    """Create Ann, and posts by authors whom she does not know, with a `newest` variant that ranks by age alone."""
    ann = factories.member("ann")
    for number in range(12):
        author, created_at = factories.member(f"author-{number}"), NOW - timedelta(hours=number + 1)
        factories.post(author, f"p{number}", text=f"bread {number}", tags=["bread"], created_at=created_at)
    factories.embed_all_posts()
    settings = asdict(replace(Policy(), recency=10, taste=0, popularity=0, diversity=0, exploration=0))
    policies.put_policy(variant="newest", settings=settings, note="", version=0)
    return ann


def ids(page):
    return [pick.post.id for pick in page.picks]


def test_the_chosen_variant_and_engine_rank(ann):
    page = preview_feed(member_id="ann", engine="plain", variant="newest", limit=5, now=NOW)
    assert ids(page) == ["p0", "p1", "p2", "p3", "p4"]
    assert (page.engine, page.variant, page.is_cached, page.next_cursor) == ("plain", "newest", False, None)
    assert page.picks[0].parts["recency"] > 1
    assert page.picks[0].score == pytest.approx(sum(page.picks[0].parts.values()), abs=1e-5)


def test_without_a_choice_it_is_the_feed_that_is_served(ann):
    served = recommend(member_id="ann", now=NOW)
    page = preview_feed(member_id="ann", now=NOW)
    assert (ids(page), page.engine, page.variant) == (ids(served), served.engine, served.variant)


def test_a_preview_is_neither_cached_nor_recorded(ann):
    before = ids(recommend(member_id="ann", now=NOW, limit=5))
    records.record_served(now=NOW)
    slates, pages = FeedRequest.objects.count(), ServedPage.objects.count()
    assert ids(preview_feed(member_id="ann", variant="newest", limit=5, now=NOW)) == ["p0", "p1", "p2", "p3", "p4"]
    records.record_served(now=NOW)
    assert (FeedRequest.objects.count(), ServedPage.objects.count()) == (slates, pages)
    assert ids(recommend(member_id="ann", now=NOW, limit=5)) == before


def test_a_preview_passes_the_final_check(ann):
    factories.block(Member.objects.get(external_id="author-0"), ann)
    assert "p0" not in ids(preview_feed(member_id="ann", variant="newest", now=NOW))


@pytest.mark.parametrize(
    ("options", "error"),
    [({"member_id": "nobody"}, UnknownMember), ({"feed": "mine"}, InvalidRequest), ({"limit": 0}, InvalidRequest)],
)
def test_an_unknown_member_feed_or_limit_is_refused(ann, options, error):
    with pytest.raises(error):
        preview_feed(**{"member_id": "ann", "now": NOW} | options)


def test_a_feed_that_cannot_be_ranked_is_not_shown(ann, monkeypatch):
    def fail(*_):
        raise NoSlateError

    monkeypatch.setattr(preview, "build_slate", fail)
    with pytest.raises(FactsUnavailable):
        preview_feed(member_id="ann", now=NOW)


def test_a_key_needs_both_scopes(ann):
    def answer(*scopes, **query):
        _, secret = keys.create(name="k", scopes=list(scopes), now=clock.now())
        query = {"member_id": "ann", "engine": "plain", "variant": "newest", "limit": 2} | query
        return Client().get("/api/v1/feed-preview", query, headers={"Authorization": f"Bearer {secret}"})

    both = (Scope.POLICIES_READ, Scope.FEEDS_READ)
    assert answer(Scope.POLICIES_READ).json()["code"] == "missing-scope"
    assert answer(Scope.FEEDS_READ).json()["code"] == "missing-scope"
    assert answer(*both, engine="steam").status_code == 400
    page = answer(*both).json()
    assert [pick["post"]["id"] for pick in page["picks"]] == ["p0", "p1"]
    assert set(wiring.engines()) >= {"plain"} and page["engine"] == "plain"
