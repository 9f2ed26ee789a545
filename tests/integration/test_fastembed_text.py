"""The fastembed embedder runs a small ONNX model of this test through the real fastembed."""

import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers

from recommendations.embedders.fastembed_text import FastembedText, load_text_embedding

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
DIMENSION = 384
WORDS = ["[PAD]", "[UNK]", "war", "film", "soldier", "bread", "yeast", "home"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the files of a hub model: an ONNX graph that looks up token vectors."""
    path = tmp_path_factory.mktemp("model")
    vectors = np.random.default_rng(7).normal(size=(len(WORDS), DIMENSION)).astype(np.float32)
    names = ["input_ids", "attention_mask", "token_type_ids"]
    graph = helper.make_graph(
        [helper.make_node("Gather", ["vectors", "input_ids"], ["last_hidden_state"])],
        "lookup",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "t"]) for name in names],
        [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["n", "t", DIMENSION])],
        [numpy_helper.from_array(vectors, "vectors")],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), path / "model.onnx")
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(path / "tokenizer.json"))
    (path / "tokenizer_config.json").write_text(json.dumps({"model_max_length": 64, "pad_token": "[PAD]"}))
    (path / "config.json").write_text(json.dumps({"pad_token_id": 0}))
    yield str(path)
    load_text_embedding.cache_clear()


def test_rows_have_unit_length_and_empty_texts_are_zero(folder):
    vectors = FastembedText(MODEL, folder).embed(["war film", "", "bread 🍞 \ud83d", "home " * 5000])
    assert vectors.shape == (4, DIMENSION) and vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 0, 1, 1], atol=1e-5)


def test_texts_with_shared_words_are_similar(folder):
    query, near, far = FastembedText(MODEL, folder).embed(["war film", "soldier war film", "bread yeast home"])
    assert query @ near > query @ far


def test_name_and_dimension_are_known_without_loading():
    embedder = FastembedText(MODEL, "/nonexistent")
    assert embedder.dimension == DIMENSION
    assert embedder.name.startswith(f"{MODEL}@fastembed-")


def test_the_error_names_an_unknown_model():
    with pytest.raises(ValueError, match="no/such-model"):
        _ = FastembedText("no/such-model").dimension
