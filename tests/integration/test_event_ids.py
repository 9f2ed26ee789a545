"""An event id is unique per member and sender. Sent again, it is a duplicate, or rejected if its content differs."""

import threading
from datetime import timedelta
from uuid import UUID

import pytest
from django.db import IntegrityError, connection, transaction

from recommendations.contracts import Sender
from recommendations.models import Interaction, NegativeFeedback, Undo
from recommendations.services.content.import_file import import_file
from recommendations.services.learning import interact
from recommendations.services.learning.interact import Event
from recommendations.services.learning.store_interactions import store_interactions
from recommendations.services.members.profile_file.import_profile import import_profile
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]
PLATFORM, MEMBER = Sender.PLATFORM, Sender.MEMBER
REQUEST_ID = UUID("00000000-0000-0000-0000-000000000001")


def add_rows():
    """Create two members, and an author with three posts."""
    factories.member("ann"), factories.member("cat")
    author = factories.member("bob")
    for number in range(3):
        factories.post(author, f"p{number}", tags=["war"])


@pytest.fixture
def rows():
    add_rows()


def event(event_id="e1", member_id="ann", **fields):
    content = {} if "undoes_event_id" in fields else {"post_id": "p0", "kind": "like"}
    return Event(**{"event_id": event_id, "member_id": member_id} | content | fields)


def record(*events, sender=PLATFORM, now=NOW):
    return [result.status for result in interact.record_events(events=events, now=now, sender=sender)]


def test_each_member_and_sender_has_ids_of_its_own(rows):
    for member_id in ("ann", "cat"):
        for sender in Sender:
            assert record(event(member_id=member_id), sender=sender) == ["recorded"]
            assert record(event(member_id=member_id), sender=sender) == ["duplicate"]
    assert Interaction.objects.count() == 4


def test_members_with_the_same_id_in_one_request_do_not_affect_each_other(rows):
    negative = {"kind": "not_interested", "target": "author"}
    assert record(event(**negative), event(member_id="cat"), event(member_id="cat")) == [
        "recorded",
        "recorded",
        "duplicate",
    ]
    assert set(NegativeFeedback.objects.values_list("member__external_id", "target")) == {
        ("ann", "post"),
        ("ann", "author"),
    }
    assert record(event("e2", "cat", **negative), event("e2", "ann", kind="view")) == ["recorded", "recorded"]
    assert set(NegativeFeedback.objects.filter(event_id="e2").values_list("member__external_id", flat=True)) == {"cat"}


FULL = {
    "kind": "not_interested",
    "target": "topic",
    "value": 1.5,
    "occurred_at": NOW - timedelta(hours=1),
    "request_id": REQUEST_ID,
}


@pytest.mark.parametrize("sender", Sender)
@pytest.mark.parametrize(
    "change",
    [
        {"post_id": "p1"},
        {"kind": "hide", "target": ""},
        {"target": "author"},
        {"value": 1.25},
        {"value": None},
        {"occurred_at": NOW - timedelta(hours=2)},
        {"occurred_at": NOW},
        {"request_id": None},
        {"post_id": "", "kind": "", "undoes_event_id": "e0"},
    ],
    ids=str,
)
def test_an_id_with_other_content_is_rejected_in_the_same_and_in_a_later_request(rows, sender, change):
    first, other = event(**FULL), event(**FULL | change)
    assert record(first, other, first, sender=sender) == ["recorded", "rejected", "duplicate"]
    (result,) = interact.record_events(events=[other], now=NOW + timedelta(hours=1), sender=sender)
    assert (result.status, "other content" in result.problem) == ("rejected", True)
    assert record(first, sender=sender, now=NOW + timedelta(hours=1)) == ["duplicate"]
    assert Interaction.objects.get().kind == "not_interested" and not Undo.objects.exists()


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (None, None),
        (NOW - timedelta(hours=1), None),
        (NOW + timedelta(minutes=3), NOW + timedelta(minutes=3)),  # a clock that is ahead: stored as NOW
        (NOW - timedelta(hours=1), NOW - timedelta(hours=1)),
    ],
)
def test_an_event_that_is_sent_again_later_is_a_duplicate(rows, first, again):
    assert record(event(occurred_at=first)) == ["recorded"]
    assert record(event(occurred_at=again), now=NOW + timedelta(days=1)) == ["duplicate"]


