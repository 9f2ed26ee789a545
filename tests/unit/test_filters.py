"""Filters: which posts each keeps, and that unknown facts drop a post."""

from dataclasses import replace
from uuid import UUID

import numpy as np
import pytest

from recommendations import feeds
from recommendations.contracts import AccountStatus, Candidates, Interests, Policy, Query, Sensitivity, Visibility
from recommendations.pipeline.filters.freshness import in_readable_language, not_excluded, not_seen
from recommendations.pipeline.filters.privacy import not_blocked, not_muted, not_own, not_removed, visible_to_viewer
from recommendations.pipeline.filters.safety import safe_for_viewer
from recommendations.pipeline.stages import ExplainedFilter, explained_filter

VIEWER, FRIEND, STRANGER = 1, 2, 3


def ids(*numbers):
    return np.array(numbers, np.int64)


def query(**facts):
    values = {"request_id": UUID(int=1), "viewer_id": VIEWER, "feed": "discovery", "size": 10, "now": 1e9}
    rest = {"policy": Policy(), "variant": "control", "policy_version": 1, "interests": Interests.empty(8)}
    return Query(**values, **rest, followed_author_ids=ids(FRIEND), **facts)


def candidates(n=1, **columns):
    """Return public posts by a stranger, with these *columns* instead of the usual ones."""
    defaults = {
        "author_ids": STRANGER,
        "visibility": Visibility.PUBLIC,
        "sensitivity": Sensitivity.SAFE,
        "account_status": AccountStatus.OPEN,
        "is_removed": False,
        "is_seen": False,
        "has_muted_word": False,
    }
    base = Candidates.unknown(np.arange(1, n + 1), np.zeros(n, np.uint16))
    filled = {
        name: np.broadcast_to(np.asarray(value, getattr(base, name).dtype), getattr(base, name).shape).copy()
        for name, value in {**defaults, **columns}.items()
    }
    return replace(base, **filled)


def unknown_candidates():
    return Candidates.unknown(ids(1), np.zeros(1, np.uint16))


FAIL_CLOSED_FILTERS = [not_removed, visible_to_viewer, not_blocked, safe_for_viewer, not_muted, not_seen]


@pytest.mark.parametrize("check", FAIL_CLOSED_FILTERS, ids=lambda check: check.name)
def test_a_post_of_which_nothing_is_known_is_dropped(check):
    """Privacy fails closed."""
    assert check(query(), unknown_candidates()).tolist() == [False]


@pytest.mark.parametrize(
    "check", [*feeds.MANDATORY_FILTERS, *feeds.PREFERENCE_FILTERS, *feeds.SIMILAR_FILTERS], ids=lambda c: c.name
)
def test_a_public_post_passes_and_no_posts_give_an_empty_mask(check):
    assert check(query(), candidates()).tolist() == [True]
    assert check(query(), candidates(0)).tolist() == []


@pytest.mark.parametrize("filters", [feeds.PREFERENCE_FILTERS, feeds.SIMILAR_FILTERS, feeds.NON_PERSONALIZED_FILTERS])
def test_only_preference_filters_have_a_sentence(filters):
    """Why a post is private, blocked or unsafe is not explained. The effect of a viewer's own choice is."""
    assert all(isinstance(check, ExplainedFilter) and check.sentence for check in filters)
    assert not any(hasattr(check, "sentence") for check in feeds.MANDATORY_FILTERS)


@pytest.mark.parametrize("sentence", ["", " "])
def test_an_explained_filter_needs_a_sentence(sentence):
    with pytest.raises(ValueError, match="give the sentence"):
        explained_filter(sentence)(lambda query, candidates: candidates.is_seen)


@pytest.mark.parametrize("visibility", [-1, *Visibility])
@pytest.mark.parametrize("account_status", [-1, *AccountStatus])
@pytest.mark.parametrize("author", [FRIEND, STRANGER])
def test_visibility_account_status_and_follows_decide_together(visibility, account_status, author):
    """Strangers see public posts of open accounts. Followers also see posts for followers and of private accounts."""
    is_visible = visible_to_viewer(
        query(), candidates(visibility=visibility, account_status=account_status, author_ids=author)
    ).item()
    for_everyone = visibility == Visibility.PUBLIC and account_status == AccountStatus.OPEN
    for_followers = visibility in (Visibility.PUBLIC, Visibility.FOLLOWERS) and account_status in (
        AccountStatus.OPEN,
        AccountStatus.PRIVATE,
    )
    assert is_visible == (for_everyone or (author == FRIEND and for_followers))


def test_removed_posts_are_dropped():
    assert not_removed(query(), candidates(2, is_removed=[True, False])).tolist() == [False, True]


def test_posts_of_blocked_and_unknown_authors_are_dropped():
    posts = candidates(3, author_ids=[STRANGER, FRIEND, -1])
    assert not_blocked(query(blocked_author_ids=ids(STRANGER)), posts).tolist() == [False, True, False]


@pytest.mark.parametrize("maximum", Sensitivity)
def test_posts_above_the_maximum_sensitivity_are_dropped(maximum):
    posts = candidates(5, sensitivity=[-1, 0, 1, 2, 3])
    expected = [0 <= level <= maximum for level in (-1, 0, 1, 2, 3)]
    assert safe_for_viewer(query(max_sensitivity=maximum), posts).tolist() == expected


def test_posts_with_muted_authors_tags_or_words_are_dropped():
    tags = np.full((4, 8), -1)
    tags[1, 7] = 42
    posts = candidates(4, author_ids=[STRANGER, FRIEND, FRIEND, FRIEND], tag_ids=tags, has_muted_word=[0, 0, 1, 0])
    viewer_query = query(muted_author_ids=ids(STRANGER), muted_tag_ids=np.array([42], np.int32))
    assert not_muted(viewer_query, posts).tolist() == [False, False, False, True]


def test_a_muted_tag_that_no_post_has_drops_nothing():
    assert not_muted(query(muted_tag_ids=np.array([7], np.int32)), candidates()).tolist() == [True]


def test_the_viewers_own_posts_are_dropped():
    assert not_own(query(), candidates(2, author_ids=[VIEWER, STRANGER])).tolist() == [False, True]


def test_posts_that_were_seen_or_are_excluded_are_dropped():
    posts = candidates(4, is_seen=[False, True, False, False])
    viewer_query = query(seen_post_ids=ids(1), excluded_post_ids=ids(3))
    assert not_seen(viewer_query, posts).tolist() == [False, False, False, True]


def test_similar_posts_may_have_been_seen_but_excluded_posts_are_dropped():
    viewer_query = query(seen_post_ids=ids(1), excluded_post_ids=ids(2))
    assert not_excluded(viewer_query, candidates(2)).tolist() == [True, False]


def test_posts_in_the_viewers_languages_or_of_unknown_language_pass():
    posts = candidates(3, language_ids=[-1, 4, 5])
    assert in_readable_language(query(language_ids=np.array([4], np.int32)), posts).tolist() == [True, True, False]
    assert in_readable_language(query(), posts).all()
