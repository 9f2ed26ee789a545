"""Explanations of why a post was shown or not, exact to the byte, which disclose nothing the viewer may not know."""

import json
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
from recommendations.services.serving import inputs, records, refresh
from recommendations.services.serving.query import EngineAssignment
from recommendations.services.serving.recommend import recommend
from recommendations.services.serving.search import search
from recommendations.services.serving.similar import find_similar
from recommendations.services.upkeep import retention
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]


@pytest.fixture
def viewer(settings, monkeypatch):
    """Create a viewer with interests, and more posts than fit into a slate."""
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


def explain_pick(page, post_id):
    return explain(request_id=page.request_id, post_id=post_id, viewer_id="viewer", now=NOW)


@pytest.mark.parametrize("engine", ["plain", "wasm_simd"])
def test_the_parts_of_every_pick_sum_to_its_score_bit_for_bit(viewer, monkeypatch, engine):
    monkeypatch.setattr(
        "recommendations.services.serving.recommend.assign_engine", lambda _: EngineAssignment(engine, "c")
    )
    page = serve_feed(limit=50)
    assert page.engine == engine
    for rank, pick in enumerate(page.picks, 1):
        explanation = explain_pick(page, pick.post.id)
        assert (explanation.status, explanation.rank) == ("served", rank)
        assert np.float32(explanation.score) == np.float32(pick.score)
        assert explanation.sources == pick.sources
        assert explanation.reasons == pick.reasons


def serve_similar():
    return find_similar(post_id=Post.objects.first().external_id, viewer_id="viewer", now=NOW)


@pytest.mark.parametrize("serve", [lambda: recommend(member_id="viewer", now=NOW), serve_similar])
def test_a_pick_is_explained_before_a_worker_has_recorded_it(viewer, serve):
    page = serve()
    unrecorded = {pick.post.id: explain_pick(page, pick.post.id) for pick in page.picks}
    assert not FeedRequest.objects.exists()
    assert {explanation.status for explanation in unrecorded.values()} == {"served"}
    assert all(explanation.parts for explanation in unrecorded.values())
    records.record_served(now=NOW)
    assert FeedRequest.objects.count() == 1
    assert unrecorded == {pick.post.id: explain_pick(page, pick.post.id) for pick in page.picks}
    with pytest.raises(UnknownRequest):
        explain(request_id=page.request_id, post_id=page.picks[0].post.id, viewer_id="author-1", now=NOW)


@pytest.mark.parametrize(
    "build",
    [
        lambda viewer: recommend(member_id="viewer", now=NOW),
        lambda viewer: refresh.refresh_slate(member_id=viewer.pk, feed="discovery", now=NOW),
    ],
)
def test_a_cached_page_has_its_score_parts_before_a_worker_has_recorded_them(viewer, build):
    build(viewer)
    first = recommend(member_id="viewer", explain=True, now=NOW)
    second = recommend(member_id="viewer", explain=True, cursor=first.next_cursor, now=NOW)
    assert first.is_cached and second.is_cached and not FeedRequest.objects.exists()
    for pick in (*first.picks, *second.picks):
        parts = np.array(list(pick.parts.values()), np.float32)
        assert np.cumsum(parts, dtype=np.float32)[-1] == pytest.approx(pick.score, abs=1e-3)


def test_a_pick_on_no_page_yet_has_the_status_ranked(viewer):
    page = serve_feed(limit=5)
    row = FeedRequest.objects.get()
    last = Post.objects.get(pk=np.frombuffer(row.post_ids, "<i8")[-1])
    assert explain_pick(page, last.external_id).status == "ranked"
    assert ServedPage.objects.get().request_id == page.request_id


def test_a_post_behind_the_slate_has_its_rank_among_all_candidates(viewer):
    page = serve_feed(limit=5)
    row = FeedRequest.objects.get()
    slate = set(np.frombuffer(row.post_ids, "<i8").tolist())
    assert row.candidate_count > len(slate)
    explanations = [explain_pick(page, post.external_id) for post in Post.objects.exclude(pk__in=slate)]
    outranked = [e for e in explanations if e.status == "outranked"]
    assert len(outranked) == row.candidate_count - len(slate)
    assert min(e.rank for e in outranked) > len(slate)
    assert all(e.ranked_count == row.candidate_count for e in outranked)


