"""Search across modalities: pictures for a text, texts for a picture; never what the viewer may not see."""

import hashlib

import numpy as np
import pytest

from recommendations.contracts import Visibility
from recommendations.models import Post, PostEmbedding
from recommendations.services import wiring
from recommendations.services.errors import InvalidRequest, PostNotVisible
from recommendations.services.serving.search import search
from recommendations.services.vectors.embedding_models import store_vectors
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]
DIMENSION = 16


def meaning(word):
    """Return the direction that a word has in the joint space of these tests, whether written or painted."""
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big")
    vector = np.random.default_rng(seed).normal(size=DIMENSION).astype(np.float32)
    return vector / np.linalg.norm(vector)


class WordsAndPictures:
    """A cross-modal embedder that knows words only."""

    name, dimension = "words-and-pictures@1", DIMENSION

    def embed(self, texts):
        return np.stack([meaning(text) for text in texts])


@pytest.fixture
def gallery():
    """Make a viewer, and a text and a picture of each of three things, with vectors that the platform sends."""
    viewer = factories.member("viewer")
    ids, vectors = [], []
    for word in ("harbour", "bakery", "glacier"):
        for kind in ("text", "image"):
            factories.post(factories.member(), f"{word}-{kind}", kind=kind)
            ids.append(f"{word}-{kind}")
            vectors.append(meaning(word) * 3 + 0.1 * meaning(kind))
    assert store_vectors(
        space="image", model="ours@1", post_ids=[*ids, "gone"], vectors=np.stack([*vectors, vectors[0]]), now=NOW
    ) == ["gone"]
    return viewer


def search_posts(**asked):
    return [pick.post.id for pick in search(viewer_id="viewer", space="image", now=NOW, **asked).picks]


def test_a_text_finds_pictures(gallery, monkeypatch):
    monkeypatch.setattr(wiring, "embedder_for", lambda space: WordsAndPictures())
    assert search_posts(text="bakery", kind="image")[0] == "bakery-image"
    assert set(search_posts(text="bakery", kind="image")) == {"harbour-image", "bakery-image", "glacier-image"}


def test_a_picture_finds_texts_and_not_itself(gallery):
    assert search_posts(post_id="glacier-image", kind="text")[0] == "glacier-text"
    assert search_posts(post_id="glacier-image")[0] == "glacier-text"
    assert "glacier-image" not in search_posts(post_id="glacier-image")


@pytest.mark.parametrize("engine", ["plain", "wasm_simd"])
def test_a_vector_of_the_platform_finds_either_with_its_likeness(gallery, monkeypatch, engine):
    page = search(viewer_id="viewer", space="image", vector=meaning("harbour").tolist(), now=NOW)
    assert {pick.post.id for pick in page.picks[:2]} == {"harbour-image", "harbour-text"}
    for pick in page.picks:
        assert pick.parts == {"similarity": pytest.approx(pick.score)}


def test_what_the_viewer_may_not_see_is_not_found_and_not_searched_by(gallery):
    hidden, blocked = Post.objects.get(external_id="bakery-image"), Post.objects.get(external_id="bakery-text")
    Post.objects.filter(pk=hidden.pk).update(visibility=Visibility.PRIVATE)
    factories.block(blocked.author, gallery)
    shown = search_posts(vector=meaning("bakery").tolist())
    assert not {"bakery-image", "bakery-text"} & set(shown)
    for name in ("bakery-image", "bakery-text", "none"):
        with pytest.raises(PostNotVisible):
            search_posts(post_id=name)


def test_what_cannot_be_searched_by_is_refused(gallery):
    for asked, problem in (
        ({}, "one of"),
        ({"text": "x", "post_id": "bakery-text"}, "one of"),
        ({"vector": [1.0] * 5}, "16"),
        ({"vector": [0.0] * 16}, "16"),
        ({"vector": [float("nan")] * 16}, "16"),
        ({"text": "x"}, "vectors come from the platform"),
    ):
        with pytest.raises(InvalidRequest, match=problem):
            search_posts(**asked)
    with pytest.raises(InvalidRequest, match="scent"):
        search(viewer_id="viewer", space="scent", text="x", now=NOW)


def test_a_post_without_a_vector_finds_nothing(gallery):
    factories.post(factories.member(), "bare")
    assert search_posts(post_id="bare") == []


def test_vectors_come_and_are_searched_by_through_the_api(gallery, client, settings, monkeypatch):
    monkeypatch.setattr(settings.ENV, "api_open", True)
    factories.post(factories.member(), "new", kind="image")

    def send(method, address, body):
        return getattr(client, method)(f"/api/v1/{address}", body, content_type="application/json")

    vector = meaning("volcano").tolist()
    body = {"model": "ours@1", "vectors": [{"post_id": "new", "vector": vector}, {"post_id": "?", "vector": vector}]}
    assert send("put", "spaces/image/vectors", body).json() == {"kept": 1, "unknown_post_ids": ["?"]}
    assert PostEmbedding.objects.filter(post__external_id="new", space="image").exists()
    wiring.reset_parts()
    answer = send("post", "search", {"viewer": "viewer", "vector": vector}).json()
    assert answer["picks"][0]["post"]["id"] == "new"
    answer = client.get("/api/v1/search", {"viewer": "viewer", "post": "new", "kind": "text"})
    assert {pick["post"]["kind"] for pick in answer.json()["picks"]} == {"text"}
    short = {"model": "ours@1", "vectors": [{"post_id": "new", "vector": [1.0] * 8}]}
    refused = send("put", "spaces/image/vectors", short)
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid-vectors")
    assert send("put", "spaces/content/vectors", body).status_code == 400
