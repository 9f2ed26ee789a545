"""What a process remembers is never older than the moment it is asked: the change log tells, whoever changed what."""

import sys
import threading
import time
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.db import connection, transaction

from recommendations.models import (
    ChangeLogEntry,
    ChangeLogMark,
    ChangeLogTruncation,
    InterestProfile,
    Member,
    NegativeFeedback,
    Post,
    SeenPost,
)
from recommendations.models.change_log import ChangeKind
from recommendations.services import invalidate, wiring
from recommendations.services.serving.pages import page_cache
from recommendations.services.serving.query import prefetch_facts
from recommendations.services.serving.recommend import recommend
from recommendations.services.serving.search import search
from recommendations.services.serving.similar import find_similar
from recommendations.services.upkeep import trim_change_log
from recommendations.services.vectors.embedding import CONTENT_SPACE
from recommendations.stores import change_log, relational_viewers, resident_facts
from recommendations.stores.sql import fetch_all_rows
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]

IS_COMMITTED = resident_facts.reads_committed_data
"""The real one: the tests' own fixture puts another in its place, since a test's transaction lasts as long as it."""


@pytest.fixture
def ann():
    return factories.member("ann")


@pytest.fixture
def bob():
    return factories.member("bob")


def shown_posts(viewer="ann", now=NOW, **asked):
    return [pick.post.id for pick in recommend(member_id=viewer, now=now, **asked).picks]


def follow(member):
    facts = wiring.resident_facts()
    return facts.apply_changes(facts.prefetch(pk=member.pk))


def logged_changes():
    """Return what the log tells of everything that was done in this test, once each."""
    return sorted({(row.kind, row.row_id) for row in ChangeLogEntry.objects.exclude(kind=ChangeKind.EVERYTHING)})


def account_change(member):
    return [(ChangeKind.AUTHOR, member.pk), (ChangeKind.VIEWER, member.pk)]


CHANGES = {
    "a post": lambda ann, bob: (factories.post(bob), lambda p: [(ChangeKind.POST, p.pk)]),
    "a member": lambda ann, bob: (factories.member(privacy=False), account_change),
    "a tie": lambda ann, bob: (
        factories.follow(ann, bob),
        lambda _: sorted([(ChangeKind.VIEWER, ann.pk), (ChangeKind.VIEWER, bob.pk)]),
    ),
    "settings": lambda ann, bob: (ann.privacy, lambda _: account_change(ann)),
    "a wish": lambda ann, bob: (
        NegativeFeedback.objects.create(
            member=ann, target="author", target_key="1", post=factories.post(bob), created_at=NOW
        ),
        lambda _: [(ChangeKind.VIEWER, ann.pk)],
    ),
    "a post seen": lambda ann, bob: (
        SeenPost.objects.create(member=ann, post=factories.post(bob), seen_at=NOW),
        lambda _: [(ChangeKind.SEEN, ann.pk)],
    ),
    "interests": lambda ann, bob: (
        InterestProfile.objects.create(member=ann, embedding_model="m", dimension=8, changed_at=NOW, reference_at=NOW),
        lambda _: [(ChangeKind.VIEWER, ann.pk)],
    ),
}


@pytest.mark.parametrize("case", CHANGES)
@pytest.mark.parametrize("event", ["update", "update by SQL", "delete by SQL"])
def test_whoever_changes_a_row_the_log_tells_of_it(ann, bob, case, event):
    row, expected = CHANGES[case](ann, bob)
    named = expected(row)
    assert set(named) <= set(logged_changes()), "making it is a change, too"
    ChangeLogEntry.objects.all().delete()
    table, key = row._meta.db_table, row._meta.pk.column
    if event == "update":
        row.save()
    else:
        with connection.cursor() as cursor:
            verb = f"UPDATE {table} SET {key} = {key}" if "update" in event else f"DELETE FROM {table}"
            cursor.execute(f"{verb} WHERE {key} = %s", (row.pk,))
    assert logged_changes() == named


