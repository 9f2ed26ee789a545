"""
Writes Grafana's dashboards: `python -m monitoring.grafana.build_dashboards`. Their JSON is checked in, and a test keeps it this.

It needs grafana-foundation-sdk, which the service itself does not: see requirements/dev.in.
"""

from __future__ import annotations

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
    """One panel: queries with their legends, and the unit of its axis as Grafana calls it."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    is_single_value: bool = False
    """Whether the newest value is shown alone."""


def plot(title: str, unit: str, *queries: tuple[str, str]) -> PanelSpec:
    return PanelSpec(title, unit, queries)


def single_value(title: str, unit: str, query: str) -> PanelSpec:
    return PanelSpec(title, unit, ((query, ""),), is_single_value=True)


def quantiles(metric: str, by: str = "", where: str = "") -> tuple[tuple[str, str], ...]:
    """Return the queries of a histogram's median, 95th and 99th percentile."""
    labels = f"le, {by}" if by else "le"
    legend = f"{{{{{by}}}}} p" if by else "p"
    return tuple(
        (f"histogram_quantile({q / 100}, sum by ({labels}) (rate({metric}_bucket{where}{WINDOW})))", f"{legend}{q}")
        for q in (50, 95, 99)
    )


def rate(metric: str, by: str, where: str = "") -> tuple[str, str]:
    """Return the query of a counter's rate by a label."""
    return f"sum by ({by}) (rate({metric}{where}{WINDOW}))", " ".join(
        f"{{{{{name.strip()}}}}}" for name in by.split(",")
    )


def mean(metric: str, by: str) -> tuple[str, str]:
    """Return the query of a histogram's mean by a label."""
    total, count = (f"sum by ({by}) (rate({metric}_{part}{WINDOW}))" for part in ("sum", "count"))
    return f"{total} / {count}", legend(by)


def legend(by: str) -> str:
    """Return the legend that shows these labels."""
    return " ".join(f"{{{{{name.strip()}}}}}" for name in by.split(","))


def gauge(metric: str, by: str, aggregate: str = "max") -> tuple[str, str]:
    """Return the query of a gauge by a label, put together by *how*."""
    return f"{aggregate} by ({by}) ({metric})", legend(by)


def entry_bytes(cache: str, aggregate: str) -> tuple[str, str]:
    """Return the query of what an entry of a cache takes."""
    return f"{aggregate} by (cache) ({cache}_bytes) / {aggregate} by (cache) ({cache}_entries)", "{{cache}}"


