"""Connections to PostgreSQL: what is asked ahead on them; one that the server has closed is replaced."""

import time

import pytest
from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext

from recommendations.models import Member, Relationship
from recommendations.services import wiring
from recommendations.stores import resident_facts, sql
from recommendations.stores.sql import fetch_all_rows
from recsys_project.postgresql.base import PendingQueries
from tests import factories

IS_COMMITTED = resident_facts.reads_committed_data
"""The real one: the fixture `parts` puts another in its place."""
MEMBERS = ("SELECT count(*) FROM recommendations_member", ())

pytestmark = [
    pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no server"),
    pytest.mark.django_db(transaction=True),
]


def test_statements_that_come_again_are_prepared(db):
    with connection.cursor() as cursor:
        for _ in range(8):
            cursor.execute("SELECT count(*) FROM recommendations_member WHERE id > %s", (1,))
        cursor.execute("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%%recommendations_member%%'")
        assert cursor.fetchone()[0] >= 1


def test_of_queries_asked_at_once_each_has_its_answer_and_an_error_is_djangos():
    assert fetch_all_rows(("SELECT %s::int", (1,)), ("SELECT 2 WHERE false", ()), ("SELECT 3", ())) == [
        [(1,)],
        [],
        [(3,)],
    ]
    with pytest.raises(DatabaseError):
        fetch_all_rows(("SELECT 1", ()), ("SELECT 1 / 0", ()), ("SELECT 2", ()))
    assert fetch_all_rows(("SELECT 1", ())) == [[(1,)]], "the connection goes on"


@pytest.fixture
def open_api(client, monkeypatch):
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update={"api_open": True}))
    return client


# What is asked ahead


def backend():
    """Return the server's process of this connection."""
    ((pid,),) = sql.execute_query("SELECT pg_backend_pid()", ())
    return pid


def end(pid):
    """End a process of the server, from another connection."""
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", (pid,))
    other.close()


def test_what_is_asked_ahead_is_answered_as_django_would():
    post = factories.post(factories.member("zoë"), text="100 % läuft")
    questions = [
        ("SELECT id, external_id, is_active, birth_year, created_at FROM recommendations_member", ()),
        (
            "SELECT text, tags, visibility FROM recommendations_post WHERE id = ANY(%s) AND text LIKE '100 %%'",
            ([post.pk],),
        ),
        ("SELECT id FROM recommendations_member WHERE external_id = %s LIMIT %s", ("zoë", 3)),
        ("SELECT '\\x00ff'::bytea, NULL::bigint, -5::bigint, 1.5::float8", ()),
        ("SELECT 1 WHERE false", ()),
    ]
    asked = sql.PendingQueries(*questions)
    assert asked._ahead is not None
    assert asked._ahead.fetch() == [sql.execute_query(*question) for question in questions]


def test_of_what_is_asked_ahead_each_answer_is_as_of_its_turn():
    """What comes first is not newer: a log that is asked first tells of all that what comes after it is older than."""
    asked = sql.PendingQueries(("SELECT pg_sleep(0.2)::text, count(*) FROM recommendations_member", ()), MEMBERS)
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute(
            "INSERT INTO recommendations_member (external_id, is_active, languages, region, created_at, changed_at)"
            " VALUES ('eve', true, '[]', '', now(), now())"
        )
    other.close()
    ((_, before),), ((after,),) = asked.rows()
    assert (before, after) == (0, 1)


def test_whoever_asks_meanwhile_comes_first_and_the_rest_is_asked_anew():
    asked = sql.PendingQueries(MEMBERS)
    factories.member("ann")
    assert asked._ahead.fetch() is None
    assert asked.rows() == [[(1,)]], "as of when it was asked anew"
    with transaction.atomic():
        assert sql.PendingQueries(MEMBERS)._ahead is None, "it might end the transaction"
    asked = sql.PendingQueries(MEMBERS)
    with transaction.atomic():
        factories.member("bob")
    assert asked.rows() == [[(2,)]]


def test_what_is_asked_ahead_and_never_taken_disturbs_nobody(open_api):
    factories.member("ann")
    for _ in range(3):
        sql.PendingQueries(MEMBERS)
        assert open_api.get("/api/v1/members/ann/feed?limit=0").status_code == 400
        assert open_api.get("/api/v1/members/ann/feed").status_code == 200
    sql.PendingQueries(MEMBERS)
    connection.close()
    assert Member.objects.count() == 1


def test_where_one_question_has_no_answer_all_are_asked_anew_and_the_error_is_djangos():
    for _ in range(2):
        asked = sql.PendingQueries(MEMBERS, ("SELECT 1 / %s", (0,)), MEMBERS)
        with pytest.raises(DatabaseError):
            asked.rows()
        assert sql.fetch_all_rows(MEMBERS) == [[(0,)]], "the connection goes on"


