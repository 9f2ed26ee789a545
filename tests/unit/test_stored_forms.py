"""What lies in the database, in Redis or in a client's hands keeps its meaning: literal numbers, text and bytes."""

from uuid import UUID

import numpy as np
import pytest

from recommendations.contracts import AccountStatus, Origin, Policy, Reason, Sensitivity, Slate, Visibility
from recommendations.models.change_log import ChangeKind
from recommendations.services.serving.cursors import CursorPosition, read_cursor, write_cursor
from recommendations.stores.redis_slates import SlateFormatError, pack, unpack

FIRST, SECOND = UUID(int=1), UUID(int=2)


def test_the_numbers_that_are_stored_keep_their_meaning():
    assert (Visibility.PUBLIC, Visibility.FOLLOWERS, Visibility.UNLISTED, Visibility.PRIVATE) == (0, 1, 2, 3)
    assert (Sensitivity.SAFE, Sensitivity.SENSITIVE, Sensitivity.ADULT, Sensitivity.FORBIDDEN) == (0, 1, 2, 3)
    assert (AccountStatus.OPEN, AccountStatus.PRIVATE, AccountStatus.INACTIVE) == (0, 1, 2)
    assert (ChangeKind.EVERYTHING, ChangeKind.POST, ChangeKind.AUTHOR) == (0, 1, 2)
    assert (ChangeKind.VIEWER, ChangeKind.SEEN) == (3, 4)


def test_the_bits_of_sources_and_reasons_keep_their_places():
    assert (Origin.NEAREST, Origin.FOLLOWED, Origin.TRENDING, Origin.FRESH) == (0, 1, 2, 3)
    assert (Origin.TOPIC, Origin.EXPLORATION, Origin.INDEXED) == (4, 5, 6)
    assert (Reason.TASTE, Reason.FOLLOWED, Reason.POPULAR, Reason.FRESH) == (0, 1, 2, 3)
    assert (Reason.SIMILAR, Reason.TOPIC, Reason.AUTHOR, Reason.EXPLORATION) == (4, 5, 6, 7)
    assert len(Origin) == 7 and len(Reason) == 8, "a new one is stored as well: add it here"


def test_a_default_policy_changes_only_on_purpose():
    """A change of a default changes the feeds of every variant without a policy, and no version tells of it."""
    assert Policy() == Policy(
        taste=1.0,
        cold_taste=1.0,
        dislike=0.5,
        recency=0.15,
        popularity=0.25,
        follow=0.2,
        author=0.2,
        topic=0.2,
        show_less=2.0,
        quality=0.1,
        exploration=0.05,
        fatigue=0.4,
        fatigue_half_life_hours=6,
        session=0.8,
        recency_half_life_hours=72,
        diversity=0.3,
        author_cap=3,
        nearest_candidates=400,
        max_interests=4,
        followed_candidates=300,
        trending_candidates=200,
        fresh_candidates=100,
        topic_candidates=150,
        exploration_candidates=30,
        exploration_share=0.05,
        exploration_max_served=100,
        max_topic_run=2,
        weight_view=0.2,
        weight_click=0.5,
        weight_dwell=0.5,
        weight_like=1.0,
        weight_comment=1.5,
        weight_share=2.0,
        weight_save=2.0,
        weight_follow=1.5,
        weight_hide=-1.0,
        weight_not_interested=-1.5,
        weight_report=-2.0,
    )


CURSORS = {
    "AAAAAAAAAAAAAAAAAAAAAQEC": CursorPosition(FIRST, 258),
    "AAAAAAAAAAAAAAAAAAAAAgAHAAAAAAAAAAAAAAAAAAAAAQEC": CursorPosition(FIRST, 258, ((SECOND, 7),)),
}
"""By the text: 16 bytes of each request's id and 2 of the offset, the first first, in base64 for addresses."""


@pytest.mark.parametrize("text", CURSORS)
def test_a_cursor_that_a_client_holds_is_still_read(text):
    position = CURSORS[text]
    assert read_cursor(text) == position
    assert write_cursor(position.request_id, position.offset, position.earlier_steps) == text


HEADER = "0200 00000000000000000000000000000001 000000000000f83f 03000000 46000000"
"""Two posts, request 1, made at 1.5, by policy 3, of 70 candidates."""
NAMES = b"\x10plain\x1fcontrol\x1fab".hex()
"""Sixteen bytes: engine, variant and fallback."""
SLATES = {
    "01" + HEADER + NAMES + "0700000000000000 0000000000010000" + "003e 0038" + "05 02" + "11 04": (7, 2**40),
    "02" + HEADER + NAMES + "07000000 09000000" + "003e 0038" + "05 02" + "11 04": (7, 9),
}
"""Ids of the posts, by the bytes: version, header, names, then ids, scores of 1.5 and 0.5, sources and reasons."""


def slate(*ids):
    """Return the slate of the header above with these posts."""
    return Slate(
        request_id=FIRST,
        engine="plain",
        variant="control",
        policy_version=3,
        fallback="ab",
        built_at=1.5,
        candidate_count=70,
        post_ids=np.array(ids, np.int64),
        scores=np.array([1.5, 0.5][: len(ids)], np.float32),
        origins=np.array([5, 2][: len(ids)], np.uint16),
        reasons=np.array([17, 4][: len(ids)], np.uint16),
    )


@pytest.mark.parametrize("packed", SLATES, ids=["long ids", "short ids"])
def test_a_slate_that_lies_in_redis_is_still_read(packed):
    """An update of the service must not lose everybody's slates, or worse, misread them."""
    found = unpack(bytes.fromhex(packed))
    assert (found.request_id, found.built_at, found.policy_version, found.candidate_count) == (FIRST, 1.5, 3, 70)
    assert (found.engine, found.variant, found.fallback) == ("plain", "control", "ab")
    assert found.post_ids.tolist() == list(SLATES[packed]) and found.scores.tolist() == [1.5, 0.5]
    assert (found.origins.tolist(), found.reasons.tolist()) == ([5, 2], [17, 4])
    assert pack(slate(*SLATES[packed])) == bytes.fromhex(packed)


@pytest.mark.parametrize(("ids", "version"), [((0, 2**32 - 1), 2), ((0, 2**32), 1), ((-1, 5), 1), ((), 2)])
def test_ids_are_written_short_where_all_of_them_fit_into_four_bytes(ids, version):
    packed = pack(slate(*ids))
    assert packed[0] == version and unpack(packed).post_ids.tolist() == list(ids)


def test_a_slate_of_another_version_is_refused():
    packed = bytes.fromhex(next(iter(SLATES)))
    for version in (0, 3, 255):
        with pytest.raises(SlateFormatError, match=f"version {version} is none of 1, 2"):
            unpack(bytes([version]) + packed[1:])
