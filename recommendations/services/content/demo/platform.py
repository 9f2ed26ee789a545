"""
The members, posts and interactions of the demo, from a fixed seed.

Members and posts are drawn here, because the demo has topics, texts and pictures of its own. Their relationships and
interactions are drawn by the generator of platforms (`services/content/generating/`), which respects blocks and the
visibility of posts. Some members have a name and a purpose (`NAMED`); docs/explorer.md says what to try with them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from math import erf, sqrt
from random import Random
from typing import Any

import numpy as np

from recommendations.contracts import FeedbackTarget, Float64Array, InteractionKind, Sensitivity, Visibility
from recommendations.services.content.demo.pictures import NIGHT_PICTURES, find_light
from recommendations.services.content.demo.texts import PostText, Topic, read_topics, write_texts
from recommendations.services.content.generating.draws import NONE, SECONDS_PER_DAY, PlatformSize, zipf_shares
from recommendations.services.content.generating.interactions import (
    DELAY_DEVIATION,
    INTERACTION_KINDS,
    MEDIAN_DELAY_SECONDS,
    Interactions,
    make_interactions,
)
from recommendations.services.content.generating.people import People
from recommendations.services.content.generating.posts import Posts
from recommendations.services.content.generating.relationships import (
    Relationships,
    make_blocks,
    make_follows,
    make_mutes,
)

PREFIX = "demo:"
"""The beginning of the ids of the demo's members and posts."""
SEED = 7
LANGUAGES = ("en", "de", "es")
MEMBERS = 400
AUTHORS = {"en": 40, "de": 24, "es": 24}
POSTS_PER_TOPIC = {"en": 34, "de": 17, "es": 17}
PICTURE_SHARE = 0.7
OLDEST_POST_DAYS = 170
MEAN_POST_DAYS = 50
MEMBER_DAYS = (250, 600)
"""The lowest and highest age of an account."""

CIRCLES = (
    ("cycling", "hiking", "running", "weather", "birds"),
    ("astronomy", "tidepools", "sailing", "weather", "maps"),
    ("bread", "coffee", "gardening", "mushrooms", "ceramics"),
    ("knitting", "woodworking", "ceramics", "houses", "cats"),
    ("books", "chess", "cats", "coffee", "music"),
    ("photography", "music", "books", "houses", "trains"),
    ("gardening", "bees", "birds", "mushrooms", "tidepools"),
    ("trains", "maps", "cycling", "sailing", "hiking"),
)
"""Topics that the same members like."""

FIRST_NAMES = {
    "en": "abby alfie amber archie beth callum cora daisy dylan edith ellis esme ewan faye finn freya gemma harvey "
    "hazel ivy jasper jodie kit leah logan mabel maeve nell niall olive oscar poppy quinn rhys rosa ruby seth "
    "sadie toby una wren zara",
    "de": "anke arne bernd birte carla dieter elke emil fenja florian gesa hanno heike henning ida imke jannik jette "
    "karla kasimir lasse lene lotte maike malte merle nele ole paula rike ronja silke sven theo tilda uwe vroni "
    "wiebke",
    "es": "adela aitor alba andrea bruno carmen celia daniela eloy enrique eva fabio gala gonzalo irene iker jimena "
    "julia leire lola lucas marta mateo nerea nico olga pablo pilar ramiro rocio sara saul teresa tomas vega "
    "xavi yago",
}


@dataclass(frozen=True)
class Named:
    """A member with a name and a purpose."""

    name: str
    languages: tuple[str, ...]
    topics: tuple[str, ...]
    """Empty: the member likes all topics alike."""
    interactions: int = 70
    """Roughly how many interactions the member has."""
    writes: bool = False
    is_private: bool = False
    is_personalized: bool = True
    sensitivity: Sensitivity = Sensitivity.SAFE


