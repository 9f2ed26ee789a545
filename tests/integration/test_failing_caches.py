"""A cache failure costs time and never leaks: lost invalidations, an unreachable Redis, budgets and metrics."""

from datetime import timedelta

import numpy as np
import pytest
from django.conf import settings
from django.db import transaction
from prometheus_client import REGISTRY

from recommendations.contracts import Visibility
from recommendations.models import Post, PostEmbedding
from recommendations.services import invalidate, wiring
from recommendations.services.content.publish import remove_posts
from recommendations.services.learning import learn
from recommendations.services.members.preferences import set_relationship
from recommendations.services.serving.pages import page_cache
from recommendations.services.serving.recommend import recommend
from recommendations.services.upkeep import sweep
from recommendations.stores.redis_slates import RedisSlates
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]


@pytest.fixture(autouse=True)
def run_on_commit_now(monkeypatch):
    """Run on-commit callbacks at once: a test's transaction is never committed."""
    monkeypatch.setattr(transaction, "on_commit", lambda callback, **_: callback())


@pytest.fixture
def viewer():
    viewer = factories.member("viewer")
    for number in range(6):
        factories.posts(factories.member(f"author-{number}"), 10)
    factories.embed_all_posts()
    return viewer


def ids(now=NOW, **options):
    return [pick.post.id for pick in recommend(member_id="viewer", now=now, limit=50, **options).picks]


def count_requests(cache, name):
    return REGISTRY.get_sample_value("recsys_cache_requests_total", {"cache": cache, "outcome": name}) or 0


@pytest.mark.parametrize("change", ["block", "private", "removed", "sensitive"])
def test_a_lost_invalidation_leaks_nothing(viewer, monkeypatch, change):
    """A worker may die between its commit and the purge, or the command may not reach Redis."""
    monkeypatch.setattr(RedisSlates, "purge", lambda *_: None)
    monkeypatch.setattr(RedisSlates, "retire", lambda *_: None)
    shown = ids()
    post = Post.objects.get(external_id=shown[0])
    if change == "block":
        set_relationship(
            member_id=post.author.external_id,
            kind="block",
            target_id="viewer",
            is_on=True,
            is_sent_by_member=False,
            now=NOW,
        )
    elif change == "private":
        Post.objects.filter(pk=post.pk).update(visibility=Visibility.PRIVATE)
    elif change == "removed":
        remove_posts(post_ids=[post.pk], now=NOW)
    else:
        Post.objects.filter(pk=post.pk).update(sensitivity=2)
    page = recommend(member_id="viewer", now=NOW, limit=50)
    assert page.is_cached, "the cached slate is served"
    assert shown[0] not in [pick.post.id for pick in page.picks]


def test_hits_stale_hits_and_misses_are_counted_separately(viewer):
    before = {kind: count_requests("slates", kind) for kind in ("hit", "stale", "miss")}
    ids(), ids(), ids(now=NOW + timedelta(seconds=400)), ids(now=NOW + timedelta(seconds=2000))
    assert {kind: count_requests("slates", kind) - count for kind, count in before.items()} == {
        "hit": 1,
        "stale": 1,
        "miss": 2,
    }


def test_vectors_of_posts_are_read_once_and_again_after_a_change(viewer, django_assert_num_queries):
    post = Post.objects.first()
    post_ids = {post.pk}
    _, (first,) = learn.load_post_vectors(post_ids, NOW)
    with django_assert_num_queries(0):
        _, (second,) = learn.load_post_vectors(post_ids, NOW)
    np.testing.assert_array_equal(first, second)
    PostEmbedding.objects.filter(post=post).update(vector=np.eye(1, 64, dtype="<f4").tobytes())
    invalidate.invalidate_posts([post.pk])
    _, (changed,) = learn.load_post_vectors(post_ids, NOW)
    assert changed[0] == 1 and count_requests("post_vectors", "hit") > 0


def test_vectors_of_many_posts_are_read_without_the_cache(viewer, django_assert_num_queries, monkeypatch):
    post_ids = set(Post.objects.values_list("pk", flat=True)[:4])
    cached = learn.load_post_vectors(post_ids, NOW)
    monkeypatch.setattr(learn, "MAX_CACHED_VECTORS", 3)
    with django_assert_num_queries(1):
        found = learn.load_post_vectors(post_ids, NOW)
    assert len(found[0]) == 4
    np.testing.assert_array_equal(found[0], cached[0])
    np.testing.assert_array_equal(found[1], cached[1])


def test_unusable_vectors_are_left_out_of_learning(viewer):
    ids = list(Post.objects.order_by("pk").values_list("pk", flat=True)[:4])
    unusable = np.zeros(64, "<f4"), np.full(64, np.nan, "<f4"), np.ones(63, "<f4")
    for post_id, vector in zip(ids, unusable, strict=False):
        PostEmbedding.objects.filter(post=post_id).update(vector=vector.tobytes())
    assert learn.load_post_vectors(ids, NOW)[0].tolist() == ids[3:]


def test_an_edited_post_gets_a_new_vector_in_the_cache(viewer):
    """Embedding the post invalidates its cached vector, whichever entry point caused it."""
    post = Post.objects.first()
    _, before = learn.load_post_vectors({post.pk}, NOW)
    PostEmbedding.objects.filter(post=post).delete()
    Post.objects.filter(pk=post.pk).update(text="completely different words")
    factories.embed_all_posts()
    assert not np.array_equal(learn.load_post_vectors({post.pk}, NOW)[1], before)


def test_a_sweep_evicts_and_counts_the_entries_beyond_the_budget(viewer, monkeypatch):
    for number in range(4):
        recommend(member_id=f"author-{number}", now=NOW + timedelta(seconds=number))
    posts = list(Post.objects.values_list("pk", flat=True))
    learn.load_post_vectors(set(posts), NOW)
    budget = {"slate_cache_members": 3, "post_vector_cache_size": 20}
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update=budget))
    swept = sweep.sweep_caches(now=NOW + timedelta(seconds=10))
    assert (swept["slates"].evicted, swept["slates"].entries) == (1, 3)
    assert (swept["post_vectors"].evicted, swept["post_vectors"].entries) == (40, 20)
    for cache, entries in (("slates", 3), ("post_vectors", 20)):
        assert REGISTRY.get_sample_value("recsys_shared_cache_entries", {"cache": cache}) == entries
        assert REGISTRY.get_sample_value("recsys_shared_cache_bytes", {"cache": cache}) > entries * 100
    page_cache().clear()
    assert not recommend(member_id="author-0", now=NOW + timedelta(seconds=10)).is_cached, (
        "the least recently served member was evicted"
    )
    assert recommend(member_id="author-3", now=NOW + timedelta(seconds=10)).is_cached
    later_sweep = sweep.sweep_caches(now=NOW + timedelta(days=2))
    assert later_sweep["slates"].expired > 0 and later_sweep["slates"].entries == 0


def test_without_redis_feeds_are_the_same(viewer, monkeypatch):
    shown = ids()
    unreachable = settings.ENV.model_copy(update={"cache_redis_url": "redis://127.0.0.1:1/0"})
    monkeypatch.setattr(settings, "ENV", unreachable)
    wiring.reset_parts()
    assert set(ids()) == set(shown)
    assert len(learn.load_post_vectors({Post.objects.first().pk}, NOW)[0]) == 1
    assert sweep.sweep_caches(now=NOW) == {}
    invalidate.evict_members(viewer.pk)
    invalidate.invalidate_posts([1])
