"""Erase and export: nothing that is known of a member is left, and all of it can be taken along before."""

import json
import os
from datetime import timedelta

import numpy as np
import pytest
import redis
from django.apps import apps
from django.conf import settings
from django.db import connection

from flags.experiments.privacy import erase_unit_exposures, list_unit_exposures
from recommendations import task_queue
from recommendations.models import ErasedPost, FeedRequest, Job, JobFile, Member, Post
from recommendations.services import wiring, work
from recommendations.services.errors import InactiveMember, InvalidRequest, JobFileNotFound, UnknownMember
from recommendations.services.learning import interact, learn
from recommendations.services.members import erasure, preferences
from recommendations.services.members.export import EXPORT_RETENTION, fetch_export
from recommendations.services.serving import records
from recommendations.services.serving.recommend import recommend
from recommendations.services.vectors.embedding import embed_posts
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("fresh_wiring")]
ANN, BOB = "ann-of-the-erased", "bob-who-stays"


@pytest.fixture
def sent_messages(monkeypatch):
    messages = []
    monkeypatch.setattr(task_queue, "publish", lambda name, kwargs, queue, *_: messages.append((name, kwargs)))
    return messages


@pytest.fixture
def member_history(sent_messages):
    """Two members who wrote, acted, asked and were shown things."""
    ann, bob, author = factories.member(ANN, muted_words=["spoiler"]), factories.member(BOB), factories.member("author")
    factories.posts(author, 5)
    own = factories.post(ann, "of-ann", text="a secret recipe")
    embed_posts(embedder=wiring.embedder(), now=NOW)
    factories.follow(ann, author)
    factories.follow(bob, ann)
    factories.block(author, factories.member("else"))
    for name in (ANN, BOB):
        post = author.posts.first().external_id
        events = [interact.Event(f"like-{name}", name, post, "like")]
        events += [interact.Event(f"less-{name}", name, author.posts.last().external_id, "not_interested", "author")]
        events += [interact.Event(f"undo-{name}", name, undoes_event_id=f"less-{name}")]
        interact.record_events(events=events, now=NOW)
        page = recommend(member_id=name, now=NOW)
        assert page.picks
    learn.learn_interactions(member_ids=[ann.pk, bob.pk], now=NOW)
    records.record_served(now=NOW)
    work.submit_job(kind="member_feed", params={"member_ids": [ANN, BOB]}, now=NOW)
    return ann, bob, own


def run(kind, **params):
    job = work.submit_job(kind=kind, params=params, now=NOW)
    for chunk in Job.objects.get(pk=job.id).chunks.all():
        work.process_chunk(job_id=job.id, number=chunk.number, now=NOW)
    return work.read_job(job_id=job.id)


def everything_in_the_database():
    """Return the text of every row of every table, bytes as hexadecimal."""
    told = []
    for model in apps.get_models():
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(model._meta.db_table)}")
            told += [repr(row) for row in cursor.fetchall()]
    return "\n".join(told)


def is_epoch(client, key):
    """Return whether a key holds nothing but a number that says that the slates of before are gone, for ten minutes."""
    return client.type(key) == b"hash" and client.hkeys(key) == [b"epoch"] and client.ttl(key) <= 600


def everything_in_redis():
    told = []
    for url in (os.environ["REDIS_URL"], os.environ["CACHE_REDIS_URL"]):
        with redis.Redis.from_url(url) as client:
            told += [key.decode() for key in client.scan_iter() if not is_epoch(client, key)]
    return told


def test_nothing_of_an_erased_member_is_left(member_history):
    pk = member_history[0].pk
    assert ANN in everything_in_the_database()
    assert any(str(pk) in key for key in everything_in_redis())
    job = run("erase_members", member_ids=[ANN])
    assert (job.state, job.done, job.failed) == ("done", 1, 0)
    left = everything_in_the_database()
    assert ANN not in left and "secret recipe" not in left and "spoiler" not in left and "of-ann" not in left
    assert BOB in left
    for model in apps.get_models():
        for field in model._meta.concrete_fields:
            if field.related_model is Member:
                assert not model.objects.filter(**{field.name: pk}).exists(), (model, field)
    assert not [key for key in everything_in_redis() if f"{{{pk}}}" in key or key.endswith(f":{pk}")]
    assert recommend(member_id=BOB, now=NOW).picks
    with pytest.raises(UnknownMember):
        recommend(member_id=ANN, now=NOW)


def test_erased_is_hidden_at_once_before_any_worker_comes(member_history):
    assert "of-ann" in [pick.post.id for pick in recommend(member_id=BOB, feed="following", now=NOW).picks]
    job = work.submit_job(kind="erase_members", params={"member_ids": [ANN]}, now=NOW)
    assert job.state == "queued"
    with pytest.raises(InactiveMember):
        recommend(member_id=ANN, now=NOW)
    assert "of-ann" not in [pick.post.id for pick in recommend(member_id=BOB, feed="following", now=NOW).picks]


