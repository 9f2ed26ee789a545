"""The service's settings with the URLs of the bare views."""

from recsys_project.settings import *  # noqa: F403

ROOT_URLCONF = "benchmarks.bare_views"
