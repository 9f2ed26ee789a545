"""`verify_erasure` finds a member in every place that the list names, and nothing after an erasure."""

import base64
import json
import os
import zlib
from datetime import timedelta
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import redis
from django.apps import apps
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.backends.db import SessionStore
from django.core.management import CommandError, call_command
from django.db import connection
from django.urls import reverse
from qdrant_client import QdrantClient

from access.models import ApiKey
from flags.models import Condition, Exposure, PendingChange, RolloutPhase, RolloutPlan, Segment
from flags.models.guarded import allow_guarded_writes
from monitoring.dependencies import reset_dependencies
from monitoring.models import Alert, AlertRule, MaintenanceRun, Notice, Silence
from recommendations.models import (
    EmbeddingModel,
    ErasedPost,
    ErasureReceipt,
    InterestProfile,
    Job,
    JobChunk,
    JobFailure,
    JobFile,
    Member,
    Post,
    RegionStats,
    TrainedModel,
    TrainedModelBlock,
)
from recommendations.ports import VectorIndexError
from recommendations.services import wiring, work
from recommendations.services.content import publish
from recommendations.services.errors import JobNotCancellable, UnknownMember
from recommendations.services.extensions import maintenance
from recommendations.services.learning import learn
from recommendations.services.members import erasure, export, traces
from recommendations.services.members.marks import Mark
from recommendations.services.members.personal_data import (
    TABLES,
    TABLES_WITHOUT_MODEL,
    Pii,
    describe_places,
    list_models,
    text_columns,
)
from recommendations.services.training import schedule
from recommendations.services.vectors import archive
from recommendations.services.vectors.embedding_models import embed_due_posts
from recommendations.services.vectors.reindexing import build_points, reindex
from recommendations.stores import trained_models as model_store
from recommendations.stores.redis_record_queue import WAITING_KEY
from recommendations.stores.redis_slates import slates_key
from recommendations.stores.trained_models import TrainedModels, store_arrays
from tests import factories
from tests.factories import NOW
from tests.integration.test_trained_models import table_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]
ANN, BOB, WORD = "ann-773109526", "bob-remaining", "kidneystone773109526"
LATER = NOW + timedelta(hours=1)
WITHOUT_ROWS = {"flags.FlagVariant", "flags.Prerequisite", "flags.ExclusionGroup", "flags.Holdout"}
"""Tables with texts of staff that this test leaves empty."""


