"""Records of served pages: written once, counted, and used for fatigue. And the feed that uses no history."""

import math
import struct
import threading
import time
from collections import Counter
from datetime import timedelta
from uuid import UUID

import numpy as np
import pytest
import redis
from django.conf import settings
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext

from flags.experiments.rules import ExposedVariant
from recommendations import task_queue
from recommendations.contracts import POPULARITY_SUMS, ServedSlate, Slate
from recommendations.models import (
    FeedRequest,
    Interaction,
    InterestProfile,
    NegativeFeedback,
    Post,
    PostStats,
    PrivacySettings,
    SeenPost,
    ServedPage,
)
from recommendations.services import wiring
from recommendations.services.learning import learn
from recommendations.services.learning.interact import Event, record_events
from recommendations.services.serving import records
from recommendations.services.serving.recommend import recommend
from recommendations.stores.redis_record_queue import ASIDE_RETRIED_KEY, LEASE_PREFIX, WAITING_KEY
from recommendations.stores.redis_served_history import served_pages_key
from tests import factories
from tests.factories import NOW
from tests.servers import free_port

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]

HOUR = timedelta(hours=1)


@pytest.fixture
def ann():
    """Create Ann, and 30 posts by ten other members."""
    ann = factories.member("ann")
    for i in range(10):
        factories.posts(factories.member(f"author-{i}"), 3, tags=[f"topic-{i % 4}"])
    factories.embed_all_posts()
    return ann


def page(member_id="ann", now=NOW, *, limit=10, **options):
    return recommend(member_id=member_id, now=now, limit=limit, **options)


def ids(page):
    return [pick.post.id for pick in page.picks]


def served_counts():
    return dict(PostStats.objects.filter(served_count__gt=0).values_list("post__external_id", "served_count"))


# Records


def test_each_page_and_each_slate_is_recorded_as_a_row(ann):
    first = page()
    second = page(cursor=first.next_cursor)
    assert records.record_served(now=NOW) == 3
    assert FeedRequest.objects.get().pk == first.request_id == second.request_id
    rows = ServedPage.objects.order_by("offset")
    assert [(row.member_id, row.request_id, row.offset, row.created_at) for row in rows] == [
        (ann.pk, first.request_id, 0, NOW),
        (ann.pk, first.request_id, 10, NOW),
    ]
    names = dict(Post.objects.values_list("pk", "external_id"))
    for row, served in zip(rows, (first, second), strict=True):
        assert [names[pk] for pk in np.frombuffer(bytes(row.post_ids), "<i8").tolist()] == ids(served)


def slate(bits, **fields):
    values = {"request_id": UUID(int=7), "engine": "plain", "variant": "control", "policy_version": 1, "fallback": ""}
    columns = {"post_ids": np.array([5]), "scores": np.ones(1, np.float32), "origins": bits, "reasons": bits}
    return Slate(**values | {"built_at": NOW.timestamp(), "candidate_count": 9} | columns | fields)


def test_a_record_has_all_sixteen_bits_of_origins_and_reasons():
    """The row of a slate has more than eight origins and reasons, as the slate itself."""
    for bits in (np.array([1 << 8], np.uint16), np.array([2**16 - 1], np.uint16)):
        (record,) = records.slate_records(slate(bits), 1, "discovery", 5.0)
        row = records.slate_row(record)
        assert row.origins == row.reasons == bits.astype("<u2").tobytes()


def test_a_slate_that_cannot_be_packed_loses_only_its_record(caplog):
    invalid_slate = slate(np.ones(1, np.uint16), scores=np.array([np.inf], np.float32))
    assert records.slate_records(invalid_slate, 1, "discovery", 5.0) == []
    assert [line.message for line in caplog.records] == ["served_records_lost"]


def test_an_exposure_of_a_member_with_any_id_is_recorded():
    """The platform's id may contain the character that separates the fields of a record."""
    packed = records.exposure_record(ExposedVariant(3, 4, "treatment", 0.5), 1, "a\x1fb", NOW.timestamp())
    member_id, exposure = records.parse_exposure(packed)
    assert (member_id, exposure.unit_id, exposure.exposed_variant.variant) == (1, "a\x1fb", "treatment")


