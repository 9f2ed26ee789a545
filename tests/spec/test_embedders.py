"""The contract of embedders: unit rows, zeros for empty texts, deterministic vectors, and any text is accepted."""

import numpy as np
import pytest

from recommendations.embedders.conse import ConseText
from recommendations.embedders.tiny import TinyText
from recommendations.embedders.wordllama_text import WordLlamaText
from recommendations.ports import Embedder

UNUSUAL_TEXTS = {
    "emoji": "🎬🍿 👩‍👩‍👧‍👦",
    "right to left": "فيلم رائع جدا ‏‮ abc",
    "cjk": "七人の侍",
    "combining marks": "Z͑ͫ̓a̴l̵g̶o̷",
    "control characters": "a\x00b\x07c\u2028d",
    "unpaired surrogate": "before \ud83d after",
    "one long word": "x" * 100_000,
    "a megabyte": "the quick brown fox 🦊 " * 50_000,
}


@pytest.fixture(params=[TinyText(), WordLlamaText(), ConseText()], ids=lambda embedder: embedder.name)
def embedder(request) -> Embedder:
    return request.param


def test_rows_are_unit_float32_of_the_named_dimension(embedder):
    vectors = embedder.embed(["Toy Story (1995)", "Seven Samurai", "a"])
    assert vectors.shape == (3, embedder.dimension)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("text", ["", "   ", "\n\t", "\u2003"])
def test_a_text_with_nothing_to_embed_is_a_zero_vector(embedder, text):
    assert not embedder.embed([text]).any()


def test_an_empty_text_does_not_change_other_vectors(embedder):
    vectors = embedder.embed(["alpha", "", "beta"])
    np.testing.assert_array_equal(vectors[[0, 2]], embedder.embed(["alpha", "beta"]))


def test_no_texts_give_no_rows(embedder):
    assert embedder.embed([]).shape == (0, embedder.dimension)


@pytest.mark.parametrize("name", UNUSUAL_TEXTS)
def test_unusual_texts_have_finite_unit_vectors(embedder, name):
    vectors = embedder.embed([UNUSUAL_TEXTS[name], "ordinary"])
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_the_vector_of_a_text_does_not_depend_on_the_batch(embedder):
    texts = [f"{word} {number}" for number in range(300) for word in ("film", "song")]
    together = embedder.embed(texts)
    np.testing.assert_allclose(together[411], embedder.embed([texts[411]])[0], atol=1e-6)


def test_texts_that_share_words_are_more_similar(embedder):
    query, near, far = embedder.embed(
        ["a film about war and soldiers", "soldiers in the war film", "baking bread at home with yeast"]
    )
    assert query @ near > query @ far


def test_the_name_has_model_and_version(embedder):
    model, _, version = embedder.name.partition("@")
    assert model and version
    assert len(embedder.name) <= 128, "PostEmbedding.embedding_model holds 128 characters"
