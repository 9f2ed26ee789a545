"""Transactions that the database ends because of a concurrent one: they are run again, or reported as such."""

import json
import sqlite3
import threading

import psycopg
import pytest
from django.conf import settings
from django.db import DatabaseError, IntegrityError, OperationalError, connection

from monitoring import transactions
from monitoring.transactions import is_duplicate, is_write_conflict, write_transaction
from recommendations.api.exception_handler import convert_to_problem
from recommendations.models import Member
from recommendations.services.content import publish
from recommendations.services.members import preferences
from recommendations.stores.row_locks import lock_members
from tests import factories
from tests.admin_forms import read_states


def sqlite_error(code):
    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorcode = code
    return error


def raised(kind, cause):
    """Return an error of Django with the driver's error as its cause."""
    error = kind("quoted values")
    error.__cause__ = cause
    return error


CONFLICTS = {
    "deadlock": psycopg.errors.DeadlockDetected(),
    "serialization failure": psycopg.errors.SerializationFailure(),
    "lock timeout": psycopg.errors.LockNotAvailable(),
    "SQLite busy": sqlite_error(sqlite3.SQLITE_BUSY),
    "SQLite busy, as an old snapshot cannot be written": sqlite_error(sqlite3.SQLITE_BUSY_SNAPSHOT),
    "SQLite table locked": sqlite_error(sqlite3.SQLITE_LOCKED),
}
DUPLICATES = {
    "PostgreSQL": psycopg.errors.UniqueViolation(),
    "SQLite": sqlite_error(sqlite3.SQLITE_CONSTRAINT_UNIQUE),
    "SQLite, primary key": sqlite_error(sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY),
}
OTHERS = {
    "lost connection": psycopg.errors.AdminShutdown(),
    "server is away": psycopg.OperationalError("refused"),
    "disk full": sqlite_error(sqlite3.SQLITE_FULL),
    "foreign key": psycopg.errors.ForeignKeyViolation(),
    "no cause": None,
}


@pytest.fixture
def no_delay(monkeypatch):
    monkeypatch.setattr(transactions.time, "sleep", lambda seconds: None)


@pytest.mark.parametrize("cause", CONFLICTS.values(), ids=CONFLICTS)
def test_a_write_conflict_is_not_reported_as_an_unreachable_database(cause):
    error = raised(OperationalError, cause)
    problem = convert_to_problem(error)
    assert is_write_conflict(error) and not is_duplicate(error)
    assert (problem.status_code, problem.detail.code) == (503, "write-conflict")


@pytest.mark.parametrize("cause", OTHERS.values(), ids=OTHERS)
def test_another_error_is_no_write_conflict(cause):
    error = raised(OperationalError, cause)
    assert not is_write_conflict(error) and not is_duplicate(error)
    assert convert_to_problem(error).detail.code == "database-unavailable"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("cause", [*CONFLICTS.values(), *DUPLICATES.values()], ids=[*CONFLICTS, *DUPLICATES])
def test_a_transaction_is_run_again_as_a_whole(cause, no_delay, caplog):
    attempts = []

    @write_transaction
    def write(name):
        attempts.append(factories.member(name).pk)
        if len(attempts) < 3:
            raise raised(IntegrityError, cause)
        return name

    assert write("ann") == "ann"
    assert Member.objects.get().external_id == "ann", "what the first attempts wrote is rolled back"
    assert [line.message for line in caplog.records] == ["transaction_retried"] * 2


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("cause", "count"), [(CONFLICTS["deadlock"], transactions.MAX_ATTEMPTS), (None, 1)])
def test_the_last_error_is_raised(cause, count, no_delay):
    attempts = []

    @write_transaction
    def write():
        attempts.append(1)
        raise raised(OperationalError, cause)

    with pytest.raises(OperationalError):
        write()
    assert len(attempts) == count


@pytest.mark.django_db(transaction=True)
def test_no_attempt_starts_long_after_the_first(no_delay, monkeypatch):
    """SQLite has then waited for the other writer for half a minute already."""
    monkeypatch.setattr(transactions, "RETRY_SECONDS", -1)
    attempts = []

    @write_transaction
    def write():
        attempts.append(1)
        raise raised(OperationalError, CONFLICTS["SQLite busy"])

    with pytest.raises(OperationalError):
        write()
    assert len(attempts) == 1


@pytest.mark.django_db(transaction=True)
def test_only_the_outermost_transaction_is_run_again(no_delay):
    """The database has ended the whole transaction, not only its inner part."""
    calls = []

    @write_transaction
    def inner():
        calls.append("inner")
        if calls.count("inner") < 2:
            raise raised(OperationalError, CONFLICTS["deadlock"])

    @write_transaction
    def outer():
        calls.append("outer")
        inner()

    outer()
    assert calls == ["outer", "inner", "outer", "inner"]


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer, and no deadlocks")
@pytest.mark.django_db(transaction=True)
def test_two_transactions_that_lock_in_opposite_orders_both_succeed():
    pks = [factories.member(name).pk for name in ("ann", "bob")]
    both_locked = threading.Barrier(2)
    attempts, errors = [], []

    @write_transaction
    def lock_both(first, second):
        attempts.append(first)
        lock_members([first])
        if attempts.count(first) == 1:
            both_locked.wait(60)
        lock_members([second])

    def run(*order):
        try:
            lock_both(*order)
        except DatabaseError as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=order) for order in (pks, pks[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == [] and len(attempts) == 3


@pytest.mark.django_db
def test_graphql_names_a_write_conflict(client, monkeypatch):
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update={"api_open": True}))

    def fail(**options):
        raise raised(OperationalError, CONFLICTS["deadlock"])

    monkeypatch.setattr(preferences, "reset_interests", fail)
    query = 'mutation { resetProfile(memberId: "ann") }'
    answer = client.post("/graphql", json.dumps({"query": query}), content_type="application/json").json()
    assert [error["extensions"]["code"] for error in answer["errors"]] == ["write-conflict"]


