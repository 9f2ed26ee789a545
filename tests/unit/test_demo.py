"""The demo: its texts, its pictures, and its members, posts and interactions, which are the same each time."""

import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree

import pytest

from recommendations.contracts import InteractionKind
from recommendations.services.content.demo.canvas import LIGHTS
from recommendations.services.content.demo.pictures import DRAWINGS, MAX_NUMBER, draw_picture
from recommendations.services.content.demo.platform import BLOCKS, FOLLOWS, LANGUAGES, MEMBERS, NAMED, DemoPlatform
from recommendations.services.content.demo.texts import TOPICS_FOLDER, read_topics

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
KINDS = ("members", "posts", "relationships", "interactions")


@pytest.fixture(scope="module")
def rows():
    """The rows of each kind."""
    platform = DemoPlatform(NOW)
    return {kind: list(getattr(platform, kind)()) for kind in KINDS}


# --- texts


def test_every_topic_has_the_same_parts():
    topics = read_topics()
    assert 20 <= len(topics) <= 30
    for topic in topics:
        assert set(topic.sentences) == set(LANGUAGES)
        assert len(topic.pictures) == 2 and set(topic.pictures) <= set(DRAWINGS), topic.name
        for alt in topic.pictures.values():
            assert set(alt) == set(LANGUAGES) and all(alt.values()), topic.name
        for language, parts in topic.sentences.items():
            assert len(parts["openers"]) >= 14 and len(parts["more"]) >= 6, (topic.name, language)


def test_the_sentences_are_well_formed():
    for topic in read_topics():
        for parts in topic.sentences.values():
            for opener in (*parts["openers"], *parts.get("sensitive", ())):
                words, *tags = opener.split(" #")
                assert all(re.fullmatch(r"[a-z]+", tag) for tag in tags), opener
                assert words.strip() == words and words[-1] in ".?!", opener
            sentences = [line for lines in parts.values() for line in lines]
            assert len(set(sentences)) == len(sentences), topic.name
            for sentence in sentences:
                assert re.fullmatch(r"[^{}|]*(\{[^{}|]+(\|[^{}|]+)+\}[^{}|]*)*", sentence), sentence


def test_no_text_repeats_and_no_opener_reads_twice_the_same(rows):
    texts = [post["text"] for post in rows["posts"]]
    assert len(set(texts)) == len(texts)
    openers = Counter(text.split("\n")[0] for text in texts)
    assert len(openers) == len(texts)
    assert not any(set(text) & set("{|}#") for text in texts)


# --- pictures


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_picture_is_small_and_well_formed_in_every_light(name):
    pictures = [draw_picture(name, number) for number in range(4 * len(LIGHTS))]
    assert len(set(pictures)) == len(pictures), "each number gives another picture"
    for picture in pictures:
        assert len(picture) <= 10_000
        root = ElementTree.fromstring(picture)
        assert root.tag == "{http://www.w3.org/2000/svg}svg" and len(root) > 5
        names = {node.tag.split("}")[1] for node in root.iter()}
        assert names <= {"svg", "rect", "circle", "ellipse", "polygon", "path"}, "nothing that runs or loads"


def test_the_same_picture_is_drawn_each_time():
    first = draw_picture("moon", 7)
    draw_picture.cache_clear()
    assert draw_picture("moon", 7) == first


# --- the platform


def test_the_same_time_gives_the_same_rows(rows):
    again = DemoPlatform(NOW)
    assert {kind: list(getattr(again, kind)()) for kind in KINDS} == rows
    later = DemoPlatform(NOW + timedelta(days=3))
    assert [row["id"] for row in later.posts()] == [row["id"] for row in rows["posts"]]


def test_the_size_is_as_documented(rows):
    assert {kind: len(rows[kind]) for kind in KINDS} == {
        "members": MEMBERS,
        "posts": 1_636,
        "relationships": 2_655,
        "interactions": 27_003,
    }
    authors = {post["author_id"] for post in rows["posts"]}
    assert 60 <= len(authors) <= 100 and authors <= {member["id"] for member in rows["members"]}
    for field in ("members", "posts"):
        assert len({row["id"] for row in rows[field]}) == len(rows[field])
    assert len({event["event_id"] for event in rows["interactions"]}) == len(rows["interactions"])


def test_most_posts_have_a_picture_with_a_description_in_their_language(rows):
    pictures = [post["media"][0] for post in rows["posts"] if post["media"]]
    assert len(pictures) > len(rows["posts"]) / 2
    for picture in pictures:
        _, _, name, file = picture["url"].strip("/").split("/")
        assert name in DRAWINGS and int(file.removesuffix(".svg")) <= MAX_NUMBER
        assert picture["alt"]
    assert len({picture["url"] for picture in pictures}) == len(pictures)
    moon = next(post for post in rows["posts"] if "moon" in post["tags"] and post["language"] == "de")
    assert moon["media"][0]["alt"] == "Eine schmale Mondsichel über dunklen Hügeln"


