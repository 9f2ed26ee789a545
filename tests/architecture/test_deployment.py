"""The files in deploy/ agree with the code and with each other, as far as this can be checked without a cluster."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from django.conf import settings
from django.core.management import get_commands
from django.urls import URLPattern, get_resolver

from monitoring import metrics
from recsys_project.environment import Environment
from recsys_project.internal_requests import INTERNAL_PATHS
from recsys_project.stack import commands
from recsys_project.stack.state import StackState
from tests.servers import skip_or_fail

ROOT = Path(__file__).resolve().parents[2]
SYSTEMD = ROOT / "deploy" / "systemd"
CHART = ROOT / "deploy" / "helm" / "recsys"
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
RENDERED = list(yaml.safe_load_all((ROOT / "deploy" / "kubernetes.yaml").read_text()))
TEMPLATES = "".join(path.read_text() for path in sorted((CHART / "templates").iterdir()))
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
EMBEDDED = commands.server_commands(StackState(web_port=8000, flower_port=5555))
SETTINGS = {name.upper() for name in Environment.model_fields}
SERVICES = ["web", "worker-interactive", "worker-batch", "worker-analysis", "worker-training", "beat"]


def read_unit(name):
    """Return the lines of a unit as (key, value)."""
    lines = (SYSTEMD / name).read_text().splitlines()
    return [tuple(line.split("=", 1)) for line in lines if "=" in line and not line.startswith("#")]


def unit_values(name, key):
    return [value for found, value in read_unit(name) if found == key]


# systemd


@pytest.mark.parametrize("name", SERVICES)
def test_a_unit_runs_the_command_of_the_embedded_stack(name):
    """A unit with instances has the instance in its port, or in its worker's name, which is unique on a machine."""
    has_instances = (SYSTEMD / f"recsys-{name}@.service").exists()
    unit = f"recsys-{name}@.service" if has_instances else f"recsys-{name}.service"
    words = unit_values(unit, "ExecStart")[0].replace("%%h", "%h").split()
    if has_instances:
        words = [word.replace("%h-%i", "%h").replace("%i", "8000") for word in words]
    assert words == ["/srv/recsys/.venv/bin/python", *EMBEDDED[name][1:]]


def test_every_unit_of_the_target_exists():
    units = " ".join(unit_values("recsys.target", "Wants")).split()
    assert {re.sub(r"@\d+", "@", unit) for unit in units} == {
        path.name for path in SYSTEMD.glob("recsys-*.service") if path.name != "recsys-migrate.service"
    }
    ports = re.findall(r"recsys-web@(\d+)", " ".join(units))
    assert f"to {' '.join(f'127.0.0.1:{port}' for port in ports)}\n" in (SYSTEMD / "Caddyfile").read_text()


@pytest.mark.parametrize("unit", sorted(path.name for path in SYSTEMD.glob("*.service")))
def test_a_unit_reads_the_same_secrets_as_a_container_and_runs_without_privileges(unit):
    service = "migrate" if "migrate" in unit else "web"
    mounted = [
        secret if isinstance(secret, str) else secret["target"] for secret in COMPOSE["services"][service]["secrets"]
    ]
    credentials = dict(value.split(":") for value in unit_values(unit, "LoadCredential"))
    assert sorted(credentials) == sorted(mounted)
    for setting, path in credentials.items():
        source = "database_owner_url" if (service, setting) == ("migrate", "database_url") else setting
        assert path == f"/etc/recsys/secrets/{source}" and source in COMPOSE["secrets"]
    assert unit_values(unit, "User") == ["recsys"] and unit_values(unit, "NoNewPrivileges") == ["yes"]
    assert unit_values(unit, "Environment") == ["SECRETS_DIR=%d PYTHONUNBUFFERED=1"]


def test_the_migration_has_the_steps_of_the_container():
    steps = [line.partition(" manage.py ")[2] for line in unit_values("recsys-migrate.service", "ExecStart")]
    in_container = COMPOSE["services"]["migrate"]["command"][-1]
    assert in_container == " && ".join(f"python manage.py {step}" for step in steps)
    assert f'command: [sh, -c, "{in_container}"]' in TEMPLATES


