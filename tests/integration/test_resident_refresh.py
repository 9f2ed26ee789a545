"""The catalogue reads only changes, stays within its memory limit, and an engine that lacks vectors is not used."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext
from prometheus_client import REGISTRY

from recommendations.contracts import AccountStatus, Interests
from recommendations.engines.wasm_simd import WasmEngine
from recommendations.models import Post, PostEmbedding, RegionStats
from recommendations.ports import EngineError
from recommendations.services import wiring
from recommendations.services.content import publish
from recommendations.services.serving.recommend import recommend
from recommendations.services.serving.search import search
from recommendations.services.vectors import embedding, embedding_models
from recommendations.stores import relational_posts
from recommendations.stores.cold_posts import DatabaseColdPosts
from recommendations.stores.resident_catalogue import RETRY_SECONDS
from recommendations.stores.vocabulary import Vocabularies
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]


def later(seconds):
    return NOW + timedelta(seconds=seconds)


@pytest.fixture
def rows_read(monkeypatch):
    """Return a list that gets one item per row that the catalogue reads."""
    names = []

    def count_rows(name):
        real = getattr(relational_posts, name)

        def rows(*args):
            for row in real(*args):
                names.append(name)
                yield row

        monkeypatch.setattr(relational_posts, name, rows)

    for name in ("newest_posts", "changed_posts", "stats_since", "region_stats_since", "embeddings_since"):
        count_rows(name)
    return names


@pytest.mark.parametrize("count", [50, 400])
def test_a_refresh_reads_only_what_has_changed(rows_read, count):
    """The number of rows and queries of a refresh does not depend on the number of posts."""
    author = factories.member()
    posts = factories.posts(author, count, at=NOW - timedelta(days=1))
    factories.embed_all_posts(at=NOW - timedelta(days=1))
    wiring.catalogue().refresh(NOW)
    assert len(rows_read) == 2 * count
    rows_read.clear()
    with CaptureQueriesContext(
        connection,
    ) as queries:
        wiring.catalogue().refresh(later(20))
    assert rows_read == []
    idle_queries = len(queries)
    Post.objects.filter(pk=posts[3].pk).update(sensitivity=1, changed_at=later(30))
    publish.remove_posts(post_ids=[posts[4].pk], now=later(30))
    with CaptureQueriesContext(connection) as queries:
        wiring.catalogue().refresh(later(31))
    assert rows_read == ["changed_posts"] * 2 and len(queries) == idle_queries <= 8
    rows_read.clear()
    factories.embedding(factories.post(author, at=later(40)), [1], at=later(40))
    with CaptureQueriesContext(connection) as queries:
        wiring.catalogue().refresh(later(41.5))
    assert len(rows_read) <= 6 and len(queries) <= idle_queries + 4


def test_a_refresh_during_another_refresh_reads_nothing(rows_read, monkeypatch):
    """The other thread goes on with the current state, and does not wait."""
    author = factories.member()
    factories.posts(author, 2)
    catalogue = wiring.catalogue()
    catalogue.refresh(NOW)
    real = relational_posts.changed_posts
    sizes = []

    def refresh_in_another_thread(since):
        with ThreadPoolExecutor(1) as threads:
            threads.submit(catalogue.refresh, later(20)).result(timeout=60)
        sizes.append(len(catalogue))
        return real(since)

    factories.post(author, at=later(10))
    monkeypatch.setattr(relational_posts, "changed_posts", refresh_in_another_thread)
    catalogue.refresh(later(20))
    assert sizes == [2] and len(catalogue) == 3


def test_a_change_of_members_without_posts_keeps_the_columns():
    """The orders of the posts are not computed again."""
    reader, author = factories.member(at=later(-60)), factories.member(at=later(-60))
    factories.post(author, at=later(-60))
    catalogue = wiring.catalogue()
    catalogue.refresh(NOW)
    before = catalogue.all_posts()
    publish.set_members_active(member_ids=[reader.pk], is_active=False, now=later(20))
    catalogue.refresh(later(30))
    assert catalogue.all_posts() is before
    publish.set_members_active(member_ids=[author.pk], is_active=False, now=later(40))
    catalogue.refresh(later(50))
    row = catalogue.all_posts().author_ids.tolist().index(author.pk)
    assert catalogue.all_posts().account_status[row] == AccountStatus.INACTIVE


def test_posts_are_popular_and_trend_in_the_region_of_the_interactions():
    """Most popular first. A refresh merges the changes into the region's posts."""
    posts = factories.posts(factories.member(), 3)
    catalogue = wiring.catalogue()

    def store(post, region, recent, total, at):
        sums = {"hour_sum": recent, "day_sum": recent, "week_sum": recent, "year_sum": total, "total_sum": total}
        RegionStats.objects.update_or_create(
            post=post, region=region, defaults={**sums, "summed_at": at, "changed_at": at}
        )

    def in_region(region, k=3):
        region_id = catalogue.vocabularies.regions.intern(region)
        eligible = np.ones(len(catalogue.all_posts()), np.bool_)
        return tuple(ids.tolist() for ids in catalogue.posts_in_region(region_id, k, eligible))

    a, b, c = (post.pk for post in posts)
    store(posts[0], "DE", 2, 2, NOW)
    store(posts[1], "DE", 1, 3, NOW)
    store(posts[2], "FR", 9, 9, NOW)
    catalogue.refresh(later(1))
    assert (in_region("DE"), in_region("FR"), in_region("IT")) == (([b, a], [a, b]), ([c], [c]), ([], []))
    store(posts[2], "DE", 4, 4, later(20))
    store(posts[0], "DE", 3, 2, later(20))
    catalogue.refresh(later(21))
    assert in_region("DE", 2) == ([c, b], [c, a]) and in_region("FR") == ([c], [c])


