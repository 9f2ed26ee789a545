"""
Every metric, declared once. Labels take few values: never an id, a text or an address.

django-prometheus declares the metrics of requests. Counted metrics come first, then the computed gauges
(`ComputedGauge`), which a function computes at each scrape: no process counts the length of a queue, for example.
docs/monitoring.md lists every metric, and a test compares the list with this file.
"""

from dataclasses import dataclass

from prometheus_client import Counter, Gauge, Histogram

FEED_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
STAGE_BUCKETS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5)

FEED_SECONDS = Histogram(
    "recsys_feed_seconds",
    "Time in the service from the request of a feed to its page.",
    ["feed", "engine", "cached"],
    buckets=FEED_BUCKETS,
)
STAGE_SECONDS = Histogram(
    "recsys_stage_seconds",
    "Time of one component of a stage; a stage of filters is timed as one component, 'all'.",
    ["stage", "component"],
    buckets=STAGE_BUCKETS,
)
FEEDS = Counter(
    "recsys_feeds_total",
    "Feed pages served; fallback is the fallback step that built the slate, empty if none was needed.",
    ["feed", "engine", "variant", "fallback"],
)
FEED_FAILURES = Counter(
    "recsys_feed_failures_total", "Feeds that the service failed to serve, by error code.", ["feed", "code"]
)
INCOMPLETE_PAGES = Counter(
    "recsys_incomplete_pages_total",
    "Pages without posts (empty) or with fewer posts than requested (short).",
    ["feed", "kind"],
)
STAGE_CANDIDATES = Counter(
    "recsys_stage_candidates_total", "Candidates that entered a stage (in) and left it (out).", ["stage", "direction"]
)
COMPONENT_FAILURES = Counter(
    "recsys_component_failures_total", "Failures of a pipeline component.", ["stage", "component"]
)
FILTER_INPUTS = Counter(
    "recsys_filter_inputs_total",
    "Source candidates that a filter checked: the denominator of recsys_filter_drops_total.",
    ["filter"],
)
SOURCE_CANDIDATES = Counter("recsys_source_candidates_total", "Candidates that a source returned.", ["source"])
FILTER_DROPS = Counter("recsys_filter_drops_total", "Source candidates that a filter dropped.", ["filter"])
FALLBACKS = Counter("recsys_fallbacks_total", "Feeds that a fallback step served.", ["step"])
BREAKER_STATE = Gauge(
    "recsys_breaker_state",
    "State of an engine's circuit breaker: 0 closed, 1 half-open (one trial call), 2 open (not called).",
    ["engine"],
    multiprocess_mode="livemax",
)
CACHE_REQUESTS = Counter(
    "recsys_cache_requests_total",
    "Cache look-ups: hit, stale (served while a new value is built) or miss.",
    ["cache", "outcome"],
)
PROCESS_CACHE_REQUESTS = Counter(
    "recsys_process_cache_requests_total",
    "Look-ups of pages, viewers and posts in the memory of a process: hit (cached and current) or miss.",
    ["cache", "outcome"],
)
CACHE_ENTRIES = Gauge(
    "recsys_cache_entries",
    "Entries of a cache that each process has for itself, summed over the processes.",
    ["cache"],
    multiprocess_mode="livesum",
)
CACHE_BYTES = Gauge(
    "recsys_cache_bytes",
    "Bytes of a cache that each process has for itself, summed over the processes.",
    ["cache"],
    multiprocess_mode="livesum",
)
# The processes share these caches, so the values are not summed: the process that swept last has the current one.
SHARED_CACHE_ENTRIES = Gauge(
    "recsys_shared_cache_entries",
    "Entries of a cache in Redis after its last sweep.",
    ["cache"],
    multiprocess_mode="mostrecent",
)
SHARED_CACHE_BYTES = Gauge(
    "recsys_shared_cache_bytes",
    "Approximate bytes of a cache in Redis after its last sweep.",
    ["cache"],
    multiprocess_mode="mostrecent",
)
CACHE_REMOVALS = Counter(
    "recsys_cache_removals_total", "Entries removed from a cache: expired or evicted.", ["cache", "reason"]
)
MEMORY_BYTES = Gauge(
    "recsys_memory_bytes",
    "Memory of the largest process: heap, or kernel (WebAssembly memory).",
    ["kind"],
    multiprocess_mode="livemax",
)
MEMORY_CLEANUPS = Counter(
    "recsys_memory_cleanups_total", "Memory clean-ups of a process: cleanup or emergency.", ["reason"]
)
MEMORY_FREED_BYTES = Counter("recsys_memory_freed_bytes_total", "Bytes that a step of a clean-up freed.", ["step"])
ENGINE_MISSING_VECTORS = Gauge(
    "recsys_engine_missing_vectors",
    "Vectors that an engine could not load; an engine with missing vectors is not used.",
    ["space", "engine"],
    multiprocess_mode="livemax",
)
INDEX_LAG_SECONDS = Gauge(
    "recsys_index_lag_seconds",
    "Age of an index that is behind changed posts: qdrant, or resident for the index of this process; 0 if current.",
    ["index"],
    multiprocess_mode="livemax",
)
INDEX_DRIFT = Gauge(
    "recsys_index_drift_posts",
    "Posts that differ between an index and the database at the last comparison.",
    ["space", "index"],
    multiprocess_mode="mostrecent",
)
JOB_ITEMS = Counter("recsys_job_items_total", "Processed job items: done or failed.", ["kind", "outcome"])
SHOW_LESS_EFFECT = Histogram(
    "recsys_show_less_effect_ratio",
    "Share of the target among the served posts after negative feedback, divided by its share before.",
    ["target"],
    buckets=(0.0, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0),
)
FLAG_ERRORS = Counter(
    "recsys_flag_errors_total",
    "Flags that could not be evaluated or read; the default or the last known value was used.",
    ["reason"],
)
FLAG_EXPOSURES = Counter(
    "recsys_flag_exposures_total", "Members who were served a variant of an experiment.", ["experiment", "variant"]
)

