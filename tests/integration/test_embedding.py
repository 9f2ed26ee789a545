"""Embedding of posts: posts without a vector get one; others are embedded again only if given."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from django.db import OperationalError

from recommendations.embedders.registry import EmbedderError, get_embedder
from recommendations.embedders.tiny import TinyText
from recommendations.embedders.wordllama_text import WordLlamaText
from recommendations.models import EmbeddingFailure, Member, Post, PostEmbedding
from recommendations.services.vectors import embedding as service
from recommendations.services.vectors.embedding import embed_posts, embeddable_text, embedding_lag_seconds
from recommendations.services.wiring import embedder

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def posts(db):
    ann = Member.objects.create(external_id="ann", created_at=NOW, changed_at=NOW)
    texts = ["a film about war", "", "bread and yeast 🍞", "مرحبا"]
    return [
        Post.objects.create(external_id=f"p{n}", author=ann, text=text, created_at=NOW, changed_at=NOW)
        for n, text in enumerate(texts)
    ]


def stored_vector(row):
    return np.frombuffer(bytes(row.vector), "<f4")


def test_every_post_gets_the_vector_of_its_text(posts):
    assert embed_posts(embedder=TinyText(), now=NOW) == 4
    rows = PostEmbedding.objects.order_by("post_id")
    expected = TinyText().embed([post.text for post in posts])
    for row, vector in zip(rows, expected, strict=True):
        assert (row.space, row.embedding_model, row.dimension, row.version) == ("content", TinyText().name, 64, 1)
        np.testing.assert_array_equal(stored_vector(row), vector)
    assert not stored_vector(rows[1]).any(), "an empty post has a zero vector, and is not embedded again"


def test_a_second_run_has_nothing_to_do(posts):
    embed_posts(embedder=TinyText(), now=NOW)
    assert embed_posts(embedder=TinyText(), now=NOW) == 0


def test_vectors_of_a_second_model_are_stored_beside_the_first(posts):
    embed_posts(embedder=TinyText(), now=NOW)
    assert embed_posts(embedder=WordLlamaText(), now=NOW) == 4
    assert PostEmbedding.objects.count() == 8


def test_removed_posts_are_not_embedded(posts):
    Post.objects.filter(pk=posts[0].pk).update(removed_at=NOW)
    assert embed_posts(embedder=TinyText(), now=NOW) == 3


def test_given_posts_are_embedded_again_with_the_next_version(posts):
    embed_posts(embedder=TinyText(), now=NOW)
    Post.objects.filter(pk=posts[0].pk).update(text="quite another text")
    later = NOW + timedelta(hours=1)
    missing = max(post.pk for post in posts) + 1
    assert embed_posts(embedder=TinyText(), now=later, post_ids=[posts[0].pk, missing]) == 1
    row = PostEmbedding.objects.get(post=posts[0])
    assert (row.version, row.changed_at) == (2, later)
    np.testing.assert_array_equal(stored_vector(row), TinyText().embed(["quite another text"])[0])
    assert PostEmbedding.objects.get(post=posts[2]).version == 1


def test_an_empty_list_of_posts_embeds_nothing(posts):
    assert embed_posts(embedder=TinyText(), now=NOW, post_ids=[]) == 0


def test_progress_and_batches(posts, monkeypatch):
    monkeypatch.setattr(service, "BATCH_POSTS", 3)
    calls = []
    embed_posts(embedder=TinyText(), now=NOW, progress=lambda *call: calls.append(call))
    assert calls == [(3, 4), (4, 4)]


class FailingEmbedder(TinyText):
    """An embedder that fails for texts that contain a word."""

    def __init__(self, word):
        super().__init__()
        object.__setattr__(self, "word", word)

    def embed(self, texts):
        if any(self.word in text for text in texts):
            raise RuntimeError("cannot")
        return super().embed(texts)


def test_a_failing_post_does_not_stop_others_and_is_dead_lettered(posts):
    at, broken = NOW, FailingEmbedder("🍞")
    assert embed_posts(embedder=broken, now=at) == 3
    assert embed_posts(embedder=broken, now=at + timedelta(seconds=59)) == 0, "it is not due yet"
    row = EmbeddingFailure.objects.get()
    assert (row.post, row.attempts, row.error) == (posts[2], 1, "RuntimeError")
    assert embedding_lag_seconds(model=broken.name, now=NOW + timedelta(seconds=90)) == 90
    while row.retry_at:
        at = row.retry_at
        embed_posts(embedder=broken, now=at)
        row.refresh_from_db()
    assert (row.attempts, at) == (4, NOW + timedelta(minutes=1 + 4 + 16))
    assert embed_posts(embedder=broken, now=at + timedelta(days=9)) == 0, "dead-lettered"
    assert embedding_lag_seconds(model=broken.name, now=at) == 0

    service.retry_failures(failure_ids=[row.pk], now=at)
    assert embed_posts(embedder=TinyText(), now=at) == 1
    assert not EmbeddingFailure.objects.exists(), "a successful retry deletes the failure"


def test_a_failing_post_costs_no_other_post_of_a_large_batch(posts, monkeypatch):
    monkeypatch.setattr(service, "SLICE_POSTS", 2)
    sizes = []

    class RecordingEmbedder(FailingEmbedder):
        def embed(self, texts):
            sizes.append(len(texts))
            return super().embed(texts)

    assert embed_posts(embedder=RecordingEmbedder("🍞"), now=NOW) == 3
    assert sizes == [4, 2, 2, 1, 1], "only the slice with the failing post is embedded one by one"
    assert EmbeddingFailure.objects.get().post == posts[2]


def test_a_post_has_no_failure_because_the_database_did_not_answer(posts, monkeypatch):
    def fail(*_args):
        raise OperationalError("disk I/O error")

    monkeypatch.setattr(service, "embed_and_store", fail)
    with pytest.raises(OperationalError):
        embed_posts(embedder=TinyText(), now=NOW, post_ids=[posts[0].pk])
    assert not EmbeddingFailure.objects.exists()


def test_an_embedder_that_fails_for_all_posts_records_no_failure(posts):
    with pytest.raises(RuntimeError, match="cannot"):
        embed_posts(embedder=FailingEmbedder(""), now=NOW)
    assert not EmbeddingFailure.objects.exists()


def test_text_tags_and_descriptions_are_embedded_once_each():
    post = Post(text="A Drama.", tags=["drama", "war"], media=[{"kind": "image", "url": "u", "alt": "A tank"}])
    assert embeddable_text(post) == "A Drama.\nwar\nA tank"
    assert embeddable_text(Post()) == ""


def test_the_setting_chooses_the_embedder(db):
    assert embedder() is embedder(), "one per process"
    assert get_embedder("tiny").name == TinyText().name
    assert get_embedder("wordllama").name == WordLlamaText().name


def test_an_unknown_embedder_and_a_missing_package_say_what_to_do(monkeypatch):
    with pytest.raises(EmbedderError, match="Set EMBEDDER to one of wordllama, fastembed, tiny"):
        get_embedder("word2vec")
    monkeypatch.setitem(__import__("sys").modules, "fastembed", None)
    monkeypatch.delitem(__import__("sys").modules, "recommendations.embedders.fastembed_text", raising=False)
    with pytest.raises(EmbedderError, match="pip install fastembed"):
        get_embedder("fastembed", "BAAI/bge-small-en-v1.5")
