"""
The contract of `ports.VectorIndex`, tested on every index: the scan of resident posts, the in-process storage of
qdrant-client, Qdrant's own engine in process, and a Qdrant server if QDRANT_URL is set.
"""

import http.server
import os
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qdrant_client import QdrantClient

from monitoring.dependencies import MAX_FAILURES
from recommendations.contracts import UNKNOWN, IndexFilter, Policy
from recommendations.engines.plain import PlainEngine
from recommendations.engines.wasm_simd import WasmEngine
from recommendations.models import PostEmbedding
from recommendations.ports import EngineError, VectorError, VectorIndexError
from recommendations.services.vectors.reindexing import build_points
from recommendations.stores import qdrant_vectors
from recommendations.stores.qdrant_vectors import QdrantVectors
from recommendations.stores.resident_catalogue import ResidentCatalogue, ResidentSpace
from recommendations.stores.resident_vectors import ResidentVectors
from recommendations.stores.vocabulary import Vocabularies
from tests.factories import NOW, member, post
from tests.qdrant_edge_client import EdgeClient

pytestmark = [pytest.mark.django_db, pytest.mark.filterwarnings("ignore:Payload indexes have no effect")]
D = 8
INDEXES = ["plain", "wasm_simd", "qdrant-memory", "qdrant-edge", *(["qdrant"] if os.environ.get("QDRANT_URL") else [])]


@pytest.fixture
def posts(db):
    """Six posts of three authors, each a little further from the first axis than the previous post."""
    ann, bob, cem = member("ann"), member("bob"), member("cem")
    rows = [
        post(ann, "en", language="en"),
        post(ann, "de", language="de"),
        post(bob, "followers", visibility=1),
        post(bob, "sensitive", sensitivity=1),
        post(cem, "private", visibility=3),
        post(cem, "removed", removed_at=NOW),
    ]
    for n, row in enumerate(rows):
        vector = np.zeros(D, "<f4")
        vector[0], vector[1] = np.cos(n / 4), np.sin(n / 4)
        PostEmbedding.objects.create(
            post=row, space="content", embedding_model="m", dimension=D, vector=vector.tobytes(), changed_at=NOW
        )
    return {row.external_id: row for row in rows}


@pytest.fixture(params=INDEXES)
def index(request, posts, tmp_path):
    vocabularies = Vocabularies()
    if request.param.startswith("qdrant"):
        client = {
            "qdrant-memory": lambda: QdrantClient(":memory:"),
            "qdrant-edge": lambda: EdgeClient(tmp_path),
            "qdrant": lambda: QdrantClient(os.environ["QDRANT_URL"]),
        }[request.param]()
        qdrant = QdrantVectors(
            client, space="content", model=f"test-{os.getpid()}", dimension=D, vocabularies=vocabularies
        )
        qdrant.create_collection()
        qdrant.create_collection()
        qdrant.put(build_points("content", "m", [row.pk for row in posts.values()]))
        yield qdrant
        client.delete_collection(qdrant.collection)
        client.close()
        return
    engine = PlainEngine(D) if request.param == "plain" else WasmEngine(D, memory_limit_bytes=2**26)
    space = ResidentSpace("content", "m", D, (engine,))
    catalogue = ResidentCatalogue(
        spaces=(space,),
        vocabularies=vocabularies,
        max_posts=100,
        refresh_seconds=1,
        read_half_lives=lambda: Policy().popularity_half_lives,
    )
    catalogue.refresh(NOW)
    yield ResidentVectors(engine, catalogue)


AXIS = np.eye(1, D, dtype=np.float32)


def names(index, posts, k=6, vectors=AXIS, **filters):
    names_by_id = {row.pk: name for name, row in posts.items()}
    ids, _ = index.nearest(vectors, k, IndexFilter(**filters))
    return [names_by_id[id] for id in ids[0].tolist() if id != UNKNOWN]


def test_the_nearest_posts_come_first_with_their_cosines(index, posts):
    ids, cosines = index.nearest(AXIS, 3, IndexFilter())
    assert ids.shape == cosines.shape == (1, 3)
    assert ids[0].tolist() == [posts["en"].pk, posts["de"].pk, UNKNOWN]
    np.testing.assert_allclose(cosines[0], [1, np.cos(0.25), 0], atol=1e-6)


def test_each_query_has_its_own_result(index, posts):
    ids, _ = index.nearest(np.eye(2, D, dtype=np.float32), 1, IndexFilter())
    assert ids.tolist() == [[posts["en"].pk], [posts["de"].pk]]


def test_private_and_removed_posts_are_never_found(index, posts):
    author_ids = np.array(sorted({row.author_id for row in posts.values()}))
    assert names(index, posts, followed_author_ids=author_ids, max_sensitivity=3) == [
        "en",
        "de",
        "followers",
        "sensitive",
    ]


def test_posts_for_followers_are_found_by_followers(index, posts):
    bob = np.array([posts["followers"].author_id])
    assert names(index, posts, followed_author_ids=bob) == ["en", "de", "followers"]


def test_sensitive_posts_are_found_up_to_the_maximum_sensitivity(index, posts):
    assert names(index, posts, max_sensitivity=1) == ["en", "de", "sensitive"]


def test_excluded_authors_are_not_found(index, posts):
    assert names(index, posts, excluded_author_ids=np.array([posts["en"].author_id]), max_sensitivity=1) == [
        "sensitive"
    ]


def test_posts_in_other_languages_are_not_found(index, posts):
    vocabularies = index._vocabularies if isinstance(index, QdrantVectors) else index.catalogue.vocabularies
    language_ids = vocabularies.languages.intern_all(["de"])
    assert names(index, posts, language_ids=language_ids, max_sensitivity=1) == ["de", "sensitive"]


