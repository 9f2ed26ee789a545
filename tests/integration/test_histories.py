"""Reaction histories follow what is learned, and co-like counts follow the histories, for every writer."""

import threading
from datetime import timedelta

import numpy as np
import pytest
from django.db import connection
from hypothesis import given, settings
from hypothesis import strategies as st

from recommendations.collaborative.reactions import Reactions
from recommendations.contracts import FeedbackTarget, InteractionKind
from recommendations.models import (
    CoLikes,
    HistoryChange,
    Interaction,
    Member,
    Post,
    PrivacySettings,
    ReactionHistory,
)
from recommendations.services.learning import co_likes, learn
from recommendations.services.members import erasure, preferences
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]

LONG_AGO = NOW - timedelta(hours=2)
"""When interactions arrive here: so long ago that they are learned without a vector of their post."""


@pytest.fixture
def posts():
    author = factories.member("author")
    return [factories.post(author, f"p{i}", at=NOW - timedelta(days=99)) for i in range(8)]


def like(member, *liked_posts, start=0, kind="like"):
    """Store likes of the posts, one second after the other, and learn them."""
    for i, post in enumerate(liked_posts):
        factories.interaction(member, post, kind, at=LONG_AGO + timedelta(seconds=start + i))
    learn.learn_interactions(member_ids=[member.pk], now=NOW)


def signed_ids(member):
    row = ReactionHistory.objects.filter(pk=member.pk).first()
    return Reactions.from_bytes(bytes(row.reactions), bytes(row.reacted_at)).signed_ids.tolist() if row else None


def stored_counts():
    """Return the like count of each post, and the counts of each pair."""
    rows = list(CoLikes.objects.order_by("pk"))
    pairs = {}
    for row in rows:
        counts = co_likes.read_counts(row)
        for target, together, after in zip(counts.target_ids, counts.together, counts.after, strict=True):
            pairs[row.post_id, int(target)] = (int(together), int(after))
    return {row.post_id: row.like_count for row in rows}, pairs


def count_again():
    """Count the changes, and assert that the result equals a full recount. Return the counts."""
    co_likes.count_changes(now=NOW)
    assert not HistoryChange.objects.exists()
    counted = stored_counts()
    co_likes.recount(now=NOW)
    assert stored_counts() == counted
    return counted


def test_likes_and_rejections_are_in_the_history_and_views_are_not(posts):
    ann = factories.member("ann")
    like(ann, posts[0])
    like(ann, posts[1], start=1, kind="view")
    like(ann, posts[2], start=2, kind="hide")
    like(ann, posts[3], start=3, kind="share")
    assert signed_ids(ann) == [posts[0].pk, -posts[2].pk, posts[3].pk]


def test_feedback_about_a_topic_is_not_a_rejection_of_the_post(posts):
    ann = factories.member("ann")
    factories.interaction(ann, posts[0], "not_interested", at=LONG_AGO, target=FeedbackTarget.TOPIC)
    factories.interaction(ann, posts[1], "not_interested", at=LONG_AGO)
    learn.learn_interactions(member_ids=[ann.pk], now=NOW)
    assert signed_ids(ann) == [-posts[1].pk]


EVENTS = st.lists(
    st.tuples(
        st.integers(0, 2),  # the member
        st.sampled_from(list(InteractionKind)),
        st.integers(0, 7),  # the post
        st.integers(0, 6),  # hours ago
        st.booleans(),  # whether it is learned at once
        st.booleans(),  # whether it is undone at the end
    ),
    max_size=20,
)


@given(events=EVENTS, erased=st.integers(0, 3))
@settings(max_examples=25)
def test_incremental_counts_equal_a_recount_for_any_events(posts, events, erased):
    """Late events, undos and an erasure included; and a history equals its rebuild."""
    for rows in (Interaction, ReactionHistory, HistoryChange, CoLikes):
        rows.objects.all().delete()
    Member.objects.filter(external_id__startswith="counted").delete()
    members = [factories.member(f"counted-{i}") for i in range(3)]
    HistoryChange.objects.all().delete()
    for member, kind, post, hours, is_learned_now, _ in events:
        factories.interaction(members[member], posts[post], kind, at=LONG_AGO - timedelta(hours=hours))
        if is_learned_now:
            learn.learn_interactions(member_ids=[members[member].pk], now=NOW)
            co_likes.count_changes(now=NOW)
    undone = [row.pk for row, event in zip(Interaction.objects.order_by("pk"), events, strict=True) if event[5]]
    Interaction.objects.filter(pk__in=undone).update(undone_at=NOW)
    learn.learn_interactions(member_ids=[member.pk for member in members], now=NOW)
    learned = [signed_ids(member) for member in members]
    for member in members:
        learn.rebuild_interests(member_id=member.pk, now=NOW)
    assert [signed_ids(member) for member in members] == learned
    count_again()
    if erased < 3:
        erasure.erase_members(member_ids=[members[erased].pk], now=NOW)
        count_again()


def plant(posts):
    """Return a member whose likes are counted, after others with likes in common."""
    for i in range(3):
        like(factories.member(f"other-{i}"), *posts[i : i + 4])
    co_likes.count_changes(now=NOW)
    expected = stored_counts()
    planted = factories.member("planted")
    like(planted, posts[6], posts[0], posts[3])
    assert count_again() != expected
    return planted, expected


