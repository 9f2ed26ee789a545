"""
Every metric of the road, declared once. Labels take few values: never an id, a text or an address.

Those of requests, database and cache come from django-prometheus.
"""

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
    "recsys_stage_seconds", "Time that one part of a stage took.", ["stage", "part"], buckets=STAGE_BUCKETS
)
CANDIDATES = Counter("recsys_candidates_total", "Candidates that a source brought.", ["part"])
DROPPED = Counter("recsys_dropped_total", "Candidates of sources that a filter dropped.", ["filter"])
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
CACHE_ENTRIES = Gauge("recsys_cache_entries", "Entries of a cache.", ["cache"], multiprocess_mode="livesum")
CACHE_BYTES = Gauge("recsys_cache_bytes", "What a cache's entries take.", ["cache"], multiprocess_mode="livesum")
CACHE_DROPPED = Counter(
    "recsys_cache_dropped_total", "Entries that a cache gave up: expired or evicted.", ["cache", "reason"]
)
MEMORY_BYTES = Gauge(
    "recsys_memory_bytes",
    "What the process that holds most has in memory: heap, or the kernels' own.",
    ["part"],
    multiprocess_mode="livemax",
)
MEMORY_CLEAN_UPS = Counter(
    "recsys_memory_clean_ups_total", "Times that a process gave up memory: clean_up or emergency.", ["why"]
)
MEMORY_FREED = Counter("recsys_memory_freed_bytes_total", "What a step of a clean-up gave back.", ["step"])
JOB_ITEMS = Counter("recsys_job_items_total", "Items of jobs that were worked on: done or failed.", ["kind", "outcome"])
LESS_EFFECT = Histogram(
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
THROTTLED = Counter(
    "recsys_throttle_total",
    "Requests that a rate limit refused, or could not count because Redis did not answer: these were served.",
    ["policy", "outcome"],
)
USAGE_ALERTS = Counter("recsys_usage_alerts_total", "Alerts raised on unusual use of the API.", ["kind"])
