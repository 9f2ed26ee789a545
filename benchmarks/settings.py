"""The service's settings, and two bare views beside its own: what a request costs that asks for nothing."""

from recsys_project.settings import *  # noqa: F403

ROOT_URLCONF = "benchmarks.bare_views"
