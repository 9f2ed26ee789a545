"""A new model serves once it has embedded everything, in every process and never half."""

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pytest
from django.conf import settings

from recommendations.contracts import UNKNOWN, IndexFilter
from recommendations.embedders import registry
from recommendations.embedders.registry import EmbedderError
from recommendations.embedders.tiny import TinyText
from recommendations.models import EmbeddingModel, InterestProfile, Job, Post, PostEmbedding
from recommendations.ports import VectorError, VectorIndexError
from recommendations.services import wiring
from recommendations.services.learning.learn import learn_interactions
from recommendations.services.serving.recommend import recommend
from recommendations.services.serving.search import search
from recommendations.services.serving.similar import find_similar
from recommendations.services.vectors import embedding_models
from tests.factories import NOW, interaction, member, post

pytestmark = pytest.mark.django_db


@dataclass(frozen=True)
class OtherText(TinyText):
    """A second model, of another dimension."""

    dimension: int = 32


@pytest.fixture
def other_model(monkeypatch):
    """Let EMBEDDER=fastembed mean a small model, and choose it when called."""
    real = registry.get_embedder
    monkeypatch.setattr(
        wiring, "get_embedder", lambda name, model="": OtherText() if name == "fastembed" else real(name, model)
    )

    def choose():
        monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update={"embedder": "fastembed"}))

    return choose


def states():
    return dict(EmbeddingModel.objects.values_list("name", "state"))


def test_a_new_model_builds_beside_the_old_one_and_takes_over_at_once(fresh_wiring, other_model):
    ann, bob = member("ann"), member("bob")
    for name in ("one", "two"):
        post(ann, name, text="a film about war")
    embedding_models.embed_due_posts(now=NOW)
    assert states() == {"tiny-hash-64@1": "active"}
    assert [pick.post.id for pick in find_similar(post_id="one", viewer_id="bob", now=NOW).picks] == ["two"]

    other_model()
    wiring.reset_parts()
    assert wiring.embedder().name == "tiny-hash-64@1", "until the new one is through, the old one serves"
    embedding_models.embed_due_posts(now=NOW + timedelta(minutes=1))
    assert states() == {"tiny-hash-64@1": "retired", "tiny-hash-32@1": "active"}
    assert EmbeddingModel.objects.get(name="tiny-hash-32@1").embedded_count == 2
    assert PostEmbedding.objects.count() == 4
    assert Job.objects.get().kind == Job.Kind.REBUILD_INTERESTS, "interests are learned anew in the new space"

    wiring.sync_embedding_models(NOW, must_be_current=True)
    assert (wiring.embedder().dimension, wiring.engines()["plain"].dimension) == (32, 32)
    assert [pick.post.id for pick in find_similar(post_id="one", viewer_id=bob.external_id, now=NOW).picks] == ["two"]


def test_what_is_kept_by_the_old_model_is_not_used_by_the_new_one(fresh_wiring, other_model):
    """Caches of vectors go with their model: what is learned after the switch is learned in the new space."""
    ann, bob = member("ann"), member("bob")
    liked = post(ann, "liked", text="a film about war")
    embedding_models.embed_due_posts(now=NOW)
    interaction(bob, liked)
    learn_interactions(member_ids=[bob.pk], now=NOW)
    page = recommend(member_id="bob", now=NOW)
    assert len(wiring.resident_profiles()) == 1 and wiring.post_vector_cache().get([liked.pk], NOW.timestamp())

    other_model()
    embedding_models.embed_due_posts(now=NOW + timedelta(minutes=1))
    wiring.sync_embedding_models(NOW, must_be_current=True)
    assert len(wiring.resident_profiles()) == 0 and not wiring.post_vector_cache().get([liked.pk], NOW.timestamp())
    interaction(bob, post(ann, "also", text="soldiers"))
    embedding_models.embed_due_posts(now=NOW + timedelta(minutes=2))
    learn_interactions(member_ids=[bob.pk], now=NOW + timedelta(minutes=2))
    profile = InterestProfile.objects.get(member=bob)
    assert (profile.embedding_model, profile.dimension) == ("tiny-hash-32@1", 32)
    assert wiring.resident_facts().get_history(bob.pk, wiring.resident_profiles()).profile.likes.shape[1] == 32
    assert page.fallback == ""


