"""Maintenance tasks: roll-up, retention, cache sweeps, the archive of vectors, repair of indexes."""

from datetime import timedelta
from uuid import UUID

import numpy as np
import pytest
from django.apps import apps
from django.conf import settings
from qdrant_client import QdrantClient

from flags.models import Exposure
from flags.services import experiments
from flags.services.record import Actor
from monitoring.maintenance import MaintenanceResult, run_maintenance_task
from recommendations.models import (
    EmbeddingModel,
    FeedHour,
    FeedInputs,
    FeedRequest,
    Interaction,
    Job,
    NegativeFeedback,
    PostEmbedding,
    PostStats,
    SeenPost,
    ServedPage,
    Undo,
)
from recommendations.services import wiring
from recommendations.services.extensions import maintenance
from recommendations.services.learning import learn
from recommendations.services.measuring import roll_up
from recommendations.services.serving.recommend import recommend
from recommendations.services.upkeep import retention
from recommendations.services.vectors import archive, embedding_models
from recommendations.stores.rising_ids import first_id_since
from tests import factories
from tests.factories import NOW

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.usefixtures("fresh_wiring"),
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect"),
]

DAY = timedelta(days=1)
TEN = np.arange(1, 11, dtype="<i8").tobytes()


def set_env(monkeypatch, **values):
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update=values))


def request(member, number, at, *, variant="treatment", ms=10.0, fallback="", posts=TEN):
    return FeedRequest.objects.create(
        id=UUID(int=number),
        member=member,
        feed="discovery",
        engine="wasm_simd",
        variant=variant,
        policy_version=1,
        duration_ms=ms,
        fallback=fallback,
        post_ids=posts,
        parts=b"",
        origins=b"",
        created_at=at,
    )


def page(member, number, at):
    return ServedPage.objects.create(member=member, request_id=UUID(int=number), offset=0, post_ids=TEN, created_at=at)


def test_rolling_up_an_hour_twice_gives_the_same_rows():
    member, hour = factories.member(), NOW - timedelta(hours=1)
    at = hour + timedelta(minutes=20)
    for number in range(20):
        request(member, number, at, ms=float(number + 1), fallback="plain" if number < 2 else "")
    request(member, 100, at, variant="control", posts=b"")
    request(member, 200, NOW + timedelta(minutes=1))
    page(member, 0, at)
    page(member, 1, at)
    page(member, 999, at)  # its request was erased
    first, second = factories.posts(member, 2)
    for number, post, kind in ((0, first, "click"), (0, first, "like"), (0, second, "share"), (100, second, "view")):
        factories.interaction(member, post, kind, at=at, request_id=UUID(int=number))
    factories.interaction(member, first, "like", at=NOW, request_id=UUID(int=1))
    factories.interaction(factories.member(), first, "like", at=at, request_id=UUID(int=2))  # of another member
    for _ in range(2):
        assert roll_up.roll_up(now=NOW + timedelta(minutes=5)) == 2
        control, treatment = FeedHour.objects.order_by("variant")
        assert (control.slate_count, control.empty_count, control.page_count, control.engagement_count) == (1, 1, 0, 0)
        assert (treatment.hour, treatment.slate_count, treatment.fallback_count) == (hour, 20, 2)
        assert (treatment.p50_ms, round(treatment.p95_ms, 2)) == (10.5, 19.05)
        assert (treatment.page_count, treatment.served_count, treatment.engagement_count) == (2, 20, 2)


def test_missed_hours_are_rolled_up_later():
    member = factories.member()
    for hours in (1, 3, 60):
        request(member, hours, NOW - timedelta(hours=hours))
    roll_up.roll_up(now=NOW)
    assert [(NOW - row.hour) / timedelta(hours=1) for row in FeedHour.objects.order_by("-hour")] == [1, 3]


