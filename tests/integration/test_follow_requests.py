"""Follow requests: the follow of a private account waits for its member's approval, for every way to store it."""

import threading
from datetime import timedelta

import pytest
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client
from django.urls import reverse

from recommendations.models import Interaction, Member, PrivacySettings, Relationship
from recommendations.services.content.ingest import ingest_items
from recommendations.services.errors import InvalidRequest, UnknownFollowRequest, UnknownMember
from recommendations.services.learning import interact, learn, store_relationships
from recommendations.services.members import follow_requests, preferences
from recommendations.services.members.profile_file.export_profile import export_profile
from recommendations.services.members.profile_file.import_profile import import_profile
from recommendations.services.serving.recommend import recommend
from recommendations.stores.relational_viewers import build_viewer, viewer_queries
from recommendations.stores.sql import fetch_all_rows
from tests import factories
from tests.admin_forms import submit_page
from tests.factories import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]

LATER = NOW + timedelta(minutes=5)


@pytest.fixture
def bob():
    """Create Bob, whose account is private, with a post, and Ann and Cay."""
    bob = factories.member("bob", is_private=True)
    factories.post(bob, "secret", text="a secret")
    factories.embed_all_posts()
    factories.member("ann"), factories.member("cay")
    return bob


def relate(source, kind, target, *, is_on=True, is_sent_by_member=True):
    preferences.set_relationship(
        member_id=source,
        kind=kind,
        target_id=target,
        is_on=is_on,
        is_sent_by_member=is_sent_by_member,
        now=LATER,
    )


def relationships():
    return sorted(Relationship.objects.values_list("source__external_id", "kind", "target__external_id"))


def store(*rows, approves_follows=False):
    """Store (source, kind, target) rows by name, in this order."""
    pks = dict(Member.objects.values_list("external_id", "pk"))
    columns = {
        "source_id": [pks.get(source, 0) for source, _, _ in rows],
        "target_id": [pks.get(target, 0) for _, _, target in rows],
        "kind": [kind for _, kind, _ in rows],
        "created_at": [NOW] * len(rows),
    }
    return store_relationships.store_relationships(columns, approves_follows=approves_follows)


REQUEST, FOLLOW = ("ann", "follow_request", "bob"), ("ann", "follow", "bob")


def test_a_request_is_made_once_and_approved_once(bob):
    for _ in range(2):
        relate("ann", "follow", "bob")
        assert relationships() == [REQUEST]
    follow_requests.approve_follow_request(member_id="bob", requester_id="ann")
    assert relationships() == [FOLLOW]
    relate("ann", "follow", "bob")
    assert relationships() == [FOLLOW], "no new request of a member who follows already"
    with pytest.raises(UnknownFollowRequest):
        follow_requests.approve_follow_request(member_id="bob", requester_id="ann")


def test_a_pending_request_has_no_effect_on_any_feed_or_on_learning(bob):
    ann = Member.objects.get(external_id="ann")
    before = build_viewer(fetch_all_rows(*viewer_queries(pk=ann.pk)), NOW)
    relate("ann", "follow", "bob")
    after = build_viewer(fetch_all_rows(*viewer_queries(pk=ann.pk)), NOW)
    assert len(after.followed_author_ids) == len(before.followed_author_ids) == 0
    for feed in ("discovery", "following", "trending", "non_personalized"):
        assert not recommend(member_id="ann", feed=feed, now=LATER).picks
    learn.learn_interactions(member_ids=[ann.pk], now=LATER)
    assert not Interaction.objects.exists() and not hasattr(ann, "interests")
    follow_requests.approve_follow_request(member_id="bob", requester_id="ann")
    assert [pick.post.id for pick in recommend(member_id="ann", feed="following", now=LATER).picks] == ["secret"]


