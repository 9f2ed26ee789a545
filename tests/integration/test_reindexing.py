"""The vector index follows the database, is rebuilt from it and compared with it; feeds find cold posts in it."""

from datetime import timedelta
from io import StringIO

import numpy as np
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from prometheus_client import REGISTRY
from qdrant_client import QdrantClient

from recommendations.models import EmbeddingModel, Member, Post, PostEmbedding
from recommendations.ports import VectorIndexError
from recommendations.services import wiring, work
from recommendations.services.content import publish
from recommendations.services.extensions import health
from recommendations.services.learning import learn
from recommendations.services.serving.recommend import recommend
from recommendations.services.vectors import embedding_models, reindexing
from recommendations.tasks import measure_drift, sync_vector_indexes
from tests.factories import NOW, interaction, member, post
from tests.qdrant_edge_client import EdgeClient

pytestmark = [pytest.mark.django_db, pytest.mark.filterwarnings("ignore:Payload indexes have no effect")]


def later(minutes):
    return NOW + timedelta(minutes=minutes)


@pytest.fixture
def index(fresh_wiring, monkeypatch, tmp_path):
    """Use Qdrant's own engine, on posts that are embedded."""
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


def test_the_index_follows_what_changes(index):
    assert reindexing.sync_vector_indexes(now=later(1)) == 3
    assert {id for id, _ in index.versions()} == ids("one", "two", "three")
    publish.remove_posts(post_ids=list(ids("two")), now=later(2))
    Post.objects.filter(external_id="one").update(visibility=3, changed_at=later(2))
    assert reindexing.index_lag_seconds(now=later(3)) == 120
    assert reindexing.sync_vector_indexes(now=later(3)) == 2, "only what changed is looked at"
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
    assert reindexing.measure_drift(now=later(5)) == [], "a server that is silent is passed over"


def test_what_fails_is_done_by_the_next_run(index, monkeypatch):
    reindexing.sync_vector_indexes(now=later(1))
    publish.remove_posts(post_ids=list(ids("two")), now=later(2))
    with monkeypatch.context() as broken:
        broken.setattr(index, "drop", lambda _: (_ for _ in ()).throw(VectorIndexError("down")))
        with pytest.raises(VectorIndexError):
            reindexing.sync_vector_indexes(now=later(3))
    reindexing.sync_vector_indexes(now=later(4))
    assert {id for id, _ in index.versions()} == ids("one", "three")


def test_drift_is_found_and_a_rebuild_mends_it(index):
    reindexing.sync_vector_indexes(now=later(1))
    assert [(one.index, one.wrong_posts, one.sampled) for one in reindexing.compare_indexes(now=later(1))] == [
        ("resident", 0, 3),
        ("qdrant", 0, 3),
    ]
    index.drop(list(ids("one")))
    PostEmbedding.objects.filter(post__external_id="two").update(version=7)
    PostEmbedding.objects.filter(post__external_id="three").update(vector=np.eye(1, 64, dtype="<f4").tobytes())
    found = reindexing.compare_indexes(now=later(1))[1]
    assert (found.missing, found.stale, found.different, found.extra) == (1, 1, 1, 0)
    with pytest.raises(CommandError, match=r"posts differ. Run manage.py reindex"):
        call_command("check_index", stdout=StringIO())

    assert reindexing.reindex(now=later(2), resume=True) == 2, "only what lacks or is of another version"
    out, calls = StringIO(), []
    call_command("reindex", stdout=out)
    assert out.getvalue() == "Wrote 3 posts into the index of content.\n"
    reindexing.reindex(now=later(2), progress=lambda *call: calls.append(call))
    assert calls == [(3, 3)]
    assert reindexing.compare_indexes(now=later(2))[1].wrong_posts == 0


def test_a_job_rebuilds_in_chunks(index):
    job = work.submit_job(kind="reindex", params={}, now=NOW)
    assert (job.total, work.process_chunk(job_id=job.id, number=0, now=NOW)) == (3, True)
    assert {id for id, _ in index.versions()} == ids("one", "two", "three")


def test_without_an_index_nothing_follows_and_a_rebuild_says_why(fresh_wiring):
    EmbeddingModel.objects.create(
        space="content", name="m", embedder="tiny", dimension=64, state="active", created_at=NOW, changed_at=NOW
    )
    assert reindexing.sync_vector_indexes(now=NOW) == 0
    with pytest.raises(CommandError, match="set QDRANT_URL"):
        call_command("reindex")


@pytest.fixture
def cold_posts(index, monkeypatch):
    """A viewer who likes war, and a catalogue that has room for the two newest posts only."""
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
    calls = wiring.vector_parts_holder
    calls().current = wiring.create_vector_parts(calls().current.embedding_models)
    return old


def shown_posts():
    return {pick.post.id: pick for pick in recommend(member_id="vic", limit=20, now=NOW, explain=True).picks}


def test_a_post_that_is_not_resident_comes_from_the_index_with_its_likeness(cold_posts):
    pick = shown_posts()["old"]
    assert pick.sources == ("indexed",)
    assert pick.parts["cold_taste"] > 0.5 and pick.parts["taste"] == 0


def test_a_cold_post_is_judged_by_rows_read_now(cold_posts):
    Post.objects.filter(pk=cold_posts.pk).update(visibility=3)
    picks = shown_posts()
    assert "old" not in picks and "new" in picks


def test_an_index_that_is_down_costs_its_candidates_only(cold_posts, monkeypatch):
    down = QdrantClient("http://127.0.0.1:9", timeout=1, check_compatibility=False)
    monkeypatch.setattr(wiring, "qdrant_client", lambda: down)
    wiring.known_vector_indexes().clear()
    picks = shown_posts()
    assert "old" not in picks and "new" in picks
    with pytest.raises(VectorIndexError):
        health.check_vector_index(NOW)
    down.close()


def test_the_catalogue_says_how_far_behind_it_is(index):
    wiring.catalogue().refresh(NOW)
    assert reindexing.catalogue_lag_seconds(now=later(5)) == 0, "nothing changed meanwhile"
    Post.objects.filter(external_id="one").update(changed_at=later(1))
    assert reindexing.catalogue_lag_seconds(now=later(5)) == 300
    wiring.catalogue().refresh(later(6))
    assert reindexing.catalogue_lag_seconds(now=later(7)) == 0
