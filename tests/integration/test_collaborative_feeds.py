"""Feeds and similar posts from other members' likes: live, explained exactly, and without telling who they are."""

from dataclasses import dataclass
from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import pytest

from monitoring import metrics
from recommendations.collaborative.item_weights import ItemWeightTable
from recommendations.collaborative.strengths import MAX_WEIGHTED
from recommendations.contracts import Policy, Reason
from recommendations.models import FeedRequest, Member, Post, ReactionHistory, SeenPost
from recommendations.services import invalidate, wiring
from recommendations.services.explaining import replay
from recommendations.services.explaining.explain import explain
from recommendations.services.learning import co_likes, learn
from recommendations.services.serving import records
from recommendations.services.serving.recommend import recommend
from recommendations.services.serving.similar import find_similar
from recommendations.services.upkeep import process_memory
from recommendations.stores.trained_models import ActiveItemWeights, TrainedModels
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]


@dataclass
class Platform:
    """Sixty posts with the same text, of which members liked the first ones in the order of their names."""

    viewer: Member
    posts: dict[str, Post]

    def like(self, member, *names, kind="like"):
        for i, name in enumerate(names):
            at = NOW - timedelta(hours=1) + timedelta(seconds=i)
            factories.interaction(member, self.posts[name], kind, at=at)
            SeenPost.objects.get_or_create(member=member, post=self.posts[name], defaults={"seen_at": at})
        learn.learn_interactions(member_ids=[member.pk], now=NOW)
        co_likes.count_changes(now=NOW)
        wiring.resident_co_likes().clear()

    def serve(self, **options):
        page = recommend(member_id="viewer", now=NOW, limit=10, **options)
        records.record_served(now=NOW)
        return page

    def explain(self, page, name):
        return explain(request_id=page.request_id, post_id=name, viewer_id="viewer", now=NOW)


@pytest.fixture
def platform(settings, monkeypatch):
    """Four members who liked p0 to p4, one after the other, and a viewer."""
    monkeypatch.setattr(settings.ENV, "replay_share", 1.0)
    authors = [factories.member(f"author-{i}") for i in range(20)]
    posts = [factories.post(authors[i % 20], f"p{i}", text="alike", at=NOW - timedelta(days=40)) for i in range(60)]
    factories.embed_all_posts()
    platform = Platform(factories.member("viewer"), {post.external_id: post for post in posts})
    for i in range(4):
        platform.like(factories.member(f"other-{i}"), "p0", "p1", "p2", "p3", "p4")
    return platform


def use_table(monkeypatch, platform, rows, *, scale=1.0):
    """Use an item weight table with these weights by target, by source."""
    ids = sorted(post.pk for post in platform.posts.values())
    by_id = {platform.posts[source].pk: row for source, row in rows.items()}
    entries = [
        sorted((ids.index(platform.posts[target].pk), weight) for target, weight in by_id.get(id, {}).items())
        for id in ids
    ]
    flat = [entry for row in entries for entry in row]
    table = ItemWeightTable(
        np.array(ids),
        np.cumsum([0, *map(len, entries)]),
        np.array([target for target, _ in flat], np.int32),
        np.array([round(weight * 2**14) for _, weight in flat], np.int16),
    )
    model = ActiveItemWeights(77, table, {"item_weights": scale})
    monkeypatch.setattr(TrainedModels, "item_weights", lambda _: model)


def pick_of(page, name):
    return next(pick for pick in page.picks if pick.post.id == name)


def test_a_like_brings_what_others_liked_with_it_and_after_it(platform):
    """The like is learned and counted; the next page follows it."""
    before = platform.serve()
    assert not any("co_liked" in pick.sources for pick in before.picks)
    platform.like(platform.viewer, "p0")
    page = platform.serve()
    best = page.picks[0]
    assert best.post.id == "p1"
    assert {"co_liked", "liked_next"} <= set(best.sources)
    assert Reason.LIKED in best.reasons
    assert "p0" not in [pick.post.id for pick in page.picks]


def test_a_rejection_lowers_what_others_liked_with_the_post(platform):
    platform.like(platform.viewer, "p0")
    platform.like(platform.viewer, "p4", kind="hide")
    platform.serve()
    row = FeedRequest.objects.latest("created_at")
    explanation = platform.explain(SimpleNamespace(request_id=row.pk), "p3")
    (co_liked,) = [because for because in explanation.because if because.part == "co_liked"]
    assert {reaction.post_id: reaction.value > 0 for reaction in co_liked.reactions} == {"p0": True, "p4": False}


def test_item_weights_are_a_source_and_a_part(platform, monkeypatch):
    use_table(monkeypatch, platform, {"p0": {"p40": 0.5, "p41": -0.5}, "p1": {"p40": 0.25}}, scale=0.25)
    platform.like(platform.viewer, "p0", "p1")
    page = platform.serve(explain=True)
    pick = pick_of(page, "p40")
    assert "item_weights" in pick.sources
    assert pick.parts["item_weights"] == Policy().item_weights * 3
    assert "p41" not in [pick.post.id for pick in page.picks]
    assert FeedRequest.objects.get(pk=page.request_id).trained_model_id == 77


