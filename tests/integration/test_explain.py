"""Why a post was shown or was not, to the byte; and nothing of what the viewer may not know."""

import zlib
from dataclasses import dataclass, replace
from datetime import timedelta
from io import StringIO
from uuid import uuid4

import numpy as np
import pytest
from django.core.management import CommandError, call_command

from recommendations import feeds
from recommendations.contracts import Policy, ranged_field
from recommendations.models import FeedInputs, FeedRequest, Member, NegativeFeedback, Post, PostEmbedding, ServedPage
from recommendations.pipeline.stages import explained_filter, mandatory_filter
from recommendations.services import wiring
from recommendations.services.errors import InputsUnavailable, PostNotVisible, UnknownRequest
from recommendations.services.explaining import replay
from recommendations.services.explaining.explain import explain
from recommendations.services.learning import learn
from recommendations.services.serving import inputs, records
from recommendations.services.serving.query import EngineAssignment
from recommendations.services.serving.recommend import recommend
from recommendations.services.serving.search import search
from recommendations.services.serving.similar import find_similar
from recommendations.services.upkeep import retention
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]


@pytest.fixture
def world(settings, monkeypatch):
    """Make a viewer with a taste, and more posts than a slate holds."""
    monkeypatch.setattr(settings.ENV, "replay_share", 1.0)
    viewer = factories.member("viewer")
    for name in range(40):
        factories.posts(factories.member(f"author-{name}"), 6, tags=[f"t{name % 7}"])
    factories.embed_all_posts()
    for post in Post.objects.order_by("pk")[:12]:
        factories.interaction(viewer, post, at=NOW - timedelta(hours=1))
    learn.learn_interactions(member_ids=[viewer.pk], now=NOW)
    return viewer


def serve_feed(**options):
    page = recommend(member_id="viewer", now=NOW, **options)
    records.record_served(now=NOW)
    return page


def explain_pick(page, post_id, viewer="viewer"):
    return explain(request_id=page.request_id, post_id=post_id, viewer_id=viewer, now=NOW)


@pytest.mark.parametrize("engine", ["plain", "wasm_simd"])
def test_every_pick_has_parts_that_sum_to_its_score_to_the_bit(world, monkeypatch, engine):
    monkeypatch.setattr(
        "recommendations.services.serving.recommend.assign_engine", lambda _: EngineAssignment(engine, "c")
    )
    page = serve_feed(limit=50)
    assert page.engine == engine
    for rank, pick in enumerate(page.picks, 1):
        found = explain_pick(page, pick.post.id)
        assert (found.status, found.rank) == ("shown", rank)
        assert np.float32(found.score) == np.float32(pick.score)
        assert found.sources == pick.sources
        assert found.reasons == pick.reasons


def test_a_pick_on_no_page_yet_is_ranked(world):
    page = serve_feed(limit=5)
    row = FeedRequest.objects.get()
    last = Post.objects.get(pk=np.frombuffer(row.post_ids, "<i8")[-1])
    assert explain_pick(page, last.external_id).status == "ranked"
    assert ServedPage.objects.get().request_id == page.request_id


def test_a_post_behind_the_slate_has_its_place_among_all(world):
    page = serve_feed(limit=5)
    row = FeedRequest.objects.get()
    slate = set(np.frombuffer(row.post_ids, "<i8").tolist())
    assert row.candidate_count > len(slate)
    behind = [explain_pick(page, post.external_id) for post in Post.objects.exclude(pk__in=slate)]
    found = [e for e in behind if e.status == "outranked"]
    assert len(found) == row.candidate_count - len(slate)
    assert min(e.rank for e in found) > len(slate)
    assert all(e.ranked_count == row.candidate_count for e in found)


@pytest.mark.parametrize(
    ("name", "wish"),
    [
        ("not_muted", lambda v, p: factories.mute(v, p.author)),
        (
            "not_hidden",
            lambda v, p: NegativeFeedback.objects.create(
                member=v, target="post", target_key=p.pk, post=p, event_id="e", created_at=NOW
            ),
        ),
        ("not_seen", lambda v, p: v.seen_posts.create(post=p, seen_at=NOW)),
        (
            "in_readable_language",
            lambda v, p: (
                Member.objects.filter(pk=v.pk).update(languages=["de"]),
                Post.objects.filter(pk=p.pk).update(language="en"),
            ),
        ),
    ],
)
def test_the_viewers_own_wish_is_named(world, name, wish):
    post = Post.objects.order_by("-pk").first()
    wish(world, post)
    found = explain_pick(serve_feed(), post.external_id)
    assert (found.status, found.filter) == ("filtered", name)
    assert found.parts is None