def test_a_row_that_goes_to_another_is_a_change_for_both(ann, bob):
    seen = SeenPost.objects.create(member=ann, post=factories.post(bob), seen_at=NOW)
    ChangeLogEntry.objects.all().delete()
    SeenPost.objects.filter(pk=seen.pk).update(member=bob)
    assert logged_changes() == sorted([(ChangeKind.SEEN, ann.pk), (ChangeKind.SEEN, bob.pk)])


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no TRUNCATE")
def test_a_table_that_is_emptied_makes_everybody_forget(ann):
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {SeenPost._meta.db_table}")
    assert ChangeLogEntry.objects.filter(kind=ChangeKind.EVERYTHING).exists()


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite's triggers are always on")
def test_who_writes_with_triggers_off_is_noted_all_the_same(ann, bob):
    post = factories.post(bob)
    factories.clear_change_log()
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
    Post.objects.filter(pk=post.pk).update(visibility=3)
    assert logged_changes() == [(ChangeKind.POST, post.pk)]


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite's triggers are always on")
def test_triggers_that_were_turned_off_and_on_again_are_not_trusted(db):
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {Post._meta.db_table} DISABLE TRIGGER USER")
        assert not change_log.are_triggers_installed()
        cursor.execute(f"ALTER TABLE {Post._meta.db_table} ENABLE TRIGGER USER")
    assert not change_log.are_triggers_installed(), "who knows what was written meanwhile"
    change_log.install_triggers()
    assert change_log.are_triggers_installed()


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no functions")
def test_without_the_function_that_reads_the_log_nothing_is_remembered(db):
    with connection.cursor() as cursor:
        cursor.execute(f"DROP FUNCTION {change_log.READ_FUNCTION}")
    assert not change_log.are_triggers_installed()
    change_log.install_triggers()
    assert change_log.are_triggers_installed()


# What is remembered


def count_reads(monkeypatch):
    """Return a list that grows with every post and viewer that is read from its row."""
    read = []
    for module, name in ((resident_facts, "decode_posts"), (relational_viewers, "build_viewer")):
        real = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda *args, real=real, name=name, **kw: (read.append(name), real(*args, **kw))[1]
        )
    return read


def test_what_has_not_changed_is_not_read_again(ann, bob, monkeypatch):
    factories.posts(bob, 30)
    factories.clear_change_log()
    first = recommend(member_id="ann", now=NOW)
    read = count_reads(monkeypatch)
    again = recommend(member_id="ann", now=NOW)
    assert not read
    assert (first.cached, again.cached) == (False, True)
    assert again.picks is first.picks, "the very same page"


def test_a_page_that_is_shown_again_is_recorded_again(ann, bob):
    factories.posts(bob, 30)
    before = wiring.record_queue().push(b"x")
    for _ in range(3):
        recommend(member_id="ann", now=NOW)
    # The slate once, each page once.
    assert wiring.record_queue().push(b"x") == before + 1 + 4


@pytest.mark.parametrize(
    "change",
    {
        "hidden": lambda ann, bob, post: Post.objects.filter(pk=post.pk).update(visibility=3),
        "removed": lambda ann, bob, post: Post.objects.filter(pk=post.pk).update(removed_at=NOW),
        "deleted": lambda ann, bob, post: Post.objects.filter(pk=post.pk).delete(),
        "blocked": lambda ann, bob, post: factories.block(bob, ann),
        "muted": lambda ann, bob, post: factories.mute(ann, bob),
        "inactive": lambda ann, bob, post: Member.objects.filter(pk=bob.pk).update(is_active=False),
        "private": lambda ann, bob, post: type(bob.privacy).objects.filter(member=bob).update(is_private=True),
        "no settings": lambda ann, bob, post: type(bob.privacy).objects.filter(member=bob).delete(),
        "seen": lambda ann, bob, post: SeenPost.objects.create(member=ann, post=post, seen_at=NOW),
        "turned down": lambda ann, bob, post: NegativeFeedback.objects.create(
            member=ann, target="post", target_key=str(post.pk), post=post, created_at=NOW
        ),
    }.items(),
    ids=lambda item: item[0],
)
def test_a_change_behind_the_services_backs_holds_in_the_next_page(ann, bob, change):
    post = factories.post(bob)
    factories.posts(factories.member("carl"), 30)
    assert post.external_id in shown_posts(limit=100) == shown_posts(limit=100)
    change[1](ann, bob, post)
    assert post.external_id not in shown_posts(limit=100)


def test_words_and_settings_of_the_viewer_hold_in_the_next_page(ann, bob):
    factories.post(bob, "bread", text="All about bread")
    assert shown_posts() == ["bread"] == shown_posts()
    type(ann.privacy).objects.filter(member=ann).update(muted_words=["bread"])
    assert shown_posts() == []
    type(ann.privacy).objects.filter(member=ann).update(muted_words=[])
    assert shown_posts() == ["bread"]