def test_item_weights_use_a_like_before_hundreds_of_newer_reactions(platform, monkeypatch):
    use_table(monkeypatch, platform, {"p0": {"p40": 0.5}}, scale=0.25)
    platform.like(platform.viewer, "p0")
    others = 1_000_000 + np.arange(MAX_WEIGHTED - 1)
    history = np.concatenate([[platform.posts["p0"].pk], others, -others - MAX_WEIGHTED])
    ReactionHistory.objects.filter(member=platform.viewer).update(
        reactions=history.astype("<i8").tobytes(), reacted_at=np.arange(len(history), dtype="<f8").tobytes()
    )
    assert pick_of(platform.serve(explain=True), "p40").parts["item_weights"] == Policy().item_weights * 2


def test_the_named_reactions_add_up_to_the_part_to_the_last_bit(platform, monkeypatch):
    weights = {f"p{i}": {f"p{j}": (1 + i + 3 * j) / 271 for j in range(60) if j != i} for i in range(12)}
    use_table(monkeypatch, platform, weights, scale=0.7)
    platform.like(platform.viewer, *(f"p{i}" for i in range(9)))
    page = platform.serve(explain=True)
    for pick in page.picks:
        explanation = platform.explain(page, pick.post.id)
        parts = {because.part: because for because in explanation.because}
        assert parts.keys() == {name for name in ("item_weights", "co_liked", "liked_next") if pick.parts[name]}
        for name, because in parts.items():
            total = sum(reaction.value for reaction in because.reactions) + because.others
            assert np.float32(because.weight) * np.float32(total) == np.float32(pick.parts[name])


def test_a_reason_does_not_name_a_post_that_the_viewer_may_not_see_any_more(platform):
    platform.like(platform.viewer, "p0")
    page = platform.serve(explain=True)
    part = pick_of(page, "p1").parts["co_liked"]
    Post.objects.filter(external_id="p0").update(removed_at=NOW, changed_at=NOW)
    (because,) = [b for b in platform.explain(page, "p1").because if b.part == "co_liked"]
    assert because.reactions == ()
    assert np.float32(because.weight) * np.float32(because.others) == np.float32(part)


@pytest.mark.parametrize("engine", ["plain", "wasm_simd"])
def test_a_replayed_request_gives_the_same_bytes(platform, monkeypatch, engine):
    use_table(monkeypatch, platform, {"p0": {f"p{i}": i / 61 for i in range(1, 60)}})
    platform.like(platform.viewer, "p0", "p2")
    page = platform.serve()
    platform.like(platform.viewer, "p7", "p3")
    monkeypatch.setattr(TrainedModels, "item_weights", lambda _: None)
    assert replay.replay(request_id=page.request_id).is_identical


def test_a_member_who_opted_out_gets_nothing_from_their_likes(platform):
    platform.like(platform.viewer, "p0")
    platform.viewer.privacy.is_personalized = False
    platform.viewer.privacy.save()
    page = platform.serve(explain=True)
    assert not any(set(pick.sources) & {"co_liked", "liked_next"} for pick in page.picks)
    assert not any(pick.parts["co_liked"] for pick in page.picks)


def test_similar_posts_name_what_is_liked_with_the_post(platform, monkeypatch):
    use_table(monkeypatch, platform, {"p0": {"p30": 1.9}})
    page = find_similar(post_id="p0", viewer_id="viewer", limit=5, now=NOW)
    assert {pick.post.id for pick in page.picks[:3]} >= {"p30", "p1"}, "liked with it, and about the same"
    assert "item_weights" in pick_of(page, "p30").sources
    records.record_served(now=NOW)
    (because, *_) = platform.explain(page, "p30").because
    assert [reaction.post_id for reaction in because.reactions] == ["p0"]


def test_a_pair_that_too_few_members_support_is_not_served(platform, settings, monkeypatch):
    monkeypatch.setattr(settings.ENV, "co_like_min_members", 2)
    wiring.resident_co_likes.reset()
    platform.like(factories.member("lone"), "p50", "p51")
    platform.like(platform.viewer, "p50")
    page = platform.serve(explain=True)
    assert all(pick.parts["co_liked"] == 0 for pick in page.picks)
    platform.like(factories.member("second"), "p50", "p51")
    invalidate.retire_slates([platform.viewer.pk])
    page = platform.serve(explain=True)
    assert pick_of(page, "p51").parts["co_liked"] > 0


def test_graphql_and_rest_name_the_same_reactions(platform, client, settings, monkeypatch):
    monkeypatch.setattr(settings.ENV, "api_open", True)
    platform.like(platform.viewer, "p0")
    page = platform.serve()
    rest = client.get(f"/api/v1/requests/{page.request_id}/explain/p1?viewer_id=viewer").json()["because"]
    query = f"""{{ explain(requestId: "{page.request_id}", postId: "p1", viewerId: "viewer") {{
        because {{ part weight reactions {{ postId text value }} others }} }} }}"""
    graphql = client.post("/graphql", {"query": query}, content_type="application/json").json()["data"]["explain"]
    for because in graphql["because"]:
        for reaction in because["reactions"]:
            reaction["post_id"] = reaction.pop("postId")
    assert graphql["because"] == rest
    assert {because["part"]: because["reactions"][0]["post_id"] for because in rest} == {
        "co_liked": "p0",
        "liked_next": "p0",
    }
    assert rest[0]["reactions"][0]["text"] == "alike"


def test_an_emergency_evicts_the_co_likes(platform):
    platform.like(platform.viewer, "p0")
    platform.serve()
    before = metrics.CACHE_ENTRIES.labels("co_likes")._value.get()
    process_memory.evict_facts()
    assert metrics.CACHE_ENTRIES.labels("co_likes")._value.get() == 0 < before
