"""A new embedding model serves only after it has embedded every post, in every process at the same time."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pytest
from django.conf import settings
from django.db import connection

from recommendations.contracts import UNKNOWN, IndexFilter
from recommendations.embedders import registry
from recommendations.embedders.registry import EmbedderError
from recommendations.embedders.tiny import TinyText
from recommendations.models import EmbeddingModel, InterestProfile, Job, Post, PostEmbedding
from recommendations.ports import VectorError, VectorIndexError
from recommendations.services import wiring
from recommendations.services.content.ingest import ingest_items
from recommendations.services.learning.learn import learn_interactions
from recommendations.services.serving.recommend import recommend
from recommendations.services.serving.search import search
from recommendations.services.serving.similar import find_similar
from recommendations.services.vectors import embedding, embedding_models
from tests.factories import NOW, interaction, member, post

pytestmark = pytest.mark.django_db


@dataclass(frozen=True)
class OtherText(TinyText):
    """A second model, of another dimension."""

    dimension: int = 32


@pytest.fixture
def other_model(monkeypatch):
    """Make EMBEDDER=fastembed a small model. Return a function that configures it."""
    real = registry.get_embedder
    monkeypatch.setattr(
        wiring, "get_embedder", lambda name, model="": OtherText() if name == "fastembed" else real(name, model)
    )

    def choose():
        monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update={"embedder": "fastembed"}))

    return choose


def states():
    return dict(EmbeddingModel.objects.values_list("name", "state"))


def test_a_new_model_builds_beside_the_old_one_and_then_replaces_it(fresh_wiring, other_model):
    ann, bob = member("ann"), member("bob")
    for name in ("one", "two"):
        post(ann, name, text="a film about war")
    embedding_models.embed_due_posts(now=NOW)
    assert states() == {"tiny-hash-64@1": "active"}
    assert [pick.post.id for pick in find_similar(post_id="one", viewer_id="bob", now=NOW).picks] == ["two"]

    other_model()
    wiring.reset_parts()
    assert wiring.embedder().name == "tiny-hash-64@1", "the old model serves until the new one is complete"
    embedding_models.embed_due_posts(now=NOW + timedelta(minutes=1))
    assert states() == {"tiny-hash-64@1": "retired", "tiny-hash-32@1": "active"}
    assert EmbeddingModel.objects.get(name="tiny-hash-32@1").embedded_count == 2
    assert PostEmbedding.objects.count() == 4
    assert Job.objects.get().kind == Job.Kind.REBUILD_INTERESTS, "interests are rebuilt in the new space"

    wiring.sync_embedding_models(NOW, must_be_current=True)
    assert (wiring.embedder().dimension, wiring.engines()["plain"].dimension) == (32, 32)
    assert [pick.post.id for pick in find_similar(post_id="one", viewer_id=bob.external_id, now=NOW).picks] == ["two"]


def test_caches_of_the_old_model_are_not_used_with_the_new_one(fresh_wiring, other_model):
    """Cached vectors belong to their model, and interests learned after the switch are in the new space."""
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


@pytest.mark.parametrize("entry_point", ["discovery", "similar", "search"])
def test_a_request_uses_one_model_even_if_another_is_activated_meanwhile(
    fresh_wiring, other_model, monkeypatch, entry_point
):
    """The switch happens right after the start of the request: its vectors are compared only with their own rows."""
    ann, bob = member("ann"), member("bob")
    for name in ("one", "two"):
        post(ann, name, text="a film about war")
    embedding_models.embed_due_posts(now=NOW)
    interaction(bob, Post.objects.get(external_id="one"))
    learn_interactions(member_ids=[bob.pk], now=NOW)
    other_model()
    real, dimensions = wiring.policies, []

    def switch_and_return_policies():
        is_first = not dimensions  # the catalogue of the new model reads the policies as well, during the switch
        dimensions.append(wiring.engines()["plain"].dimension)
        if is_first:
            embedding_models.embed_due_posts(now=NOW + timedelta(minutes=1))
            wiring.vector_parts_holder().sync(NOW, must_be_current=True)
        return real()

    wiring.policies()
    request = {
        "discovery": lambda: recommend(member_id="bob", now=NOW),
        "similar": lambda: find_similar(post_id="one", viewer_id="bob", now=NOW),
        "search": lambda: search(viewer_id="bob", space="content", text="war film", now=NOW),
    }[entry_point]
    with monkeypatch.context() as patch:
        patch.setattr(wiring, "policies", switch_and_return_policies)
        page = request()
    assert set(dimensions) == {64} and page.fallback == "" and page.engine == "wasm_simd"
    assert "two" in [pick.post.id for pick in page.picks]
    assert wiring.embedder().dimension == 32, "the next request is served by the new model"
    wiring.slate_cache().purge([bob.pk])
    page = request()
    assert page.fallback == "" and "two" in [pick.post.id for pick in page.picks]


def test_supplied_vectors_are_validated_and_searched_in_their_space(fresh_wiring):
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
    for invalid, message in (
        ({"vectors": pictures[:, :7]}, "8 to 4096"),
        ({"vectors": pictures[:1]}, "one vector per post"),
        ({"vectors": np.eye(2, 9)}, "not 9"),
        ({"vectors": pictures * np.nan}, "NaN"),
        ({"space": "content"}, "EMBEDDER fills"),
    ):
        arguments = {"space": "image", "model": "theirs@1", "post_ids": ["one", "two"], "vectors": pictures, "now": NOW}
        with pytest.raises(VectorError, match=message):
            embedding_models.store_vectors(**arguments | invalid)

    wiring.sync_embedding_models(NOW, must_be_current=True)
    index = wiring.space_index("image")
    ids, cosines = index.nearest(np.eye(1, 8, dtype=np.float32), 2, IndexFilter(max_sensitivity=1))
    assert (ids[0].tolist(), cosines[0].tolist()) == ([one.pk, two.pk], [1, 0])
    assert index.nearest(np.eye(1, 8, dtype=np.float32), 2, IndexFilter())[0][0].tolist() == [one.pk, UNKNOWN]
    with pytest.raises(EmbedderError, match="the platform sends its vectors"):
        wiring.embedder_for("image")


def test_a_retired_model_that_is_configured_again_completes_its_vectors_and_is_activated(fresh_wiring, other_model):
    ann, old_settings = member("ann"), settings.ENV
    post(ann, "one")
    embedding_models.embed_due_posts(now=NOW)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "ENV", settings.ENV.model_copy(update={"embedder": "fastembed"}))
        embedding_models.embed_due_posts(now=NOW)
    post(ann, "two")
    assert old_settings == settings.ENV and states()["tiny-hash-64@1"] == "retired"
    embedding_models.embed_due_posts(now=NOW)
    assert states() == {"tiny-hash-64@1": "active", "tiny-hash-32@1": "retired"}
    assert EmbeddingModel.objects.get(name="tiny-hash-64@1").embedded_count == 2


def test_a_new_model_is_not_activated_if_a_post_lost_its_vector_meanwhile(fresh_wiring, other_model, monkeypatch):
    """A post whose text is changed loses its vectors. The next run embeds it, and then activates the model."""
    ann = member("ann")
    fields = {"id": "one", "author_id": "ann", "visibility": "public", "created_at": NOW.isoformat()}
    post(ann, "one"), post(ann, "two", text="two")
    embedding_models.embed_due_posts(now=NOW)

    def embed(self, texts):
        if "two" in texts:
            ingest_items(kind="posts", items=[fields | {"text": "reworded"}], now=NOW)
        return TinyText.embed(self, texts)

    other_model()
    with monkeypatch.context() as patch:
        patch.setattr(embedding, "BATCH_POSTS", 1)
        patch.setattr(OtherText, "embed", embed)
        embedding_models.embed_due_posts(now=NOW)
    assert states() == {"tiny-hash-64@1": "active", "tiny-hash-32@1": "building"}
    embedding_models.embed_due_posts(now=NOW + timedelta(minutes=1))
    assert states() == {"tiny-hash-64@1": "retired", "tiny-hash-32@1": "active"}


def test_without_the_package_of_the_active_model_the_configured_embedder_is_used(fresh_wiring, caplog):
    EmbeddingModel.objects.create(
        space="content", name="gone@1", embedder="gone", dimension=8, state="active", created_at=NOW, changed_at=NOW
    )
    assert wiring.embedder().name == wiring.configured_embedder().name
    assert "active_embedder_not_loaded" in [record.message for record in caplog.records]


@pytest.mark.django_db(transaction=True)
def test_two_threads_that_see_a_new_model_build_its_parts_once(fresh_wiring, other_model, monkeypatch):
    post(member("ann"), "one")
    embedding_models.embed_due_posts(now=NOW)
    holder = wiring.vector_parts_holder()
    holder.sync(NOW, must_be_current=True)
    other_model()
    embedding_models.embed_due_posts(now=NOW)
    real_read, real_create = holder.active_models.read, wiring.create_vector_parts
    both_have_read, created = threading.Barrier(2), []

    def read(**options):
        models = real_read(**options)
        both_have_read.wait(30)
        return models

    def create(models):
        created.append(models)
        time.sleep(0.2)  # so that the other thread finds the old parts and waits
        return real_create(models)

    def sync(_):
        try:
            holder.sync(NOW, must_be_current=True)
            return holder.current.embedder.name
        finally:
            connection.close()

    monkeypatch.setattr(holder.active_models, "read", read)
    monkeypatch.setattr(wiring, "create_vector_parts", create)
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(sync, range(2))) == ["tiny-hash-32@1"] * 2
    assert len(created) == 1
