"""Bulk insertion stores the same values as the ORM: each type of field is read back unchanged."""

from datetime import UTC, datetime, timedelta, timezone
from uuid import uuid4

import numpy as np
import pytest
from django.db import IntegrityError, transaction

from recommendations.models import (
    Interaction,
    Member,
    Post,
    PostEmbedding,
    PostStats,
    ReactionHistory,
    RegionStats,
    ServedPage,
)
from recommendations.stores import bulk
from recommendations.stores.bulk import insert_columns, insert_missing, insert_new_rows, update_columns, upsert_columns
from recommendations.stores.sql import one_of, to_array

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 6, 1, 12, 30, 15, 250_000, tzinfo=UTC)
SECOND = np.datetime64("2026-06-01T12:30:15", "s")


def members(count):
    names = [f"m{n}" for n in range(count)]
    insert_columns(Member, {"external_id": names, "created_at": [NOW] * count}, {"changed_at": NOW})
    return list(Member.objects.order_by("id"))


def test_each_type_of_field_is_read_back_unchanged():
    ann, bob = members(2)
    columns = {
        "external_id": ["p'1", "p2"],
        "author_id": np.array([ann.pk, bob.pk]),
        "text": ['tab\t quote" back\\slash 👩‍👧 %s', ""],
        "tags": [["a", "日本"], []],
        "safety_labels": [{"nudity": 0.5}, {}],
        "created_at": np.array([SECOND, SECOND - 5]),
        "removed_at": [None, NOW],
        "visibility": np.array([0, 3], np.int8),
    }
    assert insert_columns(Post, columns, {"changed_at": NOW}) == 2
    first, second = Post.objects.order_by("external_id")
    first.full_clean()
    assert (first.text, first.tags, first.safety_labels) == (
        columns["text"][0],
        ["a", "日本"],
        {"nudity": 0.5},
    )
    assert first.created_at == NOW.replace(microsecond=0)
    assert second.created_at == NOW.replace(microsecond=0) - timedelta(seconds=5)
    assert (first.removed_at, second.removed_at, second.visibility) == (None, NOW, 3)
    assert (first.media, first.kind, first.changed_at) == ([], "text", NOW), "defaults are set"
    request_id = uuid4()
    interaction_columns = {
        "event_id": ["e"],
        "member_id": [ann.pk],
        "post_id": [first.pk],
        "occurred_at": [NOW],
        "value": [1.5],
    }
    insert_columns(Interaction, interaction_columns, {"kind": "like", "received_at": NOW, "request_id": request_id})
    row = Interaction.objects.get()
    assert (row.request_id, row.value, row.is_learned) == (request_id, 1.5, False)
    vector = bytes(range(256)) * 2
    constants = {"embedding_model": "m", "dimension": 128, "changed_at": NOW}
    insert_columns(PostEmbedding, {"post_id": [first.pk], "vector": [vector]}, constants)
    assert bytes(PostEmbedding.objects.get().vector) == vector


def test_the_orm_finds_rows_by_bulk_inserted_times():
    members(1)
    insert_columns(Member, {"external_id": ["late"], "created_at": np.array([SECOND])}, {"changed_at": NOW})
    assert Member.objects.filter(created_at__lt=NOW).get().external_id == "late"
    assert Member.objects.filter(created_at=NOW.replace(microsecond=0)).exists()


def test_existing_rows_are_skipped_and_not_counted(monkeypatch):
    monkeypatch.setattr(bulk, "BATCH_ROWS", 2)
    members(3)
    columns = {"external_id": ["m1", "new", "m2", "newer", "new"], "created_at": [NOW] * 5}
    assert insert_columns(Member, columns, {"changed_at": NOW}) == 2
    assert Member.objects.count() == 5


