"""Act as someone who runs SQL with the credentials of the application: the audit records and the schema must resist."""

import os
import subprocess
import sys

import psycopg
import pytest

from tests.servers import ROOT, postgres_programs, postgres_server

POSTGRES = ROOT / "recsys_project/postgresql"
FLOWS = """
from datetime import timedelta
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core.management import call_command
from access import keys
from flags.models import Flag, FlagChange
from flags.services.change import apply_change
from flags.services.record import Actor
from monitoring.clock import now
from recommendations.models import Interaction, Member, Post
from recommendations.services import work
from recommendations.services.learning import interact, learn
from recommendations.services.members import preferences
from recommendations.services.serving import records
from recommendations.services.serving.recommend import recommend
call_command("generate", members=30, posts=60, interactions=300, verbosity=0)
member, post = Member.objects.first(), Post.objects.last()
event = interact.Event("e-1", member.external_id, post.external_id, "like")
assert interact.record_events(events=[event], now=now())[0].status == "recorded"
learn.learn_interactions(member_ids=[member.pk], now=now())
preferences.set_preferences(member_id=member.external_id, changes={"muted_words": ["x"]}, now=now())
assert recommend(member_id=member.external_id, now=now()).picks
records.record_served(now=now())
for kind in ("export_members", "erase_members"):
    job = work.submit_job(kind=kind, params={"member_ids": [member.external_id]}, now=now())
    work.process_chunk(job_id=job.id, number=0, now=now())
    assert work.read_job(job_id=job.id).state == "done", work.read_job(job_id=job.id)
apply_change(key="f", patch={"is_enabled": True}, actor=Actor(system="test"), why="x", now=now(), create=True)
assert FlagChange.objects.filter(key="f").count() == 1
keys.create(name="k", scopes=["feeds:read"], now=now())
user = User.objects.create_superuser("root")
LogEntry.objects.log_actions(user.pk, Post.objects.all()[:1], 2, change_message="x", single_object=True)
for task in ("optimize_database", "delete_expired_records"):
    call_command("maintain", task)
"""


