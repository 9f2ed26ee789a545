"""What every embedder does to a text before its model sees it, and to the vectors after."""

from collections.abc import Callable, Sequence

import numpy as np

from recommendations.contracts import Float32Array

EmbedTexts = Callable[[Sequence[str]], Float32Array]
"""Texts, n of them, in; vectors (n, d) out, of any length."""

MAX_CHARACTERS = 20_000
"""
Characters of a text that are read; the rest is dropped. Changes the answer for longer texts only.

A megabyte of text is 450,000 tokens: 4 seconds and, padded beside others in a batch, 27 GiB. Its first 20,000
characters say what it is about in 0.1 s.
"""


def clean_text(text: str) -> str:
    """Return *text* as a model can take it: stripped, cut, without the half characters of broken JSON."""
    return text[:MAX_CHARACTERS].strip().encode("utf-8", "replace").decode("utf-8")


def unit_rows(vectors: Float32Array) -> Float32Array:
    """Return *vectors* (n, d) as float32 with rows of length 1; what isn't finite counts as 0."""
    finite = np.where(np.isfinite(vectors), vectors, np.float32(0)).astype(np.float32)
    lengths = np.linalg.norm(finite, axis=1, keepdims=True)
    units: Float32Array = np.divide(finite, lengths, out=np.zeros_like(finite), where=lengths > 0)
    return units


def embed_nonempty(texts: Sequence[str], dimension: int, embed: EmbedTexts) -> Float32Array:
    """
    Return unit rows (n, d) float32: *embed* of the texts that say something, zeros for those that don't.

    An empty text has no direction. Models give it one all the same (the mean of nothing, or of their own
    markers), and every empty post would then be alike to every other.
    """
    cleaned = [clean_text(text) for text in texts]
    filled = [row for row, text in enumerate(cleaned) if text]
    vectors = np.zeros((len(cleaned), dimension), dtype=np.float32)
    if filled:
        vectors[filled] = unit_rows(embed([cleaned[row] for row in filled]))
    return vectors