def test_a_filter_that_is_added_to_a_feed_explains_what_it_drops(world, monkeypatch):
    """By its own name and sentence: no other file has to know of it."""
    post = Post.objects.order_by("-pk").first()

    @explained_filter("You asked for posts with a picture.")
    def has_picture(query, candidates):
        return candidates.post_ids != post.pk

    monkeypatch.setattr(feeds, "PREFERENCE_FILTERS", (*feeds.PREFERENCE_FILTERS, has_picture))
    found = explain_pick(serve_feed(), post.external_id)
    assert (found.status, found.filter) == ("filtered", "has_picture")
    assert found.sentence == "You asked for posts with a picture."


def test_a_mandatory_filter_that_is_added_to_a_feed_tells_nothing(world, monkeypatch):
    """A post that it drops is as unknown as one that is not there."""
    page, post = serve_feed(), Post.objects.order_by("-pk").first()
    monkeypatch.setattr(
        feeds, "MANDATORY_FILTERS", (*feeds.MANDATORY_FILTERS, mandatory_filter(lambda query, c: c.post_ids != post.pk))
    )
    with pytest.raises(PostNotVisible):
        explain_pick(page, post.external_id)


def test_what_the_viewer_may_not_know_is_as_unknown_as_what_is_not_there(world):
    """Who blocked whom, what is private, what was removed: one and the same answer."""
    page = serve_feed()
    post, private, removed = Post.objects.order_by("-pk")[:3]
    factories.block(post.author, world)
    Post.objects.filter(pk=private.pk).update(visibility=3)
    Post.objects.filter(pk=removed.pk).update(removed_at=NOW)
    answers = set()
    for name in (post.external_id, private.external_id, removed.external_id, "none at all"):
        with pytest.raises(PostNotVisible) as refused:
            explain_pick(page, name)
        answers.add(str(refused.value).replace(name, "…"))
    assert len(answers) == 1


def test_a_request_is_its_viewers_only(world):
    page = serve_feed()
    factories.member("somebody")
    for request_id, viewer in ((page.request_id, "somebody"), (uuid4(), "viewer")):
        with pytest.raises(UnknownRequest):
            explain(request_id=request_id, post_id=page.picks[0].post.id, viewer_id=viewer, now=NOW)


@pytest.mark.parametrize("engine", ["plain", "wasm_simd"])
@pytest.mark.parametrize("feed", ["discovery", "following", "trending", "non_personalized"])
def test_a_request_is_ranked_again_to_the_same_bytes(world, monkeypatch, engine, feed):
    monkeypatch.setattr(
        "recommendations.services.serving.recommend.assign_engine", lambda _: EngineAssignment(engine, "c")
    )
    for author in Member.objects.filter(external_id__startswith="author")[:9]:
        factories.follow(world, author)
    page = serve_feed(feed=feed, limit=20)
    assert page.picks
    wiring.reset_parts()
    assert replay.replay(request_id=page.request_id).is_identical


@dataclass(frozen=True, slots=True)
class LaterPolicy(Policy):
    """The settings of a later release: another default, and the weight of a part more."""

    taste: float = ranged_field(9.0, 0, 10, "Weight of the similarity to what the viewer liked.")
    sparkle: float = ranged_field(5.0, 0, 10, "Weight of a new part.")


@dataclass(frozen=True, slots=True)
class WrongPolicy(Policy):
    """The settings of a release that gave a new part a neutral value which has a say."""

    sparkle: float = ranged_field(5.0, 0, 10, "Weight of a new part.", neutral=5)


class Sparkle:
    """A score part of a later release."""

    name = "sparkle"

    def __call__(self, query, candidates):
        return (candidates.post_ids % 7).astype(np.float32)


def later(feed):
    """Return *feed* as a later release has it: with one scorer more, in front of the others."""

    def changed(**parts):
        pipeline = feed(**parts)
        return replace(pipeline, scorers=(Sparkle(), *pipeline.scorers))

    return changed


