"""Numbers for words (languages, tags, kinds, regions), so that filters compare integers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any

import numpy as np
from cachetools import LRUCache, cachedmethod

from recommendations.contracts import TAGS_PER_POST, UNKNOWN, Int32Array
from values.languages import canonical_language, is_in_range
from values.text import fold


class Vocabulary:
    """
    A numbering of words. It is valid in this process only: never store or send a number.

    Words that *normalize* maps to the same word have the same number.
    """

    def __init__(self, normalize: Callable[[str], str] = str) -> None:
        self._normalize = normalize
        self._numbers: dict[str, int] = {}
        self._words: list[str] = []
        self._lock = threading.Lock()

    def intern(self, word: str) -> int:
        """Return the number of *word*. A new word gets the next number."""
        number = self._numbers.get(word)
        if number is None:
            normal = self._normalize(word)
            with self._lock:
                if normal not in self._numbers:
                    self._words.append(normal)
                    self._numbers[normal] = len(self._words) - 1
                number = self._numbers[word] = self._numbers[normal]
        return number

    def intern_all(self, words: Iterable[str]) -> Int32Array:
        """
        Return the numbers of *words*, sorted.

        New words get numbers: a post with a viewer's muted tag may be read after the viewer.
        """
        return np.array(sorted(map(self.intern, words)), np.int32)

    def words_of(self, numbers: Int32Array) -> list[str]:
        """Return the words that have these numbers."""
        return [self._words[number] for number in numbers]

    def intern_table(self, lists: Sequence[Sequence[str]], width: int = TAGS_PER_POST) -> Int32Array:
        """Return the numbers of each list's first *width* words (n, width), padded with `UNKNOWN`."""
        numbers = np.full((len(lists), width), UNKNOWN, np.int32)
        for i, words in enumerate(lists):
            for j, word in enumerate(words[:width]):
                numbers[i, j] = self.intern(word)
        return numbers


MAX_CACHED_RANGES = 1_000
"""Lists of ranges whose languages a process caches. Changes the speed, not the answer."""


class LanguageVocabulary(Vocabulary):
    """A numbering of language tags."""

    def __init__(self) -> None:
        super().__init__(canonical_or_same)
        self._ranges: LRUCache[Any, Int32Array] = LRUCache(MAX_CACHED_RANGES)
        self._ranges_lock = threading.Lock()

    def intern_ranges(self, ranges: Iterable[str]) -> Int32Array:
        """
        Return the numbers, sorted, of all known languages that are in one of *ranges* (`values.languages`).

        New ranges get numbers. A language that is met later is compared when the next request is read.
        """
        return self._find_in_ranges(tuple(map(self.intern, ranges)), len(self._words))

    @cachedmethod(attrgetter("_ranges"), lock=attrgetter("_ranges_lock"))
    def _find_in_ranges(self, ranges: tuple[int, ...], word_count: int) -> Int32Array:
        """Return the numbers, sorted, of the first *word_count* languages that are in one of *ranges*."""
        wanted = [self._words[number] for number in ranges]
        words = enumerate(self._words[:word_count])
        return np.array([n for n, tag in words if any(is_in_range(tag, name) for name in wanted)], np.int32)


def canonical_or_same(tag: str) -> str:
    """Return the canonical form of a language tag. Another word, which an earlier release stored, stays as it is."""
    try:
        return canonical_language(tag)
    except ValueError:
        return tag


class Vocabularies:
    """The vocabularies shared by posts and viewers. Tags are compared in the form of `values.text.fold`."""

    def __init__(self) -> None:
        self.languages = LanguageVocabulary()
        self.tags = Vocabulary(fold)
        self.kinds = Vocabulary()
        self.regions = Vocabulary()