def test_an_undo_that_is_sent_again_is_a_duplicate_and_another_is_rejected(rows):
    assert record(event("e1"), event("e2"), event("u", undoes_event_id="e1")) == ["recorded"] * 3
    assert record(event("u", undoes_event_id="e1"), event("u", undoes_event_id="e2"), event("u")) == [
        "duplicate",
        "rejected",
        "rejected",
    ]
    assert [row.event_id for row in Interaction.objects.exclude(undone_at=None)] == ["e1"]


@pytest.mark.parametrize("is_early", [False, True])
def test_an_undo_affects_only_the_event_of_its_own_member_and_sender(rows, is_early):
    undo = event("u", undoes_event_id="e1")
    hide = {"kind": "not_interested", "target": "author"}
    if is_early:
        record(undo, sender=MEMBER)
    for member_id in ("ann", "cat"):
        for sender in Sender:
            assert record(event(member_id=member_id, **hide), sender=sender) == ["recorded"]
    if not is_early:
        record(undo, sender=MEMBER)
    undone = Interaction.objects.exclude(undone_at=None).values_list("member__external_id", "sender")
    assert list(undone) == [("ann", "member")]
    feedback = set(NegativeFeedback.objects.values_list("member__external_id", "sender", "target"))
    assert feedback == {
        (member_id, sender, target)
        for member_id, sender in [("ann", "platform"), ("cat", "platform"), ("cat", "member")]
        for target in ("post", "author")
    }


def test_the_id_of_an_undo_and_of_what_it_undoes_have_a_maximum_length(rows):
    assert record(event("u", undoes_event_id="x" * 128), event("v", undoes_event_id="x" * 129)) == [
        "recorded",
        "rejected",
    ]


def test_a_profile_file_cannot_take_the_ids_of_the_platforms_events(rows):
    """The file names the same feedback under the id that the platform uses later."""
    feedback = [
        {"target": target, "post_id": "p0", "event_id": "e1", "created_at": NOW.isoformat()}
        for target in ("post", "author")
    ]
    content = {"format": "recsys-profile", "version": 1, "negative_feedback": feedback}
    assert import_profile(member_id="ann", content=content, now=NOW).applied == 2
    negative = event(kind="not_interested", target="author")
    assert record(negative, sender=PLATFORM) == record(negative, sender=MEMBER) == ["recorded"]
    assert NegativeFeedback.objects.filter(sender="platform").count() == 2
    record(event("u", undoes_event_id="e1"), sender=PLATFORM)
    assert not NegativeFeedback.objects.filter(sender="platform").exists()


def write_csv(folder, *rows):
    path = folder / "interactions.csv"
    path.write_text("\n".join(["event_id,member_id,post_id,kind,occurred_at,request_id", *rows]))
    summary = import_file(kind="interactions", path=path, now=NOW, progress=lambda *_: None, restart=True)
    errors = summary.errors_path.read_text() if summary.errors_path else ""
    return summary.created, summary.unchanged, errors


def test_an_import_rejects_an_id_with_other_content_and_takes_no_ids_of_members(rows, tmp_path):
    record(event("taken"), sender=MEMBER)
    first = "taken,ann,p1,like,2026-05-01T00:00:00Z,"
    assert write_csv(tmp_path, first, "taken,cat,p1,like,2026-05-01T00:00:00Z,")[:2] == (2, 0)
    other = "taken,ann,p2,like,2026-05-01T00:00:00Z,"
    created, unchanged, errors = write_csv(tmp_path, first, other, "new,ann,p2,like,2026-05-01T00:00:00Z,")
    assert (created, unchanged) == (1, 1)
    assert errors.splitlines()[1].startswith("3,event_id,is the id of another interaction")
    # Interactions without an id are equal if they are the same event, whatever page they came from.
    anonymous = ",ann,p0,view,2026-05-01T00:00:00Z,"
    assert write_csv(tmp_path, anonymous, f"{anonymous}{REQUEST_ID}")[:2] == (1, 1)


