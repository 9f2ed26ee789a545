"""What a process remembers is never older than the moment it is asked: the change log tells, whoever changed what."""

import sys
import threading
import time
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.db import connection, transaction

from recommendations.models import Change, ChangeCut, ChangeMark, InterestProfile, LessOf, Member, Post, Seen
from recommendations.models.changes import ChangeKind
from recommendations.services import invalidate, wiring
from recommendations.services.serving.pages import page_cache
from recommendations.services.serving.query import prefetch_facts
from recommendations.services.serving.recommend import recommend
from recommendations.services.serving.search import search
from recommendations.services.serving.similar import find_similar
from recommendations.services.upkeep import cut_changes
from recommendations.services.vectors.embedding import SPACE
from recommendations.stores import change_log, relational_viewers, resident_facts
from recommendations.stores.sql import queries
from tests import making
from tests.making import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("parts")]

IS_COMMITTED = resident_facts.is_committed
"""The real one: the tests' own fixture puts another in its place, since a test's transaction lasts as long as it."""


@pytest.fixture
def ann():
    return making.member("ann")


@pytest.fixture
def bob():
    return making.member("bob")


def shown(viewer="ann", now=NOW, **asked):
    return [pick.post.id for pick in recommend(member_id=viewer, now=now, **asked).picks]


def follow(member):
    facts = wiring.facts()
    return facts.follow(facts.ask(pk=member.pk))


def noted():
    """Return what the log tells of everything that was done in this test, once each."""
    return sorted({(row.kind, row.subject) for row in Change.objects.exclude(kind=ChangeKind.EVERYTHING)})


def of_account(member):
    return [(ChangeKind.AUTHOR, member.pk), (ChangeKind.VIEWER, member.pk)]


CHANGES = {
    "a post": lambda ann, bob: (making.post(bob), lambda p: [(ChangeKind.POST, p.pk)]),
    "a member": lambda ann, bob: (making.member(privacy=False), of_account),
    "a tie": lambda ann, bob: (
        making.follow(ann, bob),
        lambda _: sorted([(ChangeKind.VIEWER, ann.pk), (ChangeKind.VIEWER, bob.pk)]),
    ),
    "settings": lambda ann, bob: (ann.privacy, lambda _: of_account(ann)),
    "a wish": lambda ann, bob: (
        LessOf.objects.create(member=ann, subject="author", key="1", post=making.post(bob), created_at=NOW),
        lambda _: [(ChangeKind.VIEWER, ann.pk)],
    ),
    "a post seen": lambda ann, bob: (
        Seen.objects.create(member=ann, post=making.post(bob), seen_at=NOW),
        lambda _: [(ChangeKind.SEEN, ann.pk)],
    ),
    "interests": lambda ann, bob: (
        InterestProfile.objects.create(member=ann, model="m", dimension=8, changed_at=NOW, reference_at=NOW),
        lambda _: [(ChangeKind.VIEWER, ann.pk)],
    ),
}


@pytest.mark.parametrize("case", CHANGES)
@pytest.mark.parametrize("event", ["update", "update by SQL", "delete by SQL"])
def test_whoever_changes_a_row_the_log_tells_of_it(ann, bob, case, event):
    row, expected = CHANGES[case](ann, bob)
    named = expected(row)
    assert set(named) <= set(noted()), "making it is a change, too"
    Change.objects.all().delete()
    table, key = row._meta.db_table, row._meta.pk.column
    if event == "update":
        row.save()
    else:
        with connection.cursor() as cursor:
            verb = f"UPDATE {table} SET {key} = {key}" if "update" in event else f"DELETE FROM {table}"
            cursor.execute(f"{verb} WHERE {key} = %s", (row.pk,))
    assert noted() == named


