"""
The default text embedder: WordLlama's static token vectors, read from the installed wheel.

This module reads two files from the wheel and does not import `wordllama`. The import would configure the root logger,
load an HTTP client, look for the tokenizer in a folder that the wheel does not have, and then *download* it. This
module never opens a connection.
"""

import functools
import hashlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load
from tokenizers import Tokenizer

from recommendations.contracts import Float32Array
from recommendations.embedders.normalization import embed_nonempty

WEIGHTS = "weights/l2_supercat_256.safetensors"
TOKENIZER = "tokenizers/l2_supercat_tokenizer_config.json"
SHA_256 = {
    WEIGHTS: "64b47a2dc493cb8e85944076601189739852d7b64e0e1eedcb1937a251cd9fd5",  # pragma: allowlist secret
    TOKENIZER: "bf467c9e0f536bda271283c6ef85eb1a943e3196b621c8a912d64953b205df83",  # pragma: allowlist secret
}
"""The hashes of the files, without white space at their ends: releases of the package differ by a line break."""
NAME = f"wordllama-l2-supercat-256@{SHA_256[WEIGHTS][:8]}"
"""The weights decide the vectors, and not the release of the package that has them."""
BATCH_TEXTS = 256
"""Texts tokenized in one batch. Changes the speed, never the vectors."""


class ModelFileError(RuntimeError):
    """The installed package does not have the model files that this embedder reads."""


@dataclass(frozen=True)
class WordLlamaText:
    """The mean of 256-d token vectors. Best in English, fair in other languages. Ignores the word order."""

    dimension: int = 256
    name: str = NAME

    def embed(self, texts: Sequence[str]) -> Float32Array:
        """Return unit rows (n, 256) float32; zeros for an empty text. The first call reads 33 MB."""
        return embed_nonempty(texts, self.dimension, mean_token_vectors)


def mean_token_vectors(texts: Sequence[str]) -> Float32Array:
    """Return the mean token vector of each non-empty text, (n, 256) float32, not normalized."""
    vectors, tokenizer = load_model_files()
    means = np.zeros((len(texts), vectors.shape[1]), dtype=np.float32)
    for start in range(0, len(texts), BATCH_TEXTS):
        batch = list(texts[start : start + BATCH_TEXTS])
        # Row by row and without padding: otherwise one long text would multiply the memory of the whole batch.
        # Every text has a token, because the tokenizer turns an unknown character into its bytes.
        for row, encoded in enumerate(tokenizer.encode_batch_fast(batch, add_special_tokens=False), start):
            means[row] = vectors[encoded.ids].mean(axis=0)
    return means


@functools.cache
def load_model_files() -> tuple[Float32Array, Tokenizer]:
    """Return the token vectors (32000, 256) and the tokenizer. Loaded once per process. Raises `ModelFileError`."""
    tokenizer = Tokenizer.from_buffer(read_model_file(TOKENIZER))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    weights = load(read_model_file(WEIGHTS))["embedding.weight"]
    return weights.astype(np.float32), tokenizer


def read_model_file(name: str) -> bytes:
    """Return the content of a file of the model. Raises `ModelFileError` if it is missing or not the expected one."""
    content = model_file(name).read_bytes()
    if hashlib.sha256(content.strip()).hexdigest() != SHA_256[name]:
        raise ModelFileError(
            f"The text model's file {name} in the installed wordllama package is another one than the service was "
            "tested with. Reinstall the pinned requirements (pip install -r requirements.txt)."
        )
    return content


def model_file(name: str) -> Path:
    """Return the path of a file in the installed package, without importing the package. Raises `ModelFileError`."""
    spec = importlib.util.find_spec("wordllama")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / name
        if path.is_file():
            return path
    raise ModelFileError(
        f"The text model's file {name} is not in the installed wordllama package. "
        "Reinstall the pinned requirements (pip install -r requirements.txt)."
    )
