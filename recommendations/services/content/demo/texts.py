"""
The texts of the demo: `recommendations/sample/demo/topics/` has a file per topic, with sentences in each language.

An opener begins a post, and ends with its tags. Most posts go on with one or two sentences that fit any opener of the
topic. A part in braces has alternatives, {as here|like this}, so that an opener that is used twice reads differently.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from random import Random

TOPICS_FOLDER = Path(__file__).parents[3] / "sample" / "demo" / "topics"
ALTERNATIVES = re.compile(r"\{([^}]*)\}")
SENTENCE_SHARES = {0: 0.2, 1: 0.6, 2: 0.2}
"""Share of the posts by how many sentences follow the opener."""


@dataclass(frozen=True)
class Topic:
    """A topic, with its sentences by language."""

    name: str
    pictures: Mapping[str, Mapping[str, str]]
    """The alternative text in each language, by the name of a picture. A post with such a tag gets that picture."""
    sentences: Mapping[str, Mapping[str, Sequence[str]]]
    """Openers, more and sensitive (openers of posts with a safety label), by language."""


@dataclass(frozen=True)
class PostText:
    """The text and the tags of a post."""

    text: str
    tags: tuple[str, ...]
    is_sensitive: bool


def read_topics() -> list[Topic]:
    """Return the topics, by name."""
    topics = []
    for path in sorted(TOPICS_FOLDER.glob("*.toml")):
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        pictures = content.pop("pictures")
        sentences = {
            language: {name: lines.strip().split("\n") for name, lines in parts.items()}
            for language, parts in content.items()
        }
        topics.append(Topic(path.stem, pictures, sentences))
    return topics


def write_texts(topic: Topic, language: str, count: int, rng: Random) -> list[PostText]:
    """Return *count* texts, and one for each opener with a safety label, in random order."""
    sentences = topic.sentences[language]
    more = shuffled_forever(sentences["more"], rng)
    texts = [
        write_text(topic, opener, use, list(islice(more, draw_sentence_count(rng))), is_sensitive=False)
        for use, opener in islice(use_in_turns(sentences["openers"], rng), count)
    ]
    for opener in sentences.get("sensitive", ()):
        texts.append(write_text(topic, opener, 0, [], is_sensitive=True))
    rng.shuffle(texts)
    return texts


def use_in_turns(openers: Sequence[str], rng: Random) -> Iterator[tuple[int, str]]:
    """Yield each opener once in random order, then again, with how often it was used before."""
    order = rng.sample(openers, len(openers))
    for position, opener in enumerate(cycle(order)):
        yield position // len(order), opener


def shuffled_forever(sentences: Sequence[str], rng: Random) -> Iterator[str]:
    """Yield the sentences in random order, again and again, each with alternatives drawn anew."""
    while True:
        for sentence in rng.sample(sentences, len(sentences)):
            yield ALTERNATIVES.sub(lambda match: rng.choice(match[1].split("|")), sentence)


def draw_sentence_count(rng: Random) -> int:
    return rng.choices(list(SENTENCE_SHARES), list(SENTENCE_SHARES.values()))[0]


def write_text(topic: Topic, opener: str, use: int, more: Sequence[str], *, is_sensitive: bool) -> PostText:
    """Return a text that begins with *opener*. Use 0 takes the first of its alternatives, use 1 the second."""
    words, *tags = opener.split(" #")
    first = ALTERNATIVES.sub(lambda match: (parts := match[1].split("|"))[use % len(parts)], words)
    return PostText("\n".join([first, *filter(None, [" ".join(more)])]), (topic.name, *tags), is_sensitive)
