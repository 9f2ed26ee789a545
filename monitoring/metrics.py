"""
Every metric, declared once. Labels take few values: never an id, a text or an address.

Those of requests come from django-prometheus. What is counted is first, then what is read when somebody asks (`Read`):
a queue's length is nobody's to count. docs/monitoring.md lists them all, and a test keeps it so.
"""

from dataclasses import dataclass

from prometheus_client import Counter, Gauge, Histogram

FEED_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
STAGE_BUCKETS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5)

FEED_SECONDS = Histogram(
    "recsys_feed_seconds",
    "Time from a feed's request to its page, in the service.",
    ["feed", "engine", "cached"],
    buckets=FEED_BUCKETS,
)
STAGE_SECONDS = Histogram(
    "recsys_stage_seconds",
    "Time that one part of a stage took; a stage of masks is timed as one part, 'all'.",
    ["stage", "part"],
    buckets=STAGE_BUCKETS,
)
FEEDS = Counter(
    "recsys_feeds_total",
    "Pages of feeds that were served; fallback is the step that made the slate, empty if none was needed.",
    ["feed", "engine", "variant", "fallback"],
)
FEED_FAILURES = Counter(
    "recsys_feed_failures_total", "Feeds that we could not serve, by the error's code.", ["feed", "code"]
)
INCOMPLETE_PAGES = Counter(
    "recsys_thin_pages_total",
    "Pages without a post (empty), or with fewer than were asked for (short).",
    ["feed", "kind"],
)
STAGE_CANDIDATES = Counter(
    "recsys_stage_candidates_total", "Candidates that came into a stage (in) and left it (out).", ["stage", "direction"]
)
COMPONENT_FAILURES = Counter(
    "recsys_part_failures_total", "Times that a part failed, and cost what its kind of part costs.", ["stage", "part"]
)
FILTER_INPUTS = Counter(
    "recsys_filtered_total",
    "Candidates of sources that a filter looked at: what recsys_dropped_total is a share of.",
    ["filter"],
)
SOURCE_CANDIDATES = Counter("recsys_candidates_total", "Candidates that a source brought.", ["part"])
FILTER_DROPS = Counter("recsys_dropped_total", "Candidates of sources that a filter dropped.", ["filter"])
FALLBACKS = Counter("recsys_fallbacks_total", "Feeds that a step of the fallback had to serve.", ["step"])
BREAKER_STATE = Gauge(
    "recsys_breaker_state",
    "Whether an engine is asked: 0 yes (closed), 1 as a trial (half-open), 2 no (open).",
    ["engine"],
    multiprocess_mode="livemax",
)
CACHE_REQUESTS = Counter(
    "recsys_cache_requests_total",
    "Look-ups in a cache: hit, stale (served while it is made anew), miss.",
    ["cache", "outcome"],
)
PROCESS_CACHE_REQUESTS = Counter(
    "recsys_remembered_total",
    "Pages, viewers and posts that a process had in memory as of that moment (hit), or had to read (miss).",
    ["what", "outcome"],
)
CACHE_ENTRIES = Gauge(
    "recsys_cache_entries",
    "Entries of a cache that each process has for itself.",
    ["cache"],
    multiprocess_mode="livesum",
)
CACHE_BYTES = Gauge(
    "recsys_cache_bytes", "What the entries of such a cache take.", ["cache"], multiprocess_mode="livesum"
)
# Not summed: whichever process swept last knows best what all share.
SHARED_CACHE_ENTRIES = Gauge(
    "recsys_shared_cache_entries",
    "Entries of a cache in Redis, when it was last swept.",
    ["cache"],
    multiprocess_mode="mostrecent",
)
SHARED_CACHE_BYTES = Gauge(
    "recsys_shared_cache_bytes", "What they take, about.", ["cache"], multiprocess_mode="mostrecent"
)
CACHE_REMOVALS = Counter(
    "recsys_cache_dropped_total", "Entries that a cache gave up: expired or evicted.", ["cache", "reason"]
)
MEMORY_BYTES = Gauge(
    "recsys_memory_bytes",
    "What the process that holds most has in memory: heap, or the kernels' own.",
    ["part"],
    multiprocess_mode="livemax",
)
MEMORY_CLEANUPS = Counter(
    "recsys_memory_clean_ups_total", "Times that a process gave up memory: clean_up or emergency.", ["why"]
)
MEMORY_FREED_BYTES = Counter("recsys_memory_freed_bytes_total", "What a step of a clean-up gave back.", ["step"])
ENGINE_MISSING_VECTORS = Gauge(
    "recsys_engine_lacking_vectors",
    "Vectors that an engine could not take; while there are any, it is not asked.",
    ["space", "engine"],
    multiprocess_mode="livemax",
)
INDEX_LAG_SECONDS = Gauge(
    "recsys_index_lag_seconds",
    "How long an index has not followed while posts changed: qdrant, or resident in this process.",
    ["index"],
    multiprocess_mode="livemax",
)
INDEX_DRIFT = Gauge(
    "recsys_index_drift_posts",
    "Posts that an index has wrong, when last compared with the database.",
    ["space", "index"],
    multiprocess_mode="mostrecent",
)
JOB_ITEMS = Counter("recsys_job_items_total", "Items of jobs that were worked on: done or failed.", ["kind", "outcome"])
SHOW_LESS_EFFECT = Histogram(
    "recsys_less_effect_ratio",
    "Share of what a member wants less of, after they said so over before.",
    ["subject"],
    buckets=(0.0, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0),
)
FLAG_ERRORS = Counter(
    "recsys_flag_errors_total",
    "Flags that could not be evaluated or read: the default, or the last one, held.",
    ["reason"],
)
FLAG_EXPOSURES = Counter(
    "recsys_flag_exposures_total", "Members who were served a variant of an experiment.", ["experiment", "variant"]
)