def test_systemd_accepts_the_units(tmp_path):
    """`systemd-analyze verify` of copies whose program exists on this machine."""
    if shutil.which("systemd-analyze") is None:
        skip_or_fail("systemd-analyze is not installed.")
    units = []
    for path in [*SYSTEMD.glob("*.service"), SYSTEMD / "recsys.target"]:
        instance = path.name.replace("@.", "@8001.")
        text = path.read_text().replace("/srv/recsys/.venv/bin/python", "/bin/true")
        (tmp_path / instance).write_text(re.sub(r"@(8002|1)\.", "@8001.", text))
        units.append(tmp_path / instance)
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    problems = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "recsys" in line]
    assert problems == []


def test_settings_of_the_example_for_systemd_exist():
    names = re.findall(r"^([A-Z_]+)=", (SYSTEMD / "settings.env").read_text(), re.MULTILINE)
    assert names and set(names) <= SETTINGS
    folders = re.findall(r"^[dD] (\S+)", (SYSTEMD / "recsys.tmpfiles.conf").read_text(), re.MULTILINE)
    values = dict(re.findall(r"^([A-Z_]+)=(.*)", (SYSTEMD / "settings.env").read_text(), re.MULTILINE))
    assert {values["PROMETHEUS_MULTIPROC_DIR"], values["MODEL_DIR"]} <= set(folders)


# Helm


@pytest.mark.parametrize("name", SERVICES)
def test_the_chart_runs_the_command_of_the_container(name):
    part = VALUES["workers"][name.removeprefix("worker-")] if "worker" in name else VALUES[name]
    assert part["command"] == COMPOSE["services"][name]["command"]
    assert part["resources"]["limits"]["memory"] and part["resources"]["requests"]["cpu"]


def test_the_chart_and_the_package_have_one_version():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert chart["version"] == chart["appVersion"] == version


def test_the_chart_has_all_workers_and_one_beat():
    assert {f"worker-{name}" for name in VALUES["workers"]} == {
        name for name in COMPOSE["services"] if "worker" in name
    }
    beat = (CHART / "templates" / "beat.yaml").read_text()
    assert "replicas: 1\n" in beat and "strategy: {type: Recreate}" in beat


def test_settings_in_the_chart_exist():
    assert set(VALUES["settings"]) <= SETTINGS
    assert set(re.findall(r"\{name: ([A-Z_]+), value", TEMPLATES)) <= SETTINGS | {"SECRETS_DIR"}


def test_workers_scale_by_an_exported_metric_of_their_own_queues():
    """The query is an expression of a metric in monitoring/metrics.py, with the queues that the worker consumes."""
    assert f"max({metrics.QUEUE_AGE_SECONDS.name}{{queue=~" in TEMPLATES
    for worker in VALUES["workers"].values():
        queues = worker["command"][worker["command"].index("-Q") + 1]
        assert worker["autoscaling"]["queues"].replace("|", ",") == queues
        assert worker["autoscaling"]["min"] <= worker["autoscaling"]["max"]


def test_probes_and_scrapes_use_the_addresses_and_ports_of_the_processes():
    assert set(re.findall(r"httpGet: \{path: (\S+),", TEMPLATES)) == {"/livez", "/readyz"}
    assert set(re.findall(r"containerPort: (\d+)", TEMPLATES)) == {"8000", "9101"}
    port = VALUES["web"]["command"][VALUES["web"]["command"].index("--port") + 1]
    assert port == "8000" and '{name: METRICS_PORT, value: "9101"}' in TEMPLATES
    assert (ROOT / "deploy" / "check_heartbeat.py").exists()
    assert {"web", "workers"} == {
        job["job_name"]
        for job in yaml.safe_load((ROOT / "monitoring/prometheus/prometheus.yml").read_text())["scrape_configs"]
    }


def pods():
    """Return the pod of each Deployment and Job of the rendered chart, by name."""
    return {
        item["metadata"]["name"]: item["spec"]["template"] for item in RENDERED if item["kind"] in ("Deployment", "Job")
    }


