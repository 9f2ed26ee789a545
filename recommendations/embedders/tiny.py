"""A deterministic embedder for unit tests: words are hashed into a few dimensions, without their meaning."""

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recommendations.contracts import Float32Array
from recommendations.embedders.normalization import embed_nonempty

WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class TinyText:
    """Feature hashing with signs (Weinberger et al., 2009). Texts are similar if they share words."""

    dimension: int = 64

    @property
    def name(self) -> str:
        return f"tiny-hash-{self.dimension}@1"

    def embed(self, texts: Sequence[str]) -> Float32Array:
        """Return unit rows (n, d) float32, the same on every host; zeros for an empty text."""
        return embed_nonempty(texts, self.dimension, self._sums)

    def _sums(self, texts: Sequence[str]) -> Float32Array:
        sums = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in WORD.findall(text.casefold()):
                code = zlib.crc32(word.encode())
                sums[row, code % self.dimension] += 1 if code >> 31 else -1
        return sums
