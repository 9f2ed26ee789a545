"""The vector index is synced with, rebuilt from and compared with the database; feeds find non-resident posts in it."""

from datetime import timedelta
from io import StringIO

import numpy as np
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from prometheus_client import REGISTRY

from recommendations.models import EmbeddingModel, Member, Post, PostEmbedding
from recommendations.ports import VectorIndexError
from recommendations.services import wiring, work
from recommendations.services.content import publish
from recommendations.services.extensions import health
from recommendations.services.learning import learn
from recommendations.services.serving.query import FeedFilters
from recommendations.services.serving.recommend import recommend
from recommendations.services.vectors import embedding_models, reindexing
from recommendations.tasks import measure_drift, sync_vector_indexes
from tests.factories import NOW, interaction, member, post
from tests.qdrant_edge_client import EdgeClient

pytestmark = [pytest.mark.django_db, pytest.mark.filterwarnings("ignore:Payload indexes have no effect")]


QDRANT_CLIENT = wiring.qdrant_client
"""The real part: the fixture `index` replaces it."""


def later(minutes):
    return NOW + timedelta(minutes=minutes)


@pytest.fixture
def index(fresh_wiring, monkeypatch, tmp_path):
    """An index on Qdrant's own engine, with embedded posts in the database."""
    client = EdgeClient(tmp_path)
    monkeypatch.setattr(wiring, "qdrant_client", lambda: client)
    ann = member("ann")
    for name in ("one", "two", "three"):
        post(ann, name, text=f"a film about war {name}")
    embedding_models.embed_due_posts(now=NOW)
    wiring.sync_embedding_models(NOW, must_be_current=True)
    yield wiring.vector_index()
    client.close()


def ids(*names):
    return {Post.objects.get(external_id=name).pk for name in names}


def test_changed_posts_are_synced_to_the_index(index):
    assert reindexing.sync_vector_indexes(now=later(1)) == 3
    assert {id for id, _ in index.versions()} == ids("one", "two", "three")
    publish.remove_posts(post_ids=list(ids("two")), now=later(2))
    Post.objects.filter(external_id="one").update(visibility=3, changed_at=later(2))
    assert reindexing.index_lag_seconds(now=later(3)) == 120
    assert reindexing.sync_vector_indexes(now=later(3)) == 2, "only changed posts are read"
    assert reindexing.index_lag_seconds(now=later(9)) == 0
    assert {id for id, _ in index.versions()} == ids("one", "three")


def gauge(name, **labels):
    return REGISTRY.get_sample_value(name, labels)


def test_lags_and_drift_are_metrics(index, monkeypatch):
    reindexing.sync_vector_indexes(now=later(1))
    wiring.catalogue().refresh(later(1))
    member("late")
    post(Member.objects.get(external_id="late"), "late", at=later(2))
    reindexing.observe_lags(now=later(4))
    assert gauge("recsys_index_lag_seconds", index="qdrant") == 180
    assert gauge("recsys_index_lag_seconds", index="resident") == 180
    index.drop(sorted(ids("one", "two")))
    reindexing.measure_drift(now=later(4))
    assert gauge("recsys_index_drift_posts", space="content", index="qdrant") == 2
    assert gauge("recsys_index_drift_posts", space="content", index="resident") == 0
    sync_vector_indexes.apply()
    measure_drift.apply()
    assert gauge("recsys_index_lag_seconds", index="qdrant") == 0
    monkeypatch.setattr(index, "versions", lambda: (_ for _ in ()).throw(VectorIndexError("down")))
    assert reindexing.measure_drift(now=later(5)) == [], "a server that is down is skipped"


def test_the_next_run_repeats_failed_writes(index, monkeypatch):
    reindexing.sync_vector_indexes(now=later(1))
    publish.remove_posts(post_ids=list(ids("two")), now=later(2))
    with monkeypatch.context() as broken:
        broken.setattr(index, "drop", lambda _: (_ for _ in ()).throw(VectorIndexError("down")))
        with pytest.raises(VectorIndexError):
            reindexing.sync_vector_indexes(now=later(3))
    reindexing.sync_vector_indexes(now=later(4))
    assert {id for id, _ in index.versions()} == ids("one", "three")