@pytest.mark.parametrize("batch_rows", [2, 100])
def test_the_mask_of_new_rows_excludes_existing_keys_and_all_but_the_first_of_equal_keys(monkeypatch, batch_rows):
    monkeypatch.setattr(bulk, "BATCH_ROWS", batch_rows)
    members(3)
    columns = {
        "external_id": ["new", "m1", "new", "newer", "m2", "newest", "newer"],
        "region": list("abcdefg"),
        "created_at": [NOW] * 7,
    }
    is_new = insert_new_rows(Member, columns, {"changed_at": NOW}, key=("external_id",))
    assert is_new.tolist() == [True, False, False, True, False, True, False]
    assert dict(Member.objects.exclude(region="").values_list("external_id", "region")) == {
        "new": "a",
        "newer": "d",
        "newest": "f",
    }
    assert not insert_new_rows(Member, columns, {"changed_at": NOW}, key=("external_id",)).any()
    assert insert_new_rows(Member, {name: [] for name in columns}, {"changed_at": NOW}, key=("external_id",)).shape == (
        0,
    )


@pytest.mark.parametrize("moment", [NOW, NOW.replace(microsecond=0), NOW.astimezone(timezone(timedelta(hours=2)))])
def test_new_rows_are_known_by_ids_numbers_and_times(moment):
    (ann,) = members(1)
    requests = [uuid4() for _ in range(3)]
    columns = {
        "member_id": [ann.pk] * 3,
        "request_id": requests,
        "offset": [0, 5, 5],
        "post_ids": [b"12345678"] * 3,
        "created_at": [moment] * 3,
    }
    key = ("request_id", "offset", "created_at")
    stored = {name: values[1:2] for name, values in columns.items()}
    assert insert_new_rows(ServedPage, stored, {}, key=key).tolist() == [True]
    assert insert_new_rows(ServedPage, columns, {}, key=key).tolist() == [True, False, True]


def test_other_constraint_violations_raise_an_error():
    with pytest.raises(IntegrityError):
        insert_columns(Member, {"external_id": ["a"], "created_at": [None]}, {"changed_at": NOW})


def test_no_rows_insert_nothing():
    assert insert_columns(Member, {"external_id": [], "created_at": []}, {"changed_at": NOW}) == 0


def test_columns_of_unequal_length_raise_an_error():
    with pytest.raises(ValueError, match="zip"), transaction.atomic():
        insert_columns(Member, {"external_id": ["a", "b"], "created_at": [NOW]}, {"changed_at": NOW})
    assert not Member.objects.exists()


@pytest.mark.parametrize("count", [1, bulk.MIN_COPY_ROWS - 1, bulk.MIN_COPY_ROWS, 3 * bulk.MIN_COPY_ROWS])
def test_any_number_of_rows_is_inserted_and_the_new_ones_are_known(count):
    """PostgreSQL gets few rows in a statement, and more by COPY."""
    members(2)
    names = [f"m{n}" for n in range(1, 1 + count)]
    columns = {"external_id": names, "created_at": [NOW] * count, "languages": [["de", "日本"]] * count}
    is_new = insert_new_rows(Member, columns, {"changed_at": NOW, "birth_year": None}, key=("external_id",))
    assert is_new.tolist() == [name != "m1" for name in names]
    assert Member.objects.count() == 1 + count
    assert all(member.languages == ["de", "日本"] for member in Member.objects.exclude(external_id__in=["m0", "m1"]))
    assert insert_columns(Member, columns, {"changed_at": NOW}) == 0


@pytest.mark.parametrize("count", [1, 60])
def test_an_upsert_inserts_rows_and_replaces_the_others(count):
    """On PostgreSQL, by values and by COPY."""
    ids = [member.pk for member in members(count + 1)]
    upsert_columns(ReactionHistory, {"member_id": ids[:1], "reactions": [b"old"], "reacted_at": [b"then"]})
    reactions, times = [bytes([n, 0, 255]) for n in range(count + 1)], [b"now"] * (count + 1)
    upsert_columns(ReactionHistory, {"member_id": ids, "reactions": reactions, "reacted_at": times})
    rows = ReactionHistory.objects.order_by("pk").values_list("pk", "reactions", "reacted_at")
    assert [(pk, bytes(own), bytes(at)) for pk, own, at in rows] == list(zip(ids, reactions, times, strict=True))


