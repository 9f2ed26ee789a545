"""
Every task that runs at least hourly finds its rows by an index, however many rows there are.

Each statement of each scheduled task is explained. In the short form the tables are small and the planners must not
know it: SQLite has no statistics, and PostgreSQL is told to avoid sequential scans, so that one is left only where no
index serves. The nightly form has a million interactions and lets the planners choose.
"""

import json
from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

import numpy as np
import psycopg
import pytest
from django.conf import settings
from django.db import connection

from monitoring import clock
from recommendations.models import (
    FeedInputs,
    FeedRequest,
    Interaction,
    Member,
    NegativeFeedback,
    SeenPost,
    ServedPage,
    Undo,
)
from recommendations.services.extensions.gauges import backlog_gauges
from recommendations.services.measuring.quality import served_ndcg
from recommendations.stores.bulk import insert_columns, refresh_statistics
from recsys_project.celery import app
from tests import factories
from tests.factories import NOW

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("fresh_wiring")]

GROWING = (Interaction, Undo, NegativeFeedback, SeenPost, ServedPage, FeedRequest, FeedInputs)
TABLES = {model._meta.db_table for model in GROWING}
TO_DO = {"interactions_to_learn", "interactions_to_unlearn"}
"""Indexes of the rows that are to be processed only. Reading one completely is not a scan of the table."""
OTHER_QUEUES = {"analysis", "training"}
MEMBERS = 50


@pytest.fixture(params=[500, pytest.param(1_000_000, marks=[pytest.mark.nightly, pytest.mark.timeout(0)])])
def rows(request):
    """Fill the growing tables: a row of each for each interaction, over the last 400 days, all of them learned."""
    author = factories.member("author")
    posts = np.array([post.pk for post in factories.posts(author, 20)])
    members = np.array([factories.member(f"m{number}").pk for number in range(MEMBERS)])
    for start in range(0, request.param, 50_000):
        number = np.arange(start, min(start + 50_000, request.param))
        ids = [str(n) for n in number]
        times = np.array([NOW - timedelta(days=400) * (1 - n / request.param) for n in number.tolist()], object)
        of = {"member_id": members[number % MEMBERS], "post_id": posts[number % len(posts)]}
        done = {"is_learned": True, "kind": "like"}
        insert_columns(Interaction, {**of, "event_id": ids, "occurred_at": times, "received_at": times}, done)
        undo = {"member_id": of["member_id"], "event_id": ids, "undoes_event_id": ids, "received_at": times}
        insert_columns(Undo, undo)
        feedback = {**of, "event_id": ids, "target_key": ids, "created_at": times}
        insert_columns(NegativeFeedback, feedback, {"target": "topic"})
    member = Member.objects.get(external_id="m0")
    for number in range(50):
        at = NOW - timedelta(days=8 * number)
        request_row = FeedRequest.objects.create(
            id=UUID(int=number), member=member, feed="discovery", engine="plain", variant="control",
            policy_version=1, post_ids=b"", parts=b"", origins=b"", created_at=at,
        )  # fmt: skip
        FeedInputs.objects.create(request=request_row, packed_inputs=b"", created_at=at)
        ServedPage.objects.create(member=member, request_id=request_row.pk, offset=0, post_ids=b"", created_at=at)
    if request.param > 100_000:
        refresh_statistics(*GROWING)
        return
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")
            return
        cursor.execute("ANALYZE sqlite_schema")  # creates the table of statistics, or loads what it contains
        cursor.execute("DELETE FROM sqlite_stat1")  # from maintenance in earlier tests
        cursor.execute("ANALYZE sqlite_schema")


class Explainer:
    """Explains every statement and collects those that read a growing table without an index."""

    def __init__(self):
        self.scans, self.tables = [], set()

    def __call__(self, execute, sql, params, many, context):
        if not many and sql.lstrip().startswith(("SELECT", "UPDATE", "DELETE")):
            self.tables |= {table for table in TABLES if table in sql}
            self.scans += [f"{scan} in: {sql[:1000]}" for scan in find_scans(sql, params)]
        return execute(sql, params, many, context)


def find_scans(sql, params) -> Iterator[str]:
    """Yield each step of the statement's plan that reads a whole table of `TABLES`."""
    is_first_row = "WHERE" not in sql and "LIMIT" in sql
    if is_first_row or not any(table in sql for table in TABLES):
        return
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN QUERY PLAN {sql}", params)
            steps = [detail.split() for *_, detail in cursor.fetchall()]
        yield from (" ".join(step) for step in steps if step[0] == "SCAN" and is_whole_table(step))
        return
    with psycopg.ClientCursor(connection.connection) as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", params)
        ((plan,),) = cursor.fetchall()
    plan = json.loads(plan) if isinstance(plan, str) else plan
    yield from find_scan_nodes(plan[0]["Plan"])


def is_whole_table(step) -> bool:
    """Return whether a scan in a plan of SQLite reads a table of `TABLES`."""
    return step[1].strip('"') in TABLES and not TO_DO & set(step)


def find_scan_nodes(node) -> Iterator[str]:
    """Yield the nodes of a plan of PostgreSQL that read a whole table."""
    is_whole = node["Node Type"] == "Seq Scan" or (
        node["Node Type"] in ("Index Scan", "Index Only Scan", "Bitmap Index Scan")
        and "Index Cond" not in node
        and node["Index Name"] not in TO_DO
    )
    if is_whole and node.get("Relation Name") in TABLES:
        yield f"{node['Node Type']} of {node['Relation Name']}"
    for child in node.get("Plans", []):
        yield from find_scan_nodes(child)


def frequent_tasks():
    """Return the names of the scheduled entries that run at least hourly, and of the nightly retention."""
    entries = settings.BEAT_SCHEDULE.items()
    return {
        name: entry
        for name, entry in entries
        if name == "delete-expired-records"
        or (is_frequent(entry["schedule"]) and entry["options"]["queue"] not in OTHER_QUEUES)
    }


def is_frequent(schedule) -> bool:
    return schedule <= timedelta(hours=1) if isinstance(schedule, timedelta) else schedule.hour == "*"


def test_no_periodic_task_reads_a_whole_table(rows, monkeypatch):
    monkeypatch.setattr(clock, "now", lambda: NOW)
    explainer = Explainer()
    tasks = frequent_tasks()
    assert {"reconcile-jobs", "roll-up-hours", "measure-show-less", "delete-expired-records"} <= set(tasks)
    with connection.execute_wrapper(explainer):
        for entry in tasks.values():
            app.tasks[entry["task"]].apply(kwargs=entry.get("kwargs", {}), throw=True)
        backlog_gauges(NOW)
        served_ndcg(now=NOW)
    assert not explainer.scans, "\n".join(explainer.scans)
    assert explainer.tables >= TABLES - {"recommendations_undo"}, "a task of each table was explained"


@pytest.mark.parametrize("condition", [{"is_learned": True}, {"value": 1.0}])
def test_a_query_without_an_index_is_found(condition):
    explainer = Explainer()
    with connection.execute_wrapper(explainer):
        list(Interaction.objects.order_by().filter(**condition).values_list("member_id", flat=True))
    assert len(explainer.scans) == 1


@pytest.mark.one_database("postgresql")
def test_no_growing_table_has_an_index_for_like():
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename, indexname FROM pg_indexes WHERE indexdef LIKE '%pattern_ops%'")
        assert [row for row in cursor.fetchall() if row[0] in TABLES] == []
