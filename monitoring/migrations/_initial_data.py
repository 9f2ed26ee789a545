"""The alert rules that a new installation starts with."""

from values.translation import translatable

GIB = 2**30
OPERATION_SECONDS = "recsys_operation_seconds"
# name, metric, labels, comparison, threshold, clears at, for seconds, severity, advice
RULES = [
    ("recommendation_generation_time", OPERATION_SECONDS, {"operation": "recommendation_generation", "quantile": "p95"}, "above", 1.0, 0.8, 60, "medium",
     translatable("See the time by stage on the dashboard; lower the flag's rollout if one engine is slow.")),
    ("response_time", OPERATION_SECONDS, {"operation": "feed", "quantile": "p95"}, "above", 0.5, 0.4, 300, "low",
     translatable("The target is 500 ms. Check the time by stage and the hit rate of the slate cache.")),
    ("heap_used", "recsys_heap_bytes", {}, "above", GIB, 0.9 * GIB, 60, "high",
     translatable("Check the memory of each process: a process that only grows has a leak.")),
    ("cache_hit_rate", "recsys_cache_hit_ratio", {"cache": "all"}, "below", 0.7, 0.75, 300, "medium",
     translatable("Check which cache misses, and whether Redis evicts keys.")),
    ("cache_hit_rate_target", "recsys_cache_hit_ratio", {"cache": "all"}, "below", 0.8, 0.82, 3600, "low",
     translatable("The target is 80 %. Raise the cache sizes, or the time for which slates are served.")),
    ("database_query_time", OPERATION_SECONDS, {"operation": "database_query", "quantile": "p95"}, "above", 0.5, 0.4, 60, "medium",
     translatable("Check for a missing index or a lock; run the optimize_database maintenance task.")),
    ("error_rate", "recsys_error_ratio", {}, "above", 0.01, 0.005, 60, "high",
     translatable("Check /readyz, and the log for filter_failed and final_check_failed.")),
    ("memory_usage", "recsys_memory_usage_ratio", {}, "above", 0.85, 0.8, 60, "high",
     translatable("Processes clear their caches at 90 %. Add memory, or lower WASM_MEMORY_LIMIT and the cache sizes.")),
    ("quality_score", "recsys_quality_score", {}, "below", 0.7, 0.72, 3600, "medium",
     translatable("Compare the variants on the dashboard; a new policy or embedding model may rank worse.")),
    ("queue_age", "recsys_queue_age_seconds", {}, "above", 300, 60, 60, "high",
     translatable("Check /workersz; start another worker for the queue.")),
    ("workers", "recsys_queue_workers", {}, "below", 1, None, 60, "critical",
     translatable("A queue has no worker; /workersz shows which. Start one.")),
    ("redis", "recsys_redis_up", {}, "below", 1, None, 30, "critical",
     translatable("A Redis server does not respond. Feeds are served without caches; jobs wait.")),
    ("slo_burn", "recsys_slo_burn_rate", {"window": "1h"}, "above", 14.4, 10, 120, "critical",
     translatable("At this rate the month's error budget is used up in two days. Check failed and slow feeds.")),
]
NAMES = ("name", "metric", "labels", "comparison", "threshold", "clears_at", "for_seconds", "severity", "advice")


def add_rules(apps, schema_editor):
    rules = apps.get_model("monitoring", "AlertRule").objects.using(schema_editor.connection.alias)
    for rule in RULES:
        rules.create(**dict(zip(NAMES, rule)))
