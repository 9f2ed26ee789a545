"""A page or slate that was made under another policy, flag or variant is not shown again."""

from datetime import timedelta

import pytest

from flags.snapshot import flag_snapshot
from recommendations.services import policies, wiring
from recommendations.services.serving import records
from recommendations.services.serving.pages import pages
from recommendations.services.serving.query import FLAG, WASM, Choice
from recommendations.services.serving.recommend import recommend
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]

CONTROL = Choice("plain", "control")


@pytest.fixture(autouse=True)
def posts():
    """Make a viewer, and ten posts by others."""
    factories.member("viewer")
    made = [factories.post(factories.member(), f"p{i}") for i in range(10)]
    factories.embed_all_posts()
    return made


def page(**asked):
    return recommend(member_id="viewer", **{"now": NOW, "limit": 5, **asked})


def is_remembered(limit=5, feed="discovery"):
    """Return whether this process would show the viewer's first page again, without looking for a slate."""
    return pages().get("viewer", feed, limit, NOW.timestamp()) is not None


def forget_remembered_page():
    """Leave only the slate in Redis."""
    pages().clear()


def put_policy(variant, **settings):
    """Serve another version of a variant's policy, and have this process read it now and not within two seconds."""
    policies.put_policy(variant=variant, settings=settings, note="a test", version=None)
    wiring.policies.reset()


def turn_flag(**patch):
    """Change the flag of the engine, and have this process read it now and not within two seconds."""
    factories.flag(FLAG, **patch)
    flag_snapshot.invalidate()


def test_a_page_is_remembered_and_shown_again():
    first = page()
    assert not first.cached and is_remembered()
    again = page()
    assert again.cached and again.request_id == first.request_id and again.picks == first.picks


@pytest.mark.parametrize("is_in_memory", [True, False], ids=["remembered page", "cached slate"])
def test_after_a_change_of_the_policy_the_feed_is_made_anew(is_in_memory):
    first = page()
    put_policy(first.variant, trending=7)
    if not is_in_memory:
        forget_remembered_page()
    assert not is_remembered()
    after = page()
    assert not after.cached and after.request_id != first.request_id and after.variant == first.variant
    assert page().request_id == after.request_id


def test_a_policy_of_another_variant_changes_nothing():
    first = page()
    put_policy("another", trending=7)
    assert is_remembered() and page().request_id == first.request_id


@pytest.mark.parametrize("is_in_memory", [True, False], ids=["remembered page", "cached slate"])
def test_after_a_change_of_the_flag_the_feed_is_made_by_the_other_variant(is_in_memory):
    """Both variants have policies of the same version, so only the variant tells their slates apart."""
    first = page()
    assert (first.engine, first.variant) == ("wasm_simd", "wasm_conservative")
    assert wiring.policies().get("control")[1] == wiring.policies().get("wasm_conservative")[1]
    turn_flag(is_enabled=False)
    if not is_in_memory:
        forget_remembered_page()
    assert not is_remembered()
    after = page()
    assert (after.engine, after.variant, after.cached) == ("plain", "control", False)
    turn_flag(is_enabled=True)
    back = page()
    assert (back.engine, back.variant, back.cached) == ("wasm_simd", "wasm_conservative", False)


def test_a_change_of_a_flag_that_leaves_the_variant_costs_the_page_and_not_the_slate():
    """Which flags count for a page is not known, so any change has it made anew, of the same slate."""
    first = page()
    factories.flag("another", is_enabled=True)
    flag_snapshot.invalidate()
    assert not is_remembered()
    after = page()
    assert after.cached and after.request_id == first.request_id
    assert is_remembered()


def test_a_slate_of_another_variant_is_not_shown_to_whom_a_request_gives_a_variant():
    """Explicit choices are neither answered from what is remembered nor remembered."""
    first = page()
    chosen = page(choice=CONTROL)
    assert (chosen.engine, chosen.variant, chosen.cached) == ("plain", "control", False)
    assert page(choice=CONTROL).request_id == chosen.request_id
    forget_remembered_page()
    assert page(choice=WASM).request_id not in (first.request_id, chosen.request_id)
    assert not is_remembered()


def test_a_page_of_another_length_or_feed_is_a_page_of_its_own():
    assert len(page().picks) == 5
    assert len(page(limit=4).picks) == 4
    assert page(feed="trending").feed == "trending"
    assert is_remembered(5) and is_remembered(4) and is_remembered(5, "trending") and not is_remembered(3)


def test_an_explained_page_is_not_remembered_and_no_remembered_page_stands_in_for_one():
    assert all(pick.parts for pick in page(explain=True).picks)
    assert not is_remembered()
    records.record_served(now=NOW)
    assert all(pick.parts is None for pick in page().picks) and is_remembered()
    assert all(pick.parts for pick in page(explain=True).picks)
    assert all(pick.parts is None for pick in page().picks)


def test_a_remembered_page_is_as_old_as_its_slate_at_most(settings):
    settings.ENV = settings.ENV.model_copy(update={"slate_fresh_seconds": 100})
    first = page()
    assert page(now=NOW + timedelta(seconds=99)).request_id == first.request_id
    assert pages().get("viewer", "discovery", 5, NOW.timestamp() + 99.9) is not None
    assert pages().get("viewer", "discovery", 5, NOW.timestamp() + 100) is None
    assert pages().get("viewer", "discovery", 5, NOW.timestamp() - 1) is None, "a slate of the future is not fresh"
