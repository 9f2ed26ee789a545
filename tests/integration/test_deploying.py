"""What docs/deploying.md promises: secrets in files, probes by address, and a backup that can be restored."""

import os
import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from django.test import Client

from recsys_project.environment import read_environment
from recsys_project.stack.commands import complete_environment
from tests.servers import postgres_programs, postgres_server, run_manage

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "deploying.md").read_text()
SECRET = "a-secret-of-the-tests-" + "x" * 32


@pytest.fixture
def secrets_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path))
    for name in ("SECRET_KEY", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_a_setting_is_the_content_of_a_file_unless_its_variable_is_set(secrets_folder, monkeypatch):
    """A name in capitals, as a key of a Kubernetes Secret, is the same setting. An empty variable counts as not set."""
    (secrets_folder / "secret_key").write_text(f"{SECRET}\n")
    (secrets_folder / "METRICS_TOKEN").write_text("from-a-file")
    (secrets_folder / "email_password").write_text("")
    (secrets_folder / "not_a_setting").write_text("ignored")
    monkeypatch.setenv("METRICS_TOKEN", "")
    env = read_environment()
    assert env.secret_key.get_secret_value() == SECRET
    assert env.metrics_token.get_secret_value() == "from-a-file"
    assert env.email_password.get_secret_value() == ""
    monkeypatch.setenv("METRICS_TOKEN", "from-a-variable")
    assert read_environment().metrics_token.get_secret_value() == "from-a-variable"


def test_a_missing_folder_and_an_invalid_secret_stop_the_process_without_showing_it(secrets_folder, monkeypatch):
    (secrets_folder / "secret_key").write_text(SECRET)
    (secrets_folder / "cache_encryption_keys").write_text("too-short-to-show")
    with pytest.raises(SystemExit, match="CACHE_ENCRYPTION_KEYS: each secret needs") as error:
        read_environment()
    assert "too-short-to-show" not in str(error.value)
    monkeypatch.setenv("SECRETS_DIR", str(secrets_folder / "missing"))
    with pytest.raises(SystemExit, match=r"SECRETS_DIR: the folder .* does not exist"):
        read_environment()


def test_a_command_with_secrets_in_files_gets_nothing_of_the_clone(secrets_folder):
    assert complete_environment(["migrate", "--help"]) == {}


@pytest.mark.parametrize("text", ["", "admin:a-password\n"])
def test_flower_reads_its_password_from_a_file_and_refuses_to_start_without_one(tmp_path, text):
    (tmp_path / "flower_basic_auth").write_text(text)
    words = [sys.executable, "-c", "import flowerconfig; print(flowerconfig.basic_auth)"]
    env = os.environ | {"SECRETS_DIR": str(tmp_path), "FLOWER_BASIC_AUTH": "", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    if text:
        assert done.stdout == "['admin:a-password']\n"
    else:
        assert done.returncode == 1 and "Set FLOWER_BASIC_AUTH" in done.stderr


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/livez", "/readyz", "/workersz", "/metrics", "/alertmanager"])
def test_machines_reach_a_replica_by_its_address_and_others_do_not(path):
    """Kubernetes' probes and Prometheus send the replica's address, which is not in ALLOWED_HOSTS."""
    client = Client(headers={"host": "10.1.2.3:8000"})
    assert client.get(path).status_code != 400
    for public in ("/admin/login/", "/api/v1/members/a/feed", path + "/"):
        assert client.get(public).status_code == 400, public


# Backup and restore


def read_script(name):
    """Return the commands of a block of the page."""
    return re.search(rf"<!-- tested: {name} -->\n```sh\n(.*?)```", PAGE, re.DOTALL)[1]


@pytest.fixture(scope="module")
def databases(tmp_path_factory):
    """Return the owner's URLs of a migrated database with a member, and of an empty one. Both have the roles."""
    with postgres_server(tmp_path_factory.mktemp("backup") / "server") as url:
        urls = []
        for name in ("service", "restored"):
            subprocess.run([postgres_programs() / "psql", "-q", url, "-c", f"CREATE DATABASE {name}"], check=True)
            database = url.removesuffix("postgres") + name
            roles = ROOT / "recsys_project/postgresql/roles.sql"
            subprocess.run(
                [postgres_programs() / "psql", "-q", "-v", "ON_ERROR_STOP=1", database, "-f", roles], check=True
            )
            urls.append(database.replace("//recsys@", "//recsys_owner@"))
        run_manage({"DATABASE_URL": urls[0]}, "migrate", "-v0")
        run_manage({"DATABASE_URL": urls[0]}, "grant_privileges")
        yield urls


@pytest.mark.one_database("postgresql")
def test_a_backup_is_restored_with_rows_triggers_and_privileges(databases, tmp_path):
    """The commands of the page, with this PostgreSQL's programs. Afterwards the application can read and write."""
    source, restored = databases
    application = {"DATABASE_URL": source.replace("recsys_owner@", "recsys_application@")}
    run_manage(application, "import_data", "members", str(ROOT / "examples/platform/members.csv"))
    path = f"{postgres_programs()}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    for name, url in (("backup", source), ("restore", restored)):
        script = read_script(name).replace("recsys.dump", str(tmp_path / "recsys.dump"))
        env = os.environ | {"PATH": path, "OWNER_URL": url}
        done = subprocess.run(
            ["sh", "-e", "-c", script], cwd=ROOT, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    with psycopg.connect(restored.replace("recsys_owner@", "recsys_application@")) as connection:
        assert connection.execute("SELECT count(*) FROM recommendations_member").fetchone() == (24,)
        connection.execute("UPDATE recommendations_member SET is_active = false")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("DROP TABLE recommendations_member")
    count = "SELECT count(*) FROM information_schema.triggers"
    with psycopg.connect(source) as before, psycopg.connect(restored) as after:
        triggers = before.execute(count).fetchone()
        assert triggers == after.execute(count).fetchone() and triggers[0] > 0
