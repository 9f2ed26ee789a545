"""Done by the clock: hours rolled up, records, caches swept, vectors archived, indexes mended."""

from datetime import timedelta
from uuid import UUID

import numpy as np
import pytest
from django.conf import settings
from qdrant_client import QdrantClient

from monitoring.maintenance import MaintenanceResult, run_maintenance_task
from recommendations.models import (
    EmbeddingModel,
    FeedHour,
    FeedInputs,
    FeedRequest,
    Interaction,
    Job,
    PostEmbedding,
    SeenPost,
    ServedPage,
)
from recommendations.services import wiring
from recommendations.services.extensions import maintenance
from recommendations.services.measuring import roll_up
from recommendations.services.serving.recommend import recommend
from recommendations.services.upkeep import retention
from recommendations.services.vectors import archive, embedding_models
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


def request(who, number, at, *, variant="treatment", ms=10.0, fallback="", posts=TEN):
    return FeedRequest.objects.create(
        id=UUID(int=number),
        member=who,
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


def page(who, number, at):
    return ServedPage.objects.create(member=who, request_id=UUID(int=number), offset=0, post_ids=TEN, created_at=at)


def test_an_hour_is_rolled_up_and_again_to_the_same():
    who, hour = factories.member(), NOW - timedelta(hours=1)
    at = hour + timedelta(minutes=20)
    for number in range(20):
        request(who, number, at, ms=float(number + 1), fallback="plain" if number < 2 else "")
    request(who, 100, at, variant="control", posts=b"")
    request(who, 200, NOW + timedelta(minutes=1))
    page(who, 0, at)
    page(who, 1, at)
    page(who, 999, at)  # its request was erased
    first, second = factories.posts(who, 2)
    for number, post, kind in ((0, first, "click"), (0, first, "like"), (0, second, "share"), (100, second, "view")):
        factories.interaction(who, post, kind, at=at, request_id=UUID(int=number))
    factories.interaction(who, first, "like", at=NOW, request_id=UUID(int=1))
    for _ in range(2):
        assert roll_up.roll_up(now=NOW + timedelta(minutes=5)) == 2
        control, treatment = FeedHour.objects.order_by("variant")
        assert (control.slate_count, control.empty_count, control.page_count, control.engagement_count) == (1, 1, 0, 0)
        assert (treatment.hour, treatment.slate_count, treatment.fallback_count) == (hour, 20, 2)
        assert (treatment.p50_ms, round(treatment.p95_ms, 2)) == (10.5, 19.05)
        assert (treatment.page_count, treatment.served_count, treatment.engagement_count) == (2, 20, 2)


def test_hours_that_were_missed_are_made_good():
    who = factories.member()
    for hours in (1, 3, 60):
        request(who, hours, NOW - timedelta(hours=hours))
    roll_up.roll_up(now=NOW)
    assert [(NOW - row.hour) / timedelta(hours=1) for row in FeedHour.objects.order_by("-hour")] == [1, 3]


@pytest.mark.parametrize("count", [0, 1, 2, 37])
def test_the_first_interaction_of_an_hour_is_found_without_an_index(count):
    who = factories.member()
    (post,) = factories.posts(who, 1)
    ids = [factories.interaction(who, post, at=NOW + timedelta(minutes=n)).pk for n in range(count)]
    for n in range(count):
        start = roll_up.first_interaction_id_since(NOW + timedelta(minutes=n))
        later = Interaction.objects.filter(pk__gte=start, received_at__gte=NOW + timedelta(minutes=n))
        assert list(later.order_by("pk").values_list("pk", flat=True)) == ids[n:]
        assert n == 0 or start >= ids[n - 1]
    assert roll_up.first_interaction_id_since(NOW) <= (ids[0] if ids else 0)


def test_records_go_when_their_time_is_over(monkeypatch):
    set_env(monkeypatch, served_retention_days=30, seen_retention_days=60)
    monkeypatch.setattr(retention, "BATCH_ROWS", 2)
    monkeypatch.setattr(retention, "IDS_PER_RANGE", 2)
    who = factories.member()
    for number, post in enumerate(factories.posts(who, 5)):
        at = NOW - DAY * (20 + 10 * number)  # 20 to 60 days ago
        row = request(who, number, at)
        FeedInputs.objects.create(request=row, packed_inputs=b"12345", created_at=at)
        page(who, number, at)
        SeenPost.objects.create(member=who, post=post, seen_at=at - DAY)
        Job.objects.create(kind="member_feed", created_at=at, finished_at=at if number else None)
    did = retention.delete_expired_records(now=NOW)
    counts = [rows.objects.count() for rows in (FeedRequest, ServedPage, FeedInputs, SeenPost, Job)]
    assert counts == [2, 2, 0, 4, 2], "30 days to the second are not over; a job that is not finished stays"
    assert did.rows == 3 + 3 + 5 + 1 + 3
    assert did.bytes == 3 * 80 + 3 * 80 + 5 * 5
    assert "feedinputs 5" in did.note
    assert retention.delete_expired_records(now=NOW) == MaintenanceResult(note="none")


@pytest.fixture
def retired_model(monkeypatch):
    """A model that was retired forty days ago, with three vectors, and the one that serves."""
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


def test_vectors_of_a_model_long_retired_go_to_files(retired_model, monkeypatch, tmp_path):
    assert "EMBEDDINGS_ARCHIVE_DIR is not set" in archive.archive_embeddings(now=NOW).note
    assert PostEmbedding.objects.count() == 6
    set_env(monkeypatch, embeddings_archive_dir=str(tmp_path / "new"))
    monkeypatch.setattr(archive, "BATCH_VECTORS", 2)
    assert archive.archive_embeddings(now=NOW - 20 * DAY).rows == 0, "not yet"
    did = archive.archive_embeddings(now=NOW)
    files = sorted((tmp_path / "new").iterdir())
    assert (did.rows, len(files), did.bytes) == (3, 2, sum(file.stat().st_size for file in files))
    kept = [np.load(file, allow_pickle=False) for file in files]
    assert {str(one["model"]) for one in kept} == {retired_model.name}
    np.testing.assert_array_equal(np.concatenate([one["vectors"] for one in kept]), np.eye(3, 8))
    assert set(PostEmbedding.objects.values_list("embedding_model", flat=True)) == {wiring.embedder().name}


def test_an_archive_that_cannot_be_written_loses_nothing(retired_model, monkeypatch, tmp_path):
    set_env(monkeypatch, embeddings_archive_dir=str(tmp_path))
    monkeypatch.setattr(archive.os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        archive.archive_embeddings(now=NOW)
    assert PostEmbedding.objects.count() == 6


@pytest.fixture
def index(retired_model, monkeypatch):
    """Qdrant's own memory, with all that the database has."""
    client = QdrantClient(":memory:")
    monkeypatch.setattr(wiring, "qdrant_client", lambda: client)
    wiring.sync_embedding_models(NOW, must_be_current=True)
    wiring.vector_index().create_collection()
    yield wiring.vector_index()
    client.close()


def test_an_index_that_lacks_posts_is_found_and_mended(index):
    did = maintenance.check_index(NOW)
    assert did.rows == 3
    assert "3 rewritten" in did.note
    assert index.count() == 3
    assert maintenance.check_index(NOW).rows == 0
    assert maintenance.optimize_index(NOW).rows == 3


def test_a_retired_models_collection_goes_with_its_vectors(index, retired_model, monkeypatch, tmp_path):
    set_env(monkeypatch, embeddings_archive_dir=str(tmp_path))
    old = wiring.retired_vector_index(retired_model.space, retired_model.name, retired_model.dimension)
    old.create_collection()
    archive.archive_embeddings(now=NOW)
    left = [one.name for one in wiring.qdrant_client().get_collections().collections]
    assert left == [index.collection]


def test_caches_are_swept_and_a_redis_that_is_gone_is_a_failure(monkeypatch):
    factories.posts(factories.member("author"), 3)
    factories.embed_all_posts()
    recommend(member_id=factories.member("ann").external_id, now=NOW)
    every = timedelta(minutes=5)
    run = run_maintenance_task(name="sweep_caches", now=NOW, interval=every)
    assert "slates 1 entries" in run.note
    monkeypatch.setattr(maintenance.sweep, "sweep_caches", lambda now: {})
    with pytest.raises(maintenance.CacheSweepError):
        run_maintenance_task(name="sweep_caches", now=NOW + every, interval=every)


def test_a_look_at_the_memory_is_recorded_with_what_it_gave_back(monkeypatch):
    monkeypatch.setattr(maintenance.process_memory, "check_memory", lambda: {"expired_profiles": 1_000, "garbage": 24})
    run = run_maintenance_task(name="check_memory", scope="batch", now=NOW, interval=timedelta(minutes=5))
    assert (run.name, run.rows, run.bytes) == ("check_memory (batch)", 2, 1_024)
    assert "garbage 24" in run.note


def test_flags_that_should_go_are_named():
    factories.flag("long-decided", at=NOW - 90 * DAY)
    factories.flag("of-today", at=NOW)
    did = maintenance.report_stale_flags(NOW)
    assert did.rows == len(did.note.split(", "))
    assert "long-decided" in did.note
    assert "of-today" not in did.note