@pytest.fixture(autouse=True)
def run_on_commit(django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        yield


@pytest.fixture
def ann():
    """A member with a post that another member has liked, in a region of her own."""
    ann = factories.member(ANN, region=f"R{WORD[-6:]}", muted_words=[WORD])
    bob = factories.member(BOB, region="DE")
    own = factories.post(ann, f"post-of-{ANN}", text=f"about a {WORD}")
    other = factories.post(bob, "bread")
    factories.embed_all_posts()
    for member, post in ((ann, other), (bob, own)):
        factories.interaction(member, post, at=NOW - timedelta(hours=2))
    learn.learn_interactions(member_ids=[ann.pk, bob.pk], now=NOW)
    return ann


def erase(member_id=ANN, now=NOW):
    job = work.submit_job(kind="erase_members", params={"member_ids": [member_id]}, now=now, submitter="key ab")
    while work.process_chunk(job_id=job.id, number=0, now=now):  # also what was submitted before
        pass
    return work.read_job(job_id=job.id)


def find(*marks):
    return traces.find_traces(member_id=ANN, marks=marks)


def places(*marks):
    return {trace.place for trace in find(*marks)}


# The list


def test_every_column_of_every_table_is_in_the_list():
    """A new model or field fails here: say in `personal_data.py` what it holds of a member."""
    columns = {label: {field.name for field in model._meta.concrete_fields} for label, model in list_models().items()}
    assert {label: set(table.columns) for label, table in TABLES.items()} == columns
    tables = {model._meta.db_table for model in list_models().values()} | set(TABLES_WITHOUT_MODEL)
    found = {name for name in connection.introspection.table_names() if not name.startswith("sqlite_")}
    assert found == tables


def test_rows_that_refer_to_a_member_belong_to_somebody():
    """Whatever refers to a member or a post of theirs is deleted by a cascade, and the list says whose it is."""
    for label, model in list_models().items():
        for field in model._meta.concrete_fields:
            if field.related_model is Member:
                assert TABLES[label].columns[field.name] is Pii.MEMBER_KEY, (label, field.name)
                assert TABLES[label].owner, label
        if TABLES[label].owner:
            assert not model._base_manager.filter(**{TABLES[label].owner: 0}).exists()


def test_the_export_has_a_key_for_each_table_of_a_member(ann):
    data = export.collect_member_data(ann)
    assert {table.export for table in TABLES.values() if table.export} == set(data) - {"version"}


def test_the_documentation_shows_the_list():
    assert Path("docs/personal-data.md").read_text() == describe_places() + "\n"
    out = StringIO()
    call_command("print_personal_data", stdout=out)
    assert out.getvalue() == describe_places() + "\n"


# A member in every place


def plant_texts(user):
    """Write the member's id into every column that holds texts of staff or platforms. Return the tables."""
    rule = AlertRule.objects.create(name="r", metric="m", threshold=1, advice="")
    alert = Alert.objects.create(key="k", rule=rule, name="r", severity="page", state="firing", value=1, began_at=NOW)
    Notice.objects.create(alert=alert, channel="mail", event="fired", due_at=NOW)
    Silence.objects.create(reason="", starts_at=NOW, ends_at=LATER, created_by=user)
    MaintenanceRun.objects.create(name="n", started_at=NOW, seconds=1, outcome="done")
    ApiKey.objects.create(prefix="ab", name="n", scopes=[], secret_hash=b"x", created_at=NOW)
    job = Job.objects.create(kind="batch_feeds", created_at=NOW, state="done")
    JobChunk.objects.create(job=job, number=0, item_ids=[1])
    JobFailure.objects.create(job=job, item_id=1, problem="", failed_at=NOW)
    kind = ContentType.objects.get_for_model(Job)
    LogEntry.objects.create(user=user, content_type=kind, object_id="1", action_flag=CHANGE, change_message="")
    for key in ("for_one", "for_one_trial"):
        factories.flag(key, rules=[{"note": "x"}] if key == "for_one" else [], is_enabled=True)
    factories.experiment("for_one_trial")
    flag = apps.get_model("flags.Flag").objects.get(key="for_one")
    with allow_guarded_writes():
        segment = Segment.objects.create(key="some", allowed_ids=[ANN, "x"], changed_at=NOW)
        Condition.objects.create(segment=segment, position=0, attribute="plan", operator="in", values=["x"])
        PendingChange.objects.create(
            subject="flag", key="for_one", flag=flag, patch={}, action="x", why="", requested_at=NOW, flag_version=1
        )
        plan = RolloutPlan.objects.create(key="p", changed_at=NOW)
        RolloutPhase.objects.create(plan=plan, position=0, percentage=1, hours=1)
    planted = set()
    with allow_guarded_writes():
        for model, names in text_columns().items():
            values = {
                name: {"deep": [f"asked by {ANN}", ANN]}
                if model._meta.get_field(name).get_internal_type() == "JSONField"
                else f"asked by {ANN}."
                for name in names
            }
            if model is LogEntry:
                values["change_message"] = json.dumps([{"changed": {"object": ANN}}])
            if model._base_manager.update(**values):
                planted.add(model._meta.label)
    return planted


def test_the_member_is_found_in_every_table_with_texts_and_nowhere_after_the_erasure(ann, admin_user):
    ErasureReceipt.objects.create(member_hash="0", member_number=0, requested_at=NOW, finished_at=NOW)
    planted = plant_texts(admin_user)
    assert planted == {model._meta.label for model in text_columns()} - WITHOUT_ROWS
    assert planted < places(), "every table is searched"
    assert erase().state == "done"
    erasure.finish_erasures(now=LATER)
    assert find(WORD, "773109526") == []
    assert Segment.objects.get(key="some").allowed_ids == ["x"]
    assert Job.objects.get(kind="batch_feeds").params == {"deep": ["asked by [erased]"]}
    assert json.loads(LogEntry.objects.get().change_message) == [{"changed": {"object": "[erased]"}}]
    receipt = ErasureReceipt.objects.get(requested_by="key ab")
    assert receipt.counts["admin.LogEntry"] == 1 and receipt.counts["recommendations.Interaction"] == 2


def test_the_names_of_the_member_and_of_their_posts_leave_the_log_of_the_admin(ann, admin_user):
    """Also a name that is too short to be found in texts."""
    Member.objects.filter(pk=ann.pk).update(external_id="42")
    for row in (ann, Post.objects.get(author=ann)):
        kind = ContentType.objects.get_for_model(row)
        LogEntry.objects.create(
            user=admin_user, content_type=kind, object_id=str(row.pk), object_repr=str(row), action_flag=CHANGE
        )
    Job.objects.create(kind="erase_posts", params={"post_ids": [f"post-of-{ANN}", "bread"]}, created_at=NOW)
    erase("42")
    assert set(LogEntry.objects.values_list("object_repr", "change_message")) == {("[erased]", "")}
    assert Job.objects.get(kind="erase_posts").params == {"post_ids": ["bread"]}


def test_a_job_stores_no_idempotency_key(ann):
    key = f"export-{ANN}"
    first, second = (
        work.submit_job(kind="export_members", params={"member_ids": [BOB]}, now=NOW, idempotency_key=key)
        for _ in range(2)
    )
    assert first.id == second.id
    erase()
    assert not [trace for trace in find() if trace.place == "recommendations.Job"]


def test_finished_exports_of_other_members_that_name_the_member_are_deleted(ann):
    names = {BOB: f"post-of-{ANN}", "carol": f"a text about {ANN} and others", "dave": "nothing"}
    job = Job.objects.create(kind="export_members", created_at=NOW)
    for name, text in names.items():
        member = Member.objects.filter(external_id=name).first() or factories.member(name)
        content = zlib.compress(json.dumps({"interactions": [{"post_id": text}]}).encode())
        JobFile.objects.create(job=job, member=member, content=content, created_at=NOW)
    assert "recommendations.JobFile" in places()
    erase()
    assert [file.member.external_id for file in JobFile.objects.all()] == ["dave"]


def test_statistics_of_a_region_are_deleted_with_its_last_member(ann):
    assert set(RegionStats.objects.values_list("region", flat=True)) == {ann.region, "DE"}
    assert "recommendations.RegionStats" in places(ann.region)
    erase()
    assert not RegionStats.objects.filter(region=ann.region).exists()


def test_other_members_keep_no_affinity_for_an_erased_author(ann):
    profile = InterestProfile.objects.get(member__external_id=BOB)
    assert str(ann.pk) in profile.affinities["author"]
    assert any(trace.where.startswith("affinities") for trace in find())
    erase()
    profile.refresh_from_db()
    assert str(ann.pk) not in profile.affinities["author"]


def test_exposures_until_the_request_are_erased(ann):
    factories.flag("for_all", is_enabled=True)
    experiment = factories.experiment("for_all")
    values = {"phase": experiment.phases.get(), "experiment": experiment, "variant": "treatment", "propensity": 0.5}
    Exposure.objects.create(unit_id=ANN, exposed_at=NOW - timedelta(days=1), **values)
    assert "flags.Exposure" in places()
    erase()
    assert not Exposure.objects.exists()


def test_traces_in_redis_are_found(ann):
    seal = wiring.seal()
    body = base64.b64encode(json.dumps([[], {"member": ANN}, {}]).encode()).decode()
    with (
        redis.Redis.from_url(os.environ["CACHE_REDIS_URL"]) as caches,
        redis.Redis.from_url(os.environ["REDIS_URL"]) as broker,
    ):
        keys = ("string", "list", "set", "zset", "hash", "stream", "message", f"of {ANN}", "escaped")
        caches.set("recsys:string", ANN)
        caches.rpush("recsys:list", f"a {ANN} b")
        caches.sadd("recsys:set", ANN)
        caches.zadd("recsys:zset", {ANN: 1})
        caches.hset("recsys:hash", "field", json.dumps({"id": ANN}))
        caches.xadd("recsys:stream", {"id": ANN})
        broker.rpush("recsys:message", json.dumps({"body": body, "headers": {}}))
        caches.set(f"recsys:of {ANN}", "x")
        caches.set("recsys:escaped", "q%3D" + ANN)
        broker.rpush(WAITING_KEY, seal.seal(ANN.encode(), "served"))
        key = slates_key(12)
        caches.hset(key, "discovery", seal.seal(ANN.encode(), "slate:12:discovery"))
        caches.set("recsys:bad", json.dumps({"body": "not Base64!"}))
        caches.set("recsys:other", "another-773109526, " + ANN + "x")
        caches.rpush(f"recsys:served:{ann.pk}", b"x")
        found = {trace.where.removeprefix("value of ") for trace in find() if trace.place.startswith("redis")}
        assert found == {f"recsys:{key}" for key in keys} | {WAITING_KEY, key, f"recsys:served:{ann.pk}"}
        caches.delete(slates_key(ann.pk))
        caches.hset(slates_key(ann.pk), "discovery", b"x")
        assert slates_key(ann.pk) in {trace.where for trace in find()}
        caches.flushdb()
        broker.delete("recsys:message", WAITING_KEY)


def test_traces_in_sessions_and_unknown_tables_are_found(ann):
    session = SessionStore()
    session["last"] = ANN
    session.save()
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE leftover (id integer, note text)")
        cursor.execute("INSERT INTO leftover VALUES (7, %s)", [f"for {ANN}"])
        assert {"sessions.Session", "leftover"} <= places()
        cursor.execute("DROP TABLE leftover")


def test_a_search_of_an_unreadable_place_fails(ann, settings):
    settings.ENV = settings.ENV.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    with pytest.raises(CommandError, match="could not be read") as caught:
        call_command("verify_erasure", ANN)
    assert caught.value.returncode == 2


def test_the_command_fails_until_every_trace_is_gone(ann):
    out = StringIO()
    with pytest.raises(CommandError, match="traces were found"):
        call_command("verify_erasure", ANN, "--mark", WORD, stdout=out)
    assert "recommendations.Member: external_id of row" in out.getvalue()
    assert "recommendations.Post: text of row" in out.getvalue()
    job = work.submit_job(kind="erase_members", params={"member_ids": [ANN]}, now=NOW)
    assert any("has not deleted" in trace.where for trace in find())
    work.process_chunk(job_id=job.id, number=0, now=NOW)
    assert [trace.place for trace in find()] == ["trained models"], "the receipt is not finished"
    erasure.finish_erasures(now=LATER)
    out = StringIO()
    call_command("verify_erasure", ANN, "--mark", WORD, stdout=out)
    assert out.getvalue() == "No trace was found.\n"


@pytest.mark.parametrize(
    ("text", "value", "is_found"),
    [
        ("ann-1", "asked by ann-1.", True),
        ("ann-1", "asked by ann-12", False),
        ("ann-1", "joann-1", False),
        ("ann-1", "job_ann-1", True),
        ("42", "there are 42 posts", False),
        ("42", ["42"], True),
        ("42", '{"id": "42"}', True),
        ("zoë-12", "zoë-12".encode(), True),
        ("ann-1", zlib.compress(b'{"id": "ann-1"}'), True),
        ("ann-1", '{"id": "ann-1"', True),
        ("ann-1", 7, False),
    ],
)
def test_an_id_is_found_as_a_whole_word(text, value, is_found):
    assert Mark(text).is_in(value) is is_found


# Files and indexes


def test_an_erased_post_leaves_the_vector_archive(ann, settings, tmp_path):
    settings.ENV = settings.ENV.model_copy(update={"embeddings_archive_dir": str(tmp_path)})
    bread = Post.objects.get(external_id="bread")
    own = Post.objects.get(author=ann)
    vector = np.ones(8, "<f4").tobytes()
    rows = [(1, own.external_id, vector, 1), (2, bread.external_id, vector, 1)]
    archive.write_archive(tmp_path / "both.npz", "m", rows)
    archive.write_archive(tmp_path / "only.npz", "m", rows[:1])
    assert {trace.where for trace in find() if trace.place == "vector archive"} == {"both.npz", "only.npz"}
    erase()
    assert [path.name for path in archive.list_archive_files()] == ["both.npz"]
    with np.load(tmp_path / "both.npz") as stored:
        assert stored["post_ids"].tolist() == ["bread"] and str(stored["model"]) == "m"
    assert ErasureReceipt.objects.get().counts["vector archive"] == 2


def test_a_text_in_another_file_is_found(ann, settings, tmp_path):
    settings.ENV = settings.ENV.model_copy(update={"model_dir": str(tmp_path)})
    (tmp_path / "note.txt").write_text(f"for {ANN}")
    np.save(tmp_path / "names.npy", np.array([ANN]))
    np.save(tmp_path / "numbers.npy", np.ones(3))
    assert {trace.where for trace in find() if trace.place == "model files"} == {"note.txt", "names.npy"}


@pytest.fixture
def qdrant(ann, monkeypatch):
    client = QdrantClient(":memory:")
    monkeypatch.setattr(wiring, "qdrant_client", lambda: client)
    embed_due_posts(now=NOW)
    wiring.sync_embedding_models(NOW, must_be_current=True)
    reindex(now=NOW)
    yield client
    client.close()


def indexed_posts():
    return {post_id for post_id, _ in wiring.vector_index().versions()}


@pytest.mark.filterwarnings("ignore:Payload indexes have no effect")
@pytest.mark.parametrize("kind", ["erase_members", "erase_posts"])
def test_an_erasure_is_not_done_while_qdrant_holds_the_vectors(ann, qdrant, monkeypatch, kind):
    pk = Post.objects.get(author=ann).pk
    assert pk in indexed_posts() and "qdrant" in places()
    ids = {"member_ids": [ANN]} if kind == "erase_members" else {"post_ids": [f"post-of-{ANN}"]}
    job = work.submit_job(kind=kind, params=ids, now=NOW)

    def fail(*_args, **_options):
        raise ConnectionError("reset")

    with monkeypatch.context() as patch:
        patch.setattr(qdrant, "delete", fail)
        for _ in range(work.MAX_CHUNK_ATTEMPTS):
            reset_dependencies()  # the breaker closes
            with pytest.raises(VectorIndexError):
                work.process_chunk(job_id=job.id, number=0, now=NOW)
    assert work.read_job(job_id=job.id).state == "failed"
    reset_dependencies()
    assert pk in indexed_posts() and ErasedPost.objects.filter(is_indexed=True).count() == 1
    if kind == "erase_members":
        assert ErasureReceipt.objects.get().erased_at is None and "qdrant" in places()
    work.retry_job(job_id=job.id, now=NOW)
    work.process_chunk(job_id=job.id, number=0, now=NOW)
    assert work.read_job(job_id=job.id).state == "done"
    assert pk not in indexed_posts() and not ErasedPost.objects.filter(is_indexed=True).exists()


@pytest.mark.filterwarnings("ignore:Payload indexes have no effect")
def test_vectors_leave_the_collections_of_all_models_and_those_written_late(ann, qdrant):
    row = EmbeddingModel.objects.get(space="content")
    old = EmbeddingModel.objects.create(
        space="content", name="older", embedder="tiny", dimension=row.dimension, state="retired",
        created_at=NOW, changed_at=NOW,
    )  # fmt: skip
    old_index = wiring.vector_index_of("content", old.name, old.dimension)
    old_index.create_collection()
    pk = Post.objects.get(author=ann).pk
    points = build_points("content", row.name, [pk])
    old_index.put(points)
    erase()
    assert old_index.count() == 0
    wiring.vector_index().put(points)  # by an indexing that had read the post before
    assert "qdrant" in places()
    erasure.finish_erasures(now=LATER)
    assert find() == []


# Trained models


def trained(state, at):
    row = TrainedModel.objects.create(kind="item_weights", state=state, created_at=at, trained_at=at, activated_at=at)
    table = table_of(row.pk)
    row.arrays = store_arrays(row.pk, {name: getattr(table, name) for name in model_store.ARRAY_NAMES})
    row.save()
    return row


@pytest.fixture
def model_folder(settings, tmp_path):
    settings.ENV = settings.ENV.model_copy(update={"model_dir": str(tmp_path)})
    wiring.trained_models.reset()
    yield tmp_path
    wiring.trained_models.reset()


def with_arrays():
    return set(TrainedModelBlock.objects.values_list("model_id", flat=True))


def test_an_erasure_is_finished_once_a_newer_model_is_active(ann, model_folder):
    retired, active, waiting = (trained(state, NOW - timedelta(days=1)) for state in ("retired", "active", "evaluated"))
    assert wiring.trained_models().item_weights().model_id == active.pk
    model_store.ModelFiles(model_folder).open_item_weights(retired)
    assert {array["digest"] for array in retired.arrays.values()} <= {path.stem for path in model_folder.iterdir()}
    erase()
    receipt = ErasureReceipt.objects.get()
    assert receipt.models_due_at == receipt.erased_at + timedelta(hours=48)
    assert erasure.finish_erasures(now=NOW) == (0, 1), "a request that began before may still write"
    assert maintenance.finish_erasures(LATER).note == "1 open"
    assert with_arrays() == {retired.pk, active.pk, waiting.pk}
    TrainedModel.objects.filter(pk=active.pk).update(state="retired")
    newer = trained("active", NOW + timedelta(hours=14))
    assert maintenance.finish_erasures(NOW + timedelta(hours=15)).note == "none open"
    receipt.refresh_from_db()
    assert receipt.forgotten_model_ids == [retired.pk, active.pk, waiting.pk]
    assert (receipt.active_model_id, receipt.active_model_since) == (newer.pk, newer.activated_at)
    assert receipt.finished_at == NOW + timedelta(hours=15) and bytes(receipt.sealed_member_id) == b""
    assert with_arrays() == {newer.pk}
    kept = {array["digest"] for array in newer.arrays.values()}
    assert {path.stem for path in model_folder.iterdir()} <= kept, "arrays are named after their content"
    assert find() == []


def test_without_a_newer_model_the_active_one_is_retired_when_it_is_due(ann, model_folder):
    active, running = trained("active", NOW - timedelta(days=1)), trained("training", NOW - timedelta(hours=1))
    erase()
    assert not schedule.has_waiting_erasure(NOW + timedelta(hours=1))
    assert schedule.has_waiting_erasure(NOW + timedelta(hours=27)), "the hourly check trains"
    erasure.finish_erasures(now=NOW + timedelta(hours=47))
    assert with_arrays() == {active.pk, running.pk}
    erasure.finish_erasures(now=NOW + timedelta(hours=49))
    assert with_arrays() == set()
    assert set(TrainedModel.objects.values_list("state", flat=True)) == {"retired", "failed"}
    assert ErasureReceipt.objects.get().active_model_id is None


def test_a_process_deletes_files_of_models_that_another_process_forgot(tmp_path, monkeypatch):
    row = trained("active", NOW)
    models = TrainedModels(tmp_path)
    models.refresh()
    TrainedModel.objects.update(state="retired")
    TrainedModelBlock.objects.all().delete()
    models.refresh()
    assert list(tmp_path.iterdir()), "not at each check"
    monkeypatch.setattr(model_store, "CLEAN_SECONDS", 0.0)
    models.refresh()
    assert not list(tmp_path.iterdir()) and models.item_weights() is None and row.pk


# The life of an erasure


def test_a_member_who_is_sent_again_is_a_new_member(ann):
    job = work.submit_job(kind="erase_members", params={"member_ids": [ANN]}, now=NOW)
    with pytest.raises(UnknownMember):
        work.submit_job(kind="erase_members", params={"member_ids": [ANN]}, now=NOW)
    new = factories.member(ANN, region="FR")
    moved = Post.objects.get(author=ann)
    Post.objects.filter(pk=moved.pk).update(author=new)  # the platform sends the post again, by the new member
    work.process_chunk(job_id=job.id, number=0, now=NOW)
    erasure.finish_erasures(now=LATER)
    assert not Member.objects.filter(pk=ann.pk).exists()
    new.refresh_from_db()
    assert (new.external_id, new.region) == (ANN, "FR") and Post.objects.filter(author=new).count() == 1


def test_a_post_that_changes_its_author_during_the_erasure_stays(ann):
    own = Post.objects.get(author=ann)
    other = Member.objects.get(external_id=BOB)
    Post.objects.filter(pk=own.pk).update(author=other)
    assert not erasure.delete_posts([own.pk], NOW, author_id=ann.pk)
    assert Post.objects.filter(pk=own.pk).exists()


def test_an_erasure_cannot_be_cancelled_or_undone(ann, client, settings):
    job = work.submit_job(kind="erase_members", params={"member_ids": [ANN]}, now=NOW)
    with pytest.raises(JobNotCancellable):
        work.cancel_job(job_id=job.id, now=NOW)
    publish.set_members_active(member_ids=[ann.pk], is_active=True, now=NOW)
    assert not Member.objects.get(pk=ann.pk).is_active
    settings.ENV = settings.ENV.model_copy(update={"api_open": True})
    response = client.delete(f"/api/v1/jobs/{job.id}")
    assert (response.status_code, response.json()["code"]) == (409, "job-not-cancellable")


def test_an_erasure_whose_job_was_lost_is_resumed(ann):
    work.submit_job(kind="erase_members", params={"member_ids": [ANN]}, now=NOW)
    erasure.finish_erasures(now=NOW + timedelta(minutes=30))
    assert Member.objects.filter(pk=ann.pk).exists(), "its job may still run"
    erasure.finish_erasures(now=NOW + timedelta(hours=2))
    assert not Member.objects.filter(pk=ann.pk).exists()


def test_a_job_of_an_older_release_gets_a_receipt(ann):
    erasure.erase_members(member_ids=[ann.pk], now=NOW)
    receipt = ErasureReceipt.objects.get()
    assert receipt.requested_by == "unknown" and receipt.erased_at and not Member.objects.filter(pk=ann.pk).exists()
    erasure.erase_member(receipt, NOW)
    erasure.erase_members(member_ids=[ann.pk], now=NOW)
    assert ErasureReceipt.objects.count() == 1, "erasing is idempotent"


def test_one_erasure_that_cannot_be_finished_does_not_hold_up_the_others(ann, monkeypatch, caplog):
    erase()
    erase(BOB)
    finish = erasure.finish_erasure
    first = ErasureReceipt.objects.earliest("requested_at")

    def fail_first(receipt, now):
        if receipt.pk == first.pk:
            raise OSError
        return finish(receipt, now)

    monkeypatch.setattr(erasure, "finish_erasure", fail_first)
    assert erasure.finish_erasures(now=LATER) == (1, 1)
    assert "erasure_not_finished" in caplog.text


@pytest.fixture
def admin_user():
    return User.objects.create_superuser("root", password="x" * 16)


def test_the_api_and_the_admin_show_receipts(ann, client, admin_client, settings):
    settings.ENV = settings.ENV.model_copy(update={"api_open": True})
    response = client.delete(f"/api/v1/members/{ANN}")
    assert response.status_code == 202
    other = admin_client.delete(f"/api/v1/members/{BOB}")
    assert other.status_code == 202
    work.process_chunk(job_id=response.json()["id"], number=0, now=NOW)
    (receipt,) = client.get(f"/api/v1/erasures?member_id={ANN}").json()["erasures"]
    assert receipt["requested_by"] == "" and receipt["counts"]["recommendations.Member"] == 1
    assert ANN not in json.dumps(receipt) and receipt["finished_at"] is None
    assert client.get(f"/api/v1/erasures/{receipt['id']}").json() == receipt
    assert {row["requested_by"] for row in client.get("/api/v1/erasures").json()["erasures"]} >= {""}
    assert client.get(f"/api/v1/erasures/{response.json()['id']}").json()["code"] == "unknown-erasure"
    url = reverse("admin:recommendations_erasurereceipt_changelist")
    assert receipt["id"] in admin_client.get(url, {"q": ANN}).content.decode()
    assert receipt["id"] not in admin_client.get(url, {"q": BOB}).content.decode()
    page = admin_client.get(reverse("admin:recommendations_erasurereceipt_change", args=[receipt["id"]]))
    assert "recommendations.Interaction" in page.content.decode()
