"""docker-compose.yml, the Dockerfile and .env.example, as far as they can be checked without Docker."""

import os
import re
import socket
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
import redis
import yaml
from django.conf import settings
from django.core.management import call_command
from pydantic import SecretStr

from deploy.create_secrets import create_secrets
from monitoring import workers
from recsys_project.environment import Environment, read_environment
from recsys_project.stack import commands
from recsys_project.stack.redis import find_binary
from recsys_project.stack.state import StackState
from tests.redis_servers import PRIMARY, make_certificates, sentinel, server
from tests.servers import free_port, is_redis_up, run_process, wait_until

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
OWN_SERVICES = {name: service for name, service in SERVICES.items() if service.get("image") == "recsys:local"}
EMBEDDED = commands.server_commands(StackState(web_port=8000, flower_port=5555))


def container_command(command: list[str]) -> list[str]:
    """Return a command of the embedded stack as a container runs it: with its own Python, on all interfaces."""
    words = ["python", *command[1:]]
    return [word.replace("127.0.0.1", "0.0.0.0") for word in words]


@pytest.mark.parametrize("name", EMBEDDED)
def test_a_container_runs_the_command_of_the_embedded_stack(name):
    assert SERVICES[name]["command"] == container_command(EMBEDDED[name])


@pytest.mark.parametrize("name", OWN_SERVICES)
def test_every_setting_can_be_set_in_the_env_file(name):
    """A service gets all of .env. What the file sets as well is a default that .env replaces, or the owner's URL."""
    service = OWN_SERVICES[name]
    assert service["env_file"] == [".env"]
    known = {field.upper() for field in Environment.model_fields} | {"SECRETS_DIR"}
    assert set(service["environment"]) <= known
    for variable, value in service["environment"].items():
        if variable not in ("SECRETS_DIR", "DATABASE_URL"):
            assert value.startswith(("${" + variable + ":-", "${" + variable + "-")), variable
    assert ("DATABASE_URL" in service["environment"]) == (name == "migrate")


def test_the_example_of_the_env_file_is_the_output_of_the_command_and_has_every_setting():
    output = StringIO()
    call_command("print_settings", "--env-file", stdout=output)
    text = (ROOT / ".env.example").read_text()
    assert text == output.getvalue(), "run: manage.py print_settings --env-file > .env.example"
    named = {line.removeprefix("# ").split("=")[0] for line in text.splitlines() if "=" in line}
    assert {field.upper() for field in Environment.model_fields} <= named


def test_a_process_started_with_the_example_and_the_created_secrets_has_valid_settings(tmp_path, monkeypatch):
    """Also with every setting of the example at its default, as after removing the # of each line."""
    create_secrets(tmp_path / "secrets", lambda: "x" * 48)
    for name in Environment.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path / "secrets"))
    lines = [line.removeprefix("# ") for line in (ROOT / ".env.example").read_text().splitlines()]
    for name, _, value in (line.partition("=") for line in lines if line.split("=")[0].isupper()):
        monkeypatch.setenv(name, value)
    env = read_environment()
    assert env.allowed_hosts[0] == "localhost" and env.trusted_proxies == 1
    assert env.secret_key.get_secret_value() == "x" * 48
    assert env.database_url == f"postgresql://recsys_application:{'x' * 48}@postgres:5432/recsys"
    assert env.redis_url == f"redis://:{'x' * 48}@redis-broker:6379/0"


def test_every_secret_is_a_file_that_the_script_creates_once(tmp_path):
    """A second run keeps the files. URLs contain the passwords that the servers have."""
    texts = iter(f"secret-{i}" for i in range(100))
    assert set(create_secrets(tmp_path / "s", texts.__next__)) == set(COMPOSE["secrets"])
    before = {path.name: path.read_text() for path in (tmp_path / "s").iterdir()}
    (tmp_path / "s" / "database_url").unlink()
    assert create_secrets(tmp_path / "s", texts.__next__) == ["database_url"]
    assert {path.name: path.read_text() for path in (tmp_path / "s").iterdir()} == before
    assert before["database_password"] in before["database_url"] and before["redis_password"] in before["redis_url"]
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o700
    for name, secret in COMPOSE["secrets"].items():
        assert secret == {"file": f"./secrets/{name}"}