def test_the_end_of_a_follow_withdraws_a_request_too(bob):
    relate("ann", "follow", "bob")
    relate("ann", "follow", "bob", is_on=False)
    assert relationships() == []
    relate("ann", "follow_request", "bob", is_sent_by_member=False)
    assert relationships() == [REQUEST], "the platform may send a request, too"
    relate("ann", "follow_request", "bob", is_on=False)
    assert relationships() == []


def test_the_undo_of_a_follow_event_withdraws_the_request_that_it_left(bob):
    """The account became private between the check of the post and the follow."""
    Member.objects.get(external_id="ann")
    preferences.set_preferences(member_id="bob", changes={"is_private": False}, now=NOW)
    interact.record_events(events=[interact.Event("e1", "ann", "secret", "follow")], now=NOW)
    assert relationships() == [FOLLOW]
    Relationship.objects.update(kind="follow_request")
    interact.record_events(events=[interact.Event("e2", "ann", undoes_event_id="e1")], now=LATER)
    assert relationships() == []


@pytest.mark.parametrize("blocker, blocked", [("ann", "bob"), ("bob", "ann")])
@pytest.mark.parametrize("kind", ["follow", "follow_request"])
def test_a_block_ends_follows_and_requests_and_prevents_new_ones(bob, kind, blocker, blocked):
    for source, target in (("ann", "bob"), ("bob", "ann")):
        factories.relationship(Member.objects.get(external_id=source), kind, Member.objects.get(external_id=target))
    relate(blocker, "block", blocked)
    relate("ann", kind, "bob"), relate("bob", kind, "ann"), relate("ann", kind, "bob", is_sent_by_member=False)
    assert relationships() == [(blocker, "block", blocked)]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
@pytest.mark.parametrize("approves_follows", [True, False])
def test_rows_next_to_a_block_end_with_the_block_in_any_order(bob, order, approves_follows):
    rows = [("ann", "follow", "cay"), ("cay", "block", "ann"), ("ann", "follow_request", "cay")]
    stored = store(*(rows[i] for i in order), approves_follows=approves_follows)
    assert (stored, relationships()) == (1, [("cay", "block", "ann")])
    assert store(rows[0], approves_follows=approves_follows) == 0


def test_a_follow_and_a_request_of_one_pair_become_one_follow(bob):
    assert store(REQUEST, FOLLOW, approves_follows=True) == 1
    assert relationships() == [FOLLOW]
    assert store(REQUEST) == 0
    store(("cay", "follow", "bob"))
    assert store(("cay", "follow", "bob"), approves_follows=True) == 1, "the platform approves the pending request"
    assert relationships() == [FOLLOW, ("cay", "follow", "bob")]


def test_a_request_of_an_open_account_is_a_follow_and_unknown_members_are_left_out(bob):
    assert store(("ann", "follow_request", "cay"), ("ann", "mute", "nobody"), ("nobody", "follow", "bob")) == 1
    assert relationships() == [("ann", "follow", "cay")]


def test_an_account_without_settings_is_private(bob):
    factories.member("dan", privacy=False)
    relate("ann", "follow", "dan")
    assert relationships() == [("ann", "follow_request", "dan")]


def become_open_by_preferences(bob):
    preferences.set_preferences(member_id="bob", changes={"is_private": False}, now=LATER)


def become_open_by_upsert(bob):
    ingest_items(kind="members", items=[{"id": "bob", "is_private": False}], now=LATER)


def become_open_by_profile_file(bob):
    import_profile(
        member_id="bob",
        content={"format": "recsys-profile", "version": 1, "preferences": {"is_private": False}},
        now=LATER,
    )


SETTINGS_FORM = {"sensitivity": "0", "muted_words": "[]", "muted_tags": "[]", "is_personalized": "on"}


def become_open_by_admin_page_of_settings(bob):
    page = reverse("admin:recommendations_privacysettings_change", args=[bob.pk])
    assert submit_page(admin_session(), page, SETTINGS_FORM | {"member": bob.pk}).status_code == 302


