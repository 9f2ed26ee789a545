"""The alert rules that a new installation starts with."""

GIB = 2**30
OPERATION_SECONDS = "recsys_operation_seconds"
# name, metric, labels, comparison, threshold, clears at, for seconds, severity, advice
RULES = [
    ("recommendation_generation_time", OPERATION_SECONDS, {"operation": "recommendation_generation", "quantile": "p95"}, "above", 1.0, 0.8, 60, "medium",
     "Look at the time by stage on the dashboard; lower the flag's rollout if one engine is slow."),
    ("response_time", OPERATION_SECONDS, {"operation": "feed", "quantile": "p95"}, "above", 0.5, 0.4, 300, "low",
     "The target is 500 ms. Look at the time by stage and at the hit rate of slates."),
    ("heap_used", "recsys_heap_bytes", {}, "above", GIB, 0.9 * GIB, 60, "high",
     "Look at the memory of each process: one that only grows leaks."),
    ("cache_hit_rate", "recsys_cache_hit_ratio", {"cache": "all"}, "below", 0.7, 0.75, 300, "medium",
     "Look at which cache misses, and whether Redis evicts."),
    ("cache_hit_rate_target", "recsys_cache_hit_ratio", {"cache": "all"}, "below", 0.8, 0.82, 3600, "low",
     "The target is 80 %. Raise the sizes of the caches, or the ages up to which slates are served."),
    ("database_query_time", OPERATION_SECONDS, {"operation": "database_query", "quantile": "p95"}, "above", 0.5, 0.4, 60, "medium",
     "Look for a missing index or a lock; run the optimize_database maintenance task."),
    ("error_rate", "recsys_error_ratio", {}, "above", 0.01, 0.005, 60, "high",
     "Look at /readyz and at the log for slate_lost and final_check_failed."),
    ("memory_usage", "recsys_memory_usage_ratio", {}, "above", 0.85, 0.8, 60, "high",
     "Processes give up caches at 90 %. Add memory, or lower WASM_MEMORY_LIMIT and the caches' sizes."),
    ("quality_score", "recsys_quality_score", {}, "below", 0.7, 0.72, 3600, "medium",
     "Compare the variants on the dashboard; a new policy or model may rank worse."),
    ("queue_age", "recsys_queue_age_seconds", {}, "above", 300, 60, 60, "high",
     "Look at /workersz; start another worker for the queue."),
    ("workers", "recsys_queue_workers", {}, "below", 1, None, 60, "critical",
     "A queue has no worker. Start one: see /workersz for which."),
    ("redis", "recsys_redis_up", {}, "below", 1, None, 30, "critical",
     "A Redis does not answer. Feeds go on without caches; jobs wait."),
    ("slo_burn", "recsys_slo_burn_rate", {"window": "1h"}, "above", 14.4, 10, 120, "critical",
     "The month's error budget would be gone in two days. Look at failed and slow feeds."),
]
NAMES = ("name", "metric", "labels", "comparison", "threshold", "clears_at", "for_seconds", "severity", "advice")


def add_rules(apps, schema_editor):
    rules = apps.get_model("monitoring", "AlertRule").objects.using(schema_editor.connection.alias)
    for rule in RULES:
        rules.create(**dict(zip(NAMES, rule)))
