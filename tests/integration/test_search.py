"""Search across modalities: pictures by a text and texts by a picture, never posts that the viewer may not see."""

import hashlib

import numpy as np
import pytest

from recommendations import feeds
from recommendations.contracts import Visibility
from recommendations.engines.plain import PlainEngine
from recommendations.engines.wasm_simd import WasmEngine
from recommendations.models import Post, PostEmbedding
from recommendations.pipeline.stages import mandatory_filter
from recommendations.ports import EngineError
from recommendations.services import wiring
from recommendations.services.errors import FactsUnavailable, InvalidRequest, PostNotVisible
from recommendations.services.serving.search import search
from recommendations.services.vectors.embedding_models import store_vectors
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]
DIMENSION = 16


def word_vector(word):
    """Return the unit vector of a word in the joint space of these tests, for texts and pictures alike."""
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:4], "big")
    vector = np.random.default_rng(seed).normal(size=DIMENSION).astype(np.float32)
    return vector / np.linalg.norm(vector)


class WordsAndPictures:
    """A cross-modal embedder of single words."""

    name, dimension = "words-and-pictures@1", DIMENSION

    def embed(self, texts):
        return np.stack([word_vector(text) for text in texts])


@pytest.fixture
def gallery():
    """Create a viewer, and a text and a picture of each of three things, with vectors sent by the platform."""
    viewer = factories.member("viewer")
    ids, vectors = [], []
    for word in ("harbour", "bakery", "glacier"):
        for kind in ("text", "image"):
            factories.post(factories.member(), f"{word}-{kind}", kind=kind)
            ids.append(f"{word}-{kind}")
            vectors.append(word_vector(word) * 3 + 0.1 * word_vector(kind))
    assert store_vectors(
        space="image", model="platform@1", post_ids=[*ids, "gone"], vectors=np.stack([*vectors, vectors[0]]), now=NOW
    ) == ["gone"]
    return viewer


def search_posts(**query):
    return [pick.post.id for pick in search(viewer_id="viewer", space="image", now=NOW, **query).picks]


def test_a_text_finds_pictures(gallery, monkeypatch):
    monkeypatch.setattr(wiring, "embedder_for", lambda space: WordsAndPictures())
    assert search_posts(text="bakery", kind="image")[0] == "bakery-image"
    assert set(search_posts(text="bakery", kind="image")) == {"harbour-image", "bakery-image", "glacier-image"}


def test_a_picture_finds_texts_and_not_itself(gallery):
    assert search_posts(post_id="glacier-image", kind="text")[0] == "glacier-text"
    assert search_posts(post_id="glacier-image")[0] == "glacier-text"
    assert "glacier-image" not in search_posts(post_id="glacier-image")


@pytest.mark.parametrize("engine", ["plain", "wasm_simd"])
def test_a_vector_of_the_platform_finds_both_kinds_and_their_similarity(gallery, monkeypatch, engine):
    page = search(viewer_id="viewer", space="image", vector=word_vector("harbour").tolist(), now=NOW)
    assert {pick.post.id for pick in page.picks[:2]} == {"harbour-image", "harbour-text"}
    for pick in page.picks:
        assert pick.parts == {"similarity": pytest.approx(pick.score)}


def test_posts_hidden_from_the_viewer_are_not_found_and_cannot_be_searched_by(gallery):
    hidden, blocked = Post.objects.get(external_id="bakery-image"), Post.objects.get(external_id="bakery-text")
    Post.objects.filter(pk=hidden.pk).update(visibility=Visibility.PRIVATE)
    factories.block(blocked.author, gallery)
    found = search_posts(vector=word_vector("bakery").tolist())
    assert not {"bakery-image", "bakery-text"} & set(found)
    for name in ("bakery-image", "bakery-text", "none"):
        with pytest.raises(PostNotVisible):
            search_posts(post_id=name)


def test_an_invalid_query_is_rejected(gallery):
    for query, message in (
        ({}, "one of"),
        ({"text": "x", "post_id": "bakery-text"}, "one of"),
        ({"vector": [1.0] * 5}, "16"),
        ({"vector": [0.0] * 16}, "16"),
        ({"vector": [float("nan")] * 16}, "16"),
        ({"text": "x"}, "because the platform sends its vectors"),
    ):
        with pytest.raises(InvalidRequest, match=message):
            search_posts(**query)
    with pytest.raises(InvalidRequest, match="scent"):
        search(viewer_id="viewer", space="scent", text="x", now=NOW)


@mandatory_filter
def broken_filter(query, candidates):
    raise RuntimeError("a bug in a filter")