def run_manage(url, *words):
    """Run a management command on the database; return its output. Fail if the command fails."""
    command = [sys.executable, "manage.py", *words]
    result = subprocess.run(command, cwd=ROOT, env=os.environ | {"DATABASE_URL": url}, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def urls(tmp_path_factory, redis_url):
    """Return the database's URL for each role, after a migration as the owner."""
    with postgres_server(tmp_path_factory.mktemp("roles") / "server") as url:
        psql = [postgres_programs() / "psql", "--quiet", "--set", "ON_ERROR_STOP=1", url]
        subprocess.run([*psql, "--command", "CREATE DATABASE service"], check=True)
        url = url.removesuffix("postgres") + "service"
        connect = {"PGHOST": "127.0.0.1", "PGPORT": url.rsplit(":", 1)[1].split("/")[0]}
        passwords = tmp_path_factory.mktemp("passwords")
        env = os.environ | connect | {"POSTGRES_USER": "recsys", "POSTGRES_DB": "service"}
        env["SECRETS_DIR"] = str(passwords)
        for name in ("database_owner_password", "database_password", "database_reader_password"):
            (passwords / name).write_text("it's secret\n")
        env["PATH"] = f"{postgres_programs()}:{env['PATH']}"
        for _ in range(2):  # running it again changes nothing
            subprocess.run([*psql[:-1], url, "--file", POSTGRES / "roles.sql"], check=True)
        subprocess.run(["sh", POSTGRES / "passwords.sh"], env=env, check=True)
        roles = ("owner", "application", "reader")
        found = {role: url.replace("//recsys@", f"//recsys_{role}@") for role in roles} | {"superuser": url}
        for command in (["migrate", "-v0"], ["grant_privileges"]):
            run_manage(found["owner"], *command)
        yield found


def statuses(url, statements):
    """Return the SQLSTATE of each statement, each run in a transaction of its own that is rolled back."""
    found = {}
    with psycopg.connect(url) as connection:
        for statement in statements:
            found[statement] = None
            try:
                connection.execute(statement)
            except psycopg.Error as error:
                found[statement] = error.sqlstate
            connection.rollback()
    return found


def test_the_application_works_with_the_least_privileges(urls):
    output = run_manage(urls["application"], "shell", "-v0", "-c", FLOWS)
    assert "left to autovacuum" in output


ATTACKS = [
    "UPDATE flags_flagchange SET why = 'x'",
    "DELETE FROM flags_flagchange",
    "TRUNCATE flags_flagchange",
    "ALTER TABLE flags_flagchange DISABLE TRIGGER ALL",
    "DROP TRIGGER flags_flagchange_append_only ON flags_flagchange",
    "DROP FUNCTION flags_flagchange_append_only() CASCADE",
    "CREATE OR REPLACE FUNCTION flags_flagchange_append_only() RETURNS trigger AS 'BEGIN END' LANGUAGE plpgsql",
    "ALTER TABLE flags_flagchange RENAME TO x",
    "DROP TABLE flags_flagchange CASCADE",
    "CREATE RULE x AS ON INSERT TO flags_flagchange DO INSTEAD NOTHING",
    "SET session_replication_role = replica",
    "DELETE FROM django_admin_log",
    "TRUNCATE django_admin_log",
    "UPDATE django_admin_log SET user_id = 1",
    "UPDATE django_admin_log SET action_time = now()",
    "DELETE FROM access_usagealert",
    "UPDATE access_usagealert SET count = 0",
    "DELETE FROM django_migrations",
    "TRUNCATE recommendations_member CASCADE",
    "CREATE TABLE x (y int)",
    "CREATE FUNCTION x() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE SCHEMA x",
    "CREATE EXTENSION dblink",
    "SET ROLE recsys_owner",
    "GRANT recsys_owner TO recsys_application",
    "ALTER ROLE recsys_application SUPERUSER",
    "CREATE ROLE x",
    "ALTER ROLE recsys_owner PASSWORD 'x'",
    "COPY (SELECT 1) TO PROGRAM 'cat'",
    "COPY recommendations_member TO '/tmp/members'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT rolpassword FROM pg_authid",
]


def test_the_application_cannot_alter_the_audit_records_or_the_schema(urls):
    allowed = {statement for statement, status in statuses(urls["application"], ATTACKS).items() if status != "42501"}
    assert not allowed, "only 42501, insufficient_privilege, is a refusal"


def test_even_the_owner_is_no_superuser(urls):
    attacks = [
        "ALTER ROLE recsys_owner SUPERUSER",
        "COPY (SELECT 1) TO PROGRAM 'cat'",
        "SELECT rolpassword FROM pg_authid",
    ]
    assert set(statuses(urls["owner"], attacks).values()) == {"42501"}


def test_every_append_only_table_is_an_audit_record_that_the_application_cannot_alter(urls):
    """A new table with a trigger against changes must be in grants.sql, too."""
    with psycopg.connect(urls["application"]) as connection:
        tables = connection.execute("SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname LIKE '%append_only%'")
        names = {name for (name,) in tables} | {"django_admin_log", "access_usagealert"}
        assert "flags_flagchange" in names
        for name in names:
            for privilege in ("UPDATE", "DELETE", "TRUNCATE", "TRIGGER", "REFERENCES"):
                query = connection.execute("SELECT has_table_privilege(%s, %s)", (name, privilege))
                assert query.fetchone() == (False,), (name, privilege)


def test_the_reader_reads_members_but_no_credentials_and_writes_nothing(urls):
    read = "SELECT count(*) FROM recommendations_member"
    refused = [
        "SELECT password FROM auth_user",
        "SELECT session_key FROM django_session",
        "SELECT * FROM access_apikey",
    ]
    refused += ["DELETE FROM recommendations_member", "SET TRANSACTION READ WRITE; DELETE FROM recommendations_member"]
    found = statuses(urls["reader"], [read, *refused])
    assert found.pop(read) is None and set(found.values()) <= {"42501", "25006"}, found