def erase(member):
    erasure.erase_members(member_ids=[member.pk], now=NOW)


def delete_row(member):
    member.delete()


def delete_by_sql(member):
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {ReactionHistory._meta.db_table} WHERE member_id = %s", [member.pk])


def opt_out(member):
    preferences.set_preferences(member_id=member.external_id, changes={"is_personalized": False}, now=NOW)


def opt_out_by_update(member):
    PrivacySettings.objects.filter(member=member).update(is_personalized=False)


def lose_settings(member):
    PrivacySettings.objects.filter(member=member).delete()


def reset(member):
    preferences.reset_interests(member_id=member.external_id, now=NOW)


@pytest.mark.parametrize("leave", [erase, delete_row, delete_by_sql, opt_out, opt_out_by_update, lose_settings, reset])
def test_a_member_leaves_the_counts_as_if_they_had_never_been_there(posts, leave):
    planted, expected = plant(posts)
    leave(planted)
    assert count_again() == expected


def test_a_member_who_opted_out_is_not_learned_from(posts):
    ann = factories.member("ann", is_personalized=False)
    like(ann, posts[0], posts[1])
    assert signed_ids(ann) is None
    learn.rebuild_interests(member_id=ann.pk, now=NOW)
    assert signed_ids(ann) is None and not HistoryChange.objects.exists()


def test_a_rebuild_leaves_out_what_the_member_did_before_a_reset(posts):
    ann = factories.member("ann")
    like(ann, posts[0])
    Member.objects.filter(pk=ann.pk).update(interests_reset_at=LONG_AGO + timedelta(minutes=1))
    factories.interaction(ann, posts[1], at=LONG_AGO + timedelta(minutes=2))
    learn.learn_interactions(member_ids=[ann.pk], now=NOW)
    learn.rebuild_interests(member_id=ann.pk, now=NOW)
    assert signed_ids(ann) == [posts[1].pk]


def test_an_erased_post_leaves_histories_and_counts(posts):
    for i in range(3):
        like(factories.member(f"m{i}"), *posts[i : i + 4])
    erasure.erase_posts(post_ids=[posts[2].pk], now=NOW)
    likes, pairs = count_again()
    assert posts[2].pk not in likes
    assert not [pair for pair in pairs if posts[2].pk in pair]
    assert signed_ids(Member.objects.get(external_id="m0")) == [posts[0].pk, posts[1].pk, posts[3].pk]
    assert not Post.objects.filter(pk=posts[2].pk).exists()


def test_many_changes_are_counted_in_batches(posts, monkeypatch):
    monkeypatch.setattr(co_likes, "CHANGES_PER_TRANSACTION", 2)
    monkeypatch.setattr(co_likes, "ROWS_PER_QUERY", 3)
    for i in range(5):
        like(factories.member(f"m{i}"), *posts[i % 3 : i % 3 + 4])
    likes, pairs = count_again()
    assert sum(likes.values()) == 20
    assert pairs[posts[1].pk, posts[2].pk] == (4, 240)


def test_a_change_of_times_only_is_not_a_change_of_likes(posts):
    ann = factories.member("ann")
    like(ann, posts[0])
    co_likes.count_changes(now=NOW)
    like(ann, posts[0], start=9)
    assert not HistoryChange.objects.exists()
    row = ReactionHistory.objects.get(pk=ann.pk)
    assert np.frombuffer(row.reacted_at, "<f8").tolist() == [(LONG_AGO + timedelta(seconds=9)).timestamp()]


def test_counts_that_someone_deleted_are_counted_again(posts):
    ann, bob = factories.member("ann"), factories.member("bob")
    like(ann, posts[0], posts[1])
    like(bob, posts[0], posts[1])
    co_likes.count_changes(now=NOW)
    CoLikes.objects.all().delete()
    erase(ann)
    co_likes.count_changes(now=NOW)
    assert not HistoryChange.objects.exists()
    assert stored_counts()[0] == {posts[0].pk: 1, posts[1].pk: 1}


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no TRUNCATE")
def test_truncating_the_histories_clears_the_counts(posts):
    plant(posts)
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # checks that are due at the commit would forbid the TRUNCATE
        cursor.execute(f"TRUNCATE {ReactionHistory._meta.db_table}")
    assert stored_counts() == ({}, {}) == count_again()


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer at a time")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("number", range(1, 9))
def test_a_change_during_a_recount_is_counted_once(number):
    """Another worker learns a like right before any of the queries of the recount."""
    author = factories.member("author")
    posts = [factories.post(author, f"p{i}", at=NOW - timedelta(days=99)) for i in range(8)]
    ann, bob = factories.member("ann"), factories.member("bob")
    like(ann, posts[0], posts[1])
    like(bob, posts[0], posts[1])
    queries = []

    def learn_meanwhile(execute, sql, *args):
        queries.append(sql)
        if len(queries) == number:
            thread = threading.Thread(target=lambda: (like(ann, posts[2], start=9), connection.close()))
            thread.start()
            thread.join(30)
        return execute(sql, *args)

    with connection.execute_wrapper(learn_meanwhile):
        co_likes.recount(now=NOW)
    assert len(queries) >= number
    likes, pairs = count_again()
    assert likes == {posts[0].pk: 2, posts[1].pk: 2, posts[2].pk: 1}
    assert pairs[posts[0].pk, posts[1].pk] == (2, 120)