@pytest.mark.parametrize("count", [0, 1, 2, 37])
def test_the_first_interaction_of_an_hour_is_found_by_binary_search(count):
    member = factories.member()
    (post,) = factories.posts(member, 1)
    ids = [factories.interaction(member, post, at=NOW + timedelta(minutes=n)).pk for n in range(count)]
    for n in range(count):
        start = first_id_since(Interaction.objects.all(), "received_at", NOW + timedelta(minutes=n))
        later = Interaction.objects.filter(pk__gte=start, received_at__gte=NOW + timedelta(minutes=n))
        assert list(later.order_by("pk").values_list("pk", flat=True)) == ids[n:]
        assert n == 0 or start >= ids[n - 1]
    assert first_id_since(Interaction.objects.all(), "received_at", NOW) <= (ids[0] if ids else 0)


def test_expired_records_are_deleted(monkeypatch):
    set_env(monkeypatch, served_retention_days=30, seen_retention_days=60)
    monkeypatch.setattr(retention, "BATCH_ROWS", 2)
    monkeypatch.setattr(retention, "IDS_PER_RANGE", 2)
    member = factories.member()
    for number, post in enumerate(factories.posts(member, 5)):
        at = NOW - DAY * (20 + 10 * number)  # 20 to 60 days ago
        row = request(member, number, at)
        FeedInputs.objects.create(request=row, packed_inputs=b"12345", created_at=at)
        page(member, number, at)
        SeenPost.objects.create(member=member, post=post, seen_at=at - DAY)
        Job.objects.create(kind="member_feed", created_at=at, finished_at=at if number else None)
    result = retention.delete_expired_records(now=NOW)
    counts = [rows.objects.count() for rows in (FeedRequest, ServedPage, FeedInputs, SeenPost, Job)]
    assert counts == [2, 2, 0, 4, 2], "records of exactly 30 days stay, and so does an unfinished job"
    assert result.rows == 3 + 3 + 5 + 1 + 3
    assert result.bytes == 3 * 80 + 3 * 80 + 5 * 5
    assert "feedinputs 5" in result.note
    assert retention.delete_expired_records(now=NOW) == MaintenanceResult(note="none")


def test_old_interactions_undos_and_feedback_are_deleted_and_what_was_learned_stays(monkeypatch):
    set_env(monkeypatch, interaction_retention_days=100)
    monkeypatch.setattr(retention, "BATCH_ROWS", 2)
    member = factories.member()
    posts = factories.posts(member, 6)
    for number, post in enumerate(posts):
        at = NOW - DAY * (103 - number)  # 103 to 98 days ago
        factories.interaction(member, post, at=at)
        SeenPost.objects.create(member=member, post=post, seen_at=at - 400 * DAY)
        Undo.objects.create(member=member, event_id=f"u{number}", undoes_event_id="e", received_at=at)
        for target in ("post", "author"):
            NegativeFeedback.objects.create(
                member=member, post=post, target=target, target_key="1", event_id=f"n{number}", created_at=at
            )
    factories.interaction(member, posts[0], at=NOW, event_id="imported", occurred_at=NOW - 5_000 * DAY)
    learn.learn_interactions(member_ids=[member.pk], now=NOW)
    counts = list(PostStats.objects.order_by("pk").values_list("interaction_count", "total_sum"))
    retention.delete_expired_records(now=NOW)
    left = list(Interaction.objects.order_by("pk").values_list("post_id", flat=True))
    assert left == [*(post.pk for post in posts[3:]), posts[0].pk], "those received 100 days ago stay"
    assert Undo.objects.count() == 3
    assert NegativeFeedback.objects.filter(target="author").count() == 3
    assert NegativeFeedback.objects.filter(target="post").count() == 6, "a rejected post is never served again"
    assert set(SeenPost.objects.values_list("post_id", flat=True)) == set(left)
    assert counts and list(PostStats.objects.order_by("pk").values_list("interaction_count", "total_sum")) == counts


