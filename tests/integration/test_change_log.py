"""Facts cached by a process are as current as the database: the change log lists every change, however it was made."""

import sys
import threading
import time
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import numpy as np
import pytest
from django.db import connection, transaction

from recommendations.models import (
    ChangeLogEntry,
    ChangeLogMark,
    ChangeLogTruncation,
    HistoryChange,
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
from recommendations.stores import change_log, history_changes, relational_viewers, resident_facts
from recommendations.stores.relational_posts import PACKED_COLUMNS
from recommendations.stores.sql import fetch_all_rows
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]

READS_COMMITTED_DATA = resident_facts.reads_committed_data
"""The real function. A fixture replaces it in tests, because each test runs inside a transaction."""


@pytest.fixture
def ann():
    return factories.member("ann")


@pytest.fixture
def bob():
    return factories.member("bob")


def shown_posts(viewer="ann", now=NOW, **options):
    return [pick.post.id for pick in recommend(member_id=viewer, now=now, **options).picks]


def apply_changes(member):
    facts = wiring.resident_facts()
    return facts.apply_changes(facts.prefetch(pk=member.pk))


def logged_changes():
    """Return the (kind, row_id) of all log entries of this test, each once."""
    return sorted({(row.kind, row.row_id) for row in ChangeLogEntry.objects.exclude(kind=ChangeKind.EVERYTHING)})


def account_change(member):
    return [(ChangeKind.AUTHOR, member.pk), (ChangeKind.VIEWER, member.pk)]


CHANGES = {
    "a post": lambda ann, bob: (factories.post(bob), lambda p: [(ChangeKind.POST, p.pk)]),
    "a member": lambda ann, bob: (factories.member(privacy=False), account_change),
    "a relationship": lambda ann, bob: (
        factories.follow(ann, bob),
        lambda _: sorted([(ChangeKind.VIEWER, ann.pk), (ChangeKind.VIEWER, bob.pk)]),
    ),
    "settings": lambda ann, bob: (ann.privacy, lambda _: account_change(ann)),
    "negative feedback": lambda ann, bob: (
        NegativeFeedback.objects.create(
            member=ann, target="author", target_key="1", post=factories.post(bob), created_at=NOW
        ),
        lambda _: [(ChangeKind.VIEWER, ann.pk)],
    ),
    "a seen post": lambda ann, bob: (
        SeenPost.objects.create(member=ann, post=factories.post(bob), seen_at=NOW),
        lambda _: [(ChangeKind.SEEN, ann.pk)],
    ),
    "a profile": lambda ann, bob: (
        InterestProfile.objects.create(member=ann, embedding_model="m", dimension=8, changed_at=NOW, reference_at=NOW),
        lambda _: [(ChangeKind.VIEWER, ann.pk)],
    ),
}


@pytest.mark.parametrize("case", CHANGES)
@pytest.mark.parametrize("event", ["update", "update by SQL", "delete by SQL"])
def test_the_log_has_an_entry_for_every_change_however_it_was_made(ann, bob, case, event):
    row, expected = CHANGES[case](ann, bob)
    entries = expected(row)
    assert set(entries) <= set(logged_changes()), "creating the row is a change, too"
    ChangeLogEntry.objects.all().delete()
    table, key = row._meta.db_table, row._meta.pk.column
    if event == "update":
        row.save()
    else:
        with connection.cursor() as cursor:
            verb = f"UPDATE {table} SET {key} = {key}" if "update" in event else f"DELETE FROM {table}"
            cursor.execute(f"{verb} WHERE {key} = %s", (row.pk,))
    assert logged_changes() == entries