NAMED = (
    Named("ana", ("en", "es"), ("astronomy", "bread"), interactions=90),
    Named("ben", ("en",), ("cycling", "trains"), writes=True),
    Named("clara", ("de", "en"), ("gardening", "bees"), writes=True),
    Named("diego", ("es", "en"), ("chess", "music"), writes=True),
    Named("emma", ("en",), ("tidepools", "birds"), writes=True),
    Named("felix", ("de", "en"), ("hiking", "photography")),
    Named("greta", ("de", "en"), ("cats", "knitting", "running")),
    Named("hugo", ("en",), ("photography", "houses"), writes=True, is_private=True),
    Named("ines", ("es", "en"), ("photography", "sailing")),
    Named("jonas", ("en", "de"), ("cycling", "woodworking")),
    Named("kim", ("en",), ("coffee", "books"), is_personalized=False),
    Named("lou", ("en",), ("birds", "cats"), sensitivity=Sensitivity.SENSITIVE),
    Named("mia", ("en",), ("music", "maps")),
    Named("omar", ("en", "es"), ()),
    Named("nora", ("en",), (), interactions=0),
)
READERS_FROM = len(NAMED) + sum(AUTHORS.values())
"""The row of the first member who writes nothing."""
NAMED_ROWS = {member.name: row for row, member in enumerate(NAMED)}
FOLLOWS = (("ines", "hugo"), ("ana", "emma"), ("jonas", "ines"), ("felix", "clara"))
BLOCKS = (("jonas", "ben"), ("diego", "omar"))
MUTES = (("mia", "emma"),)
MUTED_TAGS = {"mia": ("vinyl",)}
TIRED_OF = ("greta", "running", 3)
"""A member, a topic and the number of its posts at which the member asked to see less of the topic."""


