"""Erasing a member deletes all their data; an export returns all of it."""

import json
import os
from datetime import timedelta

import numpy as np
import pytest
import redis
from django.apps import apps
from django.conf import settings
from django.db import connection
from qdrant_client import QdrantClient

from flags.experiments.privacy import erase_unit_exposures, list_unit_exposures
from recommendations import task_queue
from recommendations.models import ErasedPost, FeedRequest, Job, JobFile, Member, Post
from recommendations.services import wiring, work
from recommendations.services.errors import InvalidRequest, JobFileNotFound, UnknownMember
from recommendations.services.learning import interact, learn
from recommendations.services.members import erasure, preferences
from recommendations.services.members.export import fetch_export
from recommendations.services.serving import records
from recommendations.services.serving.recommend import recommend
from recommendations.services.upkeep.retention import EXPORT_RETENTION
from recommendations.services.vectors.embedding import embed_posts
from recommendations.services.vectors.embedding_models import embed_due_posts
from recommendations.services.vectors.reindexing import reindex
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("fresh_wiring")]
ANN, BOB = "ann-erased", "bob-remaining"


@pytest.fixture
def sent_messages(monkeypatch):
    messages = []
    monkeypatch.setattr(task_queue, "publish", lambda name, kwargs, queue, *_: messages.append((name, kwargs)))
    return messages


@pytest.fixture
def member_history(sent_messages):
    """Two members with posts, interactions, undos, jobs and served pages."""
    ann, bob, author = (
        factories.member(ANN, muted_words=["spoiler"], interest_tags=["bread"]),
        factories.member(BOB),
        factories.member("author"),
    )
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


def database_text():
    """Return the text of every row of every table."""
    rows = []
    for model in apps.get_models():
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(model._meta.db_table)}")
            rows += [repr(row) for row in cursor.fetchall()]
    return "\n".join(rows)


def is_epoch(client, key):
    """Return whether a key holds only the epoch number that invalidates earlier slates, for at most ten minutes."""
    return client.type(key) == b"hash" and client.hkeys(key) == [b"epoch"] and client.ttl(key) <= 600


def redis_keys():
    keys = []
    for url in (os.environ["REDIS_URL"], os.environ["CACHE_REDIS_URL"]):
        with redis.Redis.from_url(url) as client:
            keys += [key.decode() for key in client.scan_iter() if not is_epoch(client, key)]
    return keys


def test_no_data_of_an_erased_member_is_left(member_history):
    pk = member_history[0].pk
    assert ANN in database_text()
    assert any(str(pk) in key for key in redis_keys())
    job = run("erase_members", member_ids=[ANN])
    assert (job.state, job.done, job.failed) == ("done", 1, 0)
    text = database_text()
    assert ANN not in text and "secret recipe" not in text and "spoiler" not in text and "of-ann" not in text
    assert BOB in text
    for model in apps.get_models():
        for field in model._meta.concrete_fields:
            if field.related_model is Member:
                assert not model.objects.filter(**{field.name: pk}).exists(), (model, field)
    assert not [key for key in redis_keys() if f"{{{pk}}}" in key or key.endswith(f":{pk}")]
    assert recommend(member_id=BOB, now=NOW).picks
    with pytest.raises(UnknownMember):
        recommend(member_id=ANN, now=NOW)


def test_a_member_is_hidden_before_a_worker_erases_them(member_history):
    assert "of-ann" in [pick.post.id for pick in recommend(member_id=BOB, feed="following", now=NOW).picks]
    job = work.submit_job(kind="erase_members", params={"member_ids": [ANN]}, now=NOW)
    assert job.state == "queued"
    with pytest.raises(UnknownMember):
        recommend(member_id=ANN, now=NOW)
    assert "of-ann" not in [pick.post.id for pick in recommend(member_id=BOB, feed="following", now=NOW).picks]


def test_queued_records_of_an_erased_member_are_dropped(member_history):
    recommend(member_id=ANN, feed="trending", now=NOW)
    run("erase_members", member_ids=[ANN])
    records.record_served(now=NOW)
    assert not FeedRequest.objects.exclude(member__external_id=BOB).exists()
    results = interact.record_events(events=[interact.Event("late", ANN, "of-ann", "like")], now=NOW)
    assert results[0].status == "rejected"
    learn.learn_interactions(member_ids=[member_history[0].pk or 0], now=NOW)


def test_a_process_evicts_an_erased_post_from_memory(member_history):
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