def test_drift_is_found_and_a_rebuild_repairs_it(index):
    reindexing.sync_vector_indexes(now=later(1))
    assert [(drift.index, drift.wrong_posts, drift.sampled) for drift in reindexing.compare_indexes(now=later(1))] == [
        ("resident", 0, 3),
        ("qdrant", 0, 3),
    ]
    out = StringIO()
    call_command("check_index", stdout=out)
    assert "qdrant: 3 of 3 posts; missing 0, stale 0, extra 0, different 0 of 3 sampled." in out.getvalue()
    index.drop(list(ids("one")))
    PostEmbedding.objects.filter(post__external_id="two").update(version=7)
    PostEmbedding.objects.filter(post__external_id="three").update(vector=np.eye(1, 64, dtype="<f4").tobytes())
    drift = reindexing.compare_indexes(now=later(1))[1]
    assert (drift.missing, drift.stale, drift.different, drift.extra) == (1, 1, 1, 0)
    with pytest.raises(CommandError, match=r"posts differ. Run manage.py reindex"):
        call_command("check_index", stdout=StringIO())

    assert reindexing.reindex(now=later(2), resume=True) == 2, "only posts that are missing or have another version"
    out, calls = StringIO(), []
    call_command("reindex", stdout=out)
    assert out.getvalue() == "Wrote 3 posts to the index of content.\n"
    reindexing.reindex(now=later(2), progress=lambda *call: calls.append(call))
    assert calls == [(3, 3)]
    assert reindexing.compare_indexes(now=later(2))[1].wrong_posts == 0


def test_check_index_says_that_the_index_cannot_be_read(index, monkeypatch):
    monkeypatch.setattr(index, "versions", lambda: (_ for _ in ()).throw(VectorIndexError("Qdrant is down.")))
    with pytest.raises(CommandError, match=r"Qdrant is down\."):
        call_command("check_index", stdout=StringIO())


def test_a_job_rebuilds_the_index_in_chunks(index):
    job = work.submit_job(kind="reindex", params={}, now=NOW)
    assert (job.total, work.process_chunk(job_id=job.id, number=0, now=NOW)) == (3, True)
    assert {id for id, _ in index.versions()} == ids("one", "two", "three")


def test_without_an_index_sync_does_nothing_and_reindex_fails(fresh_wiring):
    EmbeddingModel.objects.create(
        space="content", name="m", embedder="tiny", dimension=64, state="active", created_at=NOW, changed_at=NOW
    )
    assert reindexing.sync_vector_indexes(now=NOW) == 0
    with pytest.raises(CommandError, match="set QDRANT_URL"):
        call_command("reindex")


@pytest.fixture
def cold_posts(index, monkeypatch):
    """A viewer who likes posts on war, and a catalogue with room for the two newest posts only."""
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update={"catalogue_max_posts": 2}))
    dan, bob = member("dan"), member("bob")
    old = post(bob, "old", text="a film about war and peace", created_at=NOW - timedelta(days=400))
    for name in ("new", "newer"):
        post(dan, name, text="bread and yeast", created_at=NOW)
    embedding_models.embed_due_posts(now=NOW)
    viewer = member("vic")
    interaction(viewer, Post.objects.get(external_id="one"))
    learn.learn_interactions(member_ids=[viewer.pk], now=NOW)
    reindexing.sync_vector_indexes(now=NOW)
    holder = wiring.vector_parts_holder()
    holder.current = wiring.create_vector_parts(holder.current.embedding_models)
    return old


def served_picks():
    return {pick.post.id: pick for pick in recommend(member_id="vic", limit=20, now=NOW, explain=True).picks}


def test_a_non_resident_post_comes_from_the_index_with_its_similarity(cold_posts):
    pick = served_picks()["old"]
    assert pick.sources == ("indexed",)
    assert pick.parts["cold_taste"] > 0.5 and pick.parts["taste"] == 0


def test_a_non_resident_post_is_filtered_on_current_rows(cold_posts):
    Post.objects.filter(pk=cold_posts.pk).update(visibility=3)
    picks = served_picks()
    assert "old" not in picks and "new" in picks


@pytest.mark.parametrize(("tag", "is_found"), [("T0", True), ("t8", True), ("t11", True), ("t99", False)])
def test_the_filter_of_tags_finds_every_tag_of_a_non_resident_post(cold_posts, tag, is_found):
    Post.objects.filter(pk=cold_posts.pk).update(tags=[f"t{number}" for number in range(12)])
    filters = FeedFilters(tags=(tag,))
    picks = recommend(member_id="vic", limit=20, filters=filters, now=NOW).picks
    assert [pick.post.id for pick in picks] == ["old"] * is_found


def test_a_missing_index_costs_only_its_candidates(cold_posts, monkeypatch):
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update={"qdrant_url": "http://127.0.0.1:9"}))
    down = QDRANT_CLIENT()
    monkeypatch.setattr(wiring, "qdrant_client", lambda: down)
    wiring.known_vector_indexes().clear()
    picks = served_picks()
    assert "old" not in picks and "new" in picks
    with pytest.raises(VectorIndexError):
        health.check_vector_index(NOW)
    down.close()


def test_the_catalogue_reports_its_lag(index):
    wiring.catalogue().refresh(NOW)
    assert reindexing.catalogue_lag_seconds(now=later(5)) == 0, "no post has changed"
    Post.objects.filter(external_id="one").update(changed_at=later(1))
    assert reindexing.catalogue_lag_seconds(now=later(5)) == 300
    wiring.catalogue().refresh(later(6))
    assert reindexing.catalogue_lag_seconds(now=later(7)) == 0