def test_a_change_of_text_is_shown(ann, bob):
    factories.post(bob, "bread", text="All about bread")
    assert recommend(member_id="ann", now=NOW).picks[0].post.text == "All about bread"
    Post.objects.update(text="All about cake")
    assert recommend(member_id="ann", now=NOW).picks[0].post.text == "All about cake"


def test_who_takes_another_name_is_not_served_under_the_old_one(ann, bob):
    factories.posts(bob, 3)
    shown_posts()
    Member.objects.filter(pk=ann.pk).update(external_id="anna")
    factories.member("ann")
    assert recommend(member_id="anna", now=NOW).member_id == "anna"
    assert recommend(member_id="ann", now=NOW).member_id == "ann"
    assert wiring.resident_facts().get_viewer(NOW, external_id="ann").id != ann.pk


ENTRY_POINTS = {
    "discovery": ("slates.build_slate", lambda post: recommend(member_id="ann", now=NOW)),
    "similar": ("similar.build_slate", lambda post: find_similar(post_id=post, viewer_id="ann", now=NOW)),
    "search": (
        "search.build_search_slate",
        lambda post: search(viewer_id="ann", space=CONTENT_SPACE, post_id=post, now=NOW),
    ),
}


@pytest.mark.parametrize("door", ENTRY_POINTS)
@pytest.mark.parametrize("is_block", [False, True])
def test_what_is_hidden_while_the_rest_is_ranked_is_not_shown(ann, bob, monkeypatch, door, is_block):
    """The posts are known to this process before; ranking takes a while; the log is asked again after it."""
    carl = factories.member("carl")
    anchor, post, other = factories.post(carl), factories.post(bob), factories.post(carl)
    factories.embed_all_posts()
    name, ask = ENTRY_POINTS[door]
    ask(anchor.external_id)
    wiring.slate_cache().purge([ann.pk])
    page_cache().clear()
    module, function = (f"recommendations.services.serving.{name}").rsplit(".", 1)
    real = getattr(sys.modules[module], function)

    def ranks_while_others_write(*args):
        slate = real(*args)
        if is_block:
            factories.block(bob, ann)
        else:
            Post.objects.filter(pk=post.pk).update(visibility=3)
        return slate

    monkeypatch.setattr(sys.modules[module], function, ranks_while_others_write)
    found = {pick.post.id for pick in ask(anchor.external_id).picks}
    assert other.external_id in found and post.external_id not in found


def test_a_page_has_its_age(ann, bob):
    factories.posts(bob, 3)
    first = recommend(member_id="ann", now=NOW)
    later = recommend(member_id="ann", now=NOW + timedelta(minutes=30))
    assert later.request_id != first.request_id


def test_everybody_forgets_when_told_to(ann, bob, monkeypatch):
    factories.posts(bob, 3)
    first = recommend(member_id="ann", now=NOW)
    invalidate.invalidate_all_slates()
    assert recommend(member_id="ann", now=NOW).request_id != first.request_id


def test_more_changes_than_anyone_reads_make_a_process_forget_all(ann, bob, monkeypatch):
    posts = factories.posts(bob, 10)
    assert len(shown_posts()) == 10
    monkeypatch.setattr(change_log, "MAX_CHANGES", 5)
    Post.objects.filter(pk__in=[post.pk for post in posts[:9]]).update(visibility=3)
    assert shown_posts() == [posts[9].external_id]


def test_memory_is_bounded(ann, bob, monkeypatch):
    factories.posts(bob, 30)
    monkeypatch.setattr(resident_facts, "MAX_POSTS", 10)
    monkeypatch.setattr(resident_facts, "MAX_VIEWERS", 1)
    assert len(shown_posts()) == 20
    facts = wiring.resident_facts()
    assert len(facts._posts) == 10 == sum(map(len, facts._by_author.values()))
    shown_posts("bob")
    assert list(facts._viewers) == [bob.pk] and list(facts._ids_by_external_id) == ["bob"]


def test_a_process_short_of_memory_gives_it_up(ann, bob):
    factories.posts(bob, 3)
    shown_posts()
    wiring.resident_facts().clear()
    page_cache().clear()
    assert not wiring.resident_facts()._posts and len(shown_posts()) == 3


