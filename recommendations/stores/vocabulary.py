"""Numbers for words (languages, tags, kinds, regions), so that filters compare integers."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence

import numpy as np

from recommendations.contracts import TAGS_PER_POST, UNKNOWN, Int32Array


class Vocabulary:
    """A numbering of words. It is valid in this process only: never store or send a number."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._lock = threading.Lock()

    def intern(self, word: str) -> int:
        """Return the number of *word*. A new word gets the next number."""
        number = self._numbers.get(word)
        if number is None:
            with self._lock:
                number = self._numbers.setdefault(word, len(self._numbers))
        return number

    def intern_all(self, words: Iterable[str]) -> Int32Array:
        """
        Return the numbers of *words*, sorted.

        New words get numbers: a post with a viewer's muted tag may be read after the viewer.
        """
        return np.array(sorted(map(self.intern, words)), np.int32)

    def words_of(self, numbers: Int32Array) -> list[str]:
        """Return the words that have these numbers."""
        words = list(self._numbers)
        return [words[number] for number in numbers]

    def intern_table(self, lists: Sequence[Sequence[str]], width: int = TAGS_PER_POST) -> Int32Array:
        """Return the numbers of each list's first *width* words (n, width), padded with `UNKNOWN`."""
        numbers = np.full((len(lists), width), UNKNOWN, np.int32)
        for i, words in enumerate(lists):
            for j, word in enumerate(words[:width]):
                numbers[i, j] = self.intern(word)
        return numbers


class Vocabularies:
    """The vocabularies shared by posts and viewers."""

    def __init__(self) -> None:
        self.languages = Vocabulary()
        self.tags = Vocabulary()
        self.kinds = Vocabulary()
        self.regions = Vocabulary()