def become_open_by_admin_page_of_the_member(bob):
    page = reverse("admin:recommendations_member_change", args=[bob.pk])
    inline = {f"privacy-0-{name}": value for name, value in (SETTINGS_FORM | {"member": bob.pk}).items()}
    management = {"privacy-TOTAL_FORMS": 1, "privacy-INITIAL_FORMS": 1}
    member = {"external_id": "bob", "languages": "[]", "is_adult": "unknown", "is_active": "on"}
    created = {"created_at_0": "2026-01-01", "created_at_1": "00:00:00"}
    assert submit_page(admin_session(), page, member | created | management | inline).status_code == 302


def admin_session():
    user, _ = get_user_model().objects.get_or_create(username="root", is_staff=True, is_superuser=True)
    client = Client()
    client.force_login(user)
    return client


@pytest.mark.parametrize(
    "become_open",
    [
        become_open_by_preferences,
        become_open_by_upsert,
        become_open_by_profile_file,
        become_open_by_admin_page_of_settings,
        become_open_by_admin_page_of_the_member,
    ],
)
def test_pending_requests_are_approved_when_the_account_becomes_open(bob, become_open):
    relate("ann", "follow", "bob"), relate("cay", "block", "ann")
    become_open(bob)
    assert not PrivacySettings.objects.get(member=bob).is_private
    assert relationships() == [FOLLOW, ("cay", "block", "ann")]


def test_followers_stay_when_an_account_becomes_private(bob):
    relate("bob", "follow", "cay")
    preferences.set_preferences(member_id="cay", changes={"is_private": True}, now=LATER)
    relate("ann", "follow", "cay")
    assert relationships() == [("ann", "follow_request", "cay"), ("bob", "follow", "cay")]


# The list


def test_pages_list_each_pending_request_once_newest_first(bob):
    fans = [factories.member(f"fan-{n}") for n in range(5)]
    for fan in fans:
        relate(fan.external_id, "follow", "bob")
    listed, cursor = [], None
    for size in (2, 2, 1):
        page = follow_requests.list_follow_requests(member_id="bob", limit=2, cursor=cursor)
        assert len(page.follow_requests) == size
        listed += [request.member_id for request in page.follow_requests]
        cursor = page.next_cursor
        if size == 2:
            relate("ann", "follow", "bob")  # a new request does not move the pages
    assert listed == [f"fan-{n}" for n in (4, 3, 2, 1, 0)] and cursor is None
    sent = follow_requests.list_follow_requests(member_id="ann", direction="outgoing")
    assert [(request.member_id, request.created_at) for request in sent.follow_requests] == [("bob", LATER)]
    assert follow_requests.list_follow_requests(member_id="ann").follow_requests == []


def test_a_deactivated_requester_is_neither_listed_nor_approved(bob):
    relate("ann", "follow", "bob")
    Member.objects.filter(external_id="ann").update(is_active=False)
    assert follow_requests.list_follow_requests(member_id="bob").follow_requests == []
    with pytest.raises(UnknownFollowRequest):
        follow_requests.approve_follow_request(member_id="bob", requester_id="ann")
    assert relationships() == [REQUEST]


@pytest.mark.parametrize(
    "query, pointer",
    [
        ({"direction": "sideways"}, "/direction"),
        ({"limit": 0}, "/limit"),
        ({"limit": 101}, "/limit"),
        ({"cursor": "1:forged"}, "/cursor"),
    ],
)
def test_an_invalid_list_request_names_the_value(bob, query, pointer):
    with pytest.raises(InvalidRequest) as error:
        follow_requests.list_follow_requests(member_id="bob", **query)
    assert error.value.pointer == pointer


def test_a_follow_of_a_deactivated_member_by_a_token_has_no_effect(bob):
    Member.objects.filter(external_id__in=("bob", "cay")).update(is_active=False)
    relate("ann", "follow", "bob"), relate("ann", "follow", "cay"), relate("ann", "mute", "cay")
    assert relationships() == [("ann", "mute", "cay")]
    assert export_profile(member_id="ann", now=LATER)["relationships"]["mute"] == []
    relate("ann", "follow", "cay", is_sent_by_member=False)
    assert relationships() == [("ann", "follow", "cay"), ("ann", "mute", "cay")]


