"""Rules, dashboards and docs name only exported metrics, and the rules pass promtool."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from django_prometheus.middleware import Metrics
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

from monitoring import metrics
from monitoring.grafana import build_dashboards
from tests.servers import skip_or_fail

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "monitoring" / "prometheus"
RULES = sorted((PROMETHEUS / "rules").glob("*.yml"))
DOCUMENT = (ROOT / "docs" / "monitoring.md").read_text()
NAME = re.compile(r"\b((?:recsys|django)_\w+|recsys:[\w:]+)")
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("_total",), "gauge": ("",)}

PROMETHEUS_METRICS = [value for value in vars(metrics).values() if isinstance(value, MetricWrapperBase)]
COMPUTED_GAUGES = [value for value in vars(metrics).values() if isinstance(value, metrics.ComputedGauge)]


def exported_names():
    """Return every metric name of /metrics: those of this project and of django-prometheus."""
    Metrics.get_instance()
    names = {gauge.name for gauge in COMPUTED_GAUGES}
    for family in REGISTRY.collect():
        names |= {family.name + suffix for suffix in SUFFIXES.get(family.type, ())}
    return names


def alert_rules():
    return [rule for path in RULES for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


def iter_expressions():
    """Yield the place and the expression of every rule and panel query."""
    for rule in alert_rules():
        yield rule.get("alert") or rule["record"], rule["expr"]
    for path in build_dashboards.FOLDER.glob("*.json"):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                yield f"{path.stem}: {panel['title']}", target["expr"]


def test_every_metric_in_a_rule_or_panel_is_exported():
    known = exported_names() | {rule["record"] for rule in alert_rules() if "record" in rule}
    unknown = {
        (place, name)
        for place, expression in iter_expressions()
        for name in NAME.findall(expression)
        if name not in known
    }
    assert not unknown
    assert len(list(iter_expressions())) > 80


def test_every_metric_of_this_project_is_on_a_panel_or_in_a_rule():
    """A metric that no panel or rule uses should not be counted."""
    named = {name for _, expression in iter_expressions() for name in NAME.findall(expression)}
    shown = {re.sub(r"_(bucket|sum|count|total)$", "", name) for name in named} | named
    # Only the alert rules in the database use these gauges; Prometheus computes the same from the counters.
    database_only = {"recsys_operation_seconds", "recsys_heap_bytes", "recsys_cache_hit_ratio", "recsys_error_ratio"}
    declared = {metric._name for metric in PROMETHEUS_METRICS} | {gauge.name for gauge in COMPUTED_GAUGES}
    assert declared - shown - {name.removesuffix("_total") for name in shown} == database_only


def test_every_metric_has_a_description_and_no_label_with_many_values():
    for metric in PROMETHEUS_METRICS:
        assert metric._documentation.endswith("."), metric
        assert not {"member", "post", "member_id", "post_id", "path", "user", "ip"} & set(metric._labelnames), metric
    for gauge in COMPUTED_GAUGES:
        assert gauge.help.endswith("."), gauge


def test_the_docs_list_every_metric():
    rows = set(re.findall(r"^\| `(recsys_\w+)` \|", DOCUMENT, re.MULTILINE))
    counted = {metric._name + ("_total" if metric._type == "counter" else "") for metric in PROMETHEUS_METRICS}
    assert rows == counted | {gauge.name for gauge in COMPUTED_GAUGES}


def test_every_alert_has_a_runbook():
    """The runbook link names a heading of docs/monitoring.md."""
    headings = {heading.lower() for heading in re.findall(r"^#+ (\w+)$", DOCUMENT, re.MULTILINE)}
    for rule in alert_rules():
        if "alert" in rule:
            page, _, heading = rule["annotations"]["runbook"].partition("#")
            assert page == "docs/monitoring.md" and heading == rule["alert"].lower() and heading in headings
            assert rule["labels"]["severity"] in ("critical", "warning")


def test_the_dashboard_files_match_their_builder(tmp_path):
    """If this fails, run `python -m monitoring.grafana.build_dashboards`."""
    command = [sys.executable, "-m", "monitoring.grafana.build_dashboards", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True)
    built, committed = (
        {path.name: path.read_text() for path in folder.glob("*.json")}
        for folder in (tmp_path, build_dashboards.FOLDER)
    )
    assert set(built) == {f"{uid}.json" for uid in build_dashboards.DASHBOARDS}
    assert built == committed


@pytest.fixture
def promtool():
    path = shutil.which("promtool")
    if path is None:
        skip_or_fail("promtool is not installed: it is in the package prometheus.")
    return path


def test_promtool_accepts_the_rules_and_their_tests_pass(promtool, tmp_path):
    configuration = (PROMETHEUS / "prometheus.yml").read_text().replace("/etc/prometheus", str(PROMETHEUS))
    (tmp_path / "token").write_text("x")
    (tmp_path / "prometheus.yml").write_text(
        configuration.replace("/run/secrets/metrics_token", str(tmp_path / "token"))
    )
    for arguments in (
        ("check", "config", tmp_path / "prometheus.yml"),
        ("check", "rules", *RULES),
        ("test", "rules", PROMETHEUS / "rules_test.yml"),
    ):
        done = subprocess.run([promtool, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_fails_for_a_wrong_rule(promtool, tmp_path):
    shutil.copytree(PROMETHEUS, tmp_path / "prometheus")
    alerts = tmp_path / "prometheus" / "rules" / "alerts.yml"
    alerts.write_text(alerts.read_text().replace("recsys_database_up == 0", "recsys_database_up == 2"))
    command = [promtool, "test", "rules", tmp_path / "prometheus" / "rules_test.yml"]
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0
