"""
Embeds texts and pictures in one space with a model from a hub (CLIP ViT-B/32), run by fastembed.

This module is imported only if a space uses it, because fastembed is optional.
"""

import functools
import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from fastembed import ImageEmbedding, TextEmbedding

from recommendations.contracts import Float32Array
from recommendations.embedders.normalization import embed_nonempty, unit_rows
from recommendations.embedders.pictures import open_pictures

TEXT_MODEL = "Qdrant/clip-ViT-B-32-text"
IMAGE_MODEL = "Qdrant/clip-ViT-B-32-vision"


@dataclass(frozen=True)
class FastembedClip:
    """The text and image models of CLIP. Each is downloaded at its first use, or read from a folder with its files."""

    text_folder: str = ""
    image_folder: str = ""
    text_model: str = TEXT_MODEL
    image_model: str = IMAGE_MODEL

    @property
    def name(self) -> str:
        return f"{self.image_model}@fastembed-{importlib.metadata.version('fastembed')}"

    @property
    def dimension(self) -> int:
        return ImageEmbedding.get_embedding_size(self.image_model)

    def embed(self, texts: Sequence[str]) -> Float32Array:
        """Return unit rows (n, d) float32; zeros for an empty text. The model reads the first 77 tokens."""
        return embed_nonempty(texts, self.dimension, self._text_vectors)

    def embed_images(self, images: Sequence[bytes]) -> Float32Array:
        """See `CrossModalEmbedder.embed_images`."""
        if not images:
            return np.zeros((0, self.dimension), np.float32)
        pictures = open_pictures(images)
        return unit_rows(np.stack(list(load_clip_image(self.image_model, self.image_folder).embed(pictures))))

    def _text_vectors(self, texts: Sequence[str]) -> Float32Array:
        return np.stack(list(load_clip_text(self.text_model, self.text_folder).embed(texts))).astype(np.float32)


@functools.cache
def load_clip_text(model: str, folder: str) -> TextEmbedding:
    """Return the text model. Loaded once per process."""
    return TextEmbedding(model, specific_model_path=folder or None)


@functools.cache
def load_clip_image(model: str, folder: str) -> ImageEmbedding:
    """Return the image model. Loaded once per process."""
    return ImageEmbedding(model, specific_model_path=folder or None)
