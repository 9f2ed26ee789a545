"""Stored numbers, text and bytes keep their meaning: in the database, in Redis and in cursors."""

import zlib
from uuid import UUID

import numpy as np
import pytest
from django.conf import settings

from flags.experiments.rules import ExposedVariant
from recommendations.contracts import (
    AccountStatus,
    Origin,
    Policy,
    Reason,
    Sensitivity,
    ServedSlate,
    Slate,
    Visibility,
)
from recommendations.models.change_log import ChangeKind
from recommendations.services.errors import InvalidRequest
from recommendations.services.serving import records
from recommendations.services.serving.cursors import CursorPosition, read_cursor, write_cursor
from recommendations.stores.redis_slates import SlateFormatError, pack, pack_served, unpack, unpack_served

FIRST, SECOND = UUID(int=1), UUID(int=2)


def test_stored_numbers_keep_their_meaning():
    assert (Visibility.PUBLIC, Visibility.FOLLOWERS, Visibility.UNLISTED, Visibility.PRIVATE) == (0, 1, 2, 3)
    assert (Sensitivity.SAFE, Sensitivity.SENSITIVE, Sensitivity.ADULT, Sensitivity.FORBIDDEN) == (0, 1, 2, 3)
    assert (AccountStatus.OPEN, AccountStatus.PRIVATE, AccountStatus.INACTIVE) == (0, 1, 2)
    assert (ChangeKind.EVERYTHING, ChangeKind.POST, ChangeKind.AUTHOR) == (0, 1, 2)
    assert (ChangeKind.VIEWER, ChangeKind.SEEN) == (3, 4)


def test_the_bits_of_sources_and_reasons_never_change():
    assert (Origin.NEAREST, Origin.FOLLOWED, Origin.TRENDING, Origin.FRESH) == (0, 1, 2, 3)
    assert (Origin.TOPIC, Origin.EXPLORATION, Origin.INDEXED) == (4, 5, 6)
    assert (Origin.ITEM_WEIGHTS, Origin.CO_LIKED, Origin.LIKED_NEXT) == (7, 8, 9)
    assert (Reason.TASTE, Reason.FOLLOWED, Reason.POPULAR, Reason.FRESH) == (0, 1, 2, 3)
    assert (Reason.SIMILAR, Reason.TOPIC, Reason.AUTHOR, Reason.EXPLORATION, Reason.LIKED) == (4, 5, 6, 7, 8)
    assert len(Origin) == 10 and len(Reason) == 9, "add the new member here: it is stored"