THROTTLE_EVENTS = Counter(
    "recsys_throttle_total",
    "Requests that a rate limit refused, or could not count because Redis did not answer: these were served.",
    ["policy", "outcome"],
)
USAGE_ALERTS = Counter("recsys_usage_alerts_total", "Alerts raised on unusual use of the API.", ["kind"])

# Kernels: each process has its own, and tells of them after a request or a task.
KERNEL_CALLS = Counter("recsys_kernel_calls_total", "Calls into the kernels.", ["space"])
KERNEL_DEADLINES = Counter(
    "recsys_kernel_deadlines_total", "Calls into the kernels that were cut off after too long.", ["space"]
)
KERNEL_RECYCLES = Counter(
    "recsys_kernel_recycles_total", "Kernels whose rows were moved into a fresh memory, to give back the old one."
)
KERNEL_BYTES = Gauge(
    "recsys_kernel_bytes",
    "Linear memory of the kernels: what rows take (rows), all of it (held), and the most that it may be (limit).",
    ["space", "kind"],
    multiprocess_mode="livesum",
)
KERNEL_ROWS = Gauge(
    "recsys_kernel_rows", "Rows in the kernels of the process that has most.", ["space"], multiprocess_mode="livemax"
)
CATALOGUE_POSTS = Gauge(
    "recsys_catalogue_posts", "Resident posts of the process that has fewest.", multiprocess_mode="livemin"
)
CATALOGUE_LAG_SECONDS = Gauge(
    "recsys_catalogue_lag_seconds",
    "How old the catalogue was that the last feed was made from, in the process where it was oldest.",
    multiprocess_mode="livemax",
)

# The database and the workers.
QUERY_SECONDS = Histogram(
    "recsys_query_seconds",
    "Time of a database query, by its verb.",
    ["verb"],
    buckets=(0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0),
)
TASK_SECONDS = Histogram(
    "recsys_task_seconds",
    "Time that a worker took for a task.",
    ["task"],
    buckets=(0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0),
)
TASK_WAIT_SECONDS = Histogram(
    "recsys_task_wait_seconds",
    "Time from asking for a task to its beginning, without the delay that was asked for.",
    ["queue"],
    buckets=(0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0),
)
TASKS = Counter(
    "recsys_tasks_total",
    "Tasks that ended: succeeded, failed, retried, revoked, or lost with the process that had them.",
    ["task", "outcome"],
)


