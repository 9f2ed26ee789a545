"""docker-compose.yml, the Dockerfile and .env.example, as far as they can be checked without Docker."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import redis
import yaml
from django.conf import settings

from monitoring import workers
from recsys_project.environment import Environment
from recsys_project.stack import commands
from recsys_project.stack.state import StackState

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
def test_services_set_known_variables_only(name):
    """Every variable is read by the settings or by Flower."""
    known = {field.upper() for field in Environment.model_fields} | {"FLOWER_BASIC_AUTH"}
    assert set(OWN_SERVICES[name]["environment"]) <= known


@pytest.mark.parametrize("name", SERVICES)
def test_services_are_pinned_unprivileged_and_have_a_health_check(name):
    service = SERVICES[name]
    assert service["image"] == "recsys:local" or not service["image"].endswith(
        (":latest", service["image"].split(":")[0])
    )
    assert "no-new-privileges:true" in service["security_opt"]
    assert not service.get("privileged")
    assert "healthcheck" in service


def test_no_secret_is_in_the_file():
    """Secrets come from the environment, and docker compose fails without them."""
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if any(word in name for word in ("PASSWORD", "SECRET", "TOKEN", "AUTH", "_URL")):
                assert ":?}" in value, name


def test_the_example_lists_every_variable_of_the_file():
    text = (ROOT / "docker-compose.yml").read_text()
    used = {part.split(":?")[0].split(":-")[0] for part in text.replace("$$", "").split("${")[1:]}
    example = {line.split("=")[0] for line in (ROOT / ".env.example").read_text().splitlines() if "=" in line[:30]}
    assert used - {"?"} <= example


def test_only_web_pages_are_published_and_only_on_the_loopback_interface():
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"web", "flower", "grafana"}
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


def test_prometheus_scrapes_existing_services():
    scrapes = yaml.safe_load((ROOT / "monitoring/prometheus/prometheus.yml").read_text())["scrape_configs"]
    targets = [target for job in scrapes for static in job["static_configs"] for target in static["targets"]]
    workers = {f"worker-{name}:9101" for name in ("interactive", "batch", "analysis", "training")}
    assert set(targets) == {"web:8000", *workers}
    assert all(target.split(":")[0] in SERVICES for target in targets)
    assert all(SERVICES[name]["environment"]["METRICS_PORT"] == "9101" for name in SERVICES if "worker" in name)


@pytest.mark.parametrize("name", ["worker-interactive", "worker-batch", "worker-analysis", "worker-training", "beat"])
def test_a_health_check_reads_the_processs_key_in_redis(name, redis_url):
    """Runs the command of the health check: it succeeds while the key exists and fails without it."""
    key = f"{workers.WORKERS_KEY}:{name.removeprefix('worker-')}@{socket.gethostname()}"
    key = f"{settings.REDBEAT_KEY_PREFIX}:lock" if name == "beat" else key
    words = [sys.executable, *SERVICES[name]["healthcheck"]["test"][2:]]
    env = os.environ | {"REDIS_URL": redis_url}
    with redis.Redis.from_url(redis_url) as broker:
        broker.set(key, "alive", ex=30)
        assert subprocess.run(words, env=env, check=False).returncode == 0
        broker.delete(key)
    assert subprocess.run(words, env=env, check=False).returncode == 1
