"""Raw SQL of the request path: the rows, the errors and the listeners are those of Django's cursors."""

import pytest
from django.db import DatabaseError, connection, transaction
from django.db.transaction import TransactionManagementError

from monitoring import query_timing
from recommendations.stores import sql
from recommendations.stores.sql import execute_query, fetch_all_rows, fetch_rows, in_clause
from tests import factories

AWKWARD_IDS = ["100 %", "back\\slash", 'quo"te', "com,ma", "{brace}", "NULL", "zoë"]
MISSING_TABLE = ("SELECT 1 FROM missing_table", ())

pytestmark = pytest.mark.django_db(transaction=True)


def test_rows_are_those_of_djangos_cursors():
    factories.member("zoë")
    queries = [
        ("SELECT external_id, is_active, birth_year, languages FROM recommendations_member", ()),
        ("SELECT external_id FROM recommendations_member WHERE external_id LIKE 'zo%%' AND id > %s", (0,)),
        ("SELECT 1 WHERE 1 = 0", ()),
    ]
    if connection.vendor == "sqlite":
        queries.append(("SELECT %(name)s, '%%', %(number)s, %(name)s", {"name": "a", "number": 5}))
    assert fetch_all_rows(*queries) == [execute_query(*query) for query in queries]


def test_texts_of_any_kind_are_found_in_a_list():
    for external_id in AWKWARD_IDS:
        factories.member(external_id)
    factories.member("another")
    one_of, parameters = in_clause(AWKWARD_IDS)
    rows = fetch_rows(f"SELECT external_id FROM recommendations_member WHERE external_id {one_of}", parameters)
    assert {external_id for (external_id,) in rows} == set(AWKWARD_IDS)


def test_an_error_is_djangos_and_ends_the_transaction():
    with pytest.raises(DatabaseError):
        fetch_all_rows(MISSING_TABLE)
    with transaction.atomic():
        with pytest.raises(DatabaseError), transaction.atomic():
            fetch_all_rows(MISSING_TABLE)
        transaction.set_rollback(True)
        with pytest.raises(TransactionManagementError):
            fetch_rows("SELECT 1", ())
    assert fetch_rows("SELECT 1", ()) == [(1,)]


@pytest.mark.one_database("sqlite")
def test_whoever_watches_the_queries_sees_each_of_them(monkeypatch, django_assert_num_queries):
    seen = []

    def watch(execute, query, *args):
        seen.append(query)
        return execute(query, *args)

    with connection.execute_wrapper(watch):
        assert fetch_all_rows(("SELECT 1", ()), ("SELECT %s", (2,))) == [[(1,)], [(2,)]]
    assert seen == ["SELECT 1", "SELECT %s"]
    with django_assert_num_queries(2):
        fetch_all_rows(("SELECT 1", ()), ("SELECT 2", ()))
    monkeypatch.setattr(sql, "execute_query", None)
    monkeypatch.setattr(query_timing, "observe_query", lambda verb, seconds: seen.append(verb))
    assert fetch_all_rows(("SELECT 1", ()), ("SELECT 2", ())) == [[(1,)], [(2,)]]
    assert seen[2:] == ["SELECT"], "the queries are timed together"
