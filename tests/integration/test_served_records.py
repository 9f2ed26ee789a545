"""What was served: recorded once, counted, and tired of; and the feed that uses nothing of what its viewer did."""

from datetime import timedelta
from uuid import UUID

import numpy as np
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from flags.experiments.rules import ExposedVariant
from recommendations import task_queue
from recommendations.contracts import Slate
from recommendations.models import (
    FeedRequest,
    Interaction,
    InterestProfile,
    NegativeFeedback,
    Post,
    PostStats,
    SeenPost,
    ServedPage,
)
from recommendations.services import wiring
from recommendations.services.learning import learn
from recommendations.services.learning.interact import Event, record_events
from recommendations.services.serving import records
from recommendations.services.serving.recommend import recommend
from recommendations.stores.redis_served_history import FATIGUE_PER_SERVE
from tests import factories
from tests.factories import NOW
from tests.servers import free_port

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]

HOUR = timedelta(hours=1)


@pytest.fixture
def ann():
    """Make Ann, and 30 posts by ten others."""
    ann = factories.member("ann")
    for i in range(10):
        factories.posts(factories.member(f"author-{i}"), 3, tags=[f"topic-{i % 4}"])
    factories.embed_all_posts()
    return ann


def page(who="ann", now=NOW, *, limit=10, **asked):
    return recommend(member_id=who, now=now, limit=limit, **asked)


def ids(page):
    return [pick.post.id for pick in page.picks]


def served_counts():
    return dict(PostStats.objects.filter(served_count__gt=0).values_list("post__external_id", "served_count"))


# Records


def test_each_page_is_a_row_with_its_posts_and_the_slate_is_one(ann):
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


def test_a_record_keeps_all_sixteen_bits_of_origins_and_reasons():
    """A ninth source or reason is in the row, as it is in the slate."""
    for bits in (np.array([1 << 8], np.uint16), np.array([2**16 - 1], np.uint16)):
        (record,) = records.slate_records(slate(bits), 1, "discovery", 5.0)
        row = records.slate_row(record)
        assert row.origins == row.reasons == bits.astype("<u2").tobytes()


def test_a_slate_that_cannot_be_recorded_costs_its_record_only(caplog):
    unfit = slate(np.ones(1, np.uint16), scores=np.array([np.inf], np.float32))
    assert records.slate_records(unfit, 1, "discovery", 5.0) == []
    assert [line.message for line in caplog.records] == ["served_record_lost"]


def test_an_exposure_of_a_member_with_any_id_is_written():
    """A platform's id may hold the character that separates the fields of a record: no other record waits for it."""
    packed = records.exposure_record(ExposedVariant(3, 4, "treatment", 0.5), 1, "a\x1fb", NOW.timestamp())
    member_id, met = records.parse_exposure(packed)
    assert (member_id, met.unit_id, met.exposed_variant.variant) == (1, "a\x1fb", "treatment")


def test_who_writes_the_records_leaves_those_to_the_next_that_woke_it(ann, monkeypatch):
    """Or each would wake another while it still writes: as many tasks as pages, for ever."""
    woken = []
    monkeypatch.setattr(task_queue, "enqueue", lambda name, **_: woken.append(name))
    real = records.write_pages
    monkeypatch.setattr(records, "write_pages", lambda *args: (page(), real(*args)))
    page()
    assert records.record_served(now=NOW) == 2
    assert woken == [task_queue.RECORD_SERVED] * 2
    assert records.record_served(now=NOW) == 1


def test_what_is_recorded_is_recorded_once_and_every_showing_counts(ann):
    first = page()
    records.record_served(now=NOW)
    assert records.record_served(now=NOW) == 0
    assert served_counts() == dict.fromkeys(ids(first), 1)
    assert ids(page(now=NOW + timedelta(seconds=1))) == ids(first)
    factories.member("bob")
    others = ids(page("bob"))
    records.record_served(now=NOW)
    assert served_counts() == {post: 2 * (post in ids(first)) + (post in others) for post in {*ids(first), *others}}
    assert ServedPage.objects.count() == 3