def test_a_row_that_goes_to_another_is_a_change_for_both(ann, bob):
    seen = Seen.objects.create(member=ann, post=making.post(bob), seen_at=NOW)
    Change.objects.all().delete()
    Seen.objects.filter(pk=seen.pk).update(member=bob)
    assert noted() == sorted([(ChangeKind.SEEN, ann.pk), (ChangeKind.SEEN, bob.pk)])


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no TRUNCATE")
def test_a_table_that_is_emptied_makes_everybody_forget(ann):
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {Seen._meta.db_table}")
    assert Change.objects.filter(kind=ChangeKind.EVERYTHING).exists()


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite's triggers are always on")
def test_who_writes_with_triggers_off_is_noted_all_the_same(ann, bob):
    post = making.post(bob)
    making.settle()
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
    Post.objects.filter(pk=post.pk).update(visibility=3)
    assert noted() == [(ChangeKind.POST, post.pk)]


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite's triggers are always on")
def test_triggers_that_were_turned_off_and_on_again_are_not_trusted(db):
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {Post._meta.db_table} DISABLE TRIGGER USER")
        assert not change_log.is_kept()
        cursor.execute(f"ALTER TABLE {Post._meta.db_table} ENABLE TRIGGER USER")
    assert not change_log.is_kept(), "who knows what was written meanwhile"
    change_log.install()
    assert change_log.is_kept()


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has no functions")
def test_without_the_function_that_reads_the_log_nothing_is_remembered(db):
    with connection.cursor() as cursor:
        cursor.execute(f"DROP FUNCTION {change_log.READER}")
    assert not change_log.is_kept()
    change_log.install()
    assert change_log.is_kept()


# What is remembered


def count_reads(monkeypatch):
    """Return a list that grows with every post and viewer that is read from its row."""
    read = []
    for module, name in ((resident_facts, "posts_of"), (relational_viewers, "viewer_of")):
        real = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda *args, real=real, name=name, **kw: (read.append(name), real(*args, **kw))[1]
        )
    return read


def test_what_has_not_changed_is_not_read_again(ann, bob, monkeypatch):
    making.posts(bob, 30)
    making.settle()
    first = recommend(member_id="ann", now=NOW)
    read = count_reads(monkeypatch)
    again = recommend(member_id="ann", now=NOW)
    assert not read
    assert (first.cached, again.cached) == (False, True)
    assert again.picks is first.picks, "the very same page"


def test_a_page_that_is_shown_again_is_recorded_again(ann, bob):
    making.posts(bob, 30)
    before = wiring.records().push(b"x")
    for _ in range(3):
        recommend(member_id="ann", now=NOW)
    # The slate once, each page once.
    assert wiring.records().push(b"x") == before + 1 + 4


@pytest.mark.parametrize(
    "change",
    {
        "hidden": lambda ann, bob, post: Post.objects.filter(pk=post.pk).update(visibility=3),
        "removed": lambda ann, bob, post: Post.objects.filter(pk=post.pk).update(removed_at=NOW),
        "deleted": lambda ann, bob, post: Post.objects.filter(pk=post.pk).delete(),
        "blocked": lambda ann, bob, post: making.block(bob, ann),
        "muted": lambda ann, bob, post: making.mute(ann, bob),
        "inactive": lambda ann, bob, post: Member.objects.filter(pk=bob.pk).update(is_active=False),
        "private": lambda ann, bob, post: type(bob.privacy).objects.filter(member=bob).update(is_private=True),
        "no settings": lambda ann, bob, post: type(bob.privacy).objects.filter(member=bob).delete(),
        "seen": lambda ann, bob, post: Seen.objects.create(member=ann, post=post, seen_at=NOW),
        "turned down": lambda ann, bob, post: LessOf.objects.create(
            member=ann, subject="post", key=str(post.pk), post=post, created_at=NOW
        ),
    }.items(),
    ids=lambda item: item[0],
)
def test_a_change_behind_the_services_backs_holds_in_the_next_page(ann, bob, change):
    post = making.post(bob)
    making.posts(making.member("carl"), 30)
    assert post.external_id in shown(limit=100) == shown(limit=100)
    change[1](ann, bob, post)
    assert post.external_id not in shown(limit=100)