@pytest.mark.parametrize("door", ["discovery", "similar", "search"])
def test_a_request_is_served_by_one_model_though_another_takes_over_in_the_middle(
    fresh_wiring, other_model, monkeypatch, door
):
    """The switch comes from another thread, right after the request has begun: its vectors meet no other rows."""
    ann, bob = member("ann"), member("bob")
    for name in ("one", "two"):
        post(ann, name, text="a film about war")
    embedding_models.embed_due_posts(now=NOW)
    interaction(bob, Post.objects.get(external_id="one"))
    learn_interactions(member_ids=[bob.pk], now=NOW)
    other_model()
    real, used = wiring.policies, []

    def switch_and_go_on():
        if not used:
            embedding_models.embed_due_posts(now=NOW + timedelta(minutes=1))
            wiring.vector_parts_holder().sync(NOW, must_be_current=True)
        used.append(wiring.engines()["plain"].dimension)
        return real()

    wiring.policies()
    asked = {
        "discovery": lambda: recommend(member_id="bob", now=NOW),
        "similar": lambda: find_similar(post_id="one", viewer_id="bob", now=NOW),
        "search": lambda: search(viewer_id="bob", space="content", text="war film", now=NOW),
    }[door]
    with monkeypatch.context() as patch:
        patch.setattr(wiring, "policies", switch_and_go_on)
        page = asked()
    assert set(used) == {64} and page.fallback == "" and page.engine == "wasm_simd"
    assert "two" in [pick.post.id for pick in page.picks]
    assert wiring.embedder().dimension == 32, "the next request is served by the new model"
    wiring.slate_cache().purge([bob.pk])
    page = asked()
    assert page.fallback == "" and "two" in [pick.post.id for pick in page.picks]


def test_vectors_of_the_platform_are_checked_and_served_in_their_space(fresh_wiring):
    ann = member("ann")
    one, two = post(ann, "one"), post(ann, "two", sensitivity=1)
    pictures = np.eye(2, 8, dtype=np.float32) * 3
    with pytest.raises(VectorIndexError, match="No embedding model is active"):
        wiring.space_index("image")
    missing = embedding_models.store_vectors(
        space="image", model="theirs@1", post_ids=["one", "none"], vectors=pictures, now=NOW
    )
    assert missing == ["none"]
    assert (
        embedding_models.store_vectors(space="image", model="theirs@1", post_ids=["two"], vectors=pictures[1:], now=NOW)
        == []
    )
    for wrong, why in (
        ({"vectors": pictures[:, :7]}, "8 to 4096"),
        ({"vectors": pictures[:1]}, "one vector per post"),
        ({"vectors": np.eye(2, 9)}, "not 9"),
        ({"vectors": pictures * np.nan}, "NaN"),
        ({"space": "content"}, "EMBEDDER fills"),
    ):
        asked = {"space": "image", "model": "theirs@1", "post_ids": ["one", "two"], "vectors": pictures, "now": NOW}
        with pytest.raises(VectorError, match=why):
            embedding_models.store_vectors(**asked | wrong)

    wiring.sync_embedding_models(NOW, must_be_current=True)
    index = wiring.space_index("image")
    ids, cosines = index.nearest(np.eye(1, 8, dtype=np.float32), 2, IndexFilter(max_sensitivity=1))
    assert (ids[0].tolist(), cosines[0].tolist()) == ([one.pk, two.pk], [1, 0])
    assert index.nearest(np.eye(1, 8, dtype=np.float32), 2, IndexFilter())[0][0].tolist() == [one.pk, UNKNOWN]
    with pytest.raises(EmbedderError, match="the platform sends its vectors"):
        wiring.embedder_for("image")