PIPELINE = (
    single_value("Error budget, 1 h burn", "none", "max(recsys_slo_burn_rate{window='1h'})"),
    single_value("Alerts firing", "none", "sum(recsys_alerts_firing)"),
    single_value("Quality score", "none", "recsys_quality_score"),
    plot("Feeds", "reqps", rate("recsys_feeds_total", "feed")),
    plot("Feeds that failed", "reqps", rate("recsys_feed_failures_total", "code")),
    plot(
        "Bad feeds: failed or slow",
        "percentunit",
        ("recsys:bad_feeds:ratio_rate5m", "5 min"),
        ("recsys:bad_feeds:ratio_rate1h", "1 h"),
    ),
    plot("Fresh feed", "s", *quantiles("recsys_feed_seconds", where='{cached="false"}')),
    plot("Cached feed", "s", *quantiles("recsys_feed_seconds", where='{cached="true"}')),
    plot("Requests by status", "reqps", rate("django_http_responses_total_by_status_total", "status")),
    plot(
        "Time by part, mean",
        "s",
        mean("recsys_stage_seconds", "stage, component"),
    ),
    plot("Candidates by source", "none", rate("recsys_source_candidates_total", "source")),
    plot("Candidates into and out of stages", "none", rate("recsys_stage_candidates_total", "stage, direction")),
    plot("Dropped by filter", "percentunit", ("recsys:filter_drop:ratio_rate5m", "{{filter}}")),
    plot("Parts that fail", "ops", rate("recsys_component_failures_total", "stage, component")),
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
    plot("Less of what was turned down", "none", *quantiles("recsys_show_less_effect_ratio", by="target")),
    plot("Rate limits", "reqps", rate("recsys_throttle_events_total", "policy, outcome")),
    plot("Alerts on the use of the API", "ops", rate("recsys_usage_alerts_total", "kind")),
    plot("Members who met an experiment", "ops", rate("recsys_flag_exposures_total", "experiment, variant")),
    plot("Flags that could not be read", "ops", rate("recsys_flag_errors_total", "reason")),
)
SYSTEM = (
    single_value("Workers", "none", "sum(recsys_queue_workers)"),
    single_value("Memory in use", "percentunit", "recsys_memory_usage_ratio"),
    single_value("Readings that fail", "none", "count(recsys_gauge_up == 0) or vector(0)"),
    plot("Cache hits", "percentunit", ("recsys:cache_hit:ratio_rate5m", "{{cache}}")),
    plot("Pages, viewers and posts remembered", "ops", rate("recsys_process_cache_requests_total", "cache, outcome")),
    plot(
        "Cache entries",
        "none",
        gauge("recsys_cache_entries", "cache", "sum"),
        gauge("recsys_shared_cache_entries", "cache"),
    ),
    plot("Bytes an entry", "bytes", entry_bytes("recsys_cache", "sum"), entry_bytes("recsys_shared_cache", "max")),
    plot("Entries given up", "ops", rate("recsys_cache_removals_total", "cache, reason")),
    plot("Kernel memory", "bytes", gauge("recsys_kernel_bytes", "space, kind", "sum")),
    plot(
        "Kernel calls",
        "ops",
        rate("recsys_kernel_calls_total", "space"),
        rate("recsys_kernel_deadlines_total", "space"),
        (f"sum(rate(recsys_kernel_recycles_total{WINDOW}))", "recycles"),
    ),
    plot(
        "Rows and posts resident",
        "none",
        ("max by (space) (recsys_kernel_rows)", "{{space}} rows"),
        ("min(recsys_catalogue_posts)", "posts"),
    ),
    plot("Catalogue lag", "s", ("max(recsys_catalogue_lag_seconds)", "oldest")),
    plot("Memory by process", "bytes", gauge("recsys_process_resident_bytes", "process, pid", "sum")),
    plot(
        "Processor by process",
        "percentunit",
        ("sum by (process, pid) (deriv(recsys_process_cpu_seconds[5m]))", "{{process}} {{pid}}"),
    ),
    plot(
        "Clean-ups",
        "ops",
        rate("recsys_memory_cleanups_total", "reason"),
        rate("recsys_memory_freed_bytes_total", "step"),
    ),
    plot("Queries", "reqps", rate("recsys_query_seconds_count", "verb")),
    plot("Query time", "s", *quantiles("recsys_query_seconds")),
    plot("Tasks that wait", "none", gauge("recsys_queue_tasks", "queue")),
    plot("Age of the oldest task", "s", gauge("recsys_queue_age_seconds", "queue")),
    plot("Wait for a worker", "s", *quantiles("recsys_task_wait_seconds", by="queue")),
    plot("Tasks", "ops", rate("recsys_tasks_total", "task, outcome")),
    plot("Task time, mean", "s", mean("recsys_task_seconds", "task")),
    plot("Jobs", "none", gauge("recsys_jobs", "kind, state"), rate("recsys_job_items_total", "kind, outcome")),
    plot("Age of the oldest job", "s", gauge("recsys_job_age_seconds", "kind")),
    plot(
        "Backlogs",
        "none",
        ("recsys_unlearned_interactions", "interactions to learn"),
        ("recsys_unembedded_posts", "posts to embed"),
    ),
    plot("Embedding lag", "s", gauge("recsys_embedding_lag_seconds", "space")),
    plot("Index lag", "s", gauge("recsys_index_lag_seconds", "index")),
    plot(
        "Posts an index has wrong, vectors an engine lacks",
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
    plot("Keys that Redis gave up", "ops", ("sum by (server) (deriv(recsys_redis_evicted_keys[5m]))", "{{server}}")),
    plot("Age of the active model", "s", gauge("recsys_embedding_model_age_seconds", "space")),
    plot("Threads by process", "none", gauge("recsys_process_threads", "process, pid", "sum")),
    plot("Memory by part, largest process", "bytes", gauge("recsys_memory_bytes", "kind")),
    plot(
        "Servers that answer",
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


def build_query(query: str, legend: str, position: int) -> prometheus.Dataquery:
    """Return one query; Grafana wants each to have a letter."""
    return prometheus.Dataquery().expr(query).legend_format(legend).ref_id(chr(ord("A") + position))


def build_panel(spec: PanelSpec, position: int) -> stat.Panel | timeseries.Panel:
    """Return a panel at its place in the grid."""
    place = GridPos(h=HEIGHT, w=WIDTH, x=position % PANELS_PER_ROW * WIDTH, y=position // PANELS_PER_ROW * HEIGHT)
    built: stat.Panel | timeseries.Panel = stat.Panel() if spec.is_single_value else timeseries.Panel()
    built = built.title(spec.title).unit(spec.unit).datasource(SOURCE).grid_pos(place).id(position + 1)
    for index, (query, legend) in enumerate(spec.queries):
        built = built.with_target(build_query(query, legend, index))
    return built


def build_dashboard(uid: str, title: str, plots: Sequence[PanelSpec]) -> str:
    """Return a dashboard's JSON."""
    board = dashboard.Dashboard(title).uid(uid).tags(["recsys"]).refresh("30s").time("now-6h", "now").timezone("utc")
    for position, one in enumerate(plots):
        board = board.with_panel(build_panel(one, position))
    return JSONEncoder(sort_keys=True, indent=2).encode(board.build()) + "\n"


def main() -> None:
    """Write every dashboard."""
    FOLDER.mkdir(exist_ok=True)
    for uid, (title, plots) in DASHBOARDS.items():
        (FOLDER / f"{uid}.json").write_text(build_dashboard(uid, title, plots), encoding="utf-8")


if __name__ == "__main__":
    main()