def test_exposures_are_deleted_some_time_after_their_experiment(monkeypatch):
    set_env(monkeypatch, served_retention_days=30)
    monkeypatch.setattr(retention, "BATCH_ROWS", 2)
    for key, finished_at in (("old", NOW - 31 * DAY), ("new", NOW - 29 * DAY), ("running", None)):
        factories.flag(key, at=NOW - 90 * DAY)
        experiment = factories.experiment(key, key, at=NOW - 60 * DAY)
        for number in range(5):
            Exposure.objects.create(
                phase=experiment.phases.get(),
                experiment=experiment,
                unit_id=str(number),
                variant="control",
                propensity=0.5,
                exposed_at=NOW - 59 * DAY,
            )
        if finished_at:
            actor = Actor(system="test")
            experiments.finish(key=key, decision="control", actor=actor, why="a test", now=finished_at)
    assert retention.delete_expired_records(now=NOW).note == "exposure 5"
    assert set(Exposure.objects.values_list("experiment__key", flat=True)) == {"new", "running"}


def test_every_table_has_a_retention_rule_or_a_reason():
    deleted = {rule.model._meta.label for rule in retention.RETENTION_RULES}
    deleted |= {model._meta.label for model in retention.DELETED_BY_FUNCTIONS}
    explained = [deleted, set(retention.BOUNDED), retention.CREATED_BY_STAFF]
    labels = sorted(model._meta.label for model in apps.get_models())
    assert sorted(label for part in explained for label in part) == labels, (
        "add a rule or a reason to services/upkeep/retention.py, one for each table"
    )


def test_hours_are_rolled_up_again_after_the_clock_was_ahead():
    member = factories.member()
    request(member, 1, NOW + 2 * DAY - timedelta(minutes=30))
    assert roll_up.roll_up(now=NOW + 2 * DAY) == 1
    request(member, 2, NOW - timedelta(minutes=30))
    assert roll_up.roll_up(now=NOW) == 1


def test_a_seen_post_with_an_interaction_is_deleted_only_after_the_interaction_was_undone():
    member, other = factories.member(), factories.member()
    liked, undone, shown = factories.posts(member, 3)
    for post in (liked, undone, shown):
        SeenPost.objects.create(member=member, post=post, seen_at=NOW - DAY)
    factories.interaction(member, liked)
    factories.interaction(member, undone, undone_at=NOW)
    factories.interaction(other, shown)
    assert retention.delete_old_seen(NOW) == 2
    assert SeenPost.objects.get().post == liked


@pytest.fixture
def retired_model(monkeypatch):
    """An embedding model that was retired forty days ago, with three vectors, beside the active one."""
    ann = factories.member("ann")
    posts = factories.posts(ann, 3)
    embedding_models.embed_due_posts(now=NOW)
    old = EmbeddingModel.objects.create(
        space="content",
        name="old/model v1",
        embedder="tiny",
        dimension=8,
        state="retired",
        created_at=NOW - 99 * DAY,
        changed_at=NOW - 40 * DAY,
    )
    for number, post in enumerate(posts):
        vector = np.eye(3, 8, dtype="<f4")[number].tobytes()
        PostEmbedding.objects.create(
            post=post, space="content", embedding_model=old.name, dimension=8, vector=vector, changed_at=NOW
        )
    return old


def test_vectors_of_a_retired_model_are_archived(retired_model, monkeypatch, tmp_path):
    assert "EMBEDDINGS_ARCHIVE_DIR is not set" in archive.archive_embeddings(now=NOW).note
    assert PostEmbedding.objects.count() == 6
    set_env(monkeypatch, embeddings_archive_dir=str(tmp_path / "new"))
    monkeypatch.setattr(archive, "BATCH_VECTORS", 2)
    assert archive.archive_embeddings(now=NOW - 20 * DAY).rows == 0, "not yet"
    result = archive.archive_embeddings(now=NOW)
    files = sorted((tmp_path / "new").iterdir())
    assert (result.rows, len(files), result.bytes) == (3, 2, sum(file.stat().st_size for file in files))
    archived = [np.load(file, allow_pickle=False) for file in files]
    assert {str(arrays["model"]) for arrays in archived} == {retired_model.name}
    np.testing.assert_array_equal(np.concatenate([arrays["vectors"] for arrays in archived]), np.eye(3, 8))
    assert set(PostEmbedding.objects.values_list("embedding_model", flat=True)) == {wiring.embedder().name}


