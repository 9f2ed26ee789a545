"""A cached page or slate of another policy, flag or variant is not served."""

from datetime import timedelta

import pytest
from prometheus_client import REGISTRY

from flags.snapshot import flag_snapshot
from recommendations.api import responses
from recommendations.contracts import ENGINE_FLAG
from recommendations.services import policies, wiring
from recommendations.services.serving import records
from recommendations.services.serving.pages import page_cache
from recommendations.services.serving.query import WASM_ASSIGNMENT, EngineAssignment
from recommendations.services.serving.recommend import recommend
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]

CONTROL = EngineAssignment("plain", "control")


@pytest.fixture(autouse=True)
def posts():
    """Create a viewer, and ten posts by others."""
    factories.member("viewer")
    posts = [factories.post(factories.member(), f"p{i}") for i in range(10)]
    factories.embed_all_posts()
    factories.clear_change_log()
    return posts


def page(**options):
    return recommend(member_id="viewer", **{"now": NOW, "limit": 5, **options})


def is_page_cached(limit=5, feed="discovery"):
    """Return whether this process has the viewer's first page in its cache."""
    return page_cache().get("viewer", feed, limit, NOW.timestamp()) is not None


def clear_page_cache():
    """Clear this process's page cache. The slate stays in Redis."""
    page_cache().clear()


def put_policy(variant, **settings):
    """Activate another version of a variant's policy, and let this process read it at once."""
    policies.put_policy(variant=variant, settings=settings, note="a test", version=None)
    wiring.policies.reset()


def change_flag(**patch):
    """Change the engine's flag, and let this process read it at once."""
    factories.flag(ENGINE_FLAG, **patch)
    flag_snapshot.invalidate()


def test_a_page_is_cached_and_served_again():
    first = page()
    assert not first.is_cached and is_page_cached()
    second = page()
    assert second.is_cached and second.request_id == first.request_id and second.picks == first.picks


@pytest.mark.parametrize("is_in_memory", [True, False], ids=["cached page", "cached slate"])
def test_a_change_of_the_policy_builds_another_slate(is_in_memory):
    first = page()
    put_policy(first.variant, trending_candidates=7)
    if not is_in_memory:
        clear_page_cache()
    assert not is_page_cached()
    after = page()
    assert not after.is_cached and after.request_id != first.request_id and after.variant == first.variant
    assert page().request_id == after.request_id


def test_the_policy_of_another_variant_invalidates_nothing():
    first = page()
    put_policy("another", trending_candidates=7)
    assert is_page_cached() and page().request_id == first.request_id


@pytest.mark.parametrize("is_in_memory", [True, False], ids=["cached page", "cached slate"])
def test_a_change_of_the_flag_builds_a_slate_of_the_other_variant(is_in_memory):
    """Both variants have the same policy version, so their slates differ in the variant only."""
    first = page()
    assert (first.engine, first.variant) == ("wasm_simd", "wasm_conservative")
    assert wiring.policies().get("control")[1] == wiring.policies().get("wasm_conservative")[1]
    change_flag(is_enabled=False)
    if not is_in_memory:
        clear_page_cache()
    assert not is_page_cached()
    after = page()
    assert (after.engine, after.variant, after.is_cached) == ("plain", "control", False)
    change_flag(is_enabled=True)
    restored = page()
    assert (restored.engine, restored.variant, restored.is_cached) == ("wasm_simd", "wasm_conservative", False)


def test_a_change_of_another_flag_invalidates_the_page_and_keeps_the_slate():
    """The page cache does not know which flags affect a page, so a change of any flag invalidates it."""
    first = page()
    factories.flag("another", is_enabled=True)
    flag_snapshot.invalidate()
    factories.clear_change_log()
    assert not is_page_cached()
    after = page()
    assert after.is_cached and after.request_id == first.request_id
    assert is_page_cached()


def test_a_request_with_an_explicit_assignment_is_not_served_from_the_page_cache():
    """Its page is not put into the cache, either."""
    first = page()
    assigned = page(assignment=CONTROL)
    assert (assigned.engine, assigned.variant, assigned.is_cached) == ("plain", "control", False)
    assert page(assignment=CONTROL).request_id == assigned.request_id
    clear_page_cache()
    assert page(assignment=WASM_ASSIGNMENT).request_id not in (first.request_id, assigned.request_id)
    assert not is_page_cached()


def test_pages_of_another_length_or_feed_are_cached_separately():
    assert len(page().picks) == 5
    assert len(page(limit=4).picks) == 4
    assert page(feed="trending").feed == "trending"
    assert is_page_cached(5) and is_page_cached(4) and is_page_cached(5, "trending") and not is_page_cached(3)


def test_an_explained_page_is_neither_cached_nor_served_from_the_cache():
    assert all(pick.parts for pick in page(explain=True).picks)
    assert not is_page_cached()
    records.record_served(now=NOW)
    assert all(pick.parts is None for pick in page().picks) and is_page_cached()
    assert all(pick.parts for pick in page(explain=True).picks)
    assert all(pick.parts is None for pick in page().picks)


def test_a_cached_page_is_never_older_than_a_fresh_slate_may_be(settings):
    settings.ENV = settings.ENV.model_copy(update={"slate_fresh_seconds": 100})
    first = page()
    assert page(now=NOW + timedelta(seconds=99)).request_id == first.request_id
    assert page_cache().get("viewer", "discovery", 5, NOW.timestamp() + 99.9) is not None
    assert page_cache().get("viewer", "discovery", 5, NOW.timestamp() + 100) is None
    assert page_cache().get("viewer", "discovery", 5, NOW.timestamp() - 1) is None, "a slate of the future is not fresh"


def test_the_page_that_was_cached_the_longest_ago_is_evicted(monkeypatch):
    """A page that is cached again counts as new."""
    monkeypatch.setattr("recommendations.services.serving.pages.MAX_PAGES", 2)
    page_cache.reset()
    for limit in (1, 2):
        page(limit=limit)
    assert is_page_cached(1) and is_page_cached(2)
    page(limit=3)
    assert [is_page_cached(limit) for limit in (1, 2, 3)] == [False, True, True]
    factories.flag("another", is_enabled=True)
    flag_snapshot.invalidate()
    factories.clear_change_log()
    page(limit=2)
    page(limit=1)
    assert [is_page_cached(limit) for limit in (1, 2, 3)] == [True, True, False]


def test_the_rest_api_renders_a_cached_page_once(client, settings, monkeypatch):
    settings.ENV = settings.ENV.model_copy(update={"api_open": True})
    rendered = []
    serialize = responses.serialize_pick
    monkeypatch.setattr(responses, "serialize_pick", lambda *pick: rendered.append(pick) or serialize(*pick))
    first, second = (client.get("/api/v1/members/viewer/feed?limit=5").json() for _ in range(2))
    assert (first["is_cached"], second["is_cached"]) == (False, True)
    assert len(first["picks"]) == len(rendered) == 5
    assert second["picks"] == first["picks"]


def test_hits_and_misses_of_the_page_cache_are_counted():
    def count(outcome):
        labels = {"cache": "pages", "outcome": outcome}
        return REGISTRY.get_sample_value("recsys_process_cache_requests_total", labels) or 0

    before = count("hit"), count("miss")
    for _ in range(3):
        page()
    assert (count("hit") - before[0], count("miss") - before[1]) == (2, 1)
    assert REGISTRY.get_sample_value("recsys_cache_entries", {"cache": "pages"}) == 1
    clear_page_cache()
    assert REGISTRY.get_sample_value("recsys_cache_entries", {"cache": "pages"}) == 0