@pytest.mark.parametrize("name", pods())
def test_a_pod_has_limits_no_privileges_and_its_secrets_as_files(name):
    spec = pods()[name]["spec"]
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"] and not spec["automountServiceAccountToken"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"]["memory"]
    secret = "recsys-owner" if name == "recsys-migrate" else "recsys"
    assert {volume["secret"]["secretName"] for volume in spec["volumes"] if "secret" in volume} == {secret}
    variables = {variable["name"]: variable["value"] for variable in container["env"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert variables["SECRETS_DIR"] == mounts["secrets"]
    assert ("livenessProbe" in container) == (name != "recsys-migrate")


def test_selectors_match_pods_and_scaled_deployments_have_no_fixed_number():
    labels = {name: pod["metadata"]["labels"] for name, pod in pods().items()}
    budgets = set()
    for item in RENDERED:
        name = item["metadata"]["name"]
        if item["kind"] in ("Deployment", "PodDisruptionBudget"):
            assert item["spec"]["selector"]["matchLabels"] == labels[name]
        if item["kind"] == "PodDisruptionBudget":
            budgets.add(name)
    assert budgets == set(labels) - {"recsys-beat", "recsys-migrate"}
    scaled = {item["spec"]["scaleTargetRef"]["name"] for item in RENDERED if "scaleTargetRef" in item["spec"]}
    assert scaled == {"recsys-web", "recsys-worker-interactive", "recsys-worker-batch"}
    deployments = {item["metadata"]["name"]: item["spec"] for item in RENDERED if item["kind"] == "Deployment"}
    assert {name for name, spec in deployments.items() if "replicas" not in spec} == scaled


def test_the_ingress_passes_on_every_public_address_and_no_internal_one():
    listed = re.search(r"range list ((?:\"/[\w-]+\" ?)+)", TEMPLATES)
    prefixes = {f"/{first_part(pattern)}" for pattern in patterns()}
    prefixes |= {f"/{settings.STATIC_URL.strip('/')}", "/docs"}  # WhiteNoise serves files there
    catch_all = {"/"}
    assert set(listed[1].replace('"', "").split()) == prefixes - INTERNAL_PATHS - catch_all


def patterns(resolver=None, prefix=""):
    """Yield the full pattern of each address."""
    for item in (resolver or get_resolver()).url_patterns:
        full = prefix + str(item.pattern)
        if isinstance(item, URLPattern):
            yield full
        else:
            yield from patterns(item, full)


def first_part(pattern):
    return re.split(r"[/<($\\]", pattern.lstrip("^"))[0]


# Proxy


@pytest.mark.parametrize("path", ["deploy/Caddyfile", "deploy/systemd/Caddyfile"])
def test_the_proxy_buffers_whole_bodies_and_hides_internal_addresses(path):
    """It gives up a body when the service would, and no client can make it think that the service has failed."""
    text = (ROOT / path).read_text()
    assert int(re.search(r"request_buffers (\d+)MiB", text)[1]) * 2**20 > settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    assert "\tfail_duration" not in text and "\tmax_fails" not in text
    assert f"read_body {Environment.model_fields['request_body_seconds'].default}s" in text
    assert set(re.search(r"@private path (.*)", text)[1].split()) == INTERNAL_PATHS


# The page


PAGE = (ROOT / "docs" / "deploying.md").read_text()
COMMANDS = "\n".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)) + "\n".join(re.findall(r"`([^`\n]+)`", PAGE))


def test_commands_of_the_page_exist():
    used = set(re.findall(r"manage\.py (\w+)", COMMANDS))
    assert len(used) >= 6 and used <= set(get_commands())
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"make (?:-C \S+ )?([a-z-]+)", COMMANDS)) <= set(targets)


def test_files_and_settings_of_the_page_exist():
    for name in re.findall(r"\b((?:deploy|recsys_project|monitoring)/[\w./*-]+)", PAGE):
        assert list(ROOT.glob(name.rstrip("./"))), name
    names = set(re.findall(r"`([A-Z]+_[A-Z_]+)`", PAGE))
    compose = set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text()))
    assert names <= SETTINGS | compose | {"SECRETS_DIR", "OWNER_URL"}


def test_containers_and_secrets_of_the_page_exist():
    assert set(re.findall(r"secrets/(\w+)", COMMANDS)) - {"recsys"} <= set(COMPOSE["secrets"])
    assert set(re.findall(r"exec (?:--no-TTY )?(\w+)", PAGE)) - {"deployment"} <= set(COMPOSE["services"])
