"""The contract of `stages.Filter`, for every filter. Add a new filter to the list."""

from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommendations.contracts import (
    CANDIDATE_COLUMNS,
    AccountStatus,
    Candidates,
    FeedFilter,
    Interests,
    Policy,
    Query,
    Sensitivity,
    Visibility,
)
from recommendations.pipeline.filters.feed_filter import matches_feed_filter
from recommendations.pipeline.filters.freshness import in_readable_language, not_excluded, not_seen
from recommendations.pipeline.filters.privacy import (
    not_blocked,
    not_hidden,
    not_muted,
    not_own,
    not_removed,
    visible_to_viewer,
)
from recommendations.pipeline.filters.safety import safe_for_viewer
from tests.feed_parts import component_name, feed_components
from tests.strategies import NOW, candidates, positions, queries, read_only


@dataclass(frozen=True)
class Case:
    """A filter, and the facts that it does not require."""

    check: Any
    may_be_unknown: tuple[str, ...] = ()
    """Columns that the filter reads and may be unknown. Give the reason in the list."""


FILTERS = (
    Case(matches_feed_filter),
    Case(not_blocked),
    Case(not_excluded),
    Case(not_hidden),
    Case(not_muted, may_be_unknown=("tag_ids",)),  # Unknown tags look like no tags, which are not muted.
    Case(not_own),
    Case(not_removed),
    Case(in_readable_language, may_be_unknown=("language_ids",)),  # A picture has no language and is for everyone.
    Case(safe_for_viewer),
    Case(not_seen),
    Case(visible_to_viewer),
)
every_filter = pytest.mark.parametrize("case", FILTERS, ids=lambda case: component_name(case.check))

# A viewer with facts for every filter, and a post that passes all of them.

VIEWER, FRIEND, BLOCKED, MUTED = 1, 2, 3, 4
LANGUAGE, KIND, TAG, MUTED_TAG = 3, 2, 5, 6


def ids(*numbers, dtype=np.int64):
    return np.array(numbers, dtype)


CAREFUL = Query(
    request_id=UUID(int=1),
    viewer_id=VIEWER,
    feed="discovery",
    size=10,
    now=NOW,
    policy=Policy(),
    variant="control",
    policy_version=1,
    interests=Interests.empty(8),
    excluded_post_ids=ids(100),
    language_ids=ids(LANGUAGE, dtype=np.int32),
    followed_author_ids=ids(FRIEND),
    blocked_author_ids=ids(BLOCKED),
    muted_author_ids=ids(MUTED),
    muted_tag_ids=ids(MUTED_TAG, dtype=np.int32),
    seen_post_ids=ids(101),
    hidden_post_ids=ids(102),
    feed_filter=FeedFilter(
        language_ids=ids(LANGUAGE, dtype=np.int32),
        kind_ids=ids(KIND, dtype=np.int32),
        tag_ids=ids(TAG, dtype=np.int32),
        since=NOW - 3600,
    ),
)


def unknown_post():
    return Candidates.unknown(ids(7), np.zeros(1, np.uint16))


PASSING_FACTS = {
    "rows": ids(0, dtype=np.int32),
    "author_ids": ids(FRIEND),
    "created_at": np.array([NOW]),
    "visibility": ids(Visibility.FOLLOWERS, dtype=np.int8),
    "sensitivity": ids(Sensitivity.SAFE, dtype=np.int8),
    "account_status": ids(AccountStatus.OPEN, dtype=np.int8),
    "is_removed": np.array([False]),
    "is_seen": np.array([False]),
    "has_muted_word": np.array([False]),
    "language_ids": ids(LANGUAGE, dtype=np.int32),
    "tag_ids": np.full(unknown_post().tag_ids.shape, TAG, np.int32),
    "kind_ids": ids(KIND, dtype=np.int32),
}
"""The columns of one post by a friend, for followers, that passes every filter."""


def passing_post(**columns):
    """Return the post that passes every filter, with these *columns* replaced."""
    return replace(unknown_post(), **PASSING_FACTS | columns)


def columns_read(check, query, posts):
    """Return the columns that a filter reads. Taken candidates have only the columns that were read."""
    taken = posts.take(slice(None))
    check(query, taken)
    return {name for name in CANDIDATE_COLUMNS if name in vars(taken)}


# every filter


def test_every_filter_of_a_feed_is_in_the_list():
    known = [case.check for case in FILTERS]
    assert [component_name(check) for check in feed_components("filters") if check not in known] == []


@every_filter
def test_a_post_with_suitable_facts_passes(case):
    assert case.check(CAREFUL, passing_post()).tolist() == [True]


@every_filter
def test_a_post_is_dropped_if_any_required_fact_is_unknown(case):
    """Filters fail closed."""
    read = columns_read(case.check, CAREFUL, passing_post()) - {"post_ids", "origins", "rows"}
    passed = {
        name for name in read if case.check(CAREFUL, passing_post(**{name: getattr(unknown_post(), name)})).item()
    }
    assert passed == set(case.may_be_unknown)


@every_filter
def test_no_posts_give_an_empty_mask(case):
    mask = case.check(CAREFUL, passing_post().take(ids()))
    assert mask.dtype == np.bool_ and mask.shape == (0,)


@every_filter
@given(posts=candidates(), query=queries(), data=st.data())
def test_each_post_is_checked_independently(case, posts, query, data):
    """
    For any facts of posts and viewer, the mask of a selection is the selection of the mask.

    The filter does not write to posts or query (they are read-only here), and equal inputs give equal masks.
    """
    mask = case.check(query, posts)
    assert isinstance(mask, np.ndarray) and mask.dtype == np.bool_ and mask.shape == (len(posts),)
    selection = data.draw(positions(len(posts)))
    np.testing.assert_array_equal(case.check(query, posts.take(selection)), mask[selection])
    np.testing.assert_array_equal(case.check(query, read_only(replace(posts))), mask)
