"""
Builder of the Grafana dashboards: `python -m monitoring.grafana.build_dashboards [folder]` writes their JSON.

The JSON files are checked in, and a test compares them with the output of this module. The builder needs
grafana-foundation-sdk (requirements/dev.in); the service does not.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import DataSourceRef, GridPos

FOLDER = Path(__file__).resolve().parent / "dashboards"
SOURCE = DataSourceRef(type_val="prometheus", uid="prometheus")
WIDTH, HEIGHT, PANELS_PER_ROW = 8, 8, 3
WINDOW = "[$__rate_interval]"


@dataclass(frozen=True, slots=True)
class PanelSpec:
    """One panel: queries with their legends, and the unit of its axis by Grafana's name."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    is_single_value: bool = False
    """Whether the panel shows only the newest value."""


def plot(title: str, unit: str, *queries: tuple[str, str]) -> PanelSpec:
    return PanelSpec(title, unit, queries)


def single_value(title: str, unit: str, query: str) -> PanelSpec:
    return PanelSpec(title, unit, ((query, ""),), is_single_value=True)


def quantiles(metric: str, by: str = "", where: str = "") -> tuple[tuple[str, str], ...]:
    """Return the queries of a histogram's median, 95th and 99th percentile."""
    labels = f"le, {by}" if by else "le"
    prefix = f"{{{{{by}}}}} p" if by else "p"
    return tuple(
        (f"histogram_quantile({q / 100}, sum by ({labels}) (rate({metric}_bucket{where}{WINDOW})))", f"{prefix}{q}")
        for q in (50, 95, 99)
    )


def rate(metric: str, by: str, where: str = "") -> tuple[str, str]:
    """Return the query of a counter's rate by a label."""
    return f"sum by ({by}) (rate({metric}{where}{WINDOW}))", legend(by)


def mean(metric: str, by: str) -> tuple[str, str]:
    """Return the query of a histogram's mean by a label."""
    total, count = (f"sum by ({by}) (rate({metric}_{suffix}{WINDOW}))" for suffix in ("sum", "count"))
    return f"{total} / {count}", legend(by)


def legend(by: str) -> str:
    """Return the legend that shows these labels."""
    return " ".join(f"{{{{{name.strip()}}}}}" for name in by.split(","))


def gauge(metric: str, by: str, aggregate: str = "max") -> tuple[str, str]:
    """Return the query of a gauge by a label, combined with *aggregate*."""
    return f"{aggregate} by ({by}) ({metric})", legend(by)


def entry_bytes(cache: str, aggregate: str) -> tuple[str, str]:
    """Return the query of the mean size of a cache's entries."""
    return f"{aggregate} by (cache) ({cache}_bytes) / {aggregate} by (cache) ({cache}_entries)", "{{cache}}"