class DemoPlatform:
    """
    The demo as rows of the importer's files, with times relative to *now*.

    The same *now* gives the same rows. A random draw of its own decides each kind of row.
    """

    def __init__(self, now: datetime) -> None:
        self.now = now.replace(microsecond=0)
        self.topics = read_topics()
        self._topic_rows = {topic.name: row for row, topic in enumerate(self.topics)}

    # --- members

    @cached_property
    def names(self) -> list[str]:
        """The members' names (n,): the named ones, then authors, then readers."""
        rng = Random(f"{SEED} names")
        names = [member.name for member in NAMED]
        for language in self._languages[len(NAMED) :]:
            first_names = FIRST_NAMES[language].split()
            candidates = (f"{rng.choice(first_names)}-{rng.choice('abcdefghjklmnoprstw')}" for _ in range(1000))
            names.append(next(name for name in candidates if name not in names))
        return names

    @cached_property
    def _languages(self) -> list[str]:
        """The members' first languages (n,)."""
        languages = [member.languages[0] for member in NAMED]
        languages += [language for language, count in AUTHORS.items() for _ in range(count)]
        rng = Random(f"{SEED} languages")
        return languages + rng.choices(LANGUAGES, (0.54, 0.24, 0.22), k=MEMBERS - len(languages))

    @cached_property
    def people(self) -> People:
        """The members as columns of the generator of platforms."""
        rng, n = np.random.default_rng([SEED, 1]), MEMBERS
        language = np.array([LANGUAGES.index(name) for name in self._languages], np.int8)
        second = np.where(rng.random(n) < 0.3, rng.choice(3, n, p=(0.6, 0.25, 0.15)), NONE)
        second = np.where(second == language, NONE, second).astype(np.int8)
        birth_year = rng.integers(1950, 2004, n).astype(np.int32)
        people = People(
            cluster=rng.integers(0, len(CIRCLES), n).astype(np.int32),
            tastes=np.zeros((n, len(self.topics)), np.float32),
            language=language,
            second_language=second,
            region=np.zeros(n, np.int32),
            birth_year=birth_year,
            is_adult=np.ones(n, np.int8),
            is_active=(rng.random(n) >= 0.02) | (np.arange(n) < READERS_FROM),
            is_private=rng.random(n) < 0.05,
            is_personalized=rng.random(n) >= 0.04,
            sensitivity=np.where(rng.random(n) < 0.12, Sensitivity.SENSITIVE, Sensitivity.SAFE).astype(np.int8),
            muted_topic=np.where(rng.random(n) < 0.05, rng.integers(0, len(self.topics), n), NONE).astype(np.int8),
            ages=rng.integers(MEMBER_DAYS[0] * SECONDS_PER_DAY, MEMBER_DAYS[1] * SECONDS_PER_DAY, n),
            activity=rng.permutation(zipf_shares(n, 0.45)),
        )
        self._draw_tastes(people, rng)
        self._set_named(people)
        return people

    def _draw_tastes(self, people: People, rng: np.random.Generator) -> None:
        """Give each author one or two topics, and each other member two to four, mostly of one circle."""
        first_author = len(NAMED)
        for row in range(first_author, MEMBERS):
            circle = [self._topic_rows[name] for name in CIRCLES[people.cluster[row]]]
            liked = rng.permutation(circle)[: rng.integers(2, 4)].tolist()
            if row < READERS_FROM:
                liked = [self._author_topic(row), *liked[: rng.integers(0, 2)]]
            elif rng.random() < 0.5:
                liked.append(rng.integers(0, len(self.topics)))
            for rank, topic in enumerate(liked):
                people.tastes[row, topic] += 0.7**rank
        people.tastes[first_author:] /= people.tastes[first_author:].sum(axis=1, keepdims=True)

    def _author_topic(self, row: int) -> int:
        """Return the first topic of an author: each topic has authors in each language."""
        position = self._languages[len(NAMED) : row].count(self._languages[row])
        return position % len(self.topics)

    def _set_named(self, people: People) -> None:
        """Overwrite the rows of the members with a name."""
        total = sum(INTERACTION_COUNT_SHARE * member.interactions for member in NAMED)
        for row, member in enumerate(NAMED):
            liked = [self._topic_rows[name] for name in member.topics] or slice(None)
            people.tastes[row, liked] = 1
            people.tastes[row] /= people.tastes[row].sum()
            people.second_language[row] = LANGUAGES.index(member.languages[1]) if member.languages[1:] else NONE
            people.is_active[row], people.is_private[row] = True, member.is_private
            people.is_personalized[row], people.sensitivity[row] = member.is_personalized, member.sensitivity
            people.muted_topic[row] = NONE
            people.activity[row] = INTERACTION_COUNT_SHARE * member.interactions
        people.activity[len(NAMED) :] *= (1 - total) / people.activity[len(NAMED) :].sum()
        people.ages[NAMED_ROWS["nora"]] = 3_600

    def member_ages(self) -> dict[str, int]:
        """Return the age of each account at the time of the import, in seconds, by id."""
        return {PREFIX + name: int(age) for name, age in zip(self.names, self.people.ages, strict=True)}

    def members(self) -> Iterator[dict[str, Any]]:
        """Yield the rows of the members."""
        people = self.people
        for row, name in enumerate(self.names):
            second = int(people.second_language[row])
            muted = int(people.muted_topic[row])
            yield {
                "id": PREFIX + name,
                "is_private": bool(people.is_private[row]),
                "languages": [LANGUAGES[people.language[row]], *([] if second == NONE else [LANGUAGES[second]])],
                "birth_year": int(people.birth_year[row]),
                "is_adult": True,
                "is_active": bool(people.is_active[row]),
                "is_personalized": bool(people.is_personalized[row]),
                "sensitivity": Sensitivity(int(people.sensitivity[row])).name.lower(),
                "muted_tags": [*MUTED_TAGS.get(name, ()), *([] if muted == NONE else [self.topics[muted].name])],
                "created_at": self._moment(people.ages[row]),
            }

    # --- posts

    @cached_property
    def texts(self) -> list[tuple[Topic, str, PostText]]:
        """The topic, language and text of each post (n,)."""
        return [
            (topic, language, text)
            for topic in self.topics
            for language, count in POSTS_PER_TOPIC.items()
            for text in write_texts(topic, language, count, Random(f"{SEED} {topic.name} {language}"))
        ]

    @cached_property
    def posted(self) -> Posts:
        """The posts as columns of the generator of platforms, in the order of `texts`."""
        rng, n = np.random.default_rng([SEED, 2]), len(self.texts)
        topic = np.array([self._topic_rows[topic.name] for topic, _, _ in self.texts], np.int8)
        language = np.array([LANGUAGES.index(language) for _, language, _ in self.texts], np.int8)
        is_open = rng.random(n) < 0.93
        hidden = rng.choice((Visibility.FOLLOWERS, Visibility.UNLISTED, Visibility.PRIVATE), n, p=(0.7, 0.15, 0.15))
        ages = rng.exponential(MEAN_POST_DAYS * SECONDS_PER_DAY, n) % (OLDEST_POST_DAYS * SECONDS_PER_DAY) + 600
        return Posts(
            author=np.array([self._draw_author(rng, *cell) for cell in zip(topic, language, strict=True)], np.int32),
            topic=topic,
            second_topic=np.full(n, NONE, np.int8),
            language=language,
            kind=np.zeros(n, np.int8),
            visibility=np.where(is_open, Visibility.PUBLIC, hidden).astype(np.int8),
            label=np.full(n, NONE, np.int8),
            label_score=np.zeros(n),
            is_removed=np.zeros(n, np.bool_),
            ages=ages.astype(np.int64),
            popularity=rng.permutation(zipf_shares(n, 0.75))
            * np.where(self._has_picture, 1.5, 1)
            * arrived_shares(ages),
        )

    def _draw_author(self, rng: np.random.Generator, topic: int, language: int) -> int:
        """Return an author of the topic who writes in the language, by how much they like it."""
        people = self.people
        weights = people.tastes[:, topic] * (people.language == language)
        weights[[row for row, member in enumerate(NAMED) if not member.writes]] = 0
        weights[READERS_FROM:] = 0
        return int(rng.choice(MEMBERS, p=weights / weights.sum()))

    @cached_property
    def _has_picture(self) -> np.ndarray:
        """Whether each post (n,) has a picture: all with a tag of one, and some others."""
        rng = np.random.default_rng([SEED, 3])
        is_tagged = np.array([bool(set(text.tags) & set(topic.pictures)) for topic, _, text in self.texts])
        chance = (PICTURE_SHARE - is_tagged.mean()) / (1 - is_tagged.mean())
        return is_tagged | (rng.random(len(self.texts)) < chance)

    @cached_property
    def post_ids(self) -> list[str]:
        """The ids of the posts (n,): per topic in the order of time."""
        ids, counts = [""] * len(self.texts), dict.fromkeys(self._topic_rows, 0)
        for row in np.argsort(-self.posted.ages, kind="stable"):
            name = self.texts[row][0].name
            counts[name] += 1
            ids[row] = f"{PREFIX}{name}-{counts[name]}"
        return ids

    def posts(self) -> Iterator[dict[str, Any]]:
        """Yield the rows of the posts, oldest first."""
        posted = self.posted
        for row in np.argsort(-posted.ages, kind="stable"):
            topic, language, text = self.texts[row]
            has_picture = bool(self._has_picture[row])
            yield {
                "id": self.post_ids[row],
                "author_id": PREFIX + self.names[posted.author[row]],
                "visibility": Visibility(int(posted.visibility[row])).name.lower(),
                "created_at": self._moment(posted.ages[row]),
                "text": text.text,
                "kind": "image" if has_picture else "text",
                "language": language,
                "tags": list(text.tags),
                "media": [describe_picture(topic, language, text.tags, int(row))] if has_picture else [],
                "safety_labels": {"violence": 0.7} if text.is_sensitive else {},
            }

    # --- relationships and interactions

    @property
    def _size(self) -> PlatformSize:
        counts = {"follows": 2_600, "blocks": 25, "mutes": 25}
        return PlatformSize(MEMBERS, len(self.texts), INTERACTIONS, seed=SEED, **counts)

    @cached_property
    def _blocks(self) -> Relationships:
        return add_pairs(make_blocks(self._size, self.people), BLOCKS)

    @cached_property
    def _follows(self) -> Relationships:
        return add_pairs(make_follows(self._size, self.people, self.posted, self._blocks), FOLLOWS)

    def relationships(self) -> Iterator[dict[str, Any]]:
        """Yield the rows of the blocks, mutes and follows."""
        mutes = add_pairs(make_mutes(self._size, self.people), MUTES)
        for kind, pairs in (("block", self._blocks), ("mute", mutes), ("follow", self._follows)):
            for source, target, age in zip(pairs.source, pairs.target, pairs.ages, strict=True):
                ids = {"source_id": PREFIX + self.names[source], "target_id": PREFIX + self.names[target]}
                yield {**ids, "kind": kind, "created_at": self._moment(age)}

    @cached_property
    def _interactions(self) -> Interactions:
        return make_interactions(self._size, self.people, self.posted, self._follows, self._blocks)

    def interactions(self) -> Iterator[dict[str, Any]]:
        """Yield the rows of the interactions, oldest first."""
        rows = self._interactions
        columns = (rows.member.tolist(), rows.post.tolist(), rows.kind.tolist(), rows.seconds.tolist(), rows.ages)
        for number, (member, post, kind, seconds, age) in enumerate(zip(*columns, strict=True)):
            yield self._event(number, member, post, INTERACTION_KINDS[kind], age, seconds)
        name, topic, count = TIRED_OF
        member = NAMED_ROWS[name]
        seen = [post for post in rows.post[rows.member == member] if self.texts[post][0].name == topic]
        for number, post in enumerate(seen[-count:], len(rows.post)):
            event = self._event(number, member, post, InteractionKind.NOT_INTERESTED, 3_600 + number % 60, float("nan"))
            yield {**event, "target": FeedbackTarget.TOPIC.value}

    def _event(self, number: int, member: int, post: int, kind: str, age: int, seconds: float) -> dict[str, Any]:
        return {
            "event_id": f"{PREFIX}{number}",
            "member_id": PREFIX + self.names[member],
            "post_id": self.post_ids[post],
            "kind": kind,
            "occurred_at": self._moment(age),
            **({} if np.isnan(seconds) else {"value": seconds}),
        }

    def _moment(self, age: int) -> str:
        """Return the time *age* seconds before the import."""
        return (self.now - timedelta(seconds=int(age))).isoformat()