def test_a_failed_archive_deletes_no_vectors(retired_model, monkeypatch, tmp_path):
    set_env(monkeypatch, embeddings_archive_dir=str(tmp_path))
    monkeypatch.setattr(archive.os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        archive.archive_embeddings(now=NOW)
    assert PostEmbedding.objects.count() == 6


def test_an_archive_that_differs_from_the_vectors_deletes_none(retired_model, monkeypatch, tmp_path):
    set_env(monkeypatch, embeddings_archive_dir=str(tmp_path))
    real_save = np.savez_compressed

    def save_other_versions(file, *, versions, **arrays):
        real_save(file, versions=versions + 1, **arrays)

    monkeypatch.setattr(archive.np, "savez_compressed", save_other_versions)
    with pytest.raises(archive.ArchiveError, match="differs from the data"):
        archive.archive_embeddings(now=NOW)
    assert PostEmbedding.objects.count() == 6
    assert not list(tmp_path.glob("*.npz"))


@pytest.fixture
def index(retired_model, monkeypatch):
    """An empty index in qdrant-client's in-memory mode."""
    client = QdrantClient(":memory:")
    monkeypatch.setattr(wiring, "qdrant_client", lambda: client)
    wiring.sync_embedding_models(NOW, must_be_current=True)
    wiring.vector_index().create_collection()
    yield wiring.vector_index()
    client.close()


def test_check_index_repairs_an_index_that_lacks_posts(index):
    result = maintenance.check_index(NOW)
    assert result.rows == 3
    assert "3 rewritten" in result.note
    assert index.count() == 3
    assert maintenance.check_index(NOW).rows == 0
    assert maintenance.optimize_index(NOW).rows == 3


def test_archiving_deletes_the_collection_of_the_retired_model(index, retired_model, monkeypatch, tmp_path):
    set_env(monkeypatch, embeddings_archive_dir=str(tmp_path))
    old = wiring.vector_index_of(retired_model.space, retired_model.name, retired_model.dimension)
    old.create_collection()
    archive.archive_embeddings(now=NOW)
    remaining = [collection.name for collection in wiring.qdrant_client().get_collections().collections]
    assert remaining == [index.collection]


def test_caches_are_swept_and_a_missing_redis_is_a_failure(monkeypatch):
    factories.posts(factories.member("author"), 3)
    factories.embed_all_posts()
    recommend(member_id=factories.member("ann").external_id, now=NOW)
    every = timedelta(minutes=5)
    run = run_maintenance_task(name="sweep_caches", now=NOW, interval=every)
    assert "slates 1 entries" in run.note
    monkeypatch.setattr(maintenance.sweep, "sweep_caches", lambda now: {})
    with pytest.raises(maintenance.CacheSweepError):
        run_maintenance_task(name="sweep_caches", now=NOW + every, interval=every)


def test_a_memory_check_is_recorded_with_the_freed_bytes(monkeypatch):
    monkeypatch.setattr(maintenance.process_memory, "check_memory", lambda: {"expired_profiles": 1_000, "garbage": 24})
    run = run_maintenance_task(name="check_memory", scope="batch", now=NOW, interval=timedelta(minutes=5))
    assert (run.name, run.rows, run.bytes) == ("check_memory (batch)", 2, 1_024)
    assert "garbage 24" in run.note


def test_stale_flags_are_reported():
    factories.flag("long-decided", at=NOW - 90 * DAY)
    factories.flag("of-today", at=NOW)
    result = maintenance.report_stale_flags(NOW)
    assert result.rows == len(result.note.split(", "))
    assert "long-decided" in result.note
    assert "of-today" not in result.note