def test_records_pushed_during_a_write_are_left_to_the_next_task(ann, monkeypatch):
    """Otherwise tasks that overlap would enqueue each other without end, one per page."""
    enqueued = []
    monkeypatch.setattr(task_queue, "enqueue", lambda name, **_: enqueued.append(name))
    real = records.write_pages
    monkeypatch.setattr(records, "write_pages", lambda *args: (page(), real(*args))[1])
    page()
    assert records.record_served(now=NOW) == 2
    assert enqueued == [task_queue.RECORD_SERVED] * 2
    assert records.record_served(now=NOW) == 1


def test_a_page_is_recorded_once_and_every_time_it_is_served_counts(ann):
    first = page()
    records.record_served(now=NOW)
    assert records.record_served(now=NOW) == 0
    assert served_counts() == dict.fromkeys(ids(first), 1)
    assert ids(page(now=NOW + timedelta(seconds=1))) == ids(first)
    factories.member("bob")
    pages_of_bob = ids(page("bob"))
    records.record_served(now=NOW)
    assert served_counts() == {
        post: 2 * (post in ids(first)) + (post in pages_of_bob) for post in {*ids(first), *pages_of_bob}
    }
    assert ServedPage.objects.count() == 3


def test_a_post_on_a_page_counts_as_seen_by_its_position(ann, monkeypatch):
    """1, .63, .5 … by the discount of DCG; a second page begins again with 1. Not if clients report what they show."""
    shown = ids(page(limit=3)), ids(page("bob" if factories.member("bob") else "", limit=2))
    records.record_served(now=NOW)
    expected = Counter()
    for post_ids in shown:
        expected.update(dict(zip(post_ids, [1, 1 / math.log2(3), 0.5], strict=False)))
    assert dict(PostStats.objects.values_list("post__external_id", "seen_count")) == pytest.approx(dict(expected))
    monkeypatch.setattr(settings.ENV, "seen_posts", "reported")
    page(limit=3, now=NOW + HOUR)
    records.record_served(now=NOW + HOUR)
    assert sum(PostStats.objects.values_list("seen_count", flat=True)) == pytest.approx(expected.total())
    assert sum(served_counts().values()) == 8


