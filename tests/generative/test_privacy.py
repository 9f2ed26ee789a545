"""
No page ever contains a post that its viewer may not see, for random members, posts and changes.

The changes are made through the services and directly in the database, between reads of every feed. An oracle in this
module decides from the rows what a viewer may see. It shares no code with the services.
"""

from collections import Counter
from datetime import timedelta

import numpy as np
import pytest
from django.db import transaction
from hypothesis import given, settings
from hypothesis import strategies as st

from recommendations.models import Member, NegativeFeedback, Post, PrivacySettings, Relationship, SeenPost
from recommendations.services import wiring
from recommendations.services.content.publish import remove_posts, set_members_active
from recommendations.services.errors import InactiveMember, PostNotVisible
from recommendations.services.learning import learn
from recommendations.services.learning.interact import Event, record_events
from recommendations.services.members.preferences import reset_interests, set_preferences, set_relationship
from recommendations.services.serving.recommend import FEEDS, recommend
from recommendations.services.serving.refresh import refresh_slate
from recommendations.services.serving.search import search
from recommendations.services.serving.similar import find_similar
from recommendations.services.vectors.embedding import CONTENT_SPACE
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]

MEMBERS, POSTS = 4, 8
PUBLIC, FOLLOWERS = 0, 1
ADULT, FORBIDDEN = 2, 3
WORDS = ["war", "bread", "STRASSE"]

members = st.integers(0, MEMBERS - 1)
posts = st.integers(0, POSTS - 1)
steps = st.one_of(
    st.tuples(st.just("read"), members, st.sampled_from(FEEDS), st.sampled_from([1, 3, 100])),
    st.tuples(st.just("read"), members, st.sampled_from(FEEDS), st.sampled_from([1, 3, 100])),
    st.tuples(st.just("similar"), members, posts),
    st.tuples(st.just("search"), members, posts),
    st.tuples(st.just("refresh"), members, st.sampled_from(FEEDS)),
    st.tuples(st.just("add relationship"), members, st.sampled_from(["follow", "block", "mute"]), members),
    st.tuples(st.just("remove relationship"), members, st.sampled_from(["follow", "block", "mute"]), members),
    st.tuples(st.just("set visibility"), posts, st.integers(0, 3)),
    st.tuples(st.just("set sensitivity"), posts, st.integers(0, 3)),
    st.tuples(st.just("set text"), posts, st.sampled_from(WORDS), st.sampled_from(WORDS)),
    st.tuples(st.just("remove post"), posts, st.booleans()),
    st.tuples(st.just("delete post"), posts),
    st.tuples(st.just("set active"), members, st.booleans(), st.booleans()),
    st.tuples(st.just("set private"), members, st.booleans()),
    st.tuples(st.just("delete settings"), members),
    st.tuples(st.just("set content settings"), members, st.integers(0, 2), st.sampled_from([[], ["straße"], ["war"]])),
    st.tuples(st.just("mute tags"), members, st.sampled_from([[], ["war"], ["STRASSE"]])),
    st.tuples(
        st.just("set age"), members, st.sampled_from([None, 2000, 2008, 2015]), st.sampled_from([None, True, False])
    ),
    st.tuples(st.just("mark seen"), members, posts),
    st.tuples(st.just("like"), members, posts),
    st.tuples(st.just("give negative feedback"), members, posts, st.sampled_from(["hide", "report", "not_interested"])),
    st.tuples(st.just("undo"), members, posts),
    st.tuples(
        st.just("set relationship"), members, st.sampled_from(["follow", "block", "mute"]), members, st.booleans()
    ),
    st.tuples(st.just("prefer"), members, st.sampled_from(["safe", "sensitive", "adult"]), st.booleans()),
    st.tuples(st.just("reset"), members),
    st.tuples(st.just("wait"), st.sampled_from([0.5, 5, 500])),
)


def may_see(viewer, post):
    """Return whether the viewer may see this post, decided from the rows alone. This is the oracle."""
    author, viewer_settings = post.author, PrivacySettings.objects.filter(member=viewer).first()
    author_settings = PrivacySettings.objects.filter(member=author).first()

    def has_relationship(source, kind, target):
        return Relationship.objects.filter(source=source, kind=kind, target=target).exists()

    if post.author_id == viewer.pk:
        return post.removed_at is None
    if post.removed_at or not author.is_active or author_settings is None:
        return False
    if has_relationship(viewer, "block", author) or has_relationship(author, "block", viewer):
        return False
    follows = has_relationship(viewer, "follow", author)
    if post.visibility not in (PUBLIC, FOLLOWERS):
        return False
    if (post.visibility == FOLLOWERS or author_settings.is_private) and not follows:
        return False
    max_sensitivity = viewer_settings.sensitivity if viewer_settings else 0
    if viewer.is_adult is not None:
        is_adult = viewer.is_adult
    else:
        is_adult = viewer.birth_year is not None and NOW.year - viewer.birth_year > 18
    if post.sensitivity > max_sensitivity or post.sensitivity == FORBIDDEN:
        return False
    return is_adult or post.sensitivity < ADULT


