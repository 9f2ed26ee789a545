"""The texts and tags of generated posts, in the language of their authors and on their topics."""

from collections.abc import Iterator

from recommendations.services.content.generating.draws import NONE, PlatformSize
from recommendations.services.content.generating.posts import Posts
from recommendations.services.content.generating.vocabulary import EMOJI, LANGUAGES, OPENERS, TOPICS, WORDS

WORDS_PER_POST = 5


def make_texts(size: PlatformSize, posts: Posts) -> Iterator[str]:
    """Yield each post's text: an opener, words of its topics and, for a third of the posts, an emoji."""
    rng = size.random_stream(7)
    draws = rng.integers(0, 2**31, (len(posts.ages), WORDS_PER_POST + 2)).tolist()
    columns = (posts.topic.tolist(), posts.second_topic.tolist(), posts.language.tolist(), draws)
    for topic, second, language, numbers in zip(*columns, strict=True):
        yield make_sentence(LANGUAGES[language], topic, topic if second == NONE else second, numbers)


def make_sentence(language: str, topic: int, second: int, numbers: list[int]) -> str:
    """Return the text that *numbers*, `WORDS_PER_POST` + 2 random integers, choose."""
    opener, emoji, *picks = numbers
    openers, topic_words, second_words = OPENERS[language], WORDS[language][topic], WORDS[language][second]
    words = [topic_words[pick % len(topic_words)] for pick in picks[:-1]]
    words.append(second_words[picks[-1] % len(second_words)])
    text = f"{openers[opener % len(openers)]} {' '.join(words)}"
    return f"{text} {EMOJI[topic]}" if emoji % 3 == 0 else text


def make_tags(posts: Posts) -> Iterator[list[str]]:
    """Yield each post's tags: its topic and, if it has one, its second topic."""
    for topic, second in zip(posts.topic.tolist(), posts.second_topic.tolist(), strict=True):
        yield [TOPICS[topic]] if second == NONE else [TOPICS[topic], TOPICS[second]]