def test_a_batch_taken_by_a_killed_worker_is_written_once(ann, monkeypatch):
    page()
    with monkeypatch.context() as patch:
        patch.setattr(records, "write_inputs", lambda rows: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            records.record_served(now=NOW)
    assert not ServedPage.objects.exists() and not served_counts()
    assert records.record_served(now=NOW) == 0, "the batch still belongs to the worker"
    expire_leases()
    assert records.record_served(now=NOW) == 2
    assert ServedPage.objects.count() == FeedRequest.objects.count() == 1
    assert set(served_counts().values()) == {1}


def test_a_batch_that_two_workers_write_counts_once(ann, monkeypatch):
    """The first worker is slow: its lease expires, and a second worker writes the batch before it does."""
    served = page()
    real = records.write_rows

    def write_after_another_worker(rows, now):
        monkeypatch.setattr(records, "write_rows", real)
        expire_leases()
        assert records.record_served(now=NOW) == 2
        return real(rows, now)

    monkeypatch.setattr(records, "write_rows", write_after_another_worker)
    assert records.record_served(now=NOW) == 2
    assert served_counts() == dict.fromkeys(ids(served), 1)
    assert ServedPage.objects.count() == FeedRequest.objects.count() == 1
    with redis.Redis.from_url(settings.ENV.cache_redis_url) as client:
        assert client.llen(served_pages_key(ann.pk)) == 1, "nor does the fatigue count it twice"


OTHER_VERSIONS = {
    "a slate of another kind": (records.SLATE, lambda record: b"S" + record[1:]),
    "another form inside of a slate": (
        records.SLATE,
        lambda record: record.replace(b"\x02\x1e\x00", b"\xff\x1e\x00", 1),
    ),
    "a slate with a shorter head": (records.SLATE, lambda record: record[:9]),
    "a page with a longer head": (records.PAGE, lambda record: record + b"x"),
    "a page at no time": (records.PAGE, lambda record: record[:9] + struct.pack("<d", 1e300) + record[17:]),
}
"""How a record of another version of the code may differ from one of this version, by the kind of record."""


@pytest.mark.parametrize(("kind", "change"), OTHER_VERSIONS.values(), ids=OTHER_VERSIONS)
def test_a_record_of_another_version_waits_for_a_worker_of_that_version(ann, caplog, kind, change):
    """The other records of its batch are written, and it is written once a worker can read it."""
    page()
    queue = wiring.record_queue()
    batch = queue.take(10)
    queue.acknowledge(batch.id)
    (own,) = (record for record in batch.records if record[:1] == kind)
    others = [record for record in batch.records if record != own]
    foreign = change(own)
    assert foreign != own
    queue.push(foreign, *others)
    assert records.record_served(now=NOW) == len(others) == 1
    assert ServedPage.objects.count() + FeedRequest.objects.count() == 1
    assert [record.count for record in caplog.records if record.message == "served_records_set_aside"] == [1]
    assert records.record_served(now=NOW) == 0, "it does not wait for this worker"
    with redis.Redis.from_url(settings.ENV.redis_url) as client:
        assert client.delete(ASIDE_RETRIED_KEY)
    assert queue.take(10).records == [foreign]


def test_a_kept_slate_of_another_version_is_treated_as_unknown(ann):
    """A reader goes on, and the explanation waits for the worker that records the slate."""
    first = page()
    kept = wiring.slate_cache().get_served(ann.pk, [first.request_id])[first.request_id]
    foreign = ServedSlate(b"S" + kept.record[1:], kept.earlier_post_ids, kept.page_post_ids)
    assert wiring.slate_cache().add_served(ann.pk, first.request_id, foreign)
    assert records.find_slate_row(first.request_id, ann.pk)[0] is None
    assert len(ids(page(cursor=first.next_cursor))) == 10


def test_serving_a_post_does_not_change_its_popularity(ann):
    post = Post.objects.earliest("pk")
    factories.popularity(post, 5)
    assert post.external_id in ids(page(limit=30))
    records.record_served(now=NOW + HOUR)
    row = PostStats.objects.get(post=post)
    assert [getattr(row, name) for name in POPULARITY_SUMS] == [5] * 5
    assert (row.summed_at, row.served_count) == (NOW, 1)
    assert row.changed_at == NOW + HOUR


def test_nothing_is_recorded_of_erased_members_and_deleted_posts(ann):
    page()
    factories.member("bob")
    shown = ids(page("bob"))
    ann.delete()
    Post.objects.filter(external_id=shown[0]).delete()
    records.record_served(now=NOW)
    assert ServedPage.objects.get().member.external_id == "bob"
    assert served_counts() == dict.fromkeys(shown[1:], 1)


@pytest.fixture
def outbox(monkeypatch):
    """An outbox whose thread sends the records a hundredth of a second later."""
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update={"record_buffer_seconds": 0.01}))
    records.outbox.reset()
    return records.outbox()


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def expire_leases():
    """Let the leases of all batches expire."""
    with redis.Redis.from_url(settings.ENV.redis_url) as client:
        for key in client.scan_iter(match=f"{LEASE_PREFIX}*"):
            client.delete(key)


def wait_for_queue_length(length):
    with redis.Redis.from_url(settings.ENV.redis_url) as client:
        wait_for(lambda: client.llen(WAITING_KEY) == length)


def test_a_thread_sends_the_records_of_a_request_and_keeps_no_database_connection(ann, outbox, monkeypatch):
    real_enqueue, connections_of_thread = task_queue.enqueue, []

    def enqueue(*args, **kwargs):
        real_enqueue(*args, **kwargs)
        connections_of_thread.append(connections["default"])

    monkeypatch.setattr(task_queue, "enqueue", enqueue)
    first = page()
    wait_for_queue_length(2)
    wait_for(lambda: connections_of_thread and connections_of_thread[0].connection is None)
    assert connections_of_thread[0] is not connections["default"]
    assert records.record_served(now=NOW) == 2
    assert FeedRequest.objects.get().pk == first.request_id


def test_a_failure_to_send_loses_only_the_records_of_that_time(ann, outbox, monkeypatch, caplog):
    failed = threading.Event()

    def fail():
        failed.set()
        raise RuntimeError("no queue")

    with monkeypatch.context() as patch:
        patch.setattr(wiring, "record_queue", fail)
        page()
        assert failed.wait(30)
    factories.member("bob")
    page("bob")
    wait_for_queue_length(2)
    assert "served_records_lost" in [record.message for record in caplog.records]
    records.record_served(now=NOW)
    assert ServedPage.objects.get().member.external_id == "bob"


class AwayQueue:
    """A queue that takes no records, as while Redis is away."""

    def __init__(self):
        self.attempts = 0

    def push(self, *records):
        self.attempts += 1
        return 0