def test_nothing_is_found_if_a_filter_or_the_engine_fails(gallery, monkeypatch):
    query = {"vector": word_vector("harbour").tolist()}
    with monkeypatch.context() as patch:
        patch.setattr(feeds, "MANDATORY_FILTERS", (*feeds.MANDATORY_FILTERS, broken_filter))
        with pytest.raises(FactsUnavailable, match="cannot be checked"):
            search_posts(**query)

    def fail(*args, **kwargs):
        raise EngineError("no")

    for engine in (PlainEngine, WasmEngine):
        monkeypatch.setattr(engine, "nearest", fail)
    with pytest.raises(FactsUnavailable, match="The search failed"):
        search_posts(**query)


def test_a_post_without_a_vector_finds_nothing(gallery):
    factories.post(factories.member(), "bare")
    assert search_posts(post_id="bare") == []


def test_vectors_are_stored_and_searched_by_through_the_api(gallery, client, settings, monkeypatch):
    monkeypatch.setattr(settings.ENV, "api_open", True)
    factories.post(factories.member(), "new", kind="image")

    def send(method, path, body):
        return getattr(client, method)(f"/api/v1/{path}", body, content_type="application/json")

    vector = word_vector("volcano").tolist()
    body = {
        "embedding_model": "platform@1",
        "vectors": [{"post_id": "new", "vector": vector}, {"post_id": "?", "vector": vector}],
    }
    assert send("put", "spaces/image/vectors", body).json() == {"stored": 1, "unknown_post_ids": ["?"], "rejected": []}
    assert PostEmbedding.objects.filter(post__external_id="new", space="image").exists()
    wiring.reset_parts()
    response = send("post", "search", {"viewer_id": "viewer", "space": "image", "vector": vector}).json()
    assert response["picks"][0]["post"]["id"] == "new"
    response = client.get("/api/v1/search", {"viewer_id": "viewer", "space": "image", "post_id": "new", "kind": "text"})
    assert {pick["post"]["kind"] for pick in response.json()["picks"]} == {"text"}
    long_vector = (3e38 / max(map(abs, vector)) * np.array(vector)).tolist()
    response = send("post", "search", {"viewer_id": "viewer", "space": "image", "vector": long_vector}).json()
    assert response["picks"][0]["post"]["id"] == "new", "only the direction of a vector matters"
    for number in (1e39, -1e308):
        large_body = {
            "embedding_model": "platform@1",
            "vectors": [{"post_id": "new", "vector": [number] * len(vector)}],
        }
        response = send("put", "spaces/image/vectors", large_body)
        assert response.status_code == 207 and "up to 3.4e38" in str(response.json()["rejected"])
        query = {"viewer_id": "viewer", "space": "image", "vector": [number] * len(vector)}
        assert "finite" in str(send("post", "search", query).json()["errors"])
    largest_body = {"embedding_model": "platform@1", "vectors": [{"post_id": "new", "vector": [3e38] * len(vector)}]}
    assert send("put", "spaces/image/vectors", largest_body).status_code == 200
    short_body = {"embedding_model": "platform@1", "vectors": [{"post_id": "new", "vector": [1.0] * 8}]}
    invalid = send("put", "spaces/image/vectors", short_body)
    assert (invalid.status_code, invalid.json()["stored"]) == (207, 0)
    assert send("put", "spaces/content/vectors", body).status_code == 400


@pytest.mark.parametrize("is_new", [True, False], ids=["new model", "known model"])
def test_an_invalid_vector_costs_itself_only(client, settings, monkeypatch, is_new):
    monkeypatch.setattr(settings.ENV, "api_open", True)
    for name in ("a", "b"):
        factories.post(factories.member(), name)
    good = [1.0, *[0.0] * 15]
    if not is_new:
        store_vectors(space="own", model="m@1", post_ids=["a"], vectors=np.array([good]), now=NOW)
    rows = [
        {"post_id": "a", "vector": [1.0] * 8},
        {"post_id": "a", "vector": good},
        {"post_id": "b", "vector": good},
        {"post_id": "b", "vector": [1e39, *good[1:]]},
        {"post_id": "\0", "vector": good},
        {"post_id": "b", "vector": good, "extra": 1},
        {"post_id": "b"},
        None,
        "x",
        {"post_id": "nowhere", "vector": good},
    ]
    body = {"embedding_model": "m@1", "vectors": rows}
    response = client.put("/api/v1/spaces/own/vectors", body, content_type="application/json")
    content = response.json()
    assert (response.status_code, content["stored"], content["unknown_post_ids"]) == (207, 2, ["nowhere"])
    assert [row["index"] for row in content["rejected"]] == [0, 3, 4, 5, 6, 7, 8]
    assert content["rejected"][0]["problem"]["detail"] == (
        "The vector has 8 numbers, and those of its embedding model have 16."
    )
    assert content["rejected"][1]["problem"]["errors"][0]["pointer"] == "/vectors/3/vector"
    assert PostEmbedding.objects.filter(space="own").count() == 2