def test_every_secret_setting_is_mounted_where_it_is_read():
    """The admin's password, the owner's URL and the password of Flower are for one service each."""
    secret_settings = {name for name, field in Environment.model_fields.items() if field.annotation is SecretStr}
    mounted = set(SERVICES["web"]["secrets"])
    assert secret_settings - {"admin_password"} <= mounted
    assert mounted.isdisjoint({"admin_password", "database_owner_url", "flower_basic_auth", "postgres_password"})
    assert {"source": "database_owner_url", "target": "database_url"} in SERVICES["migrate"]["secrets"]
    for name in ("worker-interactive", "worker-batch", "worker-analysis", "worker-training", "beat"):
        assert SERVICES[name]["secrets"] == SERVICES["web"]["secrets"]


@pytest.mark.parametrize("name", SERVICES)
def test_services_are_pinned_unprivileged_and_have_a_health_check(name):
    service = SERVICES[name]
    assert service["image"] == "recsys:local" or not service["image"].endswith(
        (":latest", service["image"].split(":")[0])
    )
    assert "no-new-privileges:true" in service["security_opt"]
    assert not service.get("privileged")
    assert "healthcheck" in service


def test_no_secret_is_in_the_file_or_in_a_container_s_environment():
    """Secrets are mounted files."""
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if any(word in name for word in ("PASSWORD", "SECRET", "TOKEN", "AUTH", "API_KEY")):
                assert value.startswith("/run/secrets"), name