def matches_preferences(viewer, post, feed):
    """Return whether the viewer's own preferences allow this post."""
    viewer_settings = PrivacySettings.objects.filter(member=viewer).first()
    if post.author_id == viewer.pk:
        return False
    if Relationship.objects.filter(source=viewer, kind="mute", target=post.author).exists():
        return False
    if viewer_settings and any(word.casefold() in post.text.casefold() for word in viewer_settings.muted_words):
        return False
    if viewer_settings and set(viewer_settings.muted_tags) & set(post.tags):
        return False
    if NegativeFeedback.objects.filter(member=viewer, target="post", post=post).exists():
        return False
    return (
        feed in ("similar", "search", "non_personalized")
        or not SeenPost.objects.filter(member=viewer, post=post).exists()
    )


class World:
    """Members and posts, with a method for each step. *checked_pages* counts the checked pages by entry point."""

    def __init__(self, seed, checked_pages):
        self.checked_pages = checked_pages
        rng = np.random.default_rng(seed)
        self.now = NOW
        self.members = [factories.member(f"m{i}") for i in range(MEMBERS)]
        self.posts = [
            factories.post(
                self.members[i % MEMBERS], f"p{i}", text=str(rng.choice(WORDS)), tags=[str(rng.choice(WORDS))]
            )
            for i in range(POSTS)
        ]
        factories.embed_all_posts()

    def apply(self, step):
        name, *arguments = step
        return getattr(self, name.replace(" ", "_"))(*arguments)

    def change(self, row, **fields):
        type(row).objects.filter(pk=row.pk).update(changed_at=self.now, **fields)

    def privacy_settings(self, i):
        return PrivacySettings.objects.get_or_create(member=self.members[i], defaults={"changed_at": self.now})[0]

    def read(self, i, feed, limit):
        """Read every page of a feed and check each post with the oracle."""
        cursor = None
        for _ in range(POSTS + 1):
            try:
                page = recommend(
                    member_id=f"m{i}", feed=feed, limit=limit, cursor=cursor, explain=limit == 3, now=self.now
                )
            except InactiveMember:
                assert not Member.objects.get(pk=self.members[i].pk).is_active
                return
            self.check_page(i, feed, page)
            cursor = page.next_cursor
            if cursor is None:
                return

    def similar(self, i, post):
        self.check_search("similar", i, post, lambda: find_similar(post_id=f"p{post}", viewer_id=f"m{i}", now=self.now))

    def search(self, i, post):
        self.check_search(
            "search", i, post, lambda: search(viewer_id=f"m{i}", space=CONTENT_SPACE, post_id=f"p{post}", now=self.now)
        )

    def check_search(self, entry_point, i, post, run_search):
        """Check the posts that a search from a post returns, and that post itself, with the oracle."""
        viewer = Member.objects.get(pk=self.members[i].pk)
        anchor = Post.objects.filter(external_id=f"p{post}").first()
        try:
            page = run_search()
        except InactiveMember:
            return
        except PostNotVisible:
            assert anchor is None or not may_see(viewer, anchor)
            return
        assert may_see(viewer, anchor)
        self.check_page(i, entry_point, page)

    def refresh(self, i, feed):
        """Rebuild a slate, as a worker does."""
        refresh_slate(member_id=self.members[i].pk, feed=feed, now=self.now)

    def check_page(self, i, feed, page):
        viewer = Member.objects.get(pk=self.members[i].pk)
        assert viewer.is_active
        self.checked_pages[feed] += 1
        for pick in page.picks:
            post = Post.objects.select_related("author").get(external_id=pick.post.id)
            assert may_see(viewer, post), f"{viewer} was served {post} in {feed}"
            assert matches_preferences(viewer, post, feed), (
                f"{viewer} was served {post} in {feed} against their preferences"
            )

    def add_relationship(self, i, kind, j):
        if i != j:
            Relationship.objects.get_or_create(
                source=self.members[i], target=self.members[j], kind=kind, defaults={"created_at": self.now}
            )

    def remove_relationship(self, i, kind, j):
        Relationship.objects.filter(source=self.members[i], target=self.members[j], kind=kind).delete()

    def set_visibility(self, post, value):
        self.change(self.posts[post], visibility=value)

    def set_sensitivity(self, post, value):
        self.change(self.posts[post], sensitivity=value)

    def set_text(self, post, word, tag):
        self.change(self.posts[post], text=f"about {word}", tags=[f"t{i}" for i in range(8)] + [tag])

    def remove_post(self, post, with_service):
        if with_service:
            remove_posts(post_ids=[self.posts[post].pk], now=self.now)
        else:
            Post.objects.filter(pk=self.posts[post].pk).update(removed_at=self.now)

    def delete_post(self, post):
        Post.objects.filter(pk=self.posts[post].pk).delete()

    def set_active(self, i, value, with_service):
        if with_service:
            set_members_active(member_ids=[self.members[i].pk], is_active=value, now=self.now)
        else:
            Member.objects.filter(pk=self.members[i].pk).update(is_active=value)

    def set_private(self, i, value):
        self.change(self.privacy_settings(i), is_private=value)

    def delete_settings(self, i):
        PrivacySettings.objects.filter(member=self.members[i]).delete()

    def set_content_settings(self, i, sensitivity, words):
        self.change(self.privacy_settings(i), sensitivity=sensitivity, muted_words=words)

    def mute_tags(self, i, tags):
        self.change(self.privacy_settings(i), muted_tags=tags)

    def set_age(self, i, birth_year, is_adult):
        self.change(self.members[i], birth_year=birth_year, is_adult=is_adult)

    def mark_seen(self, i, post):
        if Post.objects.filter(pk=self.posts[post].pk).exists():
            SeenPost.objects.get_or_create(
                member=self.members[i], post_id=self.posts[post].pk, defaults={"seen_at": self.now}
            )

    def like(self, i, post):
        row = Post.objects.filter(pk=self.posts[post].pk).first()
        if row:
            factories.interaction(self.members[i], row, at=self.now)
            learn.learn_interactions(member_ids=[self.members[i].pk], now=self.now)

    def give_negative_feedback(self, i, post, kind):
        target = "author" if kind == "not_interested" else ""
        event = Event(f"{i}-{post}", f"m{i}", f"p{post}", kind, target=target)
        record_events(events=[event], now=self.now)
        learn.learn_interactions(member_ids=[self.members[i].pk], now=self.now)

    def undo(self, i, post):
        record_events(events=[Event(f"undo-{i}-{post}", f"m{i}", undoes_event_id=f"{i}-{post}")], now=self.now)
        learn.learn_interactions(member_ids=[self.members[i].pk], now=self.now)

    def set_relationship(self, i, kind, j, is_on):
        if i != j:
            set_relationship(
                member_id=f"m{i}", kind=kind, target_id=f"m{j}", is_on=is_on, is_sent_by_member=False, now=self.now
            )

    def prefer(self, i, sensitivity, is_personalized):
        changes = {"sensitivity": sensitivity, "is_personalized": is_personalized}
        set_preferences(member_id=f"m{i}", changes=changes, now=self.now)

    def reset(self, i):
        reset_interests(member_id=f"m{i}", now=self.now)

    def wait(self, seconds):
        self.now += timedelta(seconds=seconds)


