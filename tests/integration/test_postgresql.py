"""Connections to PostgreSQL: queries that are sent ahead, and replacing a connection that the server has closed."""

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

READS_COMMITTED_DATA = resident_facts.reads_committed_data
"""The real function: the fixture `fresh_wiring` replaces it."""
COUNT_MEMBERS = ("SELECT count(*) FROM recommendations_member", ())

pytestmark = [
    pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no server"),
    pytest.mark.django_db(transaction=True),
]


def test_repeated_statements_are_prepared(db):
    with connection.cursor() as cursor:
        for _ in range(8):
            cursor.execute("SELECT count(*) FROM recommendations_member WHERE id > %s", (1,))
        cursor.execute("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%%recommendations_member%%'")
        assert cursor.fetchone()[0] >= 1


def test_each_of_several_queries_has_its_rows_and_an_error_is_djangos():
    assert fetch_all_rows(("SELECT %s::int", (1,)), ("SELECT 2 WHERE false", ()), ("SELECT 3", ())) == [
        [(1,)],
        [],
        [(3,)],
    ]
    with pytest.raises(DatabaseError):
        fetch_all_rows(("SELECT 1", ()), ("SELECT 1 / 0", ()), ("SELECT 2", ()))
    assert fetch_all_rows(("SELECT 1", ())) == [[(1,)]], "the connection is still usable"


@pytest.fixture
def open_api(client, monkeypatch):
    monkeypatch.setattr(settings, "ENV", settings.ENV.model_copy(update={"api_open": True}))
    return client


# Queries sent ahead


def backend_pid():
    """Return the pid of the server process of this connection."""
    ((pid,),) = sql.execute_query("SELECT pg_backend_pid()", ())
    return pid


def terminate_backend(pid):
    """Terminate a server process, from another connection."""
    other_connection = connection.copy()
    with other_connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", (pid,))
    other_connection.close()


def test_queries_sent_ahead_return_the_rows_that_django_returns():
    post = factories.post(factories.member("zoë"), text="100 % läuft")
    queries = [
        ("SELECT id, external_id, is_active, birth_year, created_at FROM recommendations_member", ()),
        (
            "SELECT text, tags, visibility FROM recommendations_post WHERE id = ANY(%s) AND text LIKE '100 %%'",
            ([post.pk],),
        ),
        ("SELECT id FROM recommendations_member WHERE external_id = %s LIMIT %s", ("zoë", 3)),
        ("SELECT '\\x00ff'::bytea, NULL::bigint, -5::bigint, 1.5::float8", ()),
        ("SELECT 1 WHERE false", ()),
    ]
    pending = sql.PendingQueries(*queries)
    assert pending._sent is not None
    assert pending._sent.fetch() == [sql.execute_query(*query) for query in queries]


def test_queries_sent_ahead_are_executed_in_order():
    """A later query never sees older data, so facts read after the change log are at least as current as the log."""
    pending = sql.PendingQueries(
        ("SELECT pg_sleep(0.2)::text, count(*) FROM recommendations_member", ()), COUNT_MEMBERS
    )
    other_connection = connection.copy()
    with other_connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO recommendations_member (external_id, is_active, languages, region, created_at, changed_at)"
            " VALUES ('eve', true, '[]', '', now(), now())"
        )
    other_connection.close()
    ((_, before),), ((after,),) = pending.rows()
    assert (before, after) == (0, 1)


def test_queries_sent_ahead_are_executed_again_if_another_query_came_between():
    pending = sql.PendingQueries(COUNT_MEMBERS)
    factories.member("ann")
    assert pending._sent.fetch() is None
    assert pending.rows() == [[(1,)]], "as of the second execution"
    with transaction.atomic():
        assert sql.PendingQueries(COUNT_MEMBERS)._sent is None, "a failure would end the transaction"
    pending = sql.PendingQueries(COUNT_MEMBERS)
    with transaction.atomic():
        factories.member("bob")
    assert pending.rows() == [[(2,)]]


def test_queries_sent_ahead_and_never_read_do_not_affect_others(open_api):
    factories.member("ann")
    for _ in range(3):
        sql.PendingQueries(COUNT_MEMBERS)
        assert open_api.get("/api/v1/members/ann/feed?limit=0").status_code == 400
        assert open_api.get("/api/v1/members/ann/feed").status_code == 200
    sql.PendingQueries(COUNT_MEMBERS)
    connection.close()
    assert Member.objects.count() == 1


def test_if_one_query_fails_all_are_executed_again_and_the_error_is_djangos():
    for _ in range(2):
        pending = sql.PendingQueries(COUNT_MEMBERS, ("SELECT 1 / %s", (0,)), COUNT_MEMBERS)
        with pytest.raises(DatabaseError):
            pending.rows()
        assert sql.fetch_all_rows(COUNT_MEMBERS) == [[(0,)]], "the connection is still usable"


def test_queries_and_rows_of_any_length_get_through():
    ids = list(range(1_000_000))
    queries = ("SELECT cardinality(%s::bigint[])", (ids,)), ("SELECT repeat('x', 20000000)", ())
    ((count,),), ((text,),) = sql.PendingQueries(*queries, *queries)._sent.fetch()[2:]
    assert (count, len(text)) == (len(ids), 20_000_000)