def test_moving_a_row_to_another_member_is_a_change_of_both(ann, bob):
    seen = SeenPost.objects.create(member=ann, post=factories.post(bob), seen_at=NOW)
    ChangeLogEntry.objects.all().delete()
    SeenPost.objects.filter(pk=seen.pk).update(member=bob)
    assert logged_changes() == sorted([(ChangeKind.SEEN, ann.pk), (ChangeKind.SEEN, bob.pk)])


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no TRUNCATE")
def test_truncating_a_table_makes_every_process_evict_everything(ann):
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {SeenPost._meta.db_table}")
    assert ChangeLogEntry.objects.filter(kind=ChangeKind.EVERYTHING).exists()


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite's triggers are always enabled")
def test_a_session_that_turns_triggers_off_is_logged_all_the_same(ann, bob):
    post = factories.post(bob)
    factories.clear_change_log()
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
    Post.objects.filter(pk=post.pk).update(visibility=3)
    assert logged_changes() == [(ChangeKind.POST, post.pk)]


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite's triggers are always enabled")
def test_triggers_that_were_disabled_and_enabled_again_do_not_count_as_installed(db):
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {Post._meta.db_table} DISABLE TRIGGER USER")
        assert not change_log.are_triggers_installed()
        cursor.execute(f"ALTER TABLE {Post._meta.db_table} ENABLE TRIGGER USER")
    assert not change_log.are_triggers_installed(), "changes may have been made in between"
    change_log.install_triggers()
    assert change_log.are_triggers_installed()


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no functions")
def test_without_the_read_function_nothing_is_cached(db):
    with connection.cursor() as cursor:
        cursor.execute(f"DROP FUNCTION {change_log.READ_FUNCTION}")
    assert not change_log.are_triggers_installed()
    change_log.install_triggers()
    assert change_log.are_triggers_installed()


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite's readers never wait")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("module", [change_log, history_changes], ids=lambda module: module.__name__)
def test_an_upgrade_installs_the_triggers_while_readers_hold_their_locks(module):
    """Two readers of several tables would otherwise end the migration with a deadlock, or wait for it."""
    reader = connection.copy()
    try:
        with reader.cursor() as cursor:
            cursor.execute("BEGIN")
            for model in (*change_log.LOGGED_MODELS, ChangeLogEntry, HistoryChange):
                cursor.execute(f"SELECT count(*) FROM {model._meta.db_table}")
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '2s'")
        module.install_triggers()
    finally:
        reader.close()
        with connection.cursor() as cursor:
            cursor.execute("RESET lock_timeout")
    assert change_log.are_triggers_installed()


# What is cached


def count_reads(monkeypatch):
    """Return a list that gets the name of the decoder of every post and viewer that is read from its row."""
    reads = []
    for module, name in ((resident_facts, "decode_posts"), (relational_viewers, "build_viewer")):
        real = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda *args, real=real, name=name, **kw: (reads.append(name), real(*args, **kw))[1]
        )
    return reads


def test_unchanged_facts_are_not_read_again(ann, bob, monkeypatch):
    factories.posts(bob, 30)
    factories.clear_change_log()
    first = recommend(member_id="ann", now=NOW)
    reads = count_reads(monkeypatch)
    second = recommend(member_id="ann", now=NOW)
    assert not reads
    assert (first.is_cached, second.is_cached) == (False, True)
    assert second.picks is first.picks, "the same page object"


def test_a_cached_page_is_recorded_each_time_it_is_served(ann, bob):
    factories.posts(bob, 30)
    before = wiring.record_queue().push(b"x")
    for _ in range(3):
        recommend(member_id="ann", now=NOW)
    # The slate once, and each page once.
    assert wiring.record_queue().push(b"x") == before + 1 + 4


@pytest.mark.parametrize(
    "change",
    {
        "made private": lambda ann, bob, post: Post.objects.filter(pk=post.pk).update(visibility=3),
        "removed": lambda ann, bob, post: Post.objects.filter(pk=post.pk).update(removed_at=NOW),
        "deleted": lambda ann, bob, post: Post.objects.filter(pk=post.pk).delete(),
        "blocked": lambda ann, bob, post: factories.block(bob, ann),
        "muted": lambda ann, bob, post: factories.mute(ann, bob),
        "author deactivated": lambda ann, bob, post: Member.objects.filter(pk=bob.pk).update(is_active=False),
        "author made private": lambda ann, bob, post: (
            type(bob.privacy).objects.filter(member=bob).update(is_private=True)
        ),
        "author without settings": lambda ann, bob, post: type(bob.privacy).objects.filter(member=bob).delete(),
        "seen": lambda ann, bob, post: SeenPost.objects.create(member=ann, post=post, seen_at=NOW),
        "hidden by the viewer": lambda ann, bob, post: NegativeFeedback.objects.create(
            member=ann, target="post", target_key=str(post.pk), post=post, created_at=NOW
        ),
    }.items(),
    ids=lambda item: item[0],
)
def test_a_change_that_bypasses_the_services_holds_in_the_next_page(ann, bob, change):
    post = factories.post(bob)
    factories.posts(factories.member("carl"), 30)
    assert post.external_id in shown_posts(limit=100) == shown_posts(limit=100)
    change[1](ann, bob, post)
    assert post.external_id not in shown_posts(limit=100)