# Forms of the admin


@pytest.fixture
def member_page(admin_client, redis_url):
    """Open the page of a member. Return the client, its address and the values of its form."""
    ann = factories.member("ann", region="DE", muted_words=["noise"])
    url = f"/admin/recommendations/member/{ann.pk}/change/"
    form = {
        "external_id": "ann",
        "languages": "[]",
        "region": "DE",
        "is_active": "on",
        "created_at_0": "2026-06-01",
        "created_at_1": "12:00:00",
        "privacy-TOTAL_FORMS": "1",
        "privacy-INITIAL_FORMS": "1",
        "privacy-0-member": ann.pk,
        "privacy-0-is_personalized": "on",
        "privacy-0-sensitivity": "0",
        "privacy-0-muted_words": '["noise"]',
        "privacy-0-muted_tags": "[]",
    }
    return admin_client, url, read_states(admin_client, url) | form


CHANGES_OF_OTHERS = {
    "a preference": lambda: preferences.set_preferences(member_id="ann", changes={"region": "AT"}, now=factories.NOW),
    "a setting": lambda: preferences.set_preferences(
        member_id="ann", changes={"muted_words": ["noise", "more"]}, now=factories.NOW
    ),
    "a deactivation": lambda: publish.set_members_active(
        member_ids=[Member.objects.get().pk], is_active=False, now=factories.NOW
    ),
}


@pytest.mark.django_db
@pytest.mark.parametrize("change", CHANGES_OF_OTHERS.values(), ids=CHANGES_OF_OTHERS)
def test_a_form_that_was_opened_before_another_change_is_refused(member_page, change):
    client, url, form = member_page
    change()
    before = Member.objects.values().get(), Member.objects.get().privacy.muted_words
    answer = client.post(url, form | {"birth_year": "1990", "privacy-0-is_private": "on"})
    assert answer.status_code == 200 and "was changed after you opened the page" in answer.content.decode()
    assert (Member.objects.values().get(), Member.objects.get().privacy.muted_words) == before


@pytest.mark.django_db
def test_a_form_saves_its_own_changes_only(member_page):
    """A column that the form does not show may have been written meanwhile."""
    client, url, form = member_page
    Member.objects.update(interests_reset_at=factories.NOW)
    form |= {"interests_reset_at_0": "2026-06-01", "interests_reset_at_1": "12:00:00"}
    form |= read_states(client, url)
    assert client.post(url, form | {"birth_year": "1990"}).status_code == 302
    ann = Member.objects.get()
    assert (ann.birth_year, ann.interests_reset_at, ann.privacy.muted_words) == (1990, factories.NOW, ["noise"])


@pytest.mark.django_db
def test_a_form_without_its_hidden_state_is_refused(member_page):
    client, url, form = member_page
    answer = client.post(url, {name: value for name, value in form.items() if "opened_state" not in name})
    assert answer.status_code == 200 and "was changed after you opened the page" in answer.content.decode()


@pytest.mark.django_db
def test_a_row_that_was_deleted_meanwhile_is_reported_as_missing(member_page, monkeypatch):
    client, url, form = member_page
    monkeypatch.setattr("recommendations.admin.members.lock_members", lambda pks: Member.objects.all().delete())
    assert client.post(url, form, follow=True).redirect_chain
    assert not Member.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize(("cause", "is_shown"), [(CONFLICTS["deadlock"], True), (OTHERS["disk full"], False)])
def test_a_write_conflict_in_the_admin_is_a_message(member_page, monkeypatch, cause, is_shown):
    client, url, form = member_page

    def fail(pks):
        raise raised(OperationalError, cause)

    monkeypatch.setattr("recommendations.admin.members.lock_members", fail)
    if not is_shown:
        with pytest.raises(OperationalError):
            client.post(url, form)
        return
    answer = client.post(url, form, follow=True)
    assert "Others changed the same data at the same moment" in answer.content.decode()


@pytest.mark.django_db
def test_a_form_of_a_flag_that_was_opened_before_another_change_is_refused(admin_client):
    flag = factories.flag("f")
    url = f"/admin/flags/flag/{flag.pk}/change/"
    names = ("variants", "rules", "prerequisites")
    inlines = {f"{name}-{count}_FORMS": "0" for name in names for count in ("TOTAL", "INITIAL")}
    values = {"kind": "bool", "rollout_percentage": "5", "on_value": "true", "default_value": "false"}
    form = read_states(admin_client, url) | inlines | values | {"off_value": "false", "why": "a test"}
    factories.flag("f", is_enabled=True)
    answer = admin_client.post(url, form)
    assert answer.status_code == 200 and "was changed after this page was opened" in answer.content.decode()
    flag.refresh_from_db()
    assert flag.is_enabled and flag.rollout_percentage == 0
