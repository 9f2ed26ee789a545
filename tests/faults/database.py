"""
Reads the database as it is, with SQL of its own: the checker must not trust the code that it checks.

Triggers record what the service commits to its rows of jobs and interactions, in order, in a table of their own.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections import Counter
from collections.abc import Hashable, Iterator
from typing import Any
from uuid import UUID

import numpy as np
import psycopg

from recommendations.contracts import Visibility
from tests.faults.history import Final, FinishedJob, Key, Mark

SQLITE_NOW, POSTGRESQL_NOW = "(julianday('now') - 2440587.5) * 86400.0", "extract(epoch from clock_timestamp())"
LOG_COLUMNS = "(at double precision, kind text, job text, chunk integer, change text)"
TRIGGERS = {
    # name: table, condition, values after the time
    "chunk": (
        "recommendations_jobchunk",
        "OLD.state <> NEW.state OR OLD.attempts <> NEW.attempts",
        "'chunk', CAST(NEW.job_id AS text), NEW.number, OLD.state || '>' || NEW.state",
    ),
    "learned": (
        "recommendations_interaction",
        "NEW.is_learned AND NOT OLD.is_learned",
        "'learned', '', 0, ''",
    ),
}


class Database:
    """The database of a deployment."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._is_sqlite = url.startswith("sqlite")
        self._snapshot: Any = None

    @contextlib.contextmanager
    def _connect(self) -> Iterator[Any]:
        if self._is_sqlite:
            connection: Any = sqlite3.connect(self._url.removeprefix("sqlite:///"), timeout=30)
        else:
            connection = psycopg.connect(self._url)
        with contextlib.closing(connection), connection:
            yield connection

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        if self._snapshot:
            return list(self._snapshot.execute(sql).fetchall())
        with self._connect() as connection:
            return list(connection.execute(sql).fetchall())

    def add_triggers(self) -> None:
        """Record the changes from now on."""
        with self._connect() as connection:
            key = "INTEGER PRIMARY KEY" if self._is_sqlite else "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
            connection.execute(f"CREATE TABLE fault_log (id {key}, {LOG_COLUMNS[1:]}")
            for name, (table, condition, values) in TRIGGERS.items():
                now = SQLITE_NOW if self._is_sqlite else POSTGRESQL_NOW
                insert = f"INSERT INTO fault_log (at, kind, job, chunk, change) VALUES ({now}, {values});"
                if self._is_sqlite:
                    body = f"WHEN {condition} BEGIN {insert} END"
                else:
                    connection.execute(
                        f"CREATE FUNCTION fault_{name}() RETURNS trigger LANGUAGE plpgsql AS "
                        f"$$ BEGIN {insert} RETURN NULL; END $$"
                    )
                    body = f"FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION fault_{name}()"
                connection.execute(f"CREATE TRIGGER fault_{name} AFTER UPDATE ON {table} {body}")

    def read_marks(self) -> list[Mark]:
        """Return the recorded changes of chunks, in order."""
        rows = self.query("SELECT job, chunk, change, at FROM fault_log WHERE kind = 'chunk' ORDER BY id")
        return [Mark(str(UUID(job)), chunk, change, at) for job, chunk, change, at in rows]

    def read_learned_times(self) -> list[float]:
        """Return the times at which interactions were learned, ascending."""
        return sorted(float(at) for (at,) in self.query("SELECT at FROM fault_log WHERE kind = 'learned'"))

    def count_open_work(self) -> int:
        """Return the number of unlearned interactions and unfinished jobs."""
        return sum(
            int(self.query(sql)[0][0])
            for sql in (
                "SELECT count(*) FROM recommendations_interaction WHERE NOT is_learned",
                "SELECT count(*) FROM recommendations_job WHERE finished_at IS NULL",
            )
        )

    def bytes_per_row(self) -> float:
        """
        Return the size of the database without the files of jobs, divided by the rows that traffic adds.

        A file of a job has what its members did until then, so each is larger than the one before.
        """
        tables = ("interaction", "seenpost", "servedpage", "feedrequest", "jobchunk", "jobfile")
        count = sum(self.query(f"SELECT count(*) FROM recommendations_{table}")[0][0] for table in tables)
        pages = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
        sql = pages if self._is_sqlite else "SELECT pg_database_size(current_database())"
        files = self.query("SELECT coalesce(sum(length(content)), 0) FROM recommendations_jobfile")[0][0]
        return float(self.query(sql)[0][0] - files) / max(count, 1)

    def read_final(self) -> Final:
        """Return the final state, of one moment: workers may still be writing pages that were served."""
        with self._connect() as self._snapshot:
            self._snapshot.execute("BEGIN" if self._is_sqlite else "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            try:
                return self._read_tables()
            finally:
                self._snapshot = None

    def _read_tables(self) -> Final:
        """Return the final state. The results of jobs are the files that they wrote."""
        posts = dict(self.query("SELECT id, external_id FROM recommendations_post"))
        stored = Counter(dict(self.query("SELECT post_id, count(*) FROM recommendations_interaction GROUP BY post_id")))
        served: Counter[int] = Counter()
        for (page,) in self.query("SELECT post_ids FROM recommendations_servedpage"):
            served.update(np.frombuffer(bytes(page), "<i8").tolist())
        stats = {
            post: counts
            for post, *counts in self.query(
                "SELECT post_id, interaction_count, served_count FROM recommendations_poststats"
            )
        }
        counted = {name: stats.get(pk, (0, 0)) for pk, name in posts.items()}
        return Final(
            values=self._read_values(),
            events=dict(self.query("SELECT event_id, count(*) FROM recommendations_interaction GROUP BY event_id")),
            unlearned=self.count_open_work()
            and self.query("SELECT count(*) FROM recommendations_interaction WHERE NOT is_learned")[0][0],
            interactions={name: (stored[pk], counted[name][0]) for pk, name in posts.items()},
            served={name: (served[pk], counted[name][1]) for pk, name in posts.items()},
            jobs=self._read_jobs(),
        )

    def _read_values(self) -> dict[Key, Hashable]:
        values: dict[Key, Hashable] = {}
        members = self.query(
            "SELECT external_id, languages, region, is_personalized, muted_words FROM recommendations_member m "
            "JOIN recommendations_privacysettings p ON p.member_id = m.id"
        )
        for name, languages, region, is_personalized, muted_words in members:
            values |= {
                ("languages", name): tuple(load_json(languages)),
                ("region", name): region,
                ("consent", name): bool(is_personalized),
                ("muted_words", name): tuple(load_json(muted_words)),
            }
        for kind, source, target in self.query(
            "SELECT kind, s.external_id, t.external_id FROM recommendations_relationship r "
            "JOIN recommendations_member s ON s.id = source_id JOIN recommendations_member t ON t.id = target_id"
        ):
            values[kind, source, target] = True
        for name, visibility, removed_at in self.query(
            "SELECT external_id, visibility, removed_at FROM recommendations_post"
        ):
            values["visibility", name] = Visibility(visibility).name.lower()
            values["removed", name] = removed_at is not None
        return values

    def _read_jobs(self) -> dict[str, FinishedJob]:
        files = self.query(
            "SELECT job_id, external_id FROM recommendations_jobfile f "
            "JOIN recommendations_member m ON m.id = f.member_id"
        )
        return {
            str(UUID(str(job))): FinishedJob(
                state, done, failed, tuple(member for file, member in files if file == job)
            )
            for job, state, done, failed in self.query("SELECT id, state, done, failed FROM recommendations_job")
        }


def load_json(value: Any) -> Any:
    """Return the value of a JSON column: SQLite returns its text."""
    return json.loads(value) if isinstance(value, str) else value