def test_only_the_platform_is_told_that_a_member_does_not_exist(bob):
    relate("ann", "follow", "nobody"), relate("ann", "block", "nobody", is_on=False)
    with pytest.raises(UnknownMember):
        relate("ann", "follow", "nobody", is_sent_by_member=False)


def test_a_member_may_block_who_blocks_them_and_their_file_does_not_tell(bob):
    """The block holds when the other block ends. Until then the file says nothing of a member who blocks its owner."""
    relate("bob", "block", "ann"), relate("ann", "block", "bob")
    assert export_profile(member_id="ann", now=LATER)["relationships"]["block"] == []
    relate("bob", "block", "ann", is_on=False)
    assert export_profile(member_id="ann", now=LATER)["relationships"]["block"] == ["bob"]


# Admin


def post_admin(name, data, *args):
    return admin_session().post(reverse(f"admin:recommendations_relationship_{name}", args=args), data)


def add_form(source, kind, target):
    pks = dict(Member.objects.values_list("external_id", "pk"))
    created = {"created_at_0": "2026-01-01", "created_at_1": "00:00:00"}
    return {"source": pks[source], "kind": kind, "target": pks[target]} | created


def test_staff_approve_and_decline_requests(bob):
    relate("ann", "follow", "bob"), relate("cay", "follow", "bob"), relate("ann", "follow", "cay")
    by_ann, by_cay = (Relationship.objects.get(source__external_id=name, target=bob) for name in ("ann", "cay"))
    follow = Relationship.objects.get(kind="follow")
    post_admin("changelist", {"action": "approve_requests", "_selected_action": [by_ann.pk, follow.pk]})
    post_admin("changelist", {"action": "decline_requests", "_selected_action": [by_cay.pk, follow.pk]})
    assert relationships() == [FOLLOW, ("ann", "follow", "cay")]


def test_staff_add_relationships_by_the_same_rules(bob):
    assert post_admin("add", add_form("ann", "follow_request", "bob")).status_code == 302
    assert relationships() == [REQUEST]
    assert post_admin("add", add_form("ann", "follow", "bob")).status_code == 302
    assert relationships() == [FOLLOW], "staff act for the platform, so the request is approved"
    for form, problem in (
        (add_form("ann", "follow_request", "bob"), "needs no request"),
        (add_form("ann", "follow_request", "cay"), "needs no request"),
        (add_form("ann", "follow", "ann"), "no_self_relationship"),
    ):
        assert problem in post_admin("add", form).content.decode()
    assert post_admin("add", add_form("bob", "block", "ann")).status_code == 302
    assert "blocks the other" in post_admin("add", add_form("ann", "follow", "bob")).content.decode()
    assert relationships() == [("bob", "block", "ann")]
    row = Relationship.objects.get()
    assert post_admin("change", add_form("bob", "mute", "ann"), row.pk).status_code == 403
    assert post_admin("delete", {"post": "yes"}, row.pk).status_code == 302
    assert relationships() == [] and admin.site.is_registered(Relationship)


# At the same moment


@pytest.mark.django_db(transaction=True)
def test_a_block_and_a_follow_at_the_same_moment_leave_no_follow(bob):
    """Whichever of them the database lets through first."""
    for _ in range(5):
        Relationship.objects.all().delete()
        start = threading.Barrier(2)

        def act(source, kind, target, start=start):
            start.wait()
            try:
                relate(source, kind, target)
            finally:
                connection.close()

        actions = ("bob", "block", "cay"), ("cay", "follow", "bob")
        threads = [threading.Thread(target=act, args=action) for action in actions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert relationships() == [("bob", "block", "cay")]