PIPELINE = (
    single_value("Error budget burn rate, 1 h", "none", "max(recsys_slo_burn_rate{window='1h'})"),
    single_value("Alerts firing", "none", "sum(recsys_alerts_firing)"),
    single_value("Quality score", "none", "recsys_quality_score"),
    single_value("nDCG of served slates", "none", "recsys_served_ndcg"),
    plot("Feeds", "reqps", rate("recsys_feeds_total", "feed")),
    plot("Failed feeds", "reqps", rate("recsys_feed_failures_total", "code")),
    plot(
        "Bad feeds (failed or slow)",
        "percentunit",
        ("recsys:bad_feeds:ratio_rate5m", "5 min"),
        ("recsys:bad_feeds:ratio_rate1h", "1 h"),
    ),
    plot("Latency of fresh feeds", "s", *quantiles("recsys_feed_seconds", where='{cached="false"}')),
    plot("Latency of cached feeds", "s", *quantiles("recsys_feed_seconds", where='{cached="true"}')),
    plot("Requests by status", "reqps", rate("django_http_responses_total_by_status_total", "status")),
    plot(
        "Mean time by component",
        "s",
        mean("recsys_stage_seconds", "stage, component"),
    ),
    plot("Candidates by source", "none", rate("recsys_source_candidates_total", "source")),
    plot("Candidates into and out of stages", "none", rate("recsys_stage_candidates_total", "stage, direction")),
    plot("Drop rate by filter", "percentunit", ("recsys:filter_drop:ratio_rate5m", "{{filter}}")),
    plot("Component failures", "ops", rate("recsys_component_failures_total", "stage, component")),
    plot("Empty and short pages", "reqps", rate("recsys_incomplete_pages_total", "feed, kind")),
    plot("Engines and variants", "reqps", rate("recsys_feeds_total", "engine, variant")),
    plot("Fallbacks", "reqps", rate("recsys_fallbacks_total", "step")),
    plot("Breakers", "none", gauge("recsys_breaker_state", "engine")),
    plot(
        "Coverage and click-through",
        "percentunit",
        ("recsys_coverage_ratio", "coverage"),
        ("recsys_click_through_ratio", "click-through"),
    ),
    plot(
        "Effect of negative feedback (share after / before)",
        "none",
        *quantiles("recsys_show_less_effect_ratio", by="target"),
    ),
    plot("Rate limits", "reqps", rate("recsys_throttle_events_total", "policy, outcome")),
    plot("API usage alerts", "ops", rate("recsys_usage_alerts_total", "kind")),
    plot("Experiment exposures", "ops", rate("recsys_flag_exposures_total", "experiment, variant")),
    plot("Flag errors", "ops", rate("recsys_flag_errors_total", "reason")),
)
SYSTEM = (
    single_value("Workers", "none", "sum(max by (queue) (recsys_queue_workers))"),
    single_value("Memory in use", "percentunit", "recsys_memory_usage_ratio"),
    single_value("Failing gauges", "none", "count(recsys_gauge_up == 0) or vector(0)"),
    plot("Cache hit rate", "percentunit", ("recsys:cache_hit:ratio_rate5m", "{{cache}}")),
    plot(
        "Process cache look-ups (pages, viewers, posts)",
        "ops",
        rate("recsys_process_cache_requests_total", "cache, outcome"),
    ),
    plot(
        "Cache entries",
        "none",
        gauge("recsys_cache_entries", "cache", "sum"),
        gauge("recsys_shared_cache_entries", "cache"),
    ),
    plot(
        "Bytes per cache entry", "bytes", entry_bytes("recsys_cache", "sum"), entry_bytes("recsys_shared_cache", "max")
    ),
    plot("Cache removals", "ops", rate("recsys_cache_removals_total", "cache, reason")),
    plot("Kernel memory", "bytes", gauge("recsys_kernel_bytes", "space, kind", "sum")),
    plot(
        "Kernel calls",
        "ops",
        rate("recsys_kernel_calls_total", "space"),
        rate("recsys_kernel_deadlines_total", "space"),
        (f"sum(rate(recsys_kernel_recycles_total{WINDOW}))", "recycles"),
    ),
    plot(
        "Resident rows and posts",
        "none",
        ("max by (space) (recsys_kernel_rows)", "{{space}} rows"),
        ("min(recsys_catalogue_posts)", "posts"),
    ),
    plot("Catalogue lag", "s", ("max(recsys_catalogue_lag_seconds)", "oldest")),
    plot("Memory by process", "bytes", gauge("recsys_process_resident_bytes", "process, pid", "sum")),
    plot(
        "CPU by process",
        "percentunit",
        ("sum by (process, pid) (deriv(recsys_process_cpu_seconds[5m]))", "{{process}} {{pid}}"),
    ),
    plot(
        "Memory clean-ups",
        "ops",
        rate("recsys_memory_cleanups_total", "reason"),
        rate("recsys_memory_freed_bytes_total", "step"),
    ),
    plot("Queries", "reqps", rate("recsys_query_seconds_count", "verb")),
    plot("Query time", "s", *quantiles("recsys_query_seconds")),
    plot("Waiting tasks", "none", gauge("recsys_queue_tasks", "queue")),
    plot("Age of the oldest task", "s", gauge("recsys_queue_age_seconds", "queue")),
    plot("Wait for a worker by queue", "s", *quantiles("recsys_task_wait_seconds", by="queue")),
    plot("Tasks", "ops", rate("recsys_tasks_total", "task, outcome")),
    plot("Mean task time", "s", mean("recsys_task_seconds", "task")),
    plot("Jobs", "none", gauge("recsys_jobs", "kind, state"), rate("recsys_job_items_total", "kind, outcome")),
    plot("Age of the oldest job", "s", gauge("recsys_job_age_seconds", "kind")),
    plot(
        "Backlogs",
        "none",
        ("recsys_unlearned_interactions", "interactions to learn"),
        ("recsys_unembedded_posts", "posts to embed"),
    ),
    plot("Embedding lag", "s", gauge("recsys_embedding_lag_seconds", "space")),
    plot("Age of trained models", "s", gauge("recsys_trained_model_age_seconds", "kind")),
    plot("Size of trained models", "bytes", gauge("recsys_trained_model_bytes", "kind")),
    plot("Training time", "s", gauge("recsys_training_seconds", "kind")),
    plot("Index lag", "s", gauge("recsys_index_lag_seconds", "index")),
    plot(
        "Index drift and missing vectors",
        "none",
        gauge("recsys_index_drift_posts", "space, index"),
        gauge("recsys_engine_missing_vectors", "space, engine"),
    ),
    plot(
        "Redis memory",
        "bytes",
        gauge("recsys_redis_bytes", "server"),
        ("max by (server) (recsys_redis_limit_bytes)", "{{server}} limit"),
    ),
    plot("Redis evictions", "ops", ("sum by (server) (deriv(recsys_redis_evicted_keys[5m]))", "{{server}}")),
    plot("Age of the active embedding model", "s", gauge("recsys_embedding_model_age_seconds", "space")),
    plot("Threads by process", "none", gauge("recsys_process_threads", "process, pid", "sum")),
    plot("Memory of the largest process by kind", "bytes", gauge("recsys_memory_bytes", "kind")),
    plot(
        "Servers that respond",
        "none",
        ("min by (server) (recsys_redis_up)", "Redis {{server}}"),
        ("min(recsys_database_up)", "database"),
        ("min(recsys_qdrant_up)", "Qdrant"),
    ),
)
DASHBOARDS = {
    "recsys-pipeline": ("recsys: feeds and quality", PIPELINE),
    "recsys-system": ("recsys: caches, workers, servers", SYSTEM),
}