@pytest.mark.parametrize(
    ("name", "change"),
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
def test_the_preference_filter_that_dropped_a_post_is_named(viewer, name, change):
    post = Post.objects.order_by("-pk").first()
    change(viewer, post)
    explanation = explain_pick(serve_feed(), post.external_id)
    assert (explanation.status, explanation.filter) == ("filtered", name)
    assert explanation.parts is None


def test_a_new_preference_filter_explains_the_posts_it_drops(viewer, monkeypatch):
    """With its own name and sentence. No other file has to change."""
    post = Post.objects.order_by("-pk").first()

    @explained_filter("You asked for posts with a picture.")
    def has_picture(query, candidates):
        return candidates.post_ids != post.pk

    monkeypatch.setattr(feeds, "PREFERENCE_FILTERS", (*feeds.PREFERENCE_FILTERS, has_picture))
    explanation = explain_pick(serve_feed(), post.external_id)
    assert (explanation.status, explanation.filter) == ("filtered", "has_picture")
    assert explanation.sentence == "You asked for posts with a picture."


def test_a_new_mandatory_filter_discloses_nothing(viewer, monkeypatch):
    """A post that it drops gets the same error as a missing post."""
    page, post = serve_feed(), Post.objects.order_by("-pk").first()
    monkeypatch.setattr(
        feeds, "MANDATORY_FILTERS", (*feeds.MANDATORY_FILTERS, mandatory_filter(lambda query, c: c.post_ids != post.pk))
    )
    with pytest.raises(PostNotVisible):
        explain_pick(page, post.external_id)


def test_hidden_posts_get_the_same_error_as_missing_posts(viewer):
    """A blocked author's, a private, a removed and a missing post give the same error."""
    page = serve_feed()
    post, private, removed = Post.objects.order_by("-pk")[:3]
    factories.block(post.author, viewer)
    Post.objects.filter(pk=private.pk).update(visibility=3)
    Post.objects.filter(pk=removed.pk).update(removed_at=NOW)
    messages = set()
    for name in (post.external_id, private.external_id, removed.external_id, "none at all"):
        with pytest.raises(PostNotVisible) as error:
            explain_pick(page, name)
        messages.add(str(error.value).replace(name, "…"))
    assert len(messages) == 1


def test_a_request_is_explained_to_its_own_viewer_only(viewer):
    page = serve_feed()
    factories.member("somebody")
    for request_id, viewer_id in ((page.request_id, "somebody"), (uuid4(), "viewer")):
        with pytest.raises(UnknownRequest):
            explain(request_id=request_id, post_id=page.picks[0].post.id, viewer_id=viewer_id, now=NOW)


@pytest.mark.parametrize("engine", ["plain", "wasm_simd"])
@pytest.mark.parametrize("feed", ["discovery", "following", "trending", "non_personalized"])
def test_a_replayed_request_gives_the_same_bytes(viewer, monkeypatch, engine, feed):
    monkeypatch.setattr(
        "recommendations.services.serving.recommend.assign_engine", lambda _: EngineAssignment(engine, "c")
    )
    for author in Member.objects.filter(external_id__startswith="author")[:9]:
        factories.follow(viewer, author)
    page = serve_feed(feed=feed, limit=20)
    assert page.picks
    wiring.reset_parts()
    assert replay.replay(request_id=page.request_id).is_identical


@dataclass(frozen=True, slots=True)
class LaterPolicy(Policy):
    """The settings of a later release: another default, and the weight of a new part."""

    taste: float = ranged_field(9.0, 0, 10, "Weight of the similarity to what the viewer liked.")
    sparkle: float = ranged_field(5.0, 0, 10, "Weight of a new part.")


@dataclass(frozen=True, slots=True)
class WrongPolicy(Policy):
    """The settings of a release whose new part wrongly has a neutral value that changes scores."""

    sparkle: float = ranged_field(5.0, 0, 10, "Weight of a new part.", neutral=5)


class Sparkle:
    """A score part of a later release."""

    name = "sparkle"

    def __call__(self, query, candidates):
        return (candidates.post_ids % 7).astype(np.float32)


def add_sparkle(feed):
    """Return *feed* as in a later release: with one more scorer, in front of the others."""

    def with_sparkle(**parts):
        pipeline = feed(**parts)
        return replace(pipeline, scorers=(Sparkle(), *pipeline.scorers))

    return with_sparkle


@pytest.mark.parametrize("engine", ["plain", "wasm_simd"])
@pytest.mark.parametrize("feed", ["discovery", "trending"])
def test_a_replayed_request_of_an_earlier_release_gives_the_same_bytes(viewer, monkeypatch, engine, feed):
    """For any columns, fields, settings and score parts added or removed since, as long as they change no score."""
    assigned = EngineAssignment(engine, "c")
    monkeypatch.setattr("recommendations.services.serving.recommend.assign_engine", lambda _: assigned)
    page = serve_feed(feed=feed, limit=20)
    row = FeedInputs.objects.get()
    unused = ("c.visibility", "c.is_seen", "c.sensitivity", "region_id")
    packed = factories.other_release(zlib.decompress(row.packed_inputs), without=unused, **{"c.gone": np.ones(3)})
    FeedInputs.objects.update(packed_inputs=zlib.compress(packed))
    monkeypatch.setattr(inputs, "Policy", LaterPolicy)
    monkeypatch.setattr(feeds, feed, add_sparkle(getattr(feeds, feed)))
    wiring.reset_parts()
    assert replay.replay(request_id=page.request_id).is_identical
    slate = set(np.frombuffer(FeedRequest.objects.get().post_ids, "<i8").tolist())
    explanations = [explain_pick(page, post.external_id) for post in Post.objects.exclude(pk__in=slate)[:5]]
    assert {explanation.status for explanation in explanations} <= {"outranked", "not_a_candidate"}


def test_a_new_part_that_changes_scores_is_not_identical(viewer, monkeypatch):
    page = serve_feed()
    monkeypatch.setattr(inputs, "Policy", WrongPolicy)
    monkeypatch.setattr(feeds, "discovery", add_sparkle(feeds.discovery))
    assert not replay.replay(request_id=page.request_id).is_identical


def test_a_modified_record_is_not_identical(viewer):
    page = serve_feed()
    row = FeedRequest.objects.get()
    order = np.frombuffer(row.post_ids, "<i8")[::-1].tobytes()
    FeedRequest.objects.update(post_ids=order)
    assert not replay.replay(request_id=page.request_id).is_identical
    with pytest.raises(CommandError, match=f"The result of {row.engine} differs from the served slate"):
        call_command("replay", str(page.request_id))


def test_a_record_without_some_of_its_score_parts_is_not_identical(viewer):
    page = serve_feed()
    row = FeedRequest.objects.get()
    FeedRequest.objects.update(parts=bytes(row.parts)[:-4])
    assert not replay.replay(request_id=page.request_id).is_identical
    with pytest.raises(UnknownRequest):
        replay.replay(request_id=uuid4())


def test_inputs_of_an_incompatible_release_cannot_be_replayed(viewer):
    page = serve_feed()
    row = FeedInputs.objects.get()
    line, _, body = zlib.decompress(row.packed_inputs).partition(b"\n")
    head = json.loads(line)
    line = json.dumps(head | {"version": head["version"] + 1}).encode()
    FeedInputs.objects.update(packed_inputs=zlib.compress(line + b"\n" + body))
    with pytest.raises(InputsUnavailable, match="stored by an incompatible release"):
        replay.replay(request_id=page.request_id)


def test_a_request_without_its_inputs_cannot_be_replayed(viewer):
    page = serve_feed()
    request_id = f"{page.request_id}"
    out = StringIO()
    call_command("replay", request_id, stdout=out)
    assert "byte for byte" in out.getvalue()
    PostEmbedding.objects.update(changed_at=NOW + timedelta(days=1))
    with pytest.raises(InputsUnavailable, match="the vector of a post has changed"):
        replay.replay(request_id=page.request_id)
    PostEmbedding.objects.filter(post__external_id=page.picks[0].post.id).delete()
    PostEmbedding.objects.update(changed_at=NOW)
    with pytest.raises(InputsUnavailable, match="a post has no vector"):
        replay.replay(request_id=page.request_id)
    retention.delete_expired_records(now=NOW + timedelta(days=6))
    assert FeedInputs.objects.count() == 1
    retention.delete_expired_records(now=NOW + timedelta(days=8))
    assert FeedInputs.objects.count() == 0
    with pytest.raises(CommandError, match="its inputs were not stored, or have expired"):
        call_command("replay", request_id)


def test_only_the_replay_share_of_requests_stores_its_inputs(viewer, settings, monkeypatch):
    monkeypatch.setattr(settings.ENV, "replay_share", 0.0)
    page = serve_feed()
    assert not FeedInputs.objects.exists()
    slate = np.frombuffer(FeedRequest.objects.get().post_ids, "<i8").tolist()
    unpicked = Post.objects.exclude(pk__in=slate).last()
    assert explain_pick(page, unpicked.external_id).status in ("not_in_slate", "filtered")


def test_the_api_returns_the_explanation(viewer, client, settings, monkeypatch):
    page = serve_feed()
    pick = page.picks[0]
    monkeypatch.setattr(settings.ENV, "api_open", True)
    path = f"/api/v1/requests/{page.request_id}/explain/{pick.post.id}"
    body = client.get(path, {"viewer_id": "viewer"}).json()
    without_viewer = client.get(path)
    assert (body["status"], body["rank"]) == ("served", 1)
    assert without_viewer.status_code == 400


@pytest.mark.parametrize("entry_point", ["similar", "search"])
def test_similar_posts_and_search_results_are_explained(fresh_wiring, entry_point):
    factories.member("seeker")
    rows = factories.posts(factories.member(), 12)
    factories.embed_all_posts()
    page = (
        find_similar(post_id=rows[0].external_id, viewer_id="seeker", limit=3, now=NOW)
        if entry_point == "similar"
        else search(viewer_id="seeker", space="content", text="about post", limit=3, now=NOW)
    )
    records.record_served(now=NOW)
    explanation = explain(request_id=page.request_id, post_id=page.picks[1].post.id, viewer_id="seeker", now=NOW)
    assert (explanation.status, explanation.rank) == ("served", 2)
    assert explanation.parts == pytest.approx(page.picks[1].parts) and sum(explanation.parts.values()) == pytest.approx(
        explanation.score
    )