THROTTLE_EVENTS = Counter(
    "recsys_throttle_events_total",
    "Requests that a rate limit rejected, or served without counting because Redis did not respond.",
    ["policy", "outcome"],
)
USAGE_ALERTS = Counter("recsys_usage_alerts_total", "Alerts on unusual use of the API.", ["kind"])

# Kernels: each process has its own and reports them after a request or a task.
KERNEL_CALLS = Counter("recsys_kernel_calls_total", "Calls into the kernels.", ["space"])
KERNEL_DEADLINES = Counter(
    "recsys_kernel_deadlines_total", "Calls into the kernels that were stopped at their deadline.", ["space"]
)
KERNEL_RECYCLES = Counter(
    "recsys_kernel_recycles_total", "Kernels whose rows were moved into a new memory to free the old one."
)
KERNEL_BYTES = Gauge(
    "recsys_kernel_bytes",
    "Linear memory of the kernels: rows (used by rows), allocated, and limit (the maximum).",
    ["space", "kind"],
    multiprocess_mode="livesum",
)
KERNEL_ROWS = Gauge(
    "recsys_kernel_rows", "Rows in the kernels of the process with the most.", ["space"], multiprocess_mode="livemax"
)
CATALOGUE_POSTS = Gauge(
    "recsys_catalogue_posts", "Resident posts of the process with the fewest.", multiprocess_mode="livemin"
)
CATALOGUE_LAG_SECONDS = Gauge(
    "recsys_catalogue_lag_seconds",
    "Age of the resident catalogue, in the process where it is oldest.",
    multiprocess_mode="livemax",
)

# The database and the workers.
QUERY_SECONDS = Histogram(
    "recsys_query_seconds",
    "Time of a database query, by SQL verb.",
    ["verb"],
    buckets=(0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0),
)
TASK_SECONDS = Histogram(
    "recsys_task_seconds",
    "Run time of a task.",
    ["task"],
    buckets=(0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0),
)
TASK_WAIT_SECONDS = Histogram(
    "recsys_task_wait_seconds",
    "Time from a task's due time (its publication, or its eta) to its start.",
    ["queue"],
    buckets=(0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0),
)
TASKS = Counter(
    "recsys_tasks_total",
    "Ended tasks: succeeded, failed, retried, revoked, or lost when their process died.",
    ["task", "outcome"],
)


