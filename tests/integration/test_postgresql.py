"""Connections to PostgreSQL: one that the server has closed is replaced, and asking that costs no query."""

import time

import pytest
from django.db import DatabaseError, connection
from django.test.utils import CaptureQueriesContext

from recommendations.stores.sql import queries
from tests import making

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
    assert queries(("SELECT %s::int", (1,)), ("SELECT 2 WHERE false", ()), ("SELECT 3", ())) == [[(1,)], [], [(3,)]]
    with pytest.raises(DatabaseError):
        queries(("SELECT 1", ()), ("SELECT 1 / 0", ()), ("SELECT 2", ()))
    assert queries(("SELECT 1", ())) == [[(1,)]], "the connection goes on"


def test_a_connection_in_use_is_usable_and_nobody_is_asked():
    making.member("ann")
    with CaptureQueriesContext(connection) as queries:
        assert connection.is_usable()
    assert not queries.captured_queries


def test_a_connection_that_the_server_closed_is_replaced_in_the_next_request(client):
    making.member("ann")
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", (pid,))
    other.close()
    deadline = time.monotonic() + 20
    while connection.is_usable():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    connection.health_check_enabled = True
    connection.health_check_done = False
    connection.close_if_health_check_failed()
    assert making.member("bob").pk