def test_words_and_settings_of_the_viewer_hold_in_the_next_page(ann, bob):
    making.post(bob, "bread", text="All about bread")
    assert shown() == ["bread"] == shown()
    type(ann.privacy).objects.filter(member=ann).update(muted_words=["bread"])
    assert shown() == []
    type(ann.privacy).objects.filter(member=ann).update(muted_words=[])
    assert shown() == ["bread"]


def test_a_change_of_text_is_shown(ann, bob):
    making.post(bob, "bread", text="All about bread")
    assert recommend(member_id="ann", now=NOW).picks[0].post.text == "All about bread"
    Post.objects.update(text="All about cake")
    assert recommend(member_id="ann", now=NOW).picks[0].post.text == "All about cake"


def test_who_takes_another_name_is_not_served_under_the_old_one(ann, bob):
    making.posts(bob, 3)
    shown()
    Member.objects.filter(pk=ann.pk).update(external_id="anna")
    making.member("ann")
    assert recommend(member_id="anna", now=NOW).member_id == "anna"
    assert recommend(member_id="ann", now=NOW).member_id == "ann"
    assert wiring.facts().viewer(NOW, external_id="ann").id != ann.pk


DOORS = {
    "discovery": ("slates.build_slate", lambda post: recommend(member_id="ann", now=NOW)),
    "similar": ("similar.build_slate", lambda post: find_similar(post_id=post, viewer_id="ann", now=NOW)),
    "search": ("search.build_search_slate", lambda post: search(viewer_id="ann", space=SPACE, post_id=post, now=NOW)),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("is_block", [False, True])
def test_what_is_hidden_while_the_rest_is_ranked_is_not_shown(ann, bob, monkeypatch, door, is_block):
    """The posts are known to this process before; ranking takes a while; the log is asked again after it."""
    carl = making.member("carl")
    anchor, post, other = making.post(carl), making.post(bob), making.post(carl)
    making.embed()
    name, ask = DOORS[door]
    ask(anchor.external_id)
    wiring.slates().purge([ann.pk])
    page_cache().clear()
    module, function = (f"recommendations.services.serving.{name}").rsplit(".", 1)
    real = getattr(sys.modules[module], function)

    def ranks_while_others_write(*args):
        slate = real(*args)
        if is_block:
            making.block(bob, ann)
        else:
            Post.objects.filter(pk=post.pk).update(visibility=3)
        return slate

    monkeypatch.setattr(sys.modules[module], function, ranks_while_others_write)
    found = {pick.post.id for pick in ask(anchor.external_id).picks}
    assert other.external_id in found and post.external_id not in found


def test_a_page_has_its_age(ann, bob):
    making.posts(bob, 3)
    first = recommend(member_id="ann", now=NOW)
    later = recommend(member_id="ann", now=NOW + timedelta(minutes=30))
    assert later.request_id != first.request_id


def test_everybody_forgets_when_told_to(ann, bob, monkeypatch):
    making.posts(bob, 3)
    first = recommend(member_id="ann", now=NOW)
    invalidate.every_slate()
    assert recommend(member_id="ann", now=NOW).request_id != first.request_id


def test_more_changes_than_anyone_reads_make_a_process_forget_all(ann, bob, monkeypatch):
    posts = making.posts(bob, 10)
    assert len(shown()) == 10
    monkeypatch.setattr(change_log, "MOST", 5)
    Post.objects.filter(pk__in=[post.pk for post in posts[:9]]).update(visibility=3)
    assert shown() == [posts[9].external_id]


def test_memory_is_bounded(ann, bob, monkeypatch):
    making.posts(bob, 30)
    monkeypatch.setattr(resident_facts, "POSTS", 10)
    monkeypatch.setattr(resident_facts, "VIEWERS", 1)
    assert len(shown()) == 20
    facts = wiring.facts()
    assert len(facts._posts) == 10 == sum(map(len, facts._by_author.values()))
    shown("bob")
    assert list(facts._viewers) == [bob.pk] and list(facts._names) == ["bob"]


def test_a_process_short_of_memory_gives_it_up(ann, bob):
    making.posts(bob, 3)
    shown()
    wiring.facts().clear()
    page_cache().clear()
    assert not wiring.facts()._posts and len(shown()) == 3


def test_the_whole_of_a_long_history_is_known(ann, bob, monkeypatch):
    """Beyond the newest thousands that are remembered, rows are asked."""
    monkeypatch.setattr(relational_viewers, "SEEN_LIMIT", 1)
    old, new, unseen = making.posts(bob, 3)
    for at, post in enumerate((old, new)):
        Seen.objects.create(member=ann, post=post, seen_at=NOW + timedelta(seconds=at))
    assert shown() == [unseen.external_id]


# Where nothing may be remembered


def test_in_a_transaction_nothing_is_remembered(ann, bob, monkeypatch):
    """A process reads what it wrote itself, and may yet take back."""
    making.posts(bob, 3)
    monkeypatch.setattr(resident_facts, "is_committed", IS_COMMITTED)
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        Post.objects.update(visibility=0)
        assert len(shown()) == 3
        raise ZeroDivisionError
    facts = wiring.facts()
    assert not facts._posts and not facts._viewers


@pytest.mark.parametrize("event", ["update", "delete"])
def test_without_a_trigger_nothing_is_remembered(ann, bob, monkeypatch, event):
    post = making.post(bob)
    assert shown() == [post.external_id]
    name = change_log.name_of(Post, event)
    with connection.cursor() as cursor:
        on = f" ON {Post._meta.db_table}" if connection.vendor == "postgresql" else ""
        cursor.execute(f"DROP TRIGGER {name}{on}")
    monkeypatch.setattr(resident_facts, "CHECK_SECONDS", 0.0)
    Post.objects.update(visibility=3)
    assert shown() == []
    assert not wiring.facts()._posts
    connection.check_constraints()  # PostgreSQL alters no table of which it has still to check some
    change_log.install()
    assert change_log.is_kept()


# The log's own length


def test_the_log_is_cut_off_where_everybody_has_read_it(ann, bob):
    making.posts(bob, 3)
    cut_changes.cut_changes(now=NOW)
    assert Change.objects.count() > 3, "nobody knows yet who has read it"
    making.post(bob)
    did = cut_changes.cut_changes(now=NOW + cut_changes.KEPT)
    if connection.vendor == "sqlite":
        # In PostgreSQL the test is one transaction, which is still under way.
        assert did.rows > 3 and noted() == [(ChangeKind.POST, Post.objects.latest("pk").pk)]
    assert ChangeMark.objects.count() == 2
    assert ChangeCut.objects.get().position == ChangeMark.objects.earliest("at").position


def test_who_read_no_further_than_the_cut_forgets_all(ann, bob):
    post = making.post(bob)
    assert shown() == [post.external_id]
    Post.objects.update(visibility=3)
    change_log.cut_before(change_log.position() + 1)
    Change.objects.all().delete()
    assert shown() == []


def test_a_viewer_who_was_away_for_long_is_read_again_and_nobody_else(ann, bob, monkeypatch):
    making.posts(making.member("carl"), 3)
    shown("ann")
    known = wiring.facts()._viewers[ann.pk]
    making.post(bob)
    shown("bob")
    change_log.cut_before(wiring.facts()._position)
    if connection.vendor == "postgresql":
        known.position -= 1
    making.settle()
    read = count_reads(monkeypatch)
    shown("bob")
    assert "viewer_of" not in read
    shown("ann")
    assert read.count("viewer_of") >= 1 and bob.pk in wiring.facts()._viewers


# Several connections


class Elsewhere(threading.Thread):
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
    post, other = making.posts(bob, 2)
    late = Elsewhere(lambda: Post.objects.filter(pk=post.pk).update(visibility=3))
    Post.objects.filter(pk=other.pk).update(visibility=3)
    assert shown() == [post.external_id] == shown(), "read past the place of the one that is under way"
    late.commit()
    assert shown() == []


@pytest.mark.django_db(transaction=True)
def test_what_is_committed_elsewhere_holds_at_once(ann, bob):
    post = making.post(bob)
    assert shown() == [post.external_id]
    for value in (3, 0) * 5:
        Elsewhere(lambda value=value: Post.objects.filter(pk=post.pk).update(visibility=value)).commit()
        assert shown() == ([] if value else [post.external_id])


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("seconds_ahead", [None, 0, 0.003])
def test_while_threads_read_and_others_write_nobody_is_shown_what_was_hidden_before_they_asked(ann, bob, seconds_ahead):
    """
    Each reader notes what had been hidden before it asked; by when it is answered that may be shown again.

    It asks when it is served, or ahead, and is served so many seconds later.
    """
    posts = making.posts(bob, 6)
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
            found = shown(viewer, limit=100, prefetch=inquiry)
            stayed = {post_id for post_id, turn in before.items() if hidden.get(post_id) == turn}
            wrong.extend(stayed.intersection(found))
        connection.close()

    making.member("eve")
    threads = [threading.Thread(target=write), *(threading.Thread(target=read, args=(v,)) for v in ("ann", "eve"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert done.is_set() and not wrong


def test_a_post_read_while_another_thread_forgets_it_is_not_remembered(ann, bob, monkeypatch):
    """The row was read before it changed, and would be remembered after."""
    post = making.post(bob)

    def read_and_change(*questions):
        found = queries(*questions)
        Post.objects.update(visibility=3)
        follow(bob)
        return found

    follow(ann)
    monkeypatch.setattr(resident_facts, "queries", read_and_change)
    wiring.facts().posts([post.pk])
    assert not wiring.facts()._posts


def answered(inquiry):
    """Return an inquiry whose answer is on its way to this process, and is as of now."""
    rows = inquiry.asked.rows()
    return replace(inquiry, asked=SimpleNamespace(rows=lambda: rows))


def test_an_answer_that_comes_after_another_thread_has_forgotten_more_is_used_and_not_remembered(ann, bob):
    post = making.post(bob)
    facts = wiring.facts()
    follow(bob)
    asked = answered(facts.ask(pk=ann.pk, post_ids=[post.pk], history=True))
    Post.objects.update(visibility=3)
    making.block(bob, ann)
    follow(bob)
    assert not len(facts.viewer(NOW, pk=ann.pk, inquiry=asked).blocked), "as of when it was asked"
    assert [found.visibility for found in facts.posts([post.pk], asked)] == [0]
    assert post.pk not in facts._posts and ann.pk not in facts._viewers
    assert [found.visibility for found in facts.posts([post.pk])] == [3]
    assert facts.viewer(NOW, pk=ann.pk).blocked.tolist() == [bob.pk]


def test_an_answer_that_comes_alone_is_remembered(ann, bob):
    post = making.post(bob)
    making.settle()
    facts = wiring.facts()
    asked = answered(facts.ask(pk=ann.pk, post_ids=[post.pk], history=True))
    facts.viewer(NOW, pk=ann.pk, inquiry=asked)
    facts.posts([post.pk], asked)
    facts.history(ann.pk, wiring.tastes(), asked)
    known = facts._viewers[ann.pk]
    assert post.pk in facts._posts and known.seen is not None and known.taste is not None
    assert facts.ask(pk=ann.pk, post_ids=[post.pk], history=True).parts == {}, "nothing is left to ask but the log"