def test_the_default_policy_is_pinned():
    """
    A change of a default changes the feeds of every variant without a policy, without a new version.

    The default policies of an installation change with a new migration that calls `activate_new_defaults`: the last one
    may have run already. Name it here together with the new value.
    """
    migrations = sorted((settings.BASE_DIR / "recommendations" / "migrations").glob("0*.py"))
    activating = [path.stem for path in migrations if "activate_new_defaults" in path.read_text()]
    assert activating[-1] == "0021_less_popularity"
    assert Policy() == Policy(
        taste=1.4,
        cold_taste=1.4,
        dislike=0.5,
        recency=0.05,
        popularity=0.01,
        trending_popularity=0.125,
        year_popularity=0.03,
        few_likes_popularity=0.4,
        trend=0.5,
        item_weights=0.75,
        co_liked=1.0,
        liked_next=0.2,
        follow=0.2,
        author=0.5,
        topic=0.2,
        show_less=2.0,
        quality=0.1,
        exploration=0.05,
        fatigue=0.4,
        fatigue_half_life_hours=6,
        session=0.8,
        recency_half_life_hours=72,
        diversity=0.2,
        author_cap=3,
        nearest_candidates=400,
        max_interests=4,
        followed_candidates=300,
        trending_candidates=200,
        fresh_candidates=100,
        topic_candidates=150,
        collaborative_candidates=300,
        exploration_candidates=12,
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
        hour_half_life_hours=1,
        day_half_life_hours=24,
        week_half_life_hours=168,
        year_half_life_hours=8760,
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
"""Two posts, request 1, built at 1.5 with policy version 3 from 70 candidates."""
NAMES = b"\x10plain\x1fcontrol\x1fab".hex()
"""Sixteen bytes: engine, variant and fallback."""
SLATES = {
    "01" + HEADER + NAMES + "0700000000000000 0000000000010000" + "003e 0038" + "0500 0200" + "1100 0400": (7, 2**40),
    "02" + HEADER + NAMES + "07000000 09000000" + "003e 0038" + "0500 0200" + "1100 0400": (7, 9),
}
"""Post ids by packed bytes: version, header, names, ids, scores of 1.5 and 0.5, sources, reasons."""


def slate(*ids):
    """Return a slate with the header above and these posts."""
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
def test_the_packed_form_of_a_slate_is_pinned(packed):
    """A release that changes it must also change the version, so that cached slates are not misread."""
    unpacked = unpack(bytes.fromhex(packed))
    assert (unpacked.request_id, unpacked.built_at, unpacked.policy_version, unpacked.candidate_count) == (
        FIRST,
        1.5,
        3,
        70,
    )
    assert (unpacked.engine, unpacked.variant, unpacked.fallback) == ("plain", "control", "ab")
    assert unpacked.post_ids.tolist() == list(SLATES[packed]) and unpacked.scores.tolist() == [1.5, 0.5]
    assert (unpacked.origins.tolist(), unpacked.reasons.tolist()) == ([5, 2], [17, 4])
    assert pack(slate(*SLATES[packed])) == bytes.fromhex(packed)


@pytest.mark.parametrize(("ids", "version"), [((0, 2**32 - 1), 2), ((0, 2**32), 1), ((-1, 5), 1), ((), 2)])
def test_ids_take_four_bytes_if_all_of_them_fit(ids, version):
    packed = pack(slate(*ids))
    assert packed[0] == version and unpack(packed).post_ids.tolist() == list(ids)


def test_a_slate_of_another_version_is_rejected():
    packed = bytes.fromhex(next(iter(SLATES)))
    for version in (0, 3, 255):
        with pytest.raises(SlateFormatError, match=f"version {version} is not one of 1, 2"):
            unpack(bytes([version]) + packed[1:])


RECORDS = {
    records.slate_record(slate(7, 9), 5, "discovery", 2.5): (
        "73" + "0500000000000000 00002040 48000000" + "0900" + b"discovery".hex()
        + "02" + HEADER + NAMES + "07000000 09000000" + "003e 0038" + "0500 0200" + "1100 0400" + "00" * 8
    ),
    records.page_record(FIRST, 5, 3, [7, 9], 1.5): (
        "70" + "0500000000000000 000000000000f83f" + FIRST.hex + "0300" + "0700000000000000 0900000000000000"
    ),
    records.inputs_record(FIRST, 1.5, b"ab"): "69" + FIRST.hex + "000000000000f83f" + b"ab".hex(),
    records.exposure_record(ExposedVariant(1, 2, "control", 0.5), 5, "ann", 1.5): (
        "78" + "0500000000000000 000000000000f83f 0100000000000000 0200000000000000 000000000000e03f"
        + b"control\x1fann".hex()
    ),
}  # fmt: skip
"""The pinned form of records of served pages in Redis: the byte of the kind and layout, the head, and the content."""


@pytest.mark.parametrize("record", RECORDS, ids=["slate", "page", "inputs", "exposure"])
def test_the_packed_form_of_a_record_is_pinned(record):
    """A release that changes it must also change the first byte, so that workers of the other version set it aside."""
    assert record.hex() == RECORDS[record].replace(" ", "")
    assert records.read_record(record)


def test_each_kind_of_record_is_pinned():
    assert {record[:1] for record in RECORDS} == records.READERS.keys()


def test_the_packed_form_of_a_kept_slate_is_pinned():
    """A release that changes it must also change the version, the first byte."""
    served = ServedSlate(b"record", np.array([3, 5, 6]), np.array([7, 9]))
    packed = pack_served(served)
    assert packed[:9].hex() == "01" + "03000000" + "02000000"
    numbers = [3, 2, 1, 7, 9]
    assert zlib.decompress(packed[9:]) == np.array(numbers, "<i8").tobytes() + b"record"
    with pytest.raises(SlateFormatError, match="version 2 is not 1"):
        unpack_served(b"\x02" + packed[1:])


def test_a_cursor_of_another_layout_is_invalid():
    """It has a character that no cursor of this layout has. Without a strict check it would be ignored."""
    for text in CURSORS:
        with pytest.raises(InvalidRequest, match="Invalid cursor"):
            read_cursor(f"2.{text}")
        with pytest.raises(InvalidRequest, match="Invalid cursor"):
            read_cursor(f".{text}")
