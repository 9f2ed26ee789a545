"""What rules, dashboards and documents name is what the code exports; the rules hold on Prometheus' own tool."""

import json
import re
import shutil
import subprocess
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

PROMETHEUS_METRICS = [one for one in vars(metrics).values() if isinstance(one, MetricWrapperBase)]
COMPUTED_GAUGES = [one for one in vars(metrics).values() if isinstance(one, metrics.ComputedGauge)]


def exported_names():
    """Return every name that /metrics can say: our own, and what django-prometheus registers."""
    Metrics.get_instance()
    found = {one.name for one in COMPUTED_GAUGES}
    for family in REGISTRY.collect():
        found |= {family.name + suffix for suffix in SUFFIXES.get(family.type, ())}
    return found


def alert_rules():
    return [rule for path in RULES for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


def iter_expressions():
    """Yield where it stands and what it asks, of every rule and panel."""
    for rule in alert_rules():
        yield rule.get("alert") or rule["record"], rule["expr"]
    for path in build_dashboards.FOLDER.glob("*.json"):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                yield f"{path.stem}: {panel['title']}", target["expr"]


def test_every_metric_that_a_rule_or_panel_names_is_exported():
    known = exported_names() | {rule["record"] for rule in alert_rules() if "record" in rule}
    unknown = {
        (where, name) for where, asked in iter_expressions() for name in NAME.findall(asked) if name not in known
    }
    assert not unknown
    assert len(list(iter_expressions())) > 80


def test_every_metric_of_ours_is_on_a_panel_or_in_a_rule():
    """What nobody looks at need not be counted."""
    named = {name for _, asked in iter_expressions() for name in NAME.findall(asked)}
    shown = {re.sub(r"_(bucket|sum|count|total)$", "", name) for name in named} | named
    # What the rules in the database watch; Prometheus works the same out of what was counted.
    spare = {"recsys_operation_seconds", "recsys_heap_bytes", "recsys_cache_hit_ratio", "recsys_error_ratio"}
    ours = {one._name for one in PROMETHEUS_METRICS} | {one.name for one in COMPUTED_GAUGES}
    assert ours - shown - {name.removesuffix("_total") for name in shown} == spare


def test_every_metric_is_explained_and_its_labels_are_few():
    for one in PROMETHEUS_METRICS:
        assert one._documentation.endswith("."), one
        assert not {"member", "post", "member_id", "post_id", "path", "user", "ip"} & set(one._labelnames), one
    for one in COMPUTED_GAUGES:
        assert one.help.endswith("."), one


def test_the_document_lists_every_metric():
    rows = set(re.findall(r"^\| `(recsys_\w+)` \|", DOCUMENT, re.MULTILINE))
    counted = {one._name + ("_total" if one._type == "counter" else "") for one in PROMETHEUS_METRICS}
    assert rows == counted | {one.name for one in COMPUTED_GAUGES}


def test_every_alert_says_what_to_do():
    """The runbook is a heading of the document."""
    headings = {heading.lower() for heading in re.findall(r"^#+ (\w+)$", DOCUMENT, re.MULTILINE)}
    for rule in alert_rules():
        if "alert" in rule:
            page, _, heading = rule["annotations"]["runbook"].partition("#")
            assert page == "docs/monitoring.md" and heading == rule["alert"].lower() and heading in headings
            assert rule["labels"]["severity"] in ("critical", "warning")


@pytest.mark.parametrize("uid", build_dashboards.DASHBOARDS)
def test_a_dashboard_is_what_its_source_says(uid):
    """`python -m monitoring.grafana.build_dashboards` writes them anew."""
    title, plots = build_dashboards.DASHBOARDS[uid]
    assert (build_dashboards.FOLDER / f"{uid}.json").read_text() == build_dashboards.build_dashboard(uid, title, plots)


@pytest.fixture
def promtool():
    found = shutil.which("promtool")
    if found is None:
        skip_or_fail("No promtool: it is in the package prometheus.")
    return found


def test_prometheus_takes_the_rules_and_they_do_what_they_should(promtool, tmp_path):
    configuration = (PROMETHEUS / "prometheus.yml").read_text().replace("/etc/prometheus", str(PROMETHEUS))
    (tmp_path / "token").write_text("x")
    (tmp_path / "prometheus.yml").write_text(configuration.replace("/tmp/metrics-token", str(tmp_path / "token")))
    for words in (
        ("check", "config", tmp_path / "prometheus.yml"),
        ("check", "rules", *RULES),
        ("test", "rules", PROMETHEUS / "rules_test.yml"),
    ):
        done = subprocess.run([promtool, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_rule_that_is_wrong_fails(promtool, tmp_path):
    """The tool would notice."""
    shutil.copytree(PROMETHEUS, tmp_path / "prometheus")
    alerts = tmp_path / "prometheus" / "rules" / "alerts.yml"
    alerts.write_text(alerts.read_text().replace("recsys_database_up == 0", "recsys_database_up == 2"))
    words = [promtool, "test", "rules", tmp_path / "prometheus" / "rules_test.yml"]
    assert subprocess.run(words, capture_output=True, check=False).returncode != 0
