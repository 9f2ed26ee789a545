"""The columns of the final check: the facts of posts as they were read. Of deleted posts, nothing is known."""

from __future__ import annotations

import numpy as np
import pytest

from recommendations.contracts import (
    CANDIDATE_COLUMNS,
    TAGS_PER_POST,
    UNKNOWN,
    AccountStatus,
    Candidates,
    Sensitivity,
    Visibility,
)
from recommendations.stores.relational_posts import build_candidates, decode_posts
from recommendations.stores.vocabulary import Vocabularies

NONE_SEEN = np.zeros(2, np.bool_)


def read_post(vocabularies, *, tags='["cats"]', text="A post", is_removed=0, is_private=0, language="en"):
    """Return the snapshot of a row of `SELECT_POSTS`."""
    facts = (7, Visibility.FOLLOWERS, Sensitivity.SENSITIVE, is_removed, 1, is_private)
    row = (5, *facts, "p5", "m7", text, "image", language, tags, "[]", "2026-01-02 03:04:05+00:00")
    return decode_posts([row], vocabularies)[5]


def test_a_post_has_the_facts_that_were_read_and_a_deleted_post_has_none():
    words = Vocabularies()
    post = read_post(words, is_removed=1, is_private=1)
    columns = build_candidates(np.array([5, 6]), [post, None], np.array([True, False]), ())
    known = {name: getattr(columns, name)[0] for name in CANDIDATE_COLUMNS}
    assert (known["post_ids"], known["author_ids"], known["visibility"], known["sensitivity"]) == (5, 7, 1, 1)
    assert (known["account_status"], known["is_removed"]) == (AccountStatus.PRIVATE, True)
    assert (known["is_seen"], known["has_muted_word"]) == (True, False)
    assert known["created_at"] == 1767323045
    assert known["language_ids"] == words.languages.intern("en") and known["kind_ids"] == words.kinds.intern("image")
    assert known["tag_ids"].tolist() == [words.tags.intern("cats")] + [UNKNOWN] * (TAGS_PER_POST - 1)
    unknown = Candidates.unknown(np.array([6]), np.zeros(1, np.uint16))
    for name in CANDIDATE_COLUMNS:
        expected, column = getattr(unknown, name), getattr(columns, name)
        assert (column.dtype, column.shape[1:]) == (expected.dtype, expected.shape[1:]), name
        np.testing.assert_array_equal(column[1:], expected, err_msg=name)


def test_the_final_check_has_every_tag_of_a_post():
    words = Vocabularies()
    names = [f"tag{number}" for number in range(TAGS_PER_POST + 2)]
    post = read_post(words, tags=str(names).replace("'", '"'))
    columns = build_candidates(np.array([5, 6]), [post, None], NONE_SEEN, ())
    assert columns.tag_ids.tolist() == [[words.tags.intern(name) for name in names], [UNKNOWN] * (TAGS_PER_POST + 2)]


@pytest.mark.parametrize(("muted_words", "expected"), [((), False), (("dogs",), False), (("dogs", "cats"), True)])
def test_a_post_with_a_muted_word_is_marked_and_so_is_a_deleted_post(muted_words, expected):
    post = read_post(Vocabularies(), text="About cats", tags="[]", language="")
    columns = build_candidates(np.array([5, 6]), [post, None], NONE_SEEN, muted_words)
    assert columns.has_muted_word.tolist() == [expected, True]
    assert columns.language_ids[0] == UNKNOWN


def test_no_posts_have_no_columns():
    columns = build_candidates(np.zeros(0, np.int64), [], NONE_SEEN[:0], ("word",))
    assert {len(getattr(columns, name)) for name in CANDIDATE_COLUMNS} == {0}