@pytest.mark.parametrize("engine", ["plain", "wasm_simd"])
@pytest.mark.parametrize("feed", ["discovery", "trending"])
def test_a_request_of_an_earlier_release_is_ranked_again_to_the_same_bytes(world, monkeypatch, engine, feed):
    """Whatever columns, fields, settings and score parts were added or removed since, as long as none has a say."""
    assigned = EngineAssignment(engine, "c")
    monkeypatch.setattr("recommendations.services.serving.recommend.assign_engine", lambda _: assigned)
    page = serve_feed(feed=feed, limit=20)
    row = FeedInputs.objects.get()
    unused = ("c.visibility", "c.is_seen", "c.sensitivity", "region_id")
    packed = factories.other_release(zlib.decompress(row.packed_inputs), without=unused, **{"c.gone": np.ones(3)})
    FeedInputs.objects.update(packed_inputs=zlib.compress(packed))
    monkeypatch.setattr(inputs, "Policy", LaterPolicy)
    monkeypatch.setattr(feeds, feed, later(getattr(feeds, feed)))
    wiring.reset_parts()
    assert replay.replay(request_id=page.request_id).is_identical
    slate = set(np.frombuffer(FeedRequest.objects.get().post_ids, "<i8").tolist())
    behind = [explain_pick(page, post.external_id) for post in Post.objects.exclude(pk__in=slate)[:5]]
    assert {found.status for found in behind} <= {"outranked", "not_found"}


def test_a_part_that_was_added_and_has_a_say_is_no_replay_of_the_same(world, monkeypatch):
    page = serve_feed()
    monkeypatch.setattr(inputs, "Policy", WrongPolicy)
    monkeypatch.setattr(feeds, "discovery", later(feeds.discovery))
    assert not replay.replay(request_id=page.request_id).is_identical


def test_a_spoiled_record_is_told_from_a_true_one(world):
    page = serve_feed()
    row = FeedRequest.objects.get()
    order = np.frombuffer(row.post_ids, "<i8")[::-1].tobytes()
    FeedRequest.objects.update(post_ids=order)
    assert not replay.replay(request_id=page.request_id).is_identical


def test_without_its_inputs_a_request_is_not_ranked_again(world):
    page = serve_feed()
    again = f"{page.request_id}"
    out = StringIO()
    call_command("replay", again, stdout=out)
    assert "byte for byte" in out.getvalue()
    PostEmbedding.objects.update(changed_at=NOW + timedelta(days=1))
    with pytest.raises(InputsUnavailable, match="another vector"):
        replay.replay(request_id=page.request_id)
    PostEmbedding.objects.filter(post__external_id=page.picks[0].post.id).delete()
    PostEmbedding.objects.update(changed_at=NOW)
    with pytest.raises(InputsUnavailable, match="no vector"):
        replay.replay(request_id=page.request_id)
    retention.delete_expired_records(now=NOW + timedelta(days=6))
    assert FeedInputs.objects.count() == 1
    retention.delete_expired_records(now=NOW + timedelta(days=8))
    assert FeedInputs.objects.count() == 0
    with pytest.raises(CommandError, match="not kept"):
        call_command("replay", again)


def test_only_a_share_of_requests_keeps_its_inputs(world, settings, monkeypatch):
    monkeypatch.setattr(settings.ENV, "replay_share", 0.0)
    page = serve_feed()
    assert not FeedInputs.objects.exists()
    slate = np.frombuffer(FeedRequest.objects.get().post_ids, "<i8").tolist()
    behind = Post.objects.exclude(pk__in=slate).last()
    assert explain_pick(page, behind.external_id).status in ("not_in_slate", "filtered")


def test_the_api_says_the_same(world, client, settings, monkeypatch):
    page = serve_feed()
    pick = page.picks[0]
    monkeypatch.setattr(settings.ENV, "api_open", True)
    address = f"/api/v1/requests/{page.request_id}/explain/{pick.post.id}"
    answer = client.get(address, {"viewer": "viewer"}).json()
    missing = client.get(address)
    assert (answer["status"], answer["rank"]) == ("shown", 1)
    assert missing.status_code == 400


@pytest.mark.parametrize("door", ["similar", "search"])
def test_similar_and_found_posts_are_explained_too(fresh_wiring, door):
    factories.member("seeker")
    rows = factories.posts(factories.member(), 12)
    factories.embed_all_posts()
    page = (
        find_similar(post_id=rows[0].external_id, viewer_id="seeker", limit=3, now=NOW)
        if door == "similar"
        else search(viewer_id="seeker", space="content", text="about post", limit=3, now=NOW)
    )
    records.record_served(now=NOW)
    found = explain(request_id=page.request_id, post_id=page.picks[1].post.id, viewer_id="seeker", now=NOW)
    assert (found.status, found.rank) == ("shown", 2)
    assert found.parts == pytest.approx(page.picks[1].parts) and sum(found.parts.values()) == pytest.approx(found.score)