def test_privacy_can_be_tried(rows):
    visibilities = Counter(post["visibility"] for post in rows["posts"])
    assert set(visibilities) == {"public", "followers", "unlisted", "private"}
    assert visibilities["public"] > 0.9 * len(rows["posts"])
    assert sum(bool(post["safety_labels"]) for post in rows["posts"]) == 4
    related = {(row["kind"], row["source_id"], row["target_id"]) for row in rows["relationships"]}
    for kind, pairs in (("follow", FOLLOWS), ("block", BLOCKS)):
        assert {(kind, f"demo:{source}", f"demo:{target}") for source, target in pairs} <= related
    assert not {(a, b) for kind, a, b in related if kind == "follow"} & {
        pair for kind, a, b in related if kind == "block" for pair in ((a, b), (b, a))
    }


def test_nobody_interacts_with_a_post_that_they_may_not_see(rows):
    posts = {post["id"]: post for post in rows["posts"]}
    related = {(row["kind"], row["source_id"], row["target_id"]) for row in rows["relationships"]}
    private = {member["id"] for member in rows["members"] if member["is_private"]}
    assert "demo:hugo" in private
    for event in rows["interactions"]:
        post, member = posts[event["post_id"]], event["member_id"]
        assert post["visibility"] in ("public", "followers") and post["author_id"] != member
        if post["visibility"] == "followers" or post["author_id"] in private:
            assert ("follow", member, post["author_id"]) in related
        assert ("block", member, post["author_id"]) not in related
        assert post["created_at"] <= event["occurred_at"] <= NOW.isoformat()


def test_the_named_members_have_their_purposes(rows):
    counts = Counter(event["member_id"] for event in rows["interactions"])
    assert [member["id"] for member in rows["members"][: len(NAMED)]] == [f"demo:{named.name}" for named in NAMED]
    assert counts["demo:nora"] == 0
    tags = {post["id"]: post["tags"] for post in rows["posts"]}
    for named in NAMED:
        liked = Counter(
            tags[event["post_id"]][0]
            for event in rows["interactions"]
            if event["member_id"] == f"demo:{named.name}" and event["kind"] == InteractionKind.LIKE
        )
        if named.topics:
            assert sum(liked[topic] for topic in named.topics) > 0.5 * liked.total(), named.name
    tired = [event for event in rows["interactions"] if event.get("target")]
    assert [(event["member_id"], event["kind"], event["target"]) for event in tired] == [
        ("demo:greta", "not_interested", "topic")
    ] * 3
    assert {tags[event["post_id"]][0] for event in tired} == {"running"}


def test_new_posts_have_few_interactions(rows):
    """A post of the last hour must not be the most popular one."""
    counts = Counter(event["post_id"] for event in rows["interactions"])
    new = [post for post in rows["posts"] if post["created_at"] > (NOW - timedelta(hours=3)).isoformat()]
    assert new and max(counts[post["id"]] for post in new) < max(counts.values()) / 4


def test_the_licence_is_next_to_the_data():
    assert "Apache-2.0" in (TOPICS_FOLDER.parent / "README.md").read_text()


@pytest.mark.parametrize("page", ["README.md", "docs/explorer.md", "docs/preferences.md"])
def test_the_documentation_names_members_and_posts_that_exist(rows, page):
    ids = {row["id"] for kind in ("members", "posts") for row in rows[kind]}
    named = set(re.findall(r"demo:[a-z]+(?:-[0-9]+)?", (ROOT / page).read_text(encoding="utf-8")))
    assert named and named <= ids


def test_the_explorers_page_is_right_about_its_posts_and_members(rows):
    text = (ROOT / "docs" / "explorer.md").read_text(encoding="utf-8")
    assert [f"demo:{named.name}" for named in NAMED if f"| `demo:{named.name}` |" not in text] == []
    posts = {post["id"]: post for post in rows["posts"]}
    assert (posts["demo:cycling-67"]["author_id"], posts["demo:cycling-67"]["visibility"]) == ("demo:ben", "public")
    assert posts["demo:birds-69"]["safety_labels"] and posts["demo:birds-69"]["visibility"] == "public"
    members = {member["id"]: member for member in rows["members"]}
    assert members["demo:lou"]["sensitivity"] == "sensitive" and members["demo:emma"]["sensitivity"] == "safe"
    assert members["demo:mia"]["muted_tags"] == ["vinyl"] and not members["demo:kim"]["is_personalized"]
    seen = {(event["member_id"], event["post_id"]) for event in rows["interactions"]}
    assert not {("demo:lou", "demo:birds-69"), ("demo:jonas", "demo:cycling-67")} & seen