INTERACTIONS = 27_000
INTERACTION_COUNT_SHARE = 1 / INTERACTIONS
"""The share of all interactions that one interaction is."""


def describe_picture(topic: Topic, language: str, tags: Sequence[str], number: int) -> dict[str, str]:
    """Return the picture of a post: one that a tag names, else any of the topic. Its number decides its light."""
    names = [name for name in topic.pictures if name in tags] or list(topic.pictures)
    name = names[number % len(names)]
    light = "" if name in NIGHT_PICTURES else LIGHT_TEXTS[language][find_light(number)]
    url = f"/demo/pictures/{name}/{number}.svg"
    return {"kind": "image", "url": url, "alt": f"{topic.pictures[name][language]}{light}"}


LIGHT_TEXTS = {
    "en": {
        "morning": ", in morning light",
        "grey": ", on a grey day",
        "midday": ", at midday",
        "evening": ", in evening light",
        "lamp": ", after sunset",
    },
    "de": {
        "morning": ", im Morgenlicht",
        "grey": ", an einem grauen Tag",
        "midday": ", am Mittag",
        "evening": ", im Abendlicht",
        "lamp": ", nach Sonnenuntergang",
    },
    "es": {
        "morning": ", con luz de mañana",
        "grey": ", en un día gris",
        "midday": ", a mediodía",
        "evening": ", con luz de tarde",
        "lamp": ", después del ocaso",
    },
}


def arrived_shares(ages: Float64Array) -> Float64Array:
    """
    Return for posts of these ages (n,), in seconds, which share of their interactions has happened by now (n,).

    The generator gives a post all its interactions, however new it is. A post of the last hour would be the most
    popular of all.
    """
    deviations = (np.log(ages) - np.log(MEDIAN_DELAY_SECONDS)) / DELAY_DEVIATION
    return np.array([(1 + erf(value / sqrt(2))) / 2 for value in deviations])


def add_pairs(pairs: Relationships, named: Sequence[tuple[str, str]]) -> Relationships:
    """Return the relationships without those between two named members, and with *named*, each 90 days old."""
    is_drawn = (pairs.source >= len(NAMED)) | (pairs.target >= len(NAMED))
    source, target = np.array([(NAMED_ROWS[a], NAMED_ROWS[b]) for a, b in named], np.int64).T
    return replace(
        pairs,
        source=np.concatenate((pairs.source[is_drawn], source)),
        target=np.concatenate((pairs.target[is_drawn], target)),
        ages=np.concatenate((pairs.ages[is_drawn], np.full(len(named), 90 * SECONDS_PER_DAY))),
    )
