"""Filters: what each lets through, and that what is not known is a no."""

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
    """Return posts by a stranger that anybody may see, but for what *columns* say."""
    plain = {
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
        for name, value in {**plain, **columns}.items()
    }
    return replace(base, **filled)


def unknown_candidates():
    return Candidates.unknown(ids(1), np.zeros(1, np.uint16))


FAIL_CLOSED_FILTERS = [not_removed, visible_to_viewer, not_blocked, safe_for_viewer, not_muted, not_seen]


@pytest.mark.parametrize("check", FAIL_CLOSED_FILTERS, ids=lambda check: check.name)
def test_a_post_of_which_nothing_is_known_is_a_no(check):
    """Privacy fails closed: ignorance is never a yes."""
    assert check(query(), unknown_candidates()).tolist() == [False]


@pytest.mark.parametrize(
    "check", [*feeds.MANDATORY_FILTERS, *feeds.PREFERENCE_FILTERS, *feeds.SIMILAR_FILTERS], ids=lambda c: c.name
)
def test_a_harmless_post_of_a_stranger_passes_and_no_posts_are_no_trouble(check):
    assert check(query(), candidates()).tolist() == [True]
    assert check(query(), candidates(0)).tolist() == []


@pytest.mark.parametrize("filters", [feeds.PREFERENCE_FILTERS, feeds.SIMILAR_FILTERS, feeds.NON_PERSONALIZED_FILTERS])
def test_a_filter_by_the_viewers_own_choice_has_a_sentence_and_a_mandatory_one_has_none(filters):
    """Why a post is private, blocked or unsafe is never told; what the viewer chose always is."""
    assert all(isinstance(check, ExplainedFilter) and check.sentence for check in filters)
    assert not any(hasattr(check, "sentence") for check in feeds.MANDATORY_FILTERS)


@pytest.mark.parametrize("sentence", ["", " "])
def test_a_filter_without_its_sentence_cannot_be_made(sentence):
    with pytest.raises(ValueError, match="give the sentence"):
        explained_filter(sentence)(lambda query, candidates: candidates.is_seen)


@pytest.mark.parametrize("visibility", [-1, *Visibility])
@pytest.mark.parametrize("account_status", [-1, *AccountStatus])
@pytest.mark.parametrize("author", [FRIEND, STRANGER])
def test_every_case_of_visibility(visibility, account_status, author):
    """Strangers see what is public by open accounts; followers what is for followers, of private ones too."""
    shown = visible_to_viewer(
        query(), candidates(visibility=visibility, account_status=account_status, author_ids=author)
    ).item()
    to_everybody = visibility == Visibility.PUBLIC and account_status == AccountStatus.OPEN
    to_followers = visibility in (Visibility.PUBLIC, Visibility.FOLLOWERS) and account_status in (
        AccountStatus.OPEN,
        AccountStatus.PRIVATE,
    )
    assert shown == (to_everybody or (author == FRIEND and to_followers))


def test_removed_posts_are_gone():
    assert not_removed(query(), candidates(2, is_removed=[True, False])).tolist() == [False, True]


def test_a_block_hides_the_author():
    found = candidates(3, author_ids=[STRANGER, FRIEND, -1])
    assert not_blocked(query(blocked_author_ids=ids(STRANGER)), found).tolist() == [False, True, False]


@pytest.mark.parametrize("most", Sensitivity)
def test_nothing_is_more_sensitive_than_the_viewer_takes(most):
    found = candidates(5, sensitivity=[-1, 0, 1, 2, 3])
    expected = [0 <= level <= most for level in (-1, 0, 1, 2, 3)]
    assert safe_for_viewer(query(max_sensitivity=most), found).tolist() == expected


def test_muted_authors_tags_and_words_are_spared():
    tags = np.full((4, 8), -1)
    tags[1, 7] = 42
    found = candidates(4, author_ids=[STRANGER, FRIEND, FRIEND, FRIEND], tag_ids=tags, has_muted_word=[0, 0, 1, 0])
    asked = query(muted_author_ids=ids(STRANGER), muted_tag_ids=np.array([42], np.int32))
    assert not_muted(asked, found).tolist() == [False, False, False, True]


def test_a_muted_tag_that_no_post_has_mutes_nothing():
    assert not_muted(query(muted_tag_ids=np.array([7], np.int32)), candidates()).tolist() == [True]


def test_ones_own_posts_are_left_out():
    assert not_own(query(), candidates(2, author_ids=[VIEWER, STRANGER])).tolist() == [False, True]


def test_seen_by_the_viewer_by_the_last_look_or_on_an_earlier_page():
    found = candidates(4, is_seen=[False, True, False, False])
    asked = query(seen_post_ids=ids(1), excluded_post_ids=ids(3))
    assert not_seen(asked, found).tolist() == [False, False, False, True]


def test_similar_posts_may_be_seen_ones_but_not_the_post_itself():
    asked = query(seen_post_ids=ids(1), excluded_post_ids=ids(2))
    assert not_excluded(asked, candidates(2)).tolist() == [True, False]


def test_languages_the_viewer_reads_and_posts_of_unknown_language():
    found = candidates(3, language_ids=[-1, 4, 5])
    assert in_readable_language(query(language_ids=np.array([4], np.int32)), found).tolist() == [True, True, False]
    assert in_readable_language(query(), found).all()