def test_records_wait_in_the_process_while_redis_is_away(ann, outbox, monkeypatch, caplog):
    monkeypatch.setattr(records, "RETRY_SECONDS", 0.01)
    queue = AwayQueue()
    with monkeypatch.context() as patch:
        patch.setattr(wiring, "record_queue", lambda: queue)
        shown = page()
        wait_for(lambda: queue.attempts > 1)
    wait_for_queue_length(2)
    records.record_served(now=NOW)
    assert ServedPage.objects.get().request_id == shown.request_id
    assert "served_records_lost" not in [record.message for record in caplog.records]


def test_a_process_holds_the_newest_records_while_redis_is_away(monkeypatch, caplog):
    monkeypatch.setattr(records, "OUTBOX_RECORDS", 3)
    sent = []

    class Queue(AwayQueue):
        def push(self, *records):
            sent.extend(records)
            return len(records) + 1

    monkeypatch.setattr(wiring, "record_queue", AwayQueue)
    box = records.Outbox(0)
    for number in range(5):
        box.put([records.OutgoingRecord(str(number).encode())])
    monkeypatch.setattr(wiring, "record_queue", Queue)
    assert box.send()
    assert sent == [b"2", b"3", b"4"]
    assert [line.count for line in caplog.records if line.message == "served_records_lost"] == [1, 1]


def test_a_process_remembers_only_its_latest_exposures():
    exposures = records.QueuedExposures(2)
    for member_id in (1, 2, 3):
        exposures.add((7, member_id))
    assert [(7, member_id) in exposures for member_id in (1, 2, 3)] == [False, True, True]


# Fatigue


def fatigue(page):
    return {pick.post.id: pick.parts["fatigue"] for pick in page.picks}


def test_posts_served_an_hour_ago_rank_below_posts_not_served(ann):
    """The fatigue part is half of the policy's weight, decayed by one hour. The same page is not served twice."""
    first = page()
    records.record_served(now=NOW)
    later = page(now=NOW + HOUR, explain=True, limit=30)
    assert set(ids(later)[:10]) & set(ids(first)) == set()
    weight, half_life = wiring.policies().get(later.variant)[0].fatigue, 6
    fatigue_parts = fatigue(later)
    for post in ids(first):
        assert fatigue_parts[post] == pytest.approx(-weight * 0.5 * 2 ** (-1 / half_life), rel=1e-5)
    assert sum(part < 0 for part in fatigue_parts.values()) == 10


def test_fatigue_adds_up_and_decays(ann):
    """A post that is served repeatedly has the maximum fatigue. After some days it has almost none."""
    for minute in range(4):
        page(now=NOW + timedelta(minutes=5 * minute), limit=30)
        records.record_served(now=NOW)
    soon = fatigue(page(now=NOW + timedelta(minutes=20), explain=True, limit=30))
    weight = wiring.policies().get("control")[0].fatigue
    assert list(soon.values()) == pytest.approx([-weight] * 30)
    late = fatigue(page(now=NOW + timedelta(days=5), explain=True, limit=30))
    assert all(-0.001 < part <= 0 for part in late.values())


def test_fatigue_is_separate_for_each_member(ann):
    page()
    records.record_served(now=NOW)
    factories.member("bob")
    assert set(fatigue(page("bob", now=NOW + HOUR, explain=True)).values()) == {0}


def test_after_the_history_is_lost_the_feed_is_as_if_nothing_was_served(ann, redis_url):
    first = page()
    records.record_served(now=NOW)
    wiring.served_history().remove([ann.pk])
    assert not len(wiring.served_history().fatigue(ann.pk, NOW.timestamp(), 3600).ids)
    wiring.slate_cache().purge([ann.pk])
    assert ids(page(now=NOW)) == ids(first)


def test_no_served_history_is_kept_for_a_member_who_opted_out(ann, redis_url):
    PrivacySettings.objects.filter(member=ann).update(is_personalized=False)
    page()
    records.record_served(now=NOW)
    assert not len(wiring.served_history().fatigue(ann.pk, NOW.timestamp(), 3600).ids)


