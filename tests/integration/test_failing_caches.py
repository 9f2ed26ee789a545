"""What a cache loses costs time and never a leak: lost purges, a Redis that goes away, budgets, outcomes that count."""

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
    """Let what waits for the commit happen at once: a test's transaction has none."""
    monkeypatch.setattr(transaction, "on_commit", lambda act, **_: act())


@pytest.fixture
def viewer():
    viewer = factories.member("viewer")
    for number in range(6):
        factories.posts(factories.member(f"author-{number}"), 10)
    factories.embed_all_posts()
    return viewer


def ids(now=NOW, **asked):
    return [pick.post.id for pick in recommend(member_id="viewer", now=now, limit=50, **asked).picks]


def outcome(cache, kind):
    return REGISTRY.get_sample_value("recsys_cache_requests_total", {"cache": cache, "outcome": kind}) or 0


@pytest.mark.parametrize("change", ["block", "private", "removed", "sensitive"])
def test_a_purge_that_is_lost_leaks_nothing(viewer, monkeypatch, change):
    """A worker may die between its commit and the purge, or Redis may not hear it."""
    monkeypatch.setattr(RedisSlates, "purge", lambda *of: None)
    monkeypatch.setattr(RedisSlates, "retire", lambda *of: None)
    shown = ids()
    post = Post.objects.get(external_id=shown[0])
    if change == "block":
        set_relationship(member_id=post.author.external_id, kind="block", target_id="viewer", is_on=True, now=NOW)
    elif change == "private":
        Post.objects.filter(pk=post.pk).update(visibility=Visibility.PRIVATE)
    elif change == "removed":
        remove_posts(post_ids=[post.pk], now=NOW)
    else:
        Post.objects.filter(pk=post.pk).update(sensitivity=2)
    again = recommend(member_id="viewer", now=NOW, limit=50)
    assert again.cached, "the kept slate is served"
    assert shown[0] not in [pick.post.id for pick in again.picks]


def test_hits_stale_hits_and_misses_are_told_apart(viewer):
    before = {kind: outcome("slates", kind) for kind in ("hit", "stale", "miss")}
    ids(), ids(), ids(now=NOW + timedelta(seconds=400)), ids(now=NOW + timedelta(seconds=2000))
    assert {kind: outcome("slates", kind) - count for kind, count in before.items()} == {
        "hit": 1,
        "stale": 1,
        "miss": 2,
    }


def test_vectors_of_posts_are_read_once_and_anew_when_they_change(viewer, django_assert_num_queries):
    post = Post.objects.first()
    asked = {post.pk}
    (first,) = learn.load_post_vectors(asked, NOW).values()
    with django_assert_num_queries(0):
        (again,) = learn.load_post_vectors(asked, NOW).values()
    np.testing.assert_array_equal(first, again)
    PostEmbedding.objects.filter(post=post).update(vector=np.eye(1, 64, dtype="<f4").tobytes())
    invalidate.invalidate_posts([post.pk])
    (changed,) = learn.load_post_vectors(asked, NOW).values()
    assert changed[0] == 1 and outcome("post_vectors", "hit") > 0


def test_a_reworded_post_s_vector_does_not_stay_in_the_cache(viewer):
    """Embedding it anew is the event: whoever does it, and by whichever way it was asked for."""
    post = Post.objects.first()
    before = learn.load_post_vectors({post.pk}, NOW)[post.pk]
    PostEmbedding.objects.filter(post=post).delete()
    Post.objects.filter(pk=post.pk).update(text="wholly other words")
    factories.embed_all_posts()
    assert not np.array_equal(learn.load_post_vectors({post.pk}, NOW)[post.pk], before)


def test_what_lies_over_its_budget_is_swept_and_counted(viewer, monkeypatch):
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
    assert not recommend(member_id="author-0", now=NOW + timedelta(seconds=10)).cached, (
        "the one served longest ago went"
    )
    assert recommend(member_id="author-3", now=NOW + timedelta(seconds=10)).cached
    later = sweep.sweep_caches(now=NOW + timedelta(days=2))
    assert later["slates"].expired > 0 and later["slates"].entries == 0


def test_a_redis_that_goes_away_costs_time_only(viewer, monkeypatch):
    shown = ids()
    gone = settings.ENV.model_copy(update={"cache_redis_url": "redis://127.0.0.1:1/0"})
    monkeypatch.setattr(settings, "ENV", gone)
    wiring.reset_parts()
    assert set(ids()) == set(shown)
    assert learn.load_post_vectors({Post.objects.first().pk}, NOW)
    assert sweep.sweep_caches(now=NOW) == {}
    invalidate.evict_members(viewer.pk)
    invalidate.invalidate_posts([1])
