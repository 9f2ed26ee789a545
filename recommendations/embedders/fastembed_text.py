"""
A text model from a hub, run by fastembed: better English or many languages, for those with a network.

Only the wiring loads this module, and only if the settings ask for it: fastembed is not a requirement.
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
    """A model that fastembed knows, downloaded at the first use or read from *folder*."""

    model: str = DEFAULT_MODEL
    """Changes the answer, and its name: posts are embedded anew."""
    folder: str = ""
    """A folder that already holds the model's files; then nothing is downloaded. Changes no answer."""

    @property
    def name(self) -> str:
        return f"{self.model}@fastembed-{importlib.metadata.version('fastembed')}"

    @property
    def dimension(self) -> int:
        return TextEmbedding.get_embedding_size(self.model)

    def embed(self, texts: Sequence[str]) -> Float32Array:
        """Return unit rows (n, d) float32; zeros for an empty text. The model's window cuts a long one."""
        return embed_nonempty(texts, self.dimension, self._vectors)

    def _vectors(self, texts: Sequence[str]) -> Float32Array:
        return np.stack(list(load_text_embedding(self.model, self.folder).embed(texts, batch_size=32))).astype(
            np.float32
        )


@functools.cache
def load_text_embedding(model: str, folder: str) -> TextEmbedding:
    """Return the model, read once a process."""
    return TextEmbedding(model, specific_model_path=folder) if folder else TextEmbedding(model)