def check_world(seed, history, checked_pages):
    """Apply the steps of *history* in a new world, and finally read every feed of every member."""
    with transaction.atomic():
        wiring.reset_parts()
        wiring.slate_cache()._client.flushdb()
        world = World(seed, checked_pages)
        for step in history:
            world.apply(step)
        for i in range(MEMBERS):
            for feed in FEEDS:
                world.read(i, feed, 100)
        transaction.set_rollback(True)


@pytest.mark.parametrize(
    "histories, max_steps, min_pages",
    [
        pytest.param(60, 25, 600, marks=pytest.mark.timeout(900), id="short"),
        pytest.param(12_500, 60, 200_000, marks=[pytest.mark.nightly, pytest.mark.timeout(0)], id="nightly"),
    ],
)
def test_no_page_contains_a_post_that_its_viewer_may_not_see(histories, max_steps, min_pages):
    """After any history, for cached and fresh slates, through every entry point. The oracle checks each page."""
    checked_pages = Counter()

    @settings(max_examples=histories)
    @given(st.integers(0, 2**16), st.lists(steps, max_size=max_steps))
    def check_random_world(seed, history):
        check_world(seed, history, checked_pages)

    check_random_world()
    print(f"checked pages: {checked_pages.total():,}, {dict(checked_pages)}")
    assert checked_pages.total() >= min_pages


@pytest.mark.parametrize("feed", FEEDS)
def test_the_oracle_rejects_some_posts_and_pages_are_not_empty(feed):
    """A post that everyone may see is served, since an empty page would pass any oracle."""
    world = World(1, Counter())
    world.add_relationship(0, "follow", 1)
    served_authors = {pick.post.author_id for pick in recommend(member_id="m0", feed=feed, now=NOW).picks}
    assert "m1" in served_authors and "m0" not in served_authors
    assert not may_see(world.members[0], factories.post(world.members[1], visibility=3))