def test_muted_words_of_the_viewer_hold_in_the_next_page(ann, bob):
    factories.post(bob, "bread", text="All about bread")
    assert shown_posts() == ["bread"] == shown_posts()
    type(ann.privacy).objects.filter(member=ann).update(muted_words=["bread"])
    assert shown_posts() == []
    type(ann.privacy).objects.filter(member=ann).update(muted_words=[])
    assert shown_posts() == ["bread"]


def test_a_changed_text_is_served(ann, bob):
    factories.post(bob, "bread", text="All about bread")
    assert recommend(member_id="ann", now=NOW).picks[0].post.text == "All about bread"
    Post.objects.update(text="All about cake")
    assert recommend(member_id="ann", now=NOW).picks[0].post.text == "All about cake"


def test_a_member_with_a_new_external_id_is_not_found_by_the_old_one(ann, bob):
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


@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
@pytest.mark.parametrize("is_block", [False, True])
def test_a_post_hidden_during_ranking_is_not_shown(ann, bob, monkeypatch, entry_point, is_block):
    """The posts are cached before. Ranking takes some time, and the log is read again after it."""
    carl = factories.member("carl")
    anchor, post, visible = factories.post(carl), factories.post(bob), factories.post(carl)
    factories.embed_all_posts()
    name, request = ENTRY_POINTS[entry_point]
    request(anchor.external_id)
    wiring.slate_cache().purge([ann.pk])
    page_cache().clear()
    module, function = (f"recommendations.services.serving.{name}").rsplit(".", 1)
    real = getattr(sys.modules[module], function)

    def rank_while_another_writes(*args):
        slate = real(*args)
        if is_block:
            factories.block(bob, ann)
        else:
            Post.objects.filter(pk=post.pk).update(visibility=3)
        return slate

    monkeypatch.setattr(sys.modules[module], function, rank_while_another_writes)
    shown = {pick.post.id for pick in request(anchor.external_id).picks}
    assert visible.external_id in shown and post.external_id not in shown


def test_a_cached_page_expires(ann, bob):
    factories.posts(bob, 3)
    first = recommend(member_id="ann", now=NOW)
    later = recommend(member_id="ann", now=NOW + timedelta(minutes=30))
    assert later.request_id != first.request_id


def test_invalidating_all_slates_evicts_the_cached_page(ann, bob, monkeypatch):
    factories.posts(bob, 3)
    first = recommend(member_id="ann", now=NOW)
    invalidate.invalidate_all_slates()
    assert recommend(member_id="ann", now=NOW).request_id != first.request_id


def test_more_changes_than_the_limit_evict_everything(ann, bob, monkeypatch):
    posts = factories.posts(bob, 10)
    assert len(shown_posts()) == 10
    monkeypatch.setattr(change_log, "MAX_CHANGES", 5)
    Post.objects.filter(pk__in=[post.pk for post in posts[:9]]).update(visibility=3)
    assert shown_posts() == [posts[9].external_id]


def test_the_cache_is_bounded(ann, bob, monkeypatch):
    factories.posts(bob, 30)
    monkeypatch.setattr(resident_facts, "MAX_POSTS", 10)
    monkeypatch.setattr(resident_facts, "MAX_VIEWERS", 1)
    assert len(shown_posts()) == 20
    facts = wiring.resident_facts()
    assert len(facts._posts) == 10 == sum(map(len, facts._by_author.values()))
    shown_posts("bob")
    assert list(facts._viewers) == [bob.pk] and list(facts._ids_by_external_id) == ["bob"]


def test_clearing_the_cache_evicts_everything(ann, bob):
    factories.posts(bob, 3)
    shown_posts()
    wiring.resident_facts().clear()
    page_cache().clear()
    assert not wiring.resident_facts()._posts and len(shown_posts()) == 3


def test_posts_seen_beyond_the_cached_history_are_excluded(ann, bob, monkeypatch):
    """The database is queried for posts that are not among the most recently seen ones."""
    monkeypatch.setattr(relational_viewers, "SEEN_LIMIT", 1)
    old, new, unseen = factories.posts(bob, 3)
    for at, post in enumerate((old, new)):
        SeenPost.objects.create(member=ann, post=post, seen_at=NOW + timedelta(seconds=at))
    assert shown_posts() == [unseen.external_id]


def test_a_slate_whose_posts_are_all_among_the_newest_seen_posts_is_not_shown(ann, bob, monkeypatch):
    """No post is left to query the database for."""
    monkeypatch.setattr(relational_viewers, "SEEN_LIMIT", 1)
    post = factories.post(bob)
    assert shown_posts() == [post.external_id]
    for at, seen in enumerate((factories.post(bob), post)):
        SeenPost.objects.create(member=ann, post=seen, seen_at=NOW + timedelta(seconds=at))
    assert shown_posts() == []


