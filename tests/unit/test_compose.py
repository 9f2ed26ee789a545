"""The composed deployment, as far as it can be checked without Docker: it is the embedded stack on other servers."""

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
    """Return an embedded command as a container runs it: its own Python, and open to its network."""
    words = ["python", *command[1:]]
    return [word.replace("127.0.0.1", "0.0.0.0") for word in words]


@pytest.mark.parametrize("name", EMBEDDED)
def test_every_process_of_the_stack_is_composed_with_the_same_command(name):
    """A process that runs on one machine runs the same in a container."""
    assert SERVICES[name]["command"] == container_command(EMBEDDED[name])


@pytest.mark.parametrize("name", OWN_SERVICES)
def test_our_services_are_set_by_known_variables_only(name):
    """A variable that is set is one that the settings read, or Flower."""
    known = {field.upper() for field in Environment.model_fields} | {"FLOWER_BASIC_AUTH"}
    assert set(OWN_SERVICES[name]["environment"]) <= known


@pytest.mark.parametrize("name", SERVICES)
def test_services_are_pinned_unprivileged_and_watched(name):
    """An image has a version, a service no more rights than it needs, and something that says whether it is well."""
    service = SERVICES[name]
    assert service["image"] == "recsys:local" or not service["image"].endswith(
        (":latest", service["image"].split(":")[0])
    )
    assert "no-new-privileges:true" in service["security_opt"]
    assert not service.get("privileged")
    assert "healthcheck" in service


def test_no_secret_is_written_down():
    """A password comes from the environment, and is missed if it is not there."""
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if any(word in name for word in ("PASSWORD", "SECRET", "TOKEN", "AUTH", "_URL")):
                assert ":?}" in value, name


def test_every_variable_that_is_asked_for_is_in_the_example():
    """Who copies .env.example sees every secret that is needed."""
    text = (ROOT / "docker-compose.yml").read_text()
    asked = {part.split(":?")[0].split(":-")[0] for part in text.replace("$$", "").split("${")[1:]}
    example = {line.split("=")[0] for line in (ROOT / ".env.example").read_text().splitlines() if "=" in line[:30]}
    assert asked - {"?"} <= example


def test_only_people_are_let_in_and_from_this_machine_only():
    """Databases are not published; pages are, on the loopback interface."""
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"web", "flower", "grafana"}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)


def test_the_broker_keeps_and_the_cache_may_forget():
    """Losing a message loses work; losing a slate costs some milliseconds."""
    assert "noeviction" in SERVICES["redis-broker"]["command"][-1]
    assert "appendonly yes" in SERVICES["redis-broker"]["command"][-1]
    assert "allkeys-lru" in SERVICES["redis-cache"]["command"][-1]


def test_volumes_that_are_mounted_are_there():
    """A mount names a declared volume, or a file of the repository."""
    for service in SERVICES.values():
        for mount in service.get("volumes", []):
            source = mount.split(":")[0]
            assert source in COMPOSE["volumes"] or (ROOT / source).exists(), mount


def test_the_image_runs_as_nobody_special_from_hashed_packages():
    """The image's last user is not root, and pip takes nothing that is not in the lock."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    assert [line for line in lines if line.startswith("USER ")][-1] == "USER recsys"
    assert any("--require-hashes" in line for line in lines)
    assert any(line.startswith("HEALTHCHECK") for line in lines)


def test_prometheus_asks_services_that_are_there():
    """A target is a composed service and its port."""
    scrapes = yaml.safe_load((ROOT / "monitoring/prometheus/prometheus.yml").read_text())["scrape_configs"]
    targets = [target for job in scrapes for static in job["static_configs"] for target in static["targets"]]
    workers = {f"worker-{name}:9101" for name in ("interactive", "batch", "analysis")}
    assert set(targets) == {"web:8000", *workers}
    assert all(target.split(":")[0] in SERVICES for target in targets)
    assert all(SERVICES[name]["environment"]["METRICS_PORT"] == "9101" for name in SERVICES if "worker" in name)


@pytest.mark.parametrize("name", ["worker-interactive", "worker-batch", "worker-analysis", "beat"])
def test_a_probe_finds_what_its_process_leaves_in_redis(name, redis_url):
    """The very command of the health check: well while the word is there, unwell once it is gone."""
    key = f"{workers.WORKERS_KEY}:{name.removeprefix('worker-')}@{socket.gethostname()}"
    key = f"{settings.REDBEAT_KEY_PREFIX}:lock" if name == "beat" else key
    words = [sys.executable, *SERVICES[name]["healthcheck"]["test"][2:]]
    env = os.environ | {"REDIS_URL": redis_url}
    with redis.Redis.from_url(redis_url) as broker:
        broker.set(key, "here", ex=30)
        assert subprocess.run(words, env=env, check=False).returncode == 0
        broker.delete(key)
    assert subprocess.run(words, env=env, check=False).returncode == 1
