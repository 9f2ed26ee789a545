"""The page of main parameters says what the pipelines and policies that serve contain, and nothing else."""

from dataclasses import asdict

import pytest

from recommendations.contracts import Origin, Policy, Reason
from recommendations.models import RankingPolicy
from recommendations.pipeline.scorers.score_parts import ColdTaste
from recommendations.pipeline.signals import FEEDS, RERANKERS, SIGNALS, SIMILAR_SIGNALS, SIMILAR_SOURCES, SOURCES
from recommendations.services import policies, wiring
from recommendations.services.errors import UnknownPolicy
from recommendations.services.explaining import main_parameters
from recommendations.services.explaining.main_parameters import describe_main_parameters, signal_names
from recommendations.services.serving.recommend import FEEDS as SERVED_FEEDS

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]


@pytest.fixture
def control():
    RankingPolicy.objects.all().delete()
    policies.put_policy(
        variant="control", settings={"taste": 3.0, "popularity": 0.0}, note="internal note", version=None
    )
    return RankingPolicy.objects.get()


def feed_of(parameters, name, policy=0):
    return next(feed for feed in parameters.policies[policy].feeds if feed.feed == name)


def test_every_component_of_every_feed_has_words():
    assert set(FEEDS) == {*SERVED_FEEDS, "similar"}
    for feed in FEEDS:
        pipeline = wiring.feed_pipeline(feed, "plain")
        words = {"dislike", *SIMILAR_SIGNALS} if feed == "similar" else set(SIGNALS)
        assert set(signal_names(pipeline)) <= words, feed
        sources = SIMILAR_SOURCES if feed == "similar" else SOURCES
        assert {source.origin for source in pipeline.sources} <= set(sources), feed
        assert {reranker.name for reranker in pipeline.rerankers} <= set(RERANKERS), feed
    assert set(SOURCES) == set(Origin)
    assert ColdTaste().name in SIGNALS, "only with an index beyond the resident posts"
    weights = {name for name in SIGNALS if hasattr(Policy(), name)}
    assert weights == set(SIGNALS), "each signal has a weight in the policies"


def test_every_reason_of_an_explanation_belongs_to_a_signal():
    assert {signal.reason for signal in (*SIGNALS.values(), *SIMILAR_SIGNALS.values())} - {None} == set(Reason)


def test_the_shares_are_those_of_the_active_policy(control):
    parameters = describe_main_parameters()
    (policy,) = parameters.policies
    assert (policy.variant, policy.version, policy.since) == ("control", 1, control.created_at)
    discovery = feed_of(parameters, "discovery")
    assert discovery.signals[0].name == "taste" and discovery.signals[0].weight == 3.0
    assert "popularity" not in {signal.name for signal in discovery.signals}, "it weighs nothing"
    assert sum(signal.share for signal in discovery.signals) == pytest.approx(1, abs=0.002)
    total = sum(
        getattr(Policy.from_stored(control.settings), name)
        for name in (*signal_names(wiring.feed_pipeline("discovery", "plain")),)
    )
    assert discovery.signals[0].share == pytest.approx(3 / total, abs=1e-4)


def test_feeds_without_history_have_no_personal_signal(control):
    parameters = describe_main_parameters()
    for name in ("non_personalized", "trending", "similar"):
        assert not any(signal.is_personal for signal in feed_of(parameters, name).signals), name
    similar = feed_of(parameters, "similar")
    assert similar.signals[0].sentence == "Like the post you are looking at"
    assert all("this post" in source and "you" not in source for source in similar.sources)
    assert any(signal.is_personal for signal in feed_of(parameters, "discovery").signals)


def test_each_change_of_a_policy_is_a_version_that_can_still_be_read(control):
    before = describe_main_parameters()
    policies.put_policy(variant="control", settings={"taste": 1.0}, note="less", version=1)
    after = describe_main_parameters()
    assert before.version != after.version
    assert [(row.version, row.is_active) for row in after.history] == [(2, True), (1, False)]
    earlier = describe_main_parameters(variant="control", version=1)
    assert earlier.policies == before.policies
    with pytest.raises(UnknownPolicy):
        describe_main_parameters(variant="control", version=3)


def test_without_a_policy_the_settings_of_the_release_are_described():
    RankingPolicy.objects.all().delete()
    parameters = describe_main_parameters()
    assert [(policy.variant, policy.version, policy.since) for policy in parameters.policies] == [("default", 0, None)]
    assert parameters.history == []


def test_a_feed_whose_signals_weigh_nothing_has_none():
    settings = dict.fromkeys(asdict(Policy()), 0.0)
    feed = main_parameters.describe_feed("following", wiring.feed_pipeline("following", "plain"), settings)
    assert feed.signals == []
    assert main_parameters.weigh_interactions(dict.fromkeys(("like", "view"), 0.0))[0].share == 0


def test_the_page_is_for_everybody_and_the_json_for_keys(client, settings, control):
    response = client.get("/main-parameters/")
    page = response.content.decode()
    assert response.status_code == 200 and "default-src 'none'" in response["Content-Security-Policy"]
    for text in (
        "How feeds are made",
        "Similar to what you liked",
        "Like posts you enjoyed",
        "version 1 of",
        "control",
    ):
        assert text in page, text
    assert "internal note" not in page, "notes of staff are not published"
    assert client.get("/main-parameters/control/1/").status_code == 200
    assert "earlier or inactive version" in client.get("/main-parameters/control/1/").content.decode()
    assert client.get("/main-parameters/control/9/").status_code == 404
    assert client.get("/api/v1/main-parameters").status_code == 401
    settings.ENV = settings.ENV.model_copy(update={"api_open": True})
    content = client.get("/api/v1/main-parameters").json()
    assert content["policies"][0]["feeds"][0]["signals"][0]["name"] == "taste"
    assert {row["kind"] for row in content["interactions"] if row["needs_adult"]} == {"view", "click", "dwell"}
    assert client.get("/api/v1/main-parameters?variant=control&version=9").status_code == 404
    RankingPolicy.objects.all().delete()
    page = client.get("/main-parameters/").content.decode()
    assert "No policy is active" in page and "No policy was ever stored" in page