# When nothing may be cached


def test_in_a_transaction_nothing_is_cached(ann, bob, monkeypatch):
    """A transaction reads its own writes, which may be rolled back."""
    factories.posts(bob, 3)
    monkeypatch.setattr(resident_facts, "reads_committed_data", READS_COMMITTED_DATA)
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        Post.objects.update(visibility=0)
        assert len(shown_posts()) == 3
        raise ZeroDivisionError
    facts = wiring.resident_facts()
    assert not facts._posts and not facts._viewers


@pytest.mark.parametrize("event", ["update", "delete"])
def test_without_a_trigger_nothing_is_cached(ann, bob, monkeypatch, event):
    post = factories.post(bob)
    assert shown_posts() == [post.external_id]
    name = change_log.trigger_name(Post, event)
    with connection.cursor() as cursor:
        on_table = f" ON {Post._meta.db_table}" if connection.vendor == "postgresql" else ""
        cursor.execute(f"DROP TRIGGER {name}{on_table}")
    monkeypatch.setattr(resident_facts, "TRIGGER_CHECK_SECONDS", 0.0)
    Post.objects.update(visibility=3)
    assert shown_posts() == []
    assert not wiring.resident_facts()._posts
    connection.check_constraints()  # PostgreSQL cannot alter a table with pending constraint checks
    change_log.install_triggers()
    assert change_log.are_triggers_installed()


# Truncation


def test_the_log_is_truncated_before_a_mark_that_is_old_enough(ann, bob):
    factories.posts(bob, 3)
    trim_change_log.trim_change_log(now=NOW)
    assert ChangeLogEntry.objects.count() > 3, "no mark is old enough yet"
    factories.post(bob)
    result = trim_change_log.trim_change_log(now=NOW + trim_change_log.CHANGE_LOG_RETENTION)
    if connection.vendor == "sqlite":
        # In PostgreSQL the test is one transaction, which is still in progress.
        assert result.rows > 3 and logged_changes() == [(ChangeKind.POST, Post.objects.latest("pk").pk)]
    assert ChangeLogMark.objects.count() == 2
    assert ChangeLogTruncation.objects.get().position == ChangeLogMark.objects.earliest("recorded_at").position


def test_a_process_whose_position_is_truncated_evicts_everything(ann, bob):
    post = factories.post(bob)
    assert shown_posts() == [post.external_id]
    Post.objects.update(visibility=3)
    change_log.delete_changes_before(change_log.current_log_position() + 1)
    ChangeLogEntry.objects.all().delete()
    assert shown_posts() == []


def test_only_the_viewer_whose_position_is_truncated_is_read_again(ann, bob, monkeypatch):
    factories.posts(factories.member("carl"), 3)
    shown_posts("ann")
    cached = wiring.resident_facts()._viewers[ann.pk]
    factories.post(bob)
    shown_posts("bob")
    change_log.delete_changes_before(wiring.resident_facts()._position)
    if connection.vendor == "postgresql":
        cached.log_position -= 1
    factories.clear_change_log()
    reads = count_reads(monkeypatch)
    shown_posts("bob")
    assert "build_viewer" not in reads
    shown_posts("ann")
    assert reads.count("build_viewer") >= 1 and bob.pk in wiring.resident_facts()._viewers


# Several connections


class OtherConnection(threading.Thread):
    """Runs a function on another connection, in a transaction that is committed by `commit`."""

    def __init__(self, action):
        super().__init__(daemon=True)
        self.action, self.written, self.may_commit = action, threading.Event(), threading.Event()
        self.start()
        assert self.written.wait(20)

    def run(self):
        with transaction.atomic():
            self.action()
            self.written.set()
            self.may_commit.wait(20)
        connection.close()

    def commit(self):
        self.may_commit.set()
        self.join(20)


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer at a time")
@pytest.mark.django_db(transaction=True)
def test_a_transaction_that_commits_after_a_later_one_is_not_missed(ann, bob):
    post, other = factories.posts(bob, 2)
    late_transaction = OtherConnection(lambda: Post.objects.filter(pk=post.pk).update(visibility=3))
    Post.objects.filter(pk=other.pk).update(visibility=3)
    assert shown_posts() == [post.external_id] == shown_posts(), "the first transaction is still open"
    late_transaction.commit()
    assert shown_posts() == []