@dataclass(frozen=True, slots=True)
class ComputedGauge:
    """A gauge that is read when somebody asks. Whoever knows the figure registers it: see `readings.py`."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


GAUGE_UP = ComputedGauge("recsys_reading_up", "Whether the figures of this name could be read: 1 or 0.", ("reading",))
PROCESS_BYTES = ComputedGauge("recsys_process_resident_bytes", "Memory that a process holds.", ("process", "pid"))
PROCESS_CPU_SECONDS = ComputedGauge(
    "recsys_process_cpu_seconds", "Processor time that it has used.", ("process", "pid")
)
PROCESS_THREADS = ComputedGauge("recsys_process_threads", "Threads that it has.", ("process", "pid"))
QUEUE_TASKS = ComputedGauge("recsys_queue_tasks", "Tasks that wait in a queue.", ("queue",))
QUEUE_AGE_SECONDS = ComputedGauge(
    "recsys_queue_age_seconds", "How long the oldest of them has waited; 0 if none does.", ("queue",)
)
QUEUE_WORKERS = ComputedGauge("recsys_queue_workers", "Workers that beat and take from a queue.", ("queue",))
BEAT_UP = ComputedGauge("recsys_beat_up", "Whether some beat holds the lock: 1 or 0.")
REDIS_UP = ComputedGauge("recsys_redis_up", "Whether a Redis answers: 1 or 0.", ("server",))
REDIS_BYTES = ComputedGauge("recsys_redis_bytes", "Memory that its data takes.", ("server",))
REDIS_LIMIT_BYTES = ComputedGauge("recsys_redis_limit_bytes", "Memory that it may take; 0: no limit.", ("server",))
REDIS_EVICTED_KEYS = ComputedGauge(
    "recsys_redis_evicted_keys", "Keys that it gave up for want of memory since it started.", ("server",)
)
DATABASE_UP = ComputedGauge("recsys_database_up", "Whether the database answers: 1 or 0.")
QDRANT_UP = ComputedGauge("recsys_qdrant_up", "Whether the vector index answers: 1 or 0. Absent without QDRANT_URL.")
JOBS = ComputedGauge("recsys_jobs", "Jobs that wait or run.", ("kind", "state"))
JOB_AGE_SECONDS = ComputedGauge(
    "recsys_job_age_seconds", "How long ago the oldest unfinished job was asked for.", ("kind",)
)
UNLEARNED_INTERACTIONS = ComputedGauge(
    "recsys_unlearned_interactions", "Interactions that no interest or count holds yet, of 10,000 at most."
)
UNEMBEDDED_POSTS = ComputedGauge(
    "recsys_embedding_waiting_posts", "Posts without a vector of the active model, of 10,000 at most.", ("space",)
)
EMBEDDING_LAG_SECONDS = ComputedGauge(
    "recsys_embedding_lag_seconds", "How long the oldest of them has waited; 0 if none does.", ("space",)
)
EMBEDDING_MODEL_AGE_SECONDS = ComputedGauge(
    "recsys_model_age_seconds", "How long ago the active model of a space took over.", ("space",)
)
QUALITY_SCORE = ComputedGauge(
    "recsys_quality_score",
    "Mean nDCG of the last day's slates of which a post was acted on: 1 if those came first, 0 if far behind.",
)
COVERAGE_RATIO = ComputedGauge("recsys_coverage_ratio", "Share of all posts that were on some page of the last hour.")
CLICK_THROUGH_RATIO = ComputedGauge(
    "recsys_click_through_ratio", "Share of the posts shown in the last full 24 hours that were acted on."
)
SLO_BURN_RATE = ComputedGauge(
    "recsys_slo_burn_ratio",
    "How fast the error budget is used up: 1 uses it up in 30 days. Failed or slow feeds over what is allowed.",
    ("window",),
)
OPERATION_SECONDS = ComputedGauge(
    "recsys_operation_seconds",
    "Percentiles of the last five minutes over all processes, each within 2 %.",
    ("operation", "quantile"),
)
HEAP_BYTES = ComputedGauge("recsys_heap_bytes", "Memory beside the kernels' of the process that holds most.")
MEMORY_USAGE_RATIO = ComputedGauge(
    "recsys_memory_share_ratio", "Share of the machine's or the container's memory in use."
)
CACHE_HIT_RATIO = ComputedGauge(
    "recsys_cache_hit_ratio", "Share of the last five minutes' look-ups that found something.", ("cache",)
)
ERROR_RATIO = ComputedGauge("recsys_error_ratio", "Share of the last five minutes' feeds that we could not serve.")
ALERTS_FIRING = ComputedGauge("recsys_alerts", "Alerts that fire, by severity.", ("severity",))
