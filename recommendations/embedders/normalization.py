"""Cleaning of texts before they are embedded, and normalization of the vectors."""

from collections.abc import Callable, Sequence

import numpy as np

from recommendations.contracts import Float32Array

EmbedTexts = Callable[[Sequence[str]], Float32Array]
"""From n texts to vectors (n, d) of any length."""

MAX_CHARACTERS = 20_000
"""
Characters of a text that are embedded; the rest is dropped. Changes the answer for longer texts only.

A megabyte of text is 450,000 tokens, which take 4 seconds and, padded in a batch, 27 GiB. Its first 20,000 characters
take 0.1 s.
"""


def clean_text(text: str) -> str:
    """Return *text* stripped, cut to `MAX_CHARACTERS`, and without the unpaired surrogates of broken JSON."""
    return text[:MAX_CHARACTERS].strip().encode("utf-8", "replace").decode("utf-8")


def unit_rows(vectors: Float32Array) -> Float32Array:
    """Return *vectors* (n, d) as float32 with rows of length 1. A value that is not finite counts as 0."""
    finite = np.where(np.isfinite(vectors), vectors, np.float32(0)).astype(np.float32)
    lengths = np.linalg.norm(finite, axis=1, keepdims=True)
    units: Float32Array = np.divide(finite, lengths, out=np.zeros_like(finite), where=lengths > 0)
    return units


def embed_nonempty(texts: Sequence[str], dimension: int, embed: EmbedTexts) -> Float32Array:
    """
    Return unit rows (n, d) float32: the vectors of *embed*, and zeros for empty texts.

    An empty text has no direction. Models return a vector for it anyway (the mean of nothing, or of their own marker
    tokens), and every empty post would then be similar to every other.
    """
    cleaned = [clean_text(text) for text in texts]
    nonempty = [row for row, text in enumerate(cleaned) if text]
    vectors = np.zeros((len(cleaned), dimension), dtype=np.float32)
    if nonempty:
        vectors[nonempty] = unit_rows(embed([cleaned[row] for row in nonempty]))
    return vectors