@dataclass(frozen=True, slots=True)
class ComputedGauge:
    """A gauge whose values are computed at a scrape. `gauges.register_gauges` registers the function."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


GAUGE_UP = ComputedGauge("recsys_gauge_up", "Whether a computed gauge could be computed: 1 or 0.", ("gauge",))
PROCESS_BYTES = ComputedGauge("recsys_process_resident_bytes", "Resident memory of a process.", ("process", "pid"))
PROCESS_CPU_SECONDS = ComputedGauge("recsys_process_cpu_seconds", "CPU time of a process.", ("process", "pid"))
PROCESS_THREADS = ComputedGauge("recsys_process_threads", "Threads of a process.", ("process", "pid"))
QUEUE_TASKS = ComputedGauge("recsys_queue_tasks", "Tasks that wait in a queue.", ("queue",))
QUEUE_AGE_SECONDS = ComputedGauge(
    "recsys_queue_age_seconds", "Waiting time of the oldest task in a queue; 0 for an empty queue.", ("queue",)
)
QUEUE_WORKERS = ComputedGauge(
    "recsys_queue_workers", "Workers that send heartbeats and consume from a queue.", ("queue",)
)
BEAT_UP = ComputedGauge("recsys_beat_up", "Whether a beat process holds the lock: 1 or 0.")
REDIS_UP = ComputedGauge("recsys_redis_up", "Whether a Redis server responds: 1 or 0.", ("server",))
REDIS_BYTES = ComputedGauge("recsys_redis_bytes", "Memory used by a Redis server.", ("server",))
REDIS_LIMIT_BYTES = ComputedGauge(
    "recsys_redis_limit_bytes", "Memory limit of a Redis server; 0 without a limit.", ("server",)
)
REDIS_EVICTED_KEYS = ComputedGauge(
    "recsys_redis_evicted_keys", "Keys that a Redis server evicted at its memory limit since it started.", ("server",)
)
DATABASE_UP = ComputedGauge("recsys_database_up", "Whether the database responds: 1 or 0.")
QDRANT_UP = ComputedGauge("recsys_qdrant_up", "Whether the vector index responds: 1 or 0. Absent without QDRANT_URL.")
JOBS = ComputedGauge("recsys_jobs", "Queued and running jobs.", ("kind", "state"))
JOB_AGE_SECONDS = ComputedGauge("recsys_job_age_seconds", "Age of the oldest unfinished job.", ("kind",))
UNLEARNED_INTERACTIONS = ComputedGauge(
    "recsys_unlearned_interactions", "Interactions not yet learned, counted up to 10,000."
)
UNEMBEDDED_POSTS = ComputedGauge(
    "recsys_unembedded_posts", "Posts without a vector of the active embedding model, counted up to 10,000.", ("space",)
)
EMBEDDING_LAG_SECONDS = ComputedGauge(
    "recsys_embedding_lag_seconds", "Waiting time of the oldest post without a vector; 0 if there is none.", ("space",)
)
EMBEDDING_MODEL_AGE_SECONDS = ComputedGauge(
    "recsys_embedding_model_age_seconds", "Time since the active embedding model of a space was activated.", ("space",)
)
TRAINED_MODEL_AGE_SECONDS = ComputedGauge(
    "recsys_trained_model_age_seconds", "Time since the active trained model of a kind was trained.", ("kind",)
)
TRAINED_MODEL_BYTES = ComputedGauge(
    "recsys_trained_model_bytes", "Size of the active trained model of a kind.", ("kind",)
)
TRAINING_SECONDS = ComputedGauge(
    "recsys_training_seconds", "How long the active trained model of a kind took to train.", ("kind",)
)
QUALITY_SCORE = ComputedGauge(
    "recsys_quality_score",
    "NDCG of the discovery feed divided by that of the best peer, at most 1, in the newest evaluation.",
)
QUALITY_REGRESSION = ComputedGauge(
    "recsys_quality_regression",
    "By how much the newest evaluation is worse than the one before, beyond chance: the gap between the intervals.",
)
SERVED_NDCG = ComputedGauge(
    "recsys_served_ndcg",
    "Mean nDCG of the last day's slates with at least one engaged post: 1 if the engaged posts were ranked first.",
)
COVERAGE_RATIO = ComputedGauge("recsys_coverage_ratio", "Share of all posts that were served in the last hour.")
CLICK_THROUGH_RATIO = ComputedGauge(
    "recsys_click_through_ratio", "Share of the posts served in the last 24 full hours that got an engagement."
)
SLO_BURN_RATE = ComputedGauge(
    "recsys_slo_burn_rate",
    "Burn rate of the error budget: share of failed or slow feeds over the allowed share. 1 uses it up in 30 days.",
    ("window",),
)
OPERATION_SECONDS = ComputedGauge(
    "recsys_operation_seconds",
    "Latency percentiles of the last five minutes over all processes, each within 2 %.",
    ("operation", "quantile"),
)
HEAP_BYTES = ComputedGauge("recsys_heap_bytes", "Memory of the largest process, without kernel memory.")
MEMORY_USAGE_RATIO = ComputedGauge(
    "recsys_memory_usage_ratio", "Share of the machine's or the container's memory in use."
)
CACHE_HIT_RATIO = ComputedGauge(
    "recsys_cache_hit_ratio", "Cache hit rate of the last five minutes, with at least 300 look-ups.", ("cache",)
)
ERROR_RATIO = ComputedGauge(
    "recsys_error_ratio", "Share of the last five minutes' feeds that the service failed to serve."
)
ALERTS_FIRING = ComputedGauge("recsys_alerts_firing", "Firing alerts, by severity.", ("severity",))