def test_an_author_has_at_most_the_author_cap(index, posts):
    assert names(index, posts, author_cap=1, max_sensitivity=1) == ["en", "sensitive"]
    assert names(index, posts, author_cap=2, max_sensitivity=1) == ["en", "de", "sensitive"]


def test_a_zero_vector_finds_nothing(index, posts):
    assert names(index, posts, vectors=np.zeros((1, D), np.float32)) == []


def test_an_invalid_vector_raises_vector_error(index):
    with pytest.raises(VectorError):
        index.nearest(np.zeros((1, D + 1), np.float32), 1, IndexFilter())
    with pytest.raises(VectorError):
        index.nearest(AXIS * np.nan, 1, IndexFilter())


def test_k_of_zero_finds_nothing(index):
    assert index.nearest(AXIS, 0, IndexFilter())[0].shape == (1, 0)


@settings(max_examples=20)
@given(data=st.data())
def test_no_post_that_the_filter_excludes_is_ever_found(index, posts, data):
    authors = sorted({row.author_id for row in posts.values()})
    excluded = data.draw(st.lists(st.sampled_from(authors), unique=True))
    followed = data.draw(st.lists(st.sampled_from(authors), unique=True))
    limit = data.draw(st.integers(0, 3))
    index_filter = IndexFilter(
        max_sensitivity=limit,
        excluded_author_ids=np.array(sorted(excluded), np.int64),
        followed_author_ids=np.array(sorted(followed), np.int64),
        author_cap=data.draw(st.integers(0, 2)),
    )
    ids, _ = index.nearest(AXIS, 6, index_filter)
    rows = {row.pk: row for row in posts.values()}
    for row in (rows[id] for id in ids[0].tolist() if id != UNKNOWN):
        assert row.author_id not in excluded and row.sensitivity <= limit and row.removed_at is None
        assert row.visibility == 0 or (row.visibility == 1 and row.author_id in followed)


@pytest.mark.parametrize("index", ["plain", "wasm_simd"], indirect=True)
def test_an_engine_that_fails_raises_vector_index_error(index, monkeypatch):
    def fail(*_):
        raise EngineError("trap")

    monkeypatch.setattr(index.engine, "nearest", fail)
    with pytest.raises(VectorIndexError, match="trap"):
        index.nearest(AXIS, 1, IndexFilter())


every_qdrant = pytest.mark.parametrize("index", [name for name in INDEXES if name.startswith("qdrant")], indirect=True)


@every_qdrant
def test_versions_are_listed_in_batches(index, posts, monkeypatch):
    monkeypatch.setattr(qdrant_vectors, "LIST_BATCH", 2)
    listed = list(index.versions())
    assert len(listed) == len(dict(listed)) == 5


@every_qdrant
def test_an_unknown_collection_raises_an_error_and_starts_no_cooldown(index, posts):
    """The server responds, so the next call may succeed. Deleting the collection again is no error."""
    index.delete_collection()
    index.delete_collection()
    for _ in range(2):
        with pytest.raises(VectorIndexError, match="Qdrant failed: "):
            index.nearest(AXIS, 1, IndexFilter())
    index.create_collection()
    index.put(build_points("content", "m", [posts["en"].pk]))
    assert names(index, posts) == ["en"]


@every_qdrant
def test_qdrant_drops_posts_and_lists_versions(index, posts):
    indexed = {name: row.pk for name, row in posts.items() if name != "removed"}
    assert dict(index.versions()) == dict.fromkeys(indexed.values(), 1)
    assert set(index.vectors([indexed["en"], 10**9])) == {indexed["en"]}
    index.drop([indexed["en"]])
    assert names(index, posts) == ["de"]
    assert indexed["en"] not in dict(index.versions())
    index.put(build_points("content", "m", [indexed["en"]]))
    assert names(index, posts) == ["en", "de"]


def test_a_server_that_is_down_raises_an_error_and_is_not_called_for_a_while():
    client = QdrantClient("http://127.0.0.1:9", timeout=1, check_compatibility=False)
    index = QdrantVectors(client, space="content", model="m", dimension=D, vocabularies=Vocabularies())
    for _ in range(MAX_FAILURES):
        with pytest.raises(VectorIndexError, match="Qdrant failed: "):
            index.nearest(AXIS, 1, IndexFilter())
    with pytest.raises(VectorIndexError, match="Not called again yet"):
        index.ping()
    client.close()


def respond_429(headers):
    """Return a server that is overloaded, as `http.server` runs it."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(429)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_GET  # noqa: N815 - the name of the base class

        def log_message(self, *_):
            pass

    return Handler


@pytest.mark.parametrize("headers", [{}, {"Retry-After": "30"}, {"Retry-After": "soon"}])
def test_an_overloaded_server_raises_the_error_of_the_port_and_is_given_a_pause(headers):
    """qdrant-client has another error for each form of a 429. None of them reaches a caller."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), respond_429(headers))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    client = QdrantClient(f"http://127.0.0.1:{server.server_port}", timeout=5, check_compatibility=False)
    index = QdrantVectors(client, space="content", model="m", dimension=D, vocabularies=Vocabularies())
    try:
        for call in (index.ping, lambda: list(index.versions()), lambda: index.nearest(AXIS, 1, IndexFilter())):
            with pytest.raises(VectorIndexError):
                call()
        with pytest.raises(VectorIndexError, match="Not called again yet"):
            index.ping()
    finally:
        client.close()
        server.shutdown()
        server.server_close()