def build_query(query: str, query_legend: str, position: int) -> prometheus.Dataquery:
    """Return one query. Grafana identifies the queries of a panel by a letter."""
    return prometheus.Dataquery().expr(query).legend_format(query_legend).ref_id(chr(ord("A") + position))


def build_panel(spec: PanelSpec, position: int) -> stat.Panel | timeseries.Panel:
    """Return the panel with its position in the grid."""
    grid_position = GridPos(
        h=HEIGHT, w=WIDTH, x=position % PANELS_PER_ROW * WIDTH, y=position // PANELS_PER_ROW * HEIGHT
    )
    panel: stat.Panel | timeseries.Panel = stat.Panel() if spec.is_single_value else timeseries.Panel()
    panel = panel.title(spec.title).unit(spec.unit).datasource(SOURCE).grid_pos(grid_position).id(position + 1)
    for index, (query, query_legend) in enumerate(spec.queries):
        panel = panel.with_target(build_query(query, query_legend, index))
    return panel


def build_dashboard(uid: str, title: str, plots: Sequence[PanelSpec]) -> str:
    """Return a dashboard's JSON."""
    board = dashboard.Dashboard(title).uid(uid).tags(["recsys"]).refresh("30s").time("now-6h", "now").timezone("utc")
    for position, spec in enumerate(plots):
        board = board.with_panel(build_panel(spec, position))
    return JSONEncoder(sort_keys=True, indent=2).encode(board.build()) + "\n"


def write_dashboards(folder: Path) -> None:
    """Write every dashboard into *folder*."""
    for uid, (title, plots) in DASHBOARDS.items():
        (folder / f"{uid}.json").write_text(build_dashboard(uid, title, plots), encoding="utf-8")


if __name__ == "__main__":
    write_dashboards(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