# The database


def columns(event_id="e1", kind="like"):
    member, post = factories.Member.objects.get(external_id="ann"), factories.Post.objects.get(external_id="p0")
    return {
        "event_id": [event_id],
        "member_id": [member.pk],
        "post_id": [post.pk],
        "kind": [kind],
        "occurred_at": [NOW],
    }


@pytest.mark.parametrize("model", [Interaction, Undo])
def test_the_database_refuses_a_second_row_with_the_id_of_a_sender_and_member(rows, model):
    member, post = factories.Member.objects.get(external_id="ann"), factories.Post.objects.get(external_id="p0")
    shared = {"event_id": "e1", "member": member, "received_at": NOW}
    if model is Interaction:
        shared |= {"post": post, "kind": "like", "occurred_at": NOW}
    else:
        shared |= {"undoes_event_id": "e0"}
    model.objects.create(**shared, sender=PLATFORM)
    model.objects.create(**shared, sender=MEMBER)
    with pytest.raises(IntegrityError), transaction.atomic():
        model.objects.create(**shared, sender=PLATFORM)


@pytest.mark.parametrize(("kind", "status"), [("like", "duplicate"), ("hide", "rejected")])
def test_an_event_that_another_request_stores_meanwhile_is_a_duplicate_or_rejected(rows, monkeypatch, kind, status):
    """The other request stores its event after this one has looked for the id."""

    def store_second(values, now, sender, **options):
        store_interactions(columns(kind=kind), now, sender, **options)
        return store_interactions(values, now, sender, **options)

    monkeypatch.setattr(interact, "store_interactions", store_second)
    assert record(event(), event("e2")) == [status, "recorded"]
    assert Interaction.objects.get(event_id="e1").kind == kind


def test_an_undo_that_another_request_stores_meanwhile_is_rejected_and_has_no_effect(rows, monkeypatch):
    record(event("e1"), event("e2"))
    member = factories.Member.objects.get(external_id="ann")

    def undo_second(undos, now, sender):
        Undo.objects.create(member=member, event_id="u", sender=sender, undoes_event_id="e2", received_at=now)
        return undo(undos, now, sender)

    undo = interact.undo_interactions
    monkeypatch.setattr(interact, "undo_interactions", undo_second)
    assert record(event("u", undoes_event_id="e1"), event("e1")) == ["rejected", "duplicate"]
    assert not Interaction.objects.exclude(undone_at=None).exists()


def test_an_event_of_a_member_who_is_erased_meanwhile_is_a_duplicate(rows, monkeypatch):
    """The row that took the id is gone when this request looks for it."""
    monkeypatch.setattr(interact, "store_events", lambda events, *_: [False for _ in events])
    assert record(event()) == ["duplicate"]


@pytest.mark.django_db(transaction=True)
def test_concurrent_requests_store_an_event_once():
    """Every other request sends other content under the same id: it is rejected, and none is lost silently."""
    add_rows()
    kinds = ["like", "hide"] * 4
    results = [""] * len(kinds)
    start = threading.Barrier(len(kinds))

    def send(number):
        start.wait()
        try:
            (results[number],) = record(event(kind=kinds[number]))
        finally:
            connection.close()

    threads = [threading.Thread(target=send, args=(number,)) for number in range(len(kinds))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stored = Interaction.objects.get()
    assert results.count("recorded") == 1
    for kind, result in zip(kinds, results, strict=True):
        assert result in (("recorded", "duplicate") if kind == stored.kind else ("rejected",))