def test_what_was_served_and_not_written_yet_is_not_written_for_an_erased_member(member_history):
    recommend(member_id=ANN, feed="trending", now=NOW)
    run("erase_members", member_ids=[ANN])
    records.record_served(now=NOW)
    assert not FeedRequest.objects.exclude(member__external_id=BOB).exists()
    late = interact.record_events(events=[interact.Event("late", ANN, "of-ann", "like")], now=NOW)
    assert late[0].status == "rejected"
    learn.learn_interactions(member_ids=[member_history[0].pk or 0], now=NOW)


def test_every_process_drops_an_erased_post_from_its_memory(member_history):
    catalogue, pk = wiring.catalogue(), member_history[2].pk
    assert pk in catalogue.all_posts().post_ids
    run("erase_posts", post_ids=["of-ann"])
    assert not Post.objects.filter(pk=pk).exists()
    row = catalogue.rows_of(np.array([pk]))
    assert wiring.engines()["plain"].vectors(row).any()
    catalogue.refresh(NOW + timedelta(seconds=5))
    assert pk not in catalogue.all_posts().post_ids
    for engine in wiring.engines().values():
        assert not engine.vectors(row).any(), engine.name


def test_numbers_of_erased_posts_are_kept_for_a_while_only(member_history):
    ErasedPost.objects.create(post_id=10**9, erased_at=NOW - erasure.ERASED_ID_RETENTION - timedelta(hours=1))
    run("erase_posts", post_ids=["of-ann"])
    assert list(ErasedPost.objects.values_list("post_id", flat=True)) == [member_history[2].pk]


def test_erasing_twice_is_erasing_once(member_history):
    run("erase_members", member_ids=[ANN])
    erasure.erase_members(member_ids=[member_history[0].pk or 0], now=NOW)
    with pytest.raises(UnknownMember):
        run("erase_members", member_ids=[ANN])


@pytest.mark.parametrize("kind", ["erase_members", "erase_posts", "export_members"])
def test_nobody_erases_or_exports_everything_by_leaving_a_list_out(member_history, kind):
    with pytest.raises(InvalidRequest, match="_ids: required"):
        work.submit_job(kind=kind, params={}, now=NOW)


def test_an_export_holds_what_is_held(member_history):
    job = run("export_members", member_ids=[ANN])
    assert job.has_file
    (told,) = fetch_export(job_id=job.id)
    assert told["member"]["id"] == ANN
    assert told["privacy"][0]["muted_words"] == ["spoiler"]
    assert [tie["to"] for tie in told["ties"]] == ["author"]
    assert [post["text"] for post in told["posts"]] == ["a secret recipe"]
    assert {act["event_id"] for act in told["interactions"]} == {f"like-{ANN}", f"less-{ANN}"}
    assert told["undone"] and told["feeds"] and told["shown"][0]["post_ids"] and told["interests"]
    text = json.dumps(told)
    assert BOB not in text, "who follows the member is the other's data"


def test_an_export_goes_with_its_member_and_after_some_days(member_history):
    job = run("export_members", member_ids=[ANN])
    old = JobFile.objects.get()
    run("export_members", member_ids=[BOB])
    JobFile.objects.filter(pk=old.pk).update(created_at=NOW - EXPORT_RETENTION - timedelta(hours=1))
    run("export_members", member_ids=[BOB])
    with pytest.raises(JobFileNotFound):
        fetch_export(job_id=job.id)
    again = run("export_members", member_ids=[ANN])
    run("erase_members", member_ids=[ANN])
    with pytest.raises(JobFileNotFound):
        fetch_export(job_id=again.id)


def test_experiments_forget_a_unit():
    assert list_unit_exposures(unit_id="x") == []
    erase_unit_exposures(unit_id="x")


def test_by_the_api(member_history, client, monkeypatch):
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update={"api_open": True}))
    answer = client.delete(f"/api/v1/members/{ANN}")
    assert answer.status_code == 202
    address = answer["Location"]
    assert client.get(address).json()["kind"] == "erase_members"
    assert client.get(f"{address}/result").json()["code"] == "no-job-file"
    assert client.delete("/api/v1/members/nobody").status_code == 404
    body = json.dumps({"kind": "export_members", "params": {"member_ids": [BOB]}})
    export = client.post("/api/v1/jobs", body, content_type="application/json").json()
    work.process_chunk(job_id=export["id"], number=0, now=NOW)
    done = client.get(f"/api/v1/jobs/{export['id']}").json()
    told = client.get(done["result_url"])
    assert told["Cache-Control"] == "no-store"
    assert told.json()["members"][0]["member"]["id"] == BOB
    assert preferences.read_preferences(member_id=BOB)
