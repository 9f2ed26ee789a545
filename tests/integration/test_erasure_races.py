"""A member who is sent again while they are being erased survives as a new member, whatever runs at the same time."""

import threading
import time

import pytest
from django.db import DatabaseError, IntegrityError, connection

from recommendations import task_queue
from recommendations.models import ErasureReceipt, Interaction, Member, Post, PrivacySettings, SeenPost
from recommendations.services import work
from recommendations.services.content.ingest import ingest_items
from recommendations.services.learning import interact
from recommendations.services.members import traces
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("fresh_wiring")]
ANN, WRITERS, OLD_WORD = "ann-773109526", 3, "oldword773109526"


@pytest.fixture(autouse=True)
def sent_messages(monkeypatch):
    monkeypatch.setattr(task_queue, "publish", lambda *_: None)


def in_thread(target, *args):
    """Start a thread that closes its connection to the database."""

    def run():
        try:
            target(*args)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


class Writer:
    """Sends the member and events of them, again and again, and remembers what was acknowledged, and when."""

    def __init__(self, number):
        self.number = number
        self.is_over = threading.Event()
        self.accepted = []
        """(the time before sending, the kind, the id or status)"""
        self.errors = []

    def run(self):
        count = 0
        while not self.is_over.is_set():
            count += 1
            event_id = f"w{self.number}-{count}"
            try:
                self.send_member()
                self.send_event(event_id)
            except Exception as error:
                self.errors.append(repr(error))

    def send_member(self):
        before = time.monotonic()
        row = {"id": ANN, "is_private": False, "region": f"R{self.number}"}
        (result,) = ingest_items(kind="members", items=[row], now=NOW)
        self.accepted.append((before, "member", result.status))

    def send_event(self, event_id):
        before = time.monotonic()
        (result,) = interact.record_events(events=[interact.Event(event_id, ANN, "bread", "like")], now=NOW)
        if result.status == "rejected":
            assert "there is no member" in result.problem, result.problem
        else:
            self.accepted.append((before, "event", event_id))


def erase_while_others_write(job):
    """Process the chunk as workers do: a failed attempt is tried again."""
    for _ in range(20):
        try:
            work.process_chunk(job_id=job.id, number=0, now=NOW)
        except (IntegrityError, DatabaseError):
            work.JobChunk.objects.update(attempts=0)
        if work.read_job(job_id=job.id).is_finished:
            return
    raise AssertionError("The erasure did not end.")


def test_writes_that_begin_after_the_request_survive_the_erasure():
    author = factories.member("author")
    factories.post(author, "bread")
    old = factories.member(ANN, muted_words=[OLD_WORD])
    writers = [Writer(number) for number in range(WRITERS)]
    threads = [in_thread(writer.run) for writer in writers]
    time.sleep(0.3)
    job = work.submit_job(kind="erase_members", params={"member_ids": [ANN]}, now=NOW)
    accepted_at = time.monotonic()
    erase_while_others_write(job)
    time.sleep(0.3)
    for writer in writers:
        writer.is_over.set()
    for thread in threads:
        thread.join()
    assert [error for writer in writers for error in writer.errors] == []
    new = Member.objects.get(external_id=ANN)
    assert new.pk != old.pk and not Member.objects.filter(pk=old.pk).exists()
    assert PrivacySettings.objects.get(member=new).muted_words == []
    assert new.region in {f"R{number}" for number in range(WRITERS)}
    events = [id for writer in writers for at, kind, id in writer.accepted if kind == "event" and at > accepted_at]
    assert events, "events were recorded after the request"
    stored = set(Interaction.objects.filter(member=new).values_list("event_id", flat=True))
    assert set(events) <= stored, "no acknowledged event is lost"
    assert ErasureReceipt.objects.get().erased_at is not None
    assert not list(traces.find_traces(member_id="x-773109526", marks=[OLD_WORD]))


def test_two_requests_at_once_write_one_receipt():
    factories.member(ANN)
    outcomes = []

    def submit():
        try:
            outcomes.append(work.submit_job(kind="erase_members", params={"member_ids": [ANN]}, now=NOW).kind)
        except Exception as error:
            outcomes.append(type(error).__name__)

    for thread in [in_thread(submit) for _ in range(4)]:
        thread.join()
    assert "erase_members" in outcomes and set(outcomes) <= {"erase_members", "UnknownMember"}
    assert ErasureReceipt.objects.count() == 1


def test_an_event_of_a_member_who_is_erased_in_between_is_rejected(monkeypatch):
    ann = factories.member(ANN)
    factories.post(factories.member("author"), "bread")
    store = interact.store_events

    def erase_first(*arguments):
        Member.objects.filter(pk=ann.pk).delete()
        return store(*arguments)

    monkeypatch.setattr(interact, "store_events", erase_first)
    (result,) = interact.record_events(events=[interact.Event("e", ANN, "bread", "like")], now=NOW)
    assert result.status == "rejected" and "there is no member" in result.problem


def test_a_post_that_is_erased_while_it_is_marked_as_seen_is_left_out(monkeypatch):
    factories.member(ANN)
    author = factories.member("author")
    posts = [factories.post(author, name) for name in ("bread", "wine")]
    find = interact.find_visible_posts

    def erase_after(*arguments):
        found = find(*arguments)
        Post.objects.filter(pk=posts[0].pk).delete()
        return found

    monkeypatch.setattr(interact, "find_visible_posts", erase_after)
    assert interact.mark_seen(member_id=ANN, post_ids=["bread", "wine"], now=NOW) == 1
    assert SeenPost.objects.get().post == posts[1]