def test_the_whole_of_a_long_history_is_known(ann, bob, monkeypatch):
    """Beyond the newest thousands that are remembered, rows are asked."""
    monkeypatch.setattr(relational_viewers, "SEEN_LIMIT", 1)
    old, new, unseen = factories.posts(bob, 3)
    for at, post in enumerate((old, new)):
        SeenPost.objects.create(member=ann, post=post, seen_at=NOW + timedelta(seconds=at))
    assert shown_posts() == [unseen.external_id]


# Where nothing may be remembered


def test_in_a_transaction_nothing_is_remembered(ann, bob, monkeypatch):
    """A process reads what it wrote itself, and may yet take back."""
    factories.posts(bob, 3)
    monkeypatch.setattr(resident_facts, "reads_committed_data", IS_COMMITTED)
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        Post.objects.update(visibility=0)
        assert len(shown_posts()) == 3
        raise ZeroDivisionError
    facts = wiring.resident_facts()
    assert not facts._posts and not facts._viewers


@pytest.mark.parametrize("event", ["update", "delete"])
def test_without_a_trigger_nothing_is_remembered(ann, bob, monkeypatch, event):
    post = factories.post(bob)
    assert shown_posts() == [post.external_id]
    name = change_log.trigger_name(Post, event)
    with connection.cursor() as cursor:
        on = f" ON {Post._meta.db_table}" if connection.vendor == "postgresql" else ""
        cursor.execute(f"DROP TRIGGER {name}{on}")
    monkeypatch.setattr(resident_facts, "TRIGGER_CHECK_SECONDS", 0.0)
    Post.objects.update(visibility=3)
    assert shown_posts() == []
    assert not wiring.resident_facts()._posts
    connection.check_constraints()  # PostgreSQL alters no table of which it has still to check some
    change_log.install_triggers()
    assert change_log.are_triggers_installed()


# The log's own length


def test_the_log_is_cut_off_where_everybody_has_read_it(ann, bob):
    factories.posts(bob, 3)
    trim_change_log.trim_change_log(now=NOW)
    assert ChangeLogEntry.objects.count() > 3, "nobody knows yet who has read it"
    factories.post(bob)
    did = trim_change_log.trim_change_log(now=NOW + trim_change_log.CHANGE_LOG_RETENTION)
    if connection.vendor == "sqlite":
        # In PostgreSQL the test is one transaction, which is still under way.
        assert did.rows > 3 and logged_changes() == [(ChangeKind.POST, Post.objects.latest("pk").pk)]
    assert ChangeLogMark.objects.count() == 2
    assert ChangeLogTruncation.objects.get().position == ChangeLogMark.objects.earliest("recorded_at").position


def test_who_read_no_further_than_the_cut_forgets_all(ann, bob):
    post = factories.post(bob)
    assert shown_posts() == [post.external_id]
    Post.objects.update(visibility=3)
    change_log.delete_changes_before(change_log.current_log_position() + 1)
    ChangeLogEntry.objects.all().delete()
    assert shown_posts() == []


def test_a_viewer_who_was_away_for_long_is_read_again_and_nobody_else(ann, bob, monkeypatch):
    factories.posts(factories.member("carl"), 3)
    shown_posts("ann")
    known = wiring.resident_facts()._viewers[ann.pk]
    factories.post(bob)
    shown_posts("bob")
    change_log.delete_changes_before(wiring.resident_facts()._position)
    if connection.vendor == "postgresql":
        known.log_position -= 1
    factories.clear_change_log()
    read = count_reads(monkeypatch)
    shown_posts("bob")
    assert "build_viewer" not in read
    shown_posts("ann")
    assert read.count("build_viewer") >= 1 and bob.pk in wiring.resident_facts()._viewers


# Several connections


class OtherConnection(threading.Thread):
    """Something done on another connection, in a transaction that ends when it is told to."""

    def __init__(self, do):
        super().__init__(daemon=True)
        self.do, self.written, self.may_commit = do, threading.Event(), threading.Event()
        self.start()
        assert self.written.wait(20)

    def run(self):
        with transaction.atomic():
            self.do()
            self.written.set()
            self.may_commit.wait(20)
        connection.close()

    def commit(self):
        self.may_commit.set()
        self.join(20)


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer at a time")
@pytest.mark.django_db(transaction=True)
def test_a_transaction_that_is_committed_after_a_later_one_is_not_missed(ann, bob):
    post, other = factories.posts(bob, 2)
    late = OtherConnection(lambda: Post.objects.filter(pk=post.pk).update(visibility=3))
    Post.objects.filter(pk=other.pk).update(visibility=3)
    assert shown_posts() == [post.external_id] == shown_posts(), "read past the place of the one that is under way"
    late.commit()
    assert shown_posts() == []