def test_the_example_has_every_variable_of_the_file():
    text = (ROOT / "docker-compose.yml").read_text()
    used = set(re.findall(r"(?<!\$)\$\{(\w+)", text)) - {"DATABASE_OWNER_URL"}
    example = re.findall(r"^(?:# )?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert used <= set(example)


def test_only_the_proxy_is_reachable_from_other_machines():
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published.pop("proxy") == ["80:80", "443:443"]
    assert set(published) == {"flower", "grafana"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


def test_the_broker_never_evicts_and_the_cache_may():
    """A lost message is lost work; a lost slate costs some milliseconds."""
    assert "noeviction" in SERVICES["redis-broker"]["command"][-1]
    assert "appendonly yes" in SERVICES["redis-broker"]["command"][-1]
    assert "allkeys-lru" in SERVICES["redis-cache"]["command"][-1]


def test_mounted_volumes_exist():
    """A mount refers to a declared volume or to a file of the repository."""
    for service in SERVICES.values():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            assert source in COMPOSE["volumes"] or (ROOT / source).exists(), mount


def test_the_image_runs_as_an_unprivileged_user_from_hashed_packages():
    """The image's final user is not root, and pip installs only packages of the lock file."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    assert [line for line in lines if line.startswith("USER ")][-1] == "USER recsys"
    assert any("--require-hashes" in line for line in lines)
    assert any(line.startswith("HEALTHCHECK") for line in lines)


def test_optional_packages_of_the_image_are_pinned_and_agree_with_the_service_s():
    """The names that OPTIONAL_PACKAGES can have are files; a package in both files has one version."""
    assert "requirements/$name.txt" in (ROOT / "Dockerfile").read_text()
    pins = [
        dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / file).read_text(), re.MULTILINE))
        for file in ("requirements.txt", "requirements/pictures.txt")
    ]
    assert "onnxruntime" in pins[1]
    assert {name: pins[0][name] for name in pins[0].keys() & pins[1].keys()} == {
        name: pins[1][name] for name in pins[0].keys() & pins[1].keys()
    }


def test_prometheus_scrapes_every_replica_of_existing_services():
    scrapes = yaml.safe_load((ROOT / "monitoring/prometheus/prometheus.yml").read_text())["scrape_configs"]
    lookups = [lookup for job in scrapes for lookup in job["dns_sd_configs"]]
    targets = {f"{name}:{lookup['port']}" for lookup in lookups for name in lookup["names"]}
    workers = {f"worker-{name}:9101" for name in ("interactive", "batch", "analysis", "training")}
    assert targets == {"web:8000", *workers}
    assert all(target.split(":")[0] in SERVICES for target in targets)
    assert all(
        SERVICES[name]["environment"]["METRICS_PORT"] == "${METRICS_PORT:-9101}"
        for name in SERVICES
        if "worker" in name
    )


@pytest.mark.parametrize("name", ["redis-broker", "redis-cache"])
def test_a_redis_server_accepts_its_options_and_requires_the_password(name, tmp_path):
    """Runs the command of the container with the server of this machine."""
    (tmp_path / "redis_password").write_text("a-password")
    script = SERVICES[name]["command"][-1].replace("$$", "$").replace("/run/secrets", str(tmp_path))
    script = script.replace("valkey-server -", f"{find_binary()} - --port {(port := free_port())}").replace(
        "--dir /data", f"--dir {tmp_path}"
    )
    with run_process(["sh", "-c", script], tmp_path) as (process, log):
        url = f"redis://:a-password@127.0.0.1:{port}/0"
        wait_until(lambda: is_redis_up(url), process, log)
        with redis.Redis.from_url(url) as client:
            policy = "noeviction" if name == "redis-broker" else "allkeys-lru"
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": policy}
        with redis.Redis(port=port) as client, pytest.raises(redis.AuthenticationError):
            client.ping()


def test_a_health_check_finds_the_broker_by_a_sentinel_and_over_tls(tmp_path):
    certificates = make_certificates(tmp_path)
    key = f"{settings.REDBEAT_KEY_PREFIX}:lock"
    words = [sys.executable, "deploy/check_heartbeat.py", "beat"]
    (tmp_path / "secrets").mkdir()
    options = {"password": "of-the-server", "certificates": certificates}  # pragma: allowlist secret
    with (
        server(tmp_path / "server", "--save", "", **options) as (_, port),
        sentinel(
            tmp_path / "sentinel",
            port,
            password="of-the-sentinel",  # pragma: allowlist secret
            primary_password="of-the-server",  # pragma: allowlist secret
            certificates=certificates,
        ) as sentinel_port,
        redis.Redis("127.0.0.1", port, password="of-the-server", ssl=True, **certificates.client_options) as broker,
    ):
        (tmp_path / "secrets" / "redis_url").write_text(f"rediss://:of-the-server@{PRIMARY}/0\n")
        (tmp_path / "secrets" / "redis_sentinel_password").write_text("of-the-sentinel\n")
        env = os.environ | {
            "REDIS_URL": "",
            "SECRETS_DIR": str(tmp_path / "secrets"),
            "REDIS_SENTINELS": f"127.0.0.1:{sentinel_port}",
            "REDIS_CA_FILE": str(certificates.authority),
            "REDIS_CERTIFICATE_FILE": str(certificates.certificate),
            "REDIS_KEY_FILE": str(certificates.key),
        }
        assert subprocess.run(words, env=env, cwd=ROOT, check=False).returncode == 1
        broker.set(key, "alive", ex=30)
        assert subprocess.run(words, env=env, cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("name", ["worker-interactive", "worker-batch", "worker-analysis", "worker-training", "beat"])
def test_a_health_check_reads_the_processs_key_in_redis(name, redis_url, tmp_path):
    """Runs the command of the health check: it succeeds while the key exists and fails without it."""
    key = f"{workers.WORKERS_KEY}:{name.removeprefix('worker-')}@{socket.gethostname()}"
    key = f"{settings.REDBEAT_KEY_PREFIX}:lock" if name == "beat" else key
    words = [sys.executable, *SERVICES[name]["healthcheck"]["test"][2:]]
    (tmp_path / "redis_url").write_text(redis_url + "\n")
    env = os.environ | {"REDIS_URL": "", "SECRETS_DIR": str(tmp_path)}
    with redis.Redis.from_url(redis_url) as broker:
        broker.set(key, "alive", ex=30)
        assert subprocess.run(words, env=env, cwd=ROOT, check=False).returncode == 0
        broker.delete(key)
    assert subprocess.run(words, env=env, cwd=ROOT, check=False).returncode == 1
    env["REDIS_URL"] = "redis://127.0.0.1:1/0"
    assert subprocess.run(words, env=env, cwd=ROOT, check=False).returncode == 0, "no answer is no reason to restart"