def test_a_question_and_an_answer_of_any_length_get_through():
    ids = list(range(1_000_000))
    both = ("SELECT cardinality(%s::bigint[])", (ids,)), ("SELECT repeat('x', 20000000)", ())
    ((count,),), ((text,),) = sql.PendingQueries(*both, *both)._ahead.fetch()[2:]
    assert (count, len(text)) == (len(ids), 20_000_000)


def test_no_text_is_cut_off_at_a_nul():
    factories.member("ann")
    named = "SELECT id FROM recommendations_member WHERE external_id = %s"
    assert sql.PendingQueries((named, ("ann\0x",)))._ahead is None
    assert sql.PendingQueries((named, ("ann",)))._ahead is not None


def test_a_server_that_goes_away_before_it_answers_is_missed_by_whoever_asked_and_nobody_else():
    asked = sql.PendingQueries(("SELECT pg_sleep(20)::text", ()))
    end(connection.connection.info.backend_pid)
    with pytest.raises(DatabaseError):
        asked.rows()
    connection.close_if_unusable_or_obsolete()
    assert sql.fetch_all_rows(MEMBERS) == [[(0,)]]


def test_who_is_stopped_while_waiting_leaves_no_answer_for_another(monkeypatch):
    """As a task is by its time limit: its own answer is still to come, and must not be taken for the next one's."""

    def stop(*_):
        raise KeyboardInterrupt

    asked = sql.PendingQueries(("SELECT 42 FROM pg_sleep(0.3)", ()))
    with monkeypatch.context() as patched:
        patched.setattr("recsys_project.postgresql.base.wait_for_events", stop)
        with pytest.raises(KeyboardInterrupt):
            asked.rows()
    with pytest.raises(DatabaseError):
        sql.execute_query(*MEMBERS)
    connection.close_if_unusable_or_obsolete()
    assert sql.fetch_all_rows(MEMBERS) == [[(0,)]]


@pytest.mark.parametrize("step", ["send_query_prepared", "pipeline_sync"])
def test_who_is_stopped_while_sending_leaves_no_question(monkeypatch, step):
    class Stops:
        def __init__(self, pgconn):
            self._pgconn = pgconn

        def __getattr__(self, name):
            if name == step:
                raise KeyboardInterrupt
            return getattr(self._pgconn, name)

    connection.ensure_connection()
    with monkeypatch.context() as patched:
        patched.setattr(connection.connection, "pgconn", Stops(connection.connection.pgconn))
        with pytest.raises(KeyboardInterrupt):
            sql.PendingQueries(MEMBERS)
    assert connection.connection is None
    assert sql.fetch_all_rows(MEMBERS) == [[(0,)]]


def test_statements_asked_ahead_are_prepared_once_for_each_connection():
    prepared = ("SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'pending_%%'", ())
    for _ in range(2):
        connection.close()
        for _ in range(5):
            sql.fetch_all_rows(MEMBERS, MEMBERS)
        assert sql.execute_query(*prepared) == [(1,)]


def test_what_is_asked_ahead_is_counted_among_the_queries():
    with CaptureQueriesContext(connection) as captured:
        sql.PendingQueries(MEMBERS, MEMBERS).rows()
    assert len(captured) == 2


def test_a_block_holds_in_the_next_page_though_its_request_asks_first_of_all(open_api, fresh_wiring, monkeypatch):
    monkeypatch.setattr(resident_facts, "reads_committed_data", IS_COMMITTED)
    ann, bob = factories.member("ann"), factories.member("bob")
    factories.posts(bob, 5)

    def shown():
        return open_api.get("/api/v1/members/ann/feed").json()["picks"]

    taken = []
    fetch = PendingQueries.fetch
    monkeypatch.setattr(PendingQueries, "fetch", lambda ahead: (taken.append(fetch(ahead)), taken[-1])[1])
    assert len(shown()) == len(shown()) == 5
    assert wiring.resident_facts()._viewers, "she is remembered"
    taken.clear()
    assert len(shown()) == 5
    assert [len(rows) for rows in taken if rows] == [1], "the log was asked ahead, and that was all"
    factories.block(bob, ann)
    assert shown() == []
    Relationship.objects.all().delete()
    assert len(shown()) == 5


# Connections


def test_a_connection_in_use_is_usable_and_nobody_is_asked():
    factories.member("ann")
    with CaptureQueriesContext(connection) as queries:
        assert connection.is_usable()
    assert not queries.captured_queries


def test_a_connection_that_the_server_closed_is_replaced_in_the_next_request(client):
    factories.member("ann")
    end(backend())
    deadline = time.monotonic() + 20
    while connection.is_usable():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    connection.health_check_enabled = True
    connection.health_check_done = False
    connection.close_if_health_check_failed()
    assert factories.member("bob").pk