@pytest.mark.django_db(transaction=True)
def test_what_is_committed_elsewhere_holds_at_once(ann, bob):
    post = factories.post(bob)
    assert shown_posts() == [post.external_id]
    for value in (3, 0) * 5:
        OtherConnection(lambda value=value: Post.objects.filter(pk=post.pk).update(visibility=value)).commit()
        assert shown_posts() == ([] if value else [post.external_id])


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("seconds_ahead", [None, 0, 0.003])
def test_while_threads_read_and_others_write_nobody_is_shown_what_was_hidden_before_they_asked(ann, bob, seconds_ahead):
    """
    Each reader notes what had been hidden before it asked; by when it is answered that may be shown again.

    It asks when it is served, or ahead, and is served so many seconds later.
    """
    posts = factories.posts(bob, 6)
    hidden, wrong, done = {}, [], threading.Event()

    def write():
        for turn in range(60):
            post = posts[turn % len(posts)]
            Post.objects.filter(pk=post.pk).update(visibility=3)
            hidden[post.external_id] = turn
            if turn >= 3:
                again = posts[(turn - 3) % len(posts)]
                hidden.pop(again.external_id, None)
                Post.objects.filter(pk=again.pk).update(visibility=0)
        done.set()
        connection.close()

    def read(viewer):
        while not done.is_set():
            before = dict(hidden)
            inquiry = None if seconds_ahead is None else prefetch_facts(member_id=viewer)
            time.sleep(seconds_ahead or 0)
            found = shown_posts(viewer, limit=100, prefetch=inquiry)
            stayed = {post_id for post_id, turn in before.items() if hidden.get(post_id) == turn}
            wrong.extend(stayed.intersection(found))
        connection.close()

    factories.member("eve")
    threads = [threading.Thread(target=write), *(threading.Thread(target=read, args=(v,)) for v in ("ann", "eve"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert done.is_set() and not wrong


def test_a_post_read_while_another_thread_forgets_it_is_not_remembered(ann, bob, monkeypatch):
    """The row was read before it changed, and would be remembered after."""
    post = factories.post(bob)

    def read_and_change(*questions):
        found = fetch_all_rows(*questions)
        Post.objects.update(visibility=3)
        follow(bob)
        return found

    follow(ann)
    monkeypatch.setattr(resident_facts, "fetch_all_rows", read_and_change)
    wiring.resident_facts().get_posts([post.pk])
    assert not wiring.resident_facts()._posts


def answered_prefetch(inquiry):
    """Return an inquiry whose answer is on its way to this process, and is as of now."""
    rows = inquiry.pending.rows()
    return replace(inquiry, pending=SimpleNamespace(rows=lambda: rows))


def test_an_answer_that_comes_after_another_thread_has_forgotten_more_is_used_and_not_remembered(ann, bob):
    post = factories.post(bob)
    facts = wiring.resident_facts()
    follow(bob)
    asked = answered_prefetch(facts.prefetch(pk=ann.pk, post_ids=[post.pk], has_history=True))
    Post.objects.update(visibility=3)
    factories.block(bob, ann)
    follow(bob)
    assert not len(facts.get_viewer(NOW, pk=ann.pk, prefetch=asked).blocked_author_ids), "as of when it was asked"
    assert [found.visibility for found in facts.get_posts([post.pk], asked)] == [0]
    assert post.pk not in facts._posts and ann.pk not in facts._viewers
    assert [found.visibility for found in facts.get_posts([post.pk])] == [3]
    assert facts.get_viewer(NOW, pk=ann.pk).blocked_author_ids.tolist() == [bob.pk]


def test_an_answer_that_comes_alone_is_remembered(ann, bob):
    post = factories.post(bob)
    factories.clear_change_log()
    facts = wiring.resident_facts()
    asked = answered_prefetch(facts.prefetch(pk=ann.pk, post_ids=[post.pk], has_history=True))
    facts.get_viewer(NOW, pk=ann.pk, prefetch=asked)
    facts.get_posts([post.pk], asked)
    facts.get_history(ann.pk, wiring.resident_profiles(), asked)
    known = facts._viewers[ann.pk]
    assert post.pk in facts._posts and known.seen is not None and known.taste is not None
    assert facts.prefetch(pk=ann.pk, post_ids=[post.pk], has_history=True).query_counts == {}, (
        "nothing is left to ask but the log"
    )