def test_the_history_of_a_member_who_opts_out_while_it_is_written_is_removed(ann, redis_url, monkeypatch):
    page()
    history = wiring.served_history()

    class OptOutMeanwhile:
        def add(self, pages):
            PrivacySettings.objects.filter(member=ann).update(is_personalized=False)
            history.remove([ann.pk])  # by the request that withdraws the consent
            history.add(pages)

        def remove(self, member_ids):
            history.remove(member_ids)

    monkeypatch.setattr(wiring, "served_history", OptOutMeanwhile)
    records.record_served(now=NOW)
    assert not len(history.fatigue(ann.pk, NOW.timestamp(), 3600).ids)


def test_without_redis_a_feed_is_served_without_fatigue(ann, monkeypatch):
    page()
    records.record_served(now=NOW)
    unreachable = type(wiring.served_history())(
        wiring.redis_client(f"redis://127.0.0.1:{free_port()}/0"), wiring.seal()
    )
    monkeypatch.setattr(wiring, "served_history", lambda: unreachable)
    later_page = page(now=NOW + HOUR, explain=True)
    assert set(fatigue(later_page).values()) == {0} and len(later_page.picks) == 10
    unreachable.add([(ann.pk, NOW.timestamp(), [1])])
    unreachable.remove([ann.pk])


def test_a_viewer_without_personalization_has_no_fatigue(ann):
    page()
    records.record_served(now=NOW)
    ann.privacy.is_personalized = False
    ann.privacy.save()
    assert set(fatigue(page(now=NOW + HOUR, explain=True)).values()) == {0}


# The feed that uses no history

HISTORY = (InterestProfile, SeenPost, Interaction, FeedRequest, ServedPage)


def test_the_non_personalized_feed_reads_no_history(ann):
    """No query names a table of the viewer's history, and of negative feedback only hidden posts are read."""
    posts = list(Post.objects.order_by("pk"))
    for i, kind in enumerate(["like", "save", "view", "click"]):
        record_events(events=[Event(f"e{i}", "ann", posts[i].external_id, kind)], now=NOW)
    learn.learn_interactions(member_ids=[ann.pk], now=NOW)
    assert InterestProfile.objects.exists() and SeenPost.objects.exists()

    def read_queries(feed):
        wiring.slate_cache().purge([ann.pk])
        with CaptureQueriesContext(connection) as queries:
            assert page(feed=feed, limit=30, now=NOW).picks
        return [query["sql"] for query in queries]

    tables = [f'"{model._meta.db_table}"' for model in HISTORY]
    queries = read_queries("non_personalized")
    assert not [sql for sql in queries if any(table in sql for table in tables)]
    assert all("'post'" in sql for sql in queries if NegativeFeedback._meta.db_table in sql)
    history_tables = {table for sql in read_queries("discovery") for table in tables if table in sql}
    assert history_tables == {f'"{InterestProfile._meta.db_table}"', f'"{SeenPost._meta.db_table}"'}, (
        "otherwise this test would prove nothing"
    )


def test_members_with_different_histories_get_the_same_non_personalized_feed(ann):
    """Likes, seen posts, served posts and negative feedback about authors make no difference. Hidden posts do."""
    bob = factories.member("bob")
    before = [(pick.post.id, pick.score) for pick in page(feed="non_personalized", limit=30).picks]
    first, second, third, *_ = (post for post, _ in before)
    record_events(events=[Event("e1", "ann", first, "like"), Event("e2", "ann", second, "view")], now=NOW)
    record_events(events=[Event("e3", "ann", third, "not_interested", target="author")], now=NOW)
    learn.learn_interactions(member_ids=[ann.pk], now=NOW)
    PostStats.objects.all().delete()
    page(limit=30)
    records.record_served(now=NOW)
    PostStats.objects.all().delete()
    wiring.reset_parts()
    wiring.slate_cache().purge([ann.pk, bob.pk])
    picks_of_bob = [(pick.post.id, pick.score) for pick in page("bob", feed="non_personalized", limit=30).picks]
    picks_of_ann = [(pick.post.id, pick.score) for pick in page(feed="non_personalized", limit=30).picks]
    assert picks_of_bob == before
    assert sorted(picks_of_ann) == sorted(pick for pick in picks_of_bob if pick[0] != third)
    assert {first, second} <= {post for post, _ in picks_of_ann}


def test_only_the_last_twenty_pages_are_stored(ann):
    history = wiring.served_history()
    history.add((ann.pk, NOW.timestamp(), [number]) for number in range(25))
    assert history.fatigue(ann.pk, NOW.timestamp(), 3600).ids.tolist() == list(range(5, 25))