def test_the_similarity_of_a_post_that_is_not_resident_is_that_of_the_nearest_interest():
    """It is 0 for a viewer without interests."""
    author = factories.member()
    post = factories.post(author)
    factories.embedding(post, [0.6, 0.8])
    embedder = wiring.embedder()
    cold_posts = DatabaseColdPosts(Vocabularies(), embedding.CONTENT_SPACE, embedder.name)
    ids, axes = np.array([post.pk]), np.eye(2, embedder.dimension, dtype=np.float32)
    none = Interests.empty(embedder.dimension)
    two = replace(none, positive=axes, positive_weights=np.array([1, 0.5], np.float32))
    for interests, similarity in ((none, 0), (two, 0.6)):
        found = cold_posts.read(ids, interests, np.zeros(0, np.int32))
        assert found.author_ids.tolist() == [author.pk]
        assert found.similarity.tolist() == [pytest.approx(similarity)]


def limit_memory(monkeypatch, megabytes):
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update={"wasm_memory_limit": megabytes * 2**20}))
    wiring.reset_parts()


def test_the_memory_of_all_spaces_together_stays_within_the_limit(monkeypatch):
    posts = factories.posts(factories.member(), 40)
    factories.embed_all_posts()
    for space in ("image", "sound"):
        vectors = np.eye(40, 128, dtype=np.float32)
        embedding_models.store_vectors(
            space=space, model="m@1", post_ids=[post.external_id for post in posts], vectors=vectors, now=NOW
        )
    limit_memory(monkeypatch, 40)
    wiring.sync_embedding_models(NOW, must_be_current=True)
    wiring.catalogue().refresh(NOW)
    kernels = {space: engines["wasm_simd"].statistics() for space, engines in wiring.vector_parts().spaces.items()}
    assert set(kernels) == {"content", "image", "sound"}
    assert sum(kernel.memory_limit_bytes for kernel in kernels.values()) <= 40 * 2**20
    assert kernels["image"].memory_limit_bytes == 2 * kernels["content"].memory_limit_bytes


@pytest.fixture
def full_kernel(monkeypatch):
    """Make the kernel reject vectors while the returned list holds True."""
    real_put = WasmEngine.put
    is_full = [True]

    def put(self, *args):
        if is_full[0]:
            raise EngineError("no room")
        return real_put(self, *args)

    monkeypatch.setattr(WasmEngine, "put", put)
    return is_full


def missing_vectors():
    return REGISTRY.get_sample_value("recsys_engine_missing_vectors", {"space": "content", "engine": "wasm_simd"})


def test_an_engine_that_lacks_vectors_is_not_used_until_it_has_them(full_kernel):
    factories.member("viewer")
    posts = factories.posts(factories.member(), 12)
    factories.embed_all_posts(at=later(-60))
    page = recommend(member_id="viewer", now=NOW)
    assert (page.engine, page.fallback, len(page.picks)) == ("plain", "plain", 12)
    assert missing_vectors() == 12
    assert len(search(viewer_id="viewer", space="content", text="about post", now=NOW).picks) == 10
    full_kernel[0] = False
    publish.remove_posts(post_ids=[posts[0].pk], now=later(1))
    wiring.catalogue().refresh(later(2))
    assert missing_vectors() == 12, "the retry comes after RETRY_SECONDS, not at once"
    wiring.catalogue().refresh(later(RETRY_SECONDS + 1))
    assert missing_vectors() == 0
    wiring.slate_cache().purge([viewer_pk()])
    page = recommend(member_id="viewer", now=later(RETRY_SECONDS + 20))
    assert (page.engine, page.fallback, len(page.picks)) == ("wasm_simd", "", 11)


def viewer_pk():
    return factories.Member.objects.get(external_id="viewer").pk


def test_a_kernel_whose_memory_is_full_counts_the_vectors_it_could_not_store(monkeypatch):
    """The real limit of a real kernel: it keeps the vectors that fit, and the plain engine ranks all posts."""
    factories.member("viewer")
    author = factories.member()
    posts = factories.posts(author, 3)
    vector = np.ones(64, "<f4").tobytes()
    limit_memory(monkeypatch, 2)
    more_posts = Post.objects.bulk_create(
        [Post(author=author, external_id=f"m{n}", text="x", created_at=NOW, changed_at=NOW) for n in range(9_000)]
    )
    PostEmbedding.objects.bulk_create(
        [
            PostEmbedding(
                post=post,
                space="content",
                embedding_model=wiring.embedder().name,
                dimension=64,
                vector=vector,
                changed_at=NOW,
            )
            for post in [*posts, *more_posts]
        ]
    )
    page = recommend(member_id="viewer", now=NOW)
    assert (page.engine, len(page.picks)) == ("plain", 20)
    assert 0 < missing_vectors() < 9_003