def posts(count):
    (author,) = members(1)
    columns = {"external_id": [f"p{n}" for n in range(count)], "created_at": [NOW] * count}
    insert_columns(Post, columns, {"author_id": author.pk, "changed_at": NOW})
    return list(Post.objects.order_by("pk").values_list("pk", flat=True))


def test_only_missing_rows_are_inserted():
    first, second = posts(2)
    RegionStats.objects.create(post_id=first, region="DE", total_sum=4, summed_at=NOW, changed_at=NOW)
    key = {"post_id": [first, first, second], "region": ["DE", "it's", "DE"]}
    insert_missing(RegionStats, key, {"summed_at": NOW, "changed_at": NOW, "total_sum": 0.5})
    insert_missing(PostStats, {"post_id": [first]}, {"summed_at": NOW, "changed_at": NOW})
    rows = RegionStats.objects.order_by("post", "region").values_list("post", "region", "total_sum", "hour_sum")
    assert list(rows) == [(first, "DE", 4, 0), (first, "it's", 0.5, 0), (second, "DE", 0.5, 0)]
    assert PostStats.objects.get().summed_at == NOW


def test_updated_columns_are_read_back_unchanged():
    first, second, third = posts(3)
    times = [NOW, NOW.replace(microsecond=0), NOW]
    columns = {
        "text": ["tab\t quote\" 'back\\slash, {👩‍👧} %s", "", "NULL"],
        "tags": [["a", "日本"], [], ["{}"]],
        "removed_at": [None, NOW, NOW.replace(microsecond=0)],
        "created_at": np.array([time.replace(tzinfo=None) for time in times], "datetime64[us]"),
        "visibility": [0, 3, 1],
    }
    update_columns(Post, [first, second, third], columns, {"language": "pt-BR", "changed_at": NOW})
    rows = list(Post.objects.order_by("pk").values_list(*columns, "language", "changed_at"))
    expected = zip(*(times if name == "created_at" else values for name, values in columns.items()), strict=True)
    assert rows == [(*row, "pt-BR", NOW) for row in expected]
    assert Post.objects.filter(created_at=NOW.replace(microsecond=0)).count() == 1, "times are stored as Django does"


@pytest.mark.parametrize("sums", [[0.1 + 0.2, 1e-300, 3.0], [None, 2.5, None]])
def test_updated_numbers_keep_their_bits(sums):
    ann, *_ = members(1)
    post, *_ = posts(1)
    for n in range(3):
        Interaction.objects.create(
            event_id=f"e{n}", member=ann, post_id=post, kind="like", occurred_at=NOW, received_at=NOW
        )
    ids = list(Interaction.objects.order_by("pk").values_list("pk", flat=True))
    update_columns(Interaction, ids, {"value": sums, "is_learned": [True, False, True]}, {})
    rows = Interaction.objects.order_by("pk").values_list("value", "is_learned")
    assert list(rows) == list(zip(sums, [True, False, True], strict=True))
    update_columns(Interaction, [], {"value": []}, {})


def test_rows_are_found_by_many_ids_in_one_parameter():
    ids = posts(3)
    assert set(Post.objects.filter(pk__in=one_of(ids[1:])).values_list("pk", flat=True)) == set(ids[1:])
    assert not Post.objects.filter(pk__in=one_of([])).exists()


def test_numbers_of_python_and_of_numpy_become_the_text_of_an_array():
    assert to_array([np.float64(0.1), 1e-300, float("inf")]) == "{0.1,1e-300,inf}"
    assert to_array([True, False, 3]) == "{True,False,3}"
    assert to_array([0.1, None]) == [0.1, None]
    assert to_array(["a"]) == ["a"] and to_array([]) == []