@pytest.mark.django_db(transaction=True)
def test_a_commit_on_another_connection_holds_at_once(ann, bob):
    post = factories.post(bob)
    assert shown_posts() == [post.external_id]
    for value in (3, 0) * 5:
        OtherConnection(lambda value=value: Post.objects.filter(pk=post.pk).update(visibility=value)).commit()
        assert shown_posts() == ([] if value else [post.external_id])


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("seconds_ahead", [None, 0, 0.003])
def test_concurrent_readers_are_never_shown_a_post_hidden_before_their_request(ann, bob, seconds_ahead):
    """
    Each reader notes which posts were hidden before its request, and checks those that were still hidden after it.

    The reader's facts are read during the request, or prefetched *seconds_ahead* seconds before it.
    """
    posts = factories.posts(bob, 6)
    hidden, violations, done = {}, [], threading.Event()

    def write():
        for number in range(60):
            post = posts[number % len(posts)]
            Post.objects.filter(pk=post.pk).update(visibility=3)
            hidden[post.external_id] = number
            if number >= 3:
                shown_again = posts[(number - 3) % len(posts)]
                hidden.pop(shown_again.external_id, None)
                Post.objects.filter(pk=shown_again.pk).update(visibility=0)
        done.set()
        connection.close()

    def read(viewer):
        while not done.is_set():
            before = dict(hidden)
            prefetch = None if seconds_ahead is None else prefetch_facts(member_id=viewer)
            time.sleep(seconds_ahead or 0)
            shown = shown_posts(viewer, limit=100, prefetch=prefetch)
            still_hidden = {post_id for post_id, number in before.items() if hidden.get(post_id) == number}
            violations.extend(still_hidden.intersection(shown))
        connection.close()

    factories.member("eve")
    threads = [threading.Thread(target=write), *(threading.Thread(target=read, args=(v,)) for v in ("ann", "eve"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert done.is_set() and not violations


def test_a_post_evicted_while_it_is_read_is_not_cached(ann, bob, monkeypatch):
    """The row was read before the change and would be cached after it."""
    post = factories.post(bob)

    def read_and_change(*queries):
        rows = fetch_all_rows(*queries)
        Post.objects.update(visibility=3)
        apply_changes(bob)
        return rows

    apply_changes(ann)
    monkeypatch.setattr(resident_facts, "fetch_all_rows", read_and_change)
    wiring.resident_facts().get_posts([post.pk])
    assert not wiring.resident_facts()._posts


def execute_prefetch(prefetch):
    """Return a prefetch whose queries have been executed, but whose rows have not been applied."""
    rows = prefetch.pending.rows()
    return replace(prefetch, pending=SimpleNamespace(rows=lambda: rows))


def visibility_of(snapshot):
    return np.frombuffer(snapshot.packed_facts, PACKED_COLUMNS)["visibility"].item()


def test_prefetched_rows_are_used_but_not_cached_after_another_thread_has_evicted_facts(ann, bob):
    post = factories.post(bob)
    facts = wiring.resident_facts()
    apply_changes(bob)
    prefetch = execute_prefetch(facts.prefetch(pk=ann.pk, post_ids=[post.pk], has_history=True))
    Post.objects.update(visibility=3)
    factories.block(bob, ann)
    apply_changes(bob)
    assert not len(facts.get_viewer(NOW, pk=ann.pk, prefetch=prefetch).blocked_author_ids), (
        "as of the time of the queries"
    )
    assert [visibility_of(post_facts) for post_facts in facts.get_posts([post.pk], prefetch)] == [0]
    assert post.pk not in facts._posts and ann.pk not in facts._viewers
    assert [visibility_of(post_facts) for post_facts in facts.get_posts([post.pk])] == [3]
    assert facts.get_viewer(NOW, pk=ann.pk).blocked_author_ids.tolist() == [bob.pk]


def test_prefetched_rows_are_cached_if_nothing_was_evicted_since(ann, bob):
    post = factories.post(bob)
    factories.clear_change_log()
    facts = wiring.resident_facts()
    prefetch = execute_prefetch(facts.prefetch(pk=ann.pk, post_ids=[post.pk], has_history=True))
    facts.get_viewer(NOW, pk=ann.pk, prefetch=prefetch)
    facts.get_posts([post.pk], prefetch)
    facts.get_history(ann.pk, wiring.resident_profiles(), prefetch)
    cached = facts._viewers[ann.pk]
    assert post.pk in facts._posts and cached.seen is not None and cached.taste is not None
    assert facts.prefetch(pk=ann.pk, post_ids=[post.pk], has_history=True).query_counts == {}, (
        "only the log is left to read"
    )
