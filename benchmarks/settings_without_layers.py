"""The benchmark's settings without the layers in BENCHMARK_WITHOUT, to measure their cost per request."""

import os

from benchmarks.settings import *  # noqa: F403
from benchmarks.settings import MIDDLEWARE, REST_FRAMEWORK

omitted = os.environ["BENCHMARK_WITHOUT"].split()
MIDDLEWARE = [name for name in MIDDLEWARE if not any(part in name for part in omitted)]
REST_FRAMEWORK = REST_FRAMEWORK | {name: [] for name in REST_FRAMEWORK if name in omitted}