@pytest.mark.filterwarnings("ignore:Payload indexes have no effect")
def test_an_erased_post_is_dropped_from_the_vector_index(member_history, monkeypatch):
    client = QdrantClient(":memory:")
    monkeypatch.setattr(wiring, "qdrant_client", lambda: client)
    embed_due_posts(now=NOW)
    wiring.sync_embedding_models(NOW, must_be_current=True)
    reindex(now=NOW)
    indexed = {post_id for post_id, _ in wiring.vector_index().versions()}
    pk = member_history[2].pk
    run("erase_posts", post_ids=["of-ann"])
    assert pk in indexed and {post_id for post_id, _ in wiring.vector_index().versions()} == indexed - {pk}
    client.close()


def test_primary_keys_of_erased_posts_are_deleted_after_a_week(member_history):
    ErasedPost.objects.create(post_id=10**9, erased_at=NOW - erasure.ERASED_ID_RETENTION - timedelta(hours=1))
    run("erase_posts", post_ids=["of-ann"])
    assert list(ErasedPost.objects.values_list("post_id", flat=True)) == [member_history[2].pk]


def test_erasing_is_idempotent(member_history):
    run("erase_members", member_ids=[ANN])
    erasure.erase_members(member_ids=[member_history[0].pk or 0], now=NOW)
    with pytest.raises(UnknownMember):
        run("erase_members", member_ids=[ANN])


@pytest.mark.parametrize(
    ("kind", "parameter"),
    [("erase_members", "member_ids"), ("erase_posts", "post_ids"), ("export_members", "member_ids")],
)
def test_a_job_without_ids_is_rejected(member_history, kind, parameter):
    with pytest.raises(InvalidRequest, match=f"{parameter}: required"):
        work.submit_job(kind=kind, params={}, now=NOW)


def test_an_export_contains_all_data_of_the_member(member_history):
    job = run("export_members", member_ids=[ANN])
    assert job.has_file
    (data,) = fetch_export(job_id=job.id)
    assert data["member"]["id"] == ANN
    assert data["privacy_settings"][0]["muted_words"] == ["spoiler"]
    assert data["privacy_settings"][0]["interest_tags"] == ["bread"]
    assert [row["target_id"] for row in data["relationships"]] == ["author"]
    assert [post["text"] for post in data["posts"]] == ["a secret recipe"]
    assert {row["event_id"] for row in data["interactions"]} == {f"like-{ANN}", f"less-{ANN}"}
    assert data["undos"] and data["feed_requests"] and data["served_pages"][0]["post_ids"] and data["interests"]
    assert BOB not in json.dumps(data), "incoming follows are other members' data"


def test_an_export_is_deleted_with_its_member_and_after_a_week(member_history):
    job = run("export_members", member_ids=[ANN])
    old = JobFile.objects.get()
    run("export_members", member_ids=[BOB])
    JobFile.objects.filter(pk=old.pk).update(created_at=NOW - EXPORT_RETENTION - timedelta(hours=1))
    run("export_members", member_ids=[BOB])
    with pytest.raises(JobFileNotFound):
        fetch_export(job_id=job.id)
    second = run("export_members", member_ids=[ANN])
    run("erase_members", member_ids=[ANN])
    with pytest.raises(JobFileNotFound):
        fetch_export(job_id=second.id)


def test_exposures_of_an_unknown_unit_can_be_listed_and_erased():
    assert list_unit_exposures(unit_id="x") == []
    erase_unit_exposures(unit_id="x", until=NOW)


def test_the_api_erases_and_exports_members(member_history, client, monkeypatch):
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update={"api_open": True}))
    response = client.delete(f"/api/v1/members/{ANN}")
    assert response.status_code == 202
    job_url = response["Location"]
    assert client.get(job_url).json()["kind"] == "erase_members"
    assert client.get(f"{job_url}/result").json()["code"] == "no-job-file"
    assert client.delete("/api/v1/members/nobody").status_code == 404
    body = json.dumps({"kind": "export_members", "params": {"member_ids": [BOB]}})
    export = client.post("/api/v1/jobs", body, content_type="application/json").json()
    while work.process_chunk(job_id=export["id"], number=0, now=NOW):  # the erasure before it, too
        pass
    job = client.get(f"/api/v1/jobs/{export['id']}").json()
    result = client.get(job["result_url"])
    assert result["Cache-Control"] == "no-store"
    assert result.json()["members"][0]["member"]["id"] == BOB
    assert preferences.read_preferences(member_id=BOB)