def test_a_batch_that_a_killed_worker_had_in_hand_is_written_once(ann, monkeypatch):
    page()
    with monkeypatch.context() as patch:
        patch.setattr(records, "write_inputs", lambda rows: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            records.record_served(now=NOW)
    assert not ServedPage.objects.exists() and not served_counts()
    assert records.record_served(now=NOW) == 2
    assert ServedPage.objects.count() == FeedRequest.objects.count() == 1
    assert set(served_counts().values()) == {1}


def test_an_impression_changes_no_engagement(ann):
    post = Post.objects.earliest("pk")
    factories.engagement(post, 5)
    assert post.external_id in ids(page(limit=30))
    records.record_served(now=NOW + HOUR)
    row = PostStats.objects.get(post=post)
    assert (row.engagement, row.engagement_at, row.served_count) == (5, NOW, 1)
    assert row.changed_at == NOW + HOUR


def test_of_who_is_erased_and_of_posts_that_are_gone_nothing_is_kept(ann):
    page()
    factories.member("bob")
    shown = ids(page("bob"))
    ann.delete()
    Post.objects.filter(external_id=shown[0]).delete()
    records.record_served(now=NOW)
    assert ServedPage.objects.get().member.external_id == "bob"
    assert served_counts() == dict.fromkeys(shown[1:], 1)


# Fatigue


def fatigue(page):
    return {pick.post.id: pick.parts["fatigue"] for pick in page.picks}


def test_what_was_served_an_hour_ago_gives_way_to_what_was_not(ann):
    """Parts say so: half of the weight, less by an hour of its half-life; the same page comes no second time."""
    first = page()
    records.record_served(now=NOW)
    later = page(now=NOW + HOUR, explain=True, limit=30)
    assert set(ids(later)[:10]) & set(ids(first)) == set()
    weight, half_life = wiring.policies().get(later.variant)[0].fatigue, 6
    tired = fatigue(later)
    for post in ids(first):
        assert tired[post] == pytest.approx(-weight * FATIGUE_PER_SERVE * 2 ** (-1 / half_life), rel=1e-5)
    assert sum(part < 0 for part in tired.values()) == 10


def test_fatigue_adds_up_and_passes(ann):
    """Served again and again a post is as tiring as can be; after days it is new again."""
    for minute in range(4):
        page(now=NOW + timedelta(minutes=5 * minute), limit=30)
        records.record_served(now=NOW)
    soon = fatigue(page(now=NOW + timedelta(minutes=20), explain=True, limit=30))
    weight = wiring.policies().get("control")[0].fatigue
    assert list(soon.values()) == pytest.approx([-weight] * 30)
    late = fatigue(page(now=NOW + timedelta(days=5), explain=True, limit=30))
    assert all(-0.001 < part <= 0 for part in late.values())


def test_one_members_fatigue_is_nobody_elses(ann):
    page()
    records.record_served(now=NOW)
    factories.member("bob")
    assert set(fatigue(page("bob", now=NOW + HOUR, explain=True)).values()) == {0}


def test_when_redis_forgets_the_feed_is_as_if_nothing_was_served(ann, redis_url):
    first = page()
    records.record_served(now=NOW)
    wiring.served_history().remove([ann.pk])
    assert not len(wiring.served_history().fatigue(ann.pk, NOW.timestamp(), 3600).ids)
    wiring.slate_cache().purge([ann.pk])
    assert ids(page(now=NOW)) == ids(first)


def test_without_redis_a_feed_is_served_and_nobody_is_tired(ann, monkeypatch):
    page()
    records.record_served(now=NOW)
    lost = type(wiring.served_history())(wiring.redis_client(f"redis://127.0.0.1:{free_port()}/0"))
    monkeypatch.setattr(wiring, "served_history", lambda: lost)
    found = page(now=NOW + HOUR, explain=True)
    assert set(fatigue(found).values()) == {0} and len(found.picks) == 10
    lost.add([(ann.pk, NOW.timestamp(), [1])])
    lost.remove([ann.pk])


def test_who_wants_no_personal_feed_is_not_reckoned_with(ann):
    page()
    records.record_served(now=NOW)
    ann.privacy.is_personalized = False
    ann.privacy.save()
    assert set(fatigue(page(now=NOW + HOUR, explain=True)).values()) == {0}


# The feed that uses nothing of its viewer

HISTORY = (InterestProfile, SeenPost, Interaction, FeedRequest, ServedPage)


def test_the_neutral_feed_reads_nothing_of_what_its_viewer_did(ann):
    """Provably: no query names a table of history, and of wishes only the posts that are hidden."""
    posts = list(Post.objects.order_by("pk"))
    for i, kind in enumerate(["like", "save", "view", "click"]):
        record_events(events=[Event(f"e{i}", "ann", posts[i].external_id, kind)], now=NOW)
    learn.learn_interactions(member_ids=[ann.pk], now=NOW)
    assert InterestProfile.objects.exists() and SeenPost.objects.exists()

    def read(feed):
        wiring.slate_cache().purge([ann.pk])
        with CaptureQueriesContext(connection) as asked:
            assert page(feed=feed, limit=30, now=NOW).picks
        return [query["sql"] for query in asked]

    tables = [f'"{model._meta.db_table}"' for model in HISTORY]
    asked = read("non_personalized")
    assert not [sql for sql in asked if any(table in sql for table in tables)]
    assert all("'post'" in sql for sql in asked if NegativeFeedback._meta.db_table in sql)
    named = {table for sql in read("discovery") for table in tables if table in sql}
    assert named == {f'"{InterestProfile._meta.db_table}"', f'"{SeenPost._meta.db_table}"'}, "the test would not notice"


def test_members_of_different_histories_get_the_same_neutral_feed(ann):
    """What they liked, saw, wanted less of and were served makes no difference; what they hid does."""
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
    theirs = [(pick.post.id, pick.score) for pick in page("bob", feed="non_personalized", limit=30).picks]
    mine = [(pick.post.id, pick.score) for pick in page(feed="non_personalized", limit=30).picks]
    assert theirs == before
    assert sorted(mine) == sorted(pick for pick in theirs if pick[0] != third)
    assert {first, second} <= {post for post, _ in mine}