def test_a_text_with_a_nul_is_not_sent_ahead():
    factories.member("ann")
    select_by_id = "SELECT id FROM recommendations_member WHERE external_id = %s"
    assert sql.PendingQueries((select_by_id, ("ann\0x",)))._sent is None
    assert sql.PendingQueries((select_by_id, ("ann",)))._sent is not None


def test_a_lost_connection_is_an_error_for_the_caller_and_for_no_later_query():
    pending = sql.PendingQueries(("SELECT pg_sleep(20)::text", ()))
    terminate_backend(connection.connection.info.backend_pid)
    with pytest.raises(DatabaseError):
        pending.rows()
    connection.close_if_unusable_or_obsolete()
    assert sql.fetch_all_rows(COUNT_MEMBERS) == [[(0,)]]


def test_a_caller_interrupted_while_waiting_leaves_no_rows_for_the_next_query(monkeypatch):
    """For example a task at its time limit. Its rows still arrive, and must not be returned for the next query."""

    def interrupt(*_):
        raise KeyboardInterrupt

    pending = sql.PendingQueries(("SELECT 42 FROM pg_sleep(0.3)", ()))
    with monkeypatch.context() as patched:
        patched.setattr("recsys_project.postgresql.base.wait_for_events", interrupt)
        with pytest.raises(KeyboardInterrupt):
            pending.rows()
    with pytest.raises(DatabaseError):
        sql.execute_query(*COUNT_MEMBERS)
    connection.close_if_unusable_or_obsolete()
    assert sql.fetch_all_rows(COUNT_MEMBERS) == [[(0,)]]


@pytest.mark.parametrize("step", ["send_query_prepared", "pipeline_sync"])
def test_a_caller_interrupted_while_sending_leaves_no_query(monkeypatch, step):
    class InterruptedConnection:
        def __init__(self, pgconn):
            self._pgconn = pgconn

        def __getattr__(self, name):
            if name == step:
                raise KeyboardInterrupt
            return getattr(self._pgconn, name)

    connection.ensure_connection()
    with monkeypatch.context() as patched:
        patched.setattr(connection.connection, "pgconn", InterruptedConnection(connection.connection.pgconn))
        with pytest.raises(KeyboardInterrupt):
            sql.PendingQueries(COUNT_MEMBERS)
    assert connection.connection is None
    assert sql.fetch_all_rows(COUNT_MEMBERS) == [[(0,)]]


def test_without_a_connection_nothing_is_sent_ahead_and_the_query_raises_djangos_error(monkeypatch):
    connection.close()
    with monkeypatch.context() as patched:
        patched.setitem(connection.settings_dict, "PORT", "9")
        assert connection.send_queries([COUNT_MEMBERS]) is None
        with pytest.raises(DatabaseError):
            sql.fetch_all_rows(COUNT_MEMBERS)
    assert sql.fetch_all_rows(COUNT_MEMBERS) == [[(0,)]]


def test_statements_sent_ahead_are_prepared_once_per_connection():
    prepared = ("SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'pending_%%'", ())
    for _ in range(2):
        connection.close()
        for _ in range(5):
            sql.fetch_all_rows(COUNT_MEMBERS, COUNT_MEMBERS)
        assert sql.execute_query(*prepared) == [(1,)]


def test_queries_sent_ahead_are_counted():
    with CaptureQueriesContext(connection) as captured:
        sql.PendingQueries(COUNT_MEMBERS, COUNT_MEMBERS).rows()
    assert len(captured) == 2


def test_a_block_holds_in_the_next_page_although_facts_are_prefetched(open_api, fresh_wiring, monkeypatch):
    monkeypatch.setattr(resident_facts, "reads_committed_data", READS_COMMITTED_DATA)
    ann, bob = factories.member("ann"), factories.member("bob")
    factories.posts(bob, 5)

    def get_picks():
        return open_api.get("/api/v1/members/ann/feed").json()["picks"]

    fetched = []
    fetch = PendingQueries.fetch
    monkeypatch.setattr(PendingQueries, "fetch", lambda pending: (fetched.append(fetch(pending)), fetched[-1])[1])
    assert len(get_picks()) == len(get_picks()) == 5
    assert wiring.resident_facts()._viewers, "the viewer is cached"
    deadline = time.monotonic() + 60
    while [len(rows) for rows in fetched if rows] != [1]:  # until only the log is prefetched
        # A transaction that another test has open on this server makes the facts be read again.
        assert time.monotonic() < deadline
        fetched.clear()
        assert len(get_picks()) == 5
    factories.block(bob, ann)
    assert get_picks() == []
    Relationship.objects.all().delete()
    assert len(get_picks()) == 5


# Connections


def test_a_connection_in_use_is_usable_without_a_query():
    factories.member("ann")
    with CaptureQueriesContext(connection) as queries:
        assert connection.is_usable()
    assert not queries.captured_queries


def test_a_connection_that_the_server_closed_is_replaced_in_the_next_request(client):
    factories.member("ann")
    terminate_backend(backend_pid())
    deadline = time.monotonic() + 20
    while connection.is_usable():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    connection.health_check_enabled = True
    connection.health_check_done = False
    connection.close_if_health_check_failed()
    assert factories.member("bob").pk
