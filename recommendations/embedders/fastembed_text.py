"""
Embeds texts with a model from a hub, run by fastembed: for better English or many languages. Needs a download.

This module is imported only if the settings name it, because fastembed is optional.
"""

import functools
import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from fastembed import TextEmbedding

from recommendations.contracts import Float32Array
from recommendations.embedders.normalization import embed_nonempty

DEFAULT_MODEL = "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2"
"""50 languages, symmetric (no prefix for queries), 384-d, 220 MB to download once."""


@dataclass(frozen=True)
class FastembedText:
    """A model that fastembed supports, downloaded at the first use or read from *folder*."""

    model: str = DEFAULT_MODEL
    """Changes the answer and the name of the embedder, so all posts are embedded again."""
    folder: str = ""
    """A folder with the model's files, to avoid the download. Does not change the answer."""

    @property
    def name(self) -> str:
        return f"{self.model}@fastembed-{importlib.metadata.version('fastembed')}"

    @property
    def dimension(self) -> int:
        return TextEmbedding.get_embedding_size(self.model)

    def embed(self, texts: Sequence[str]) -> Float32Array:
        """Return unit rows (n, d) float32; zeros for an empty text. A long text is cut to the model's window."""
        return embed_nonempty(texts, self.dimension, self._vectors)

    def _vectors(self, texts: Sequence[str]) -> Float32Array:
        return np.stack(list(load_text_embedding(self.model, self.folder).embed(texts, batch_size=32))).astype(
            np.float32
        )


@functools.cache
def load_text_embedding(model: str, folder: str) -> TextEmbedding:
    """Return the model. Loaded once per process."""
    return TextEmbedding(model, specific_model_path=folder) if folder else TextEmbedding(model)
