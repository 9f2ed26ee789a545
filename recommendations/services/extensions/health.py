"""What recommending needs in this process: an engine that counts right, and the posts it counts over."""

from datetime import datetime

from django.conf import settings

from monitoring import health
from recommendations.services import wiring
from recommendations.services.extensions import selftest


def run_kernel_selftest(_now: datetime) -> None:
    """Let the kernel answer a question whose answer is known."""
    selftest.check_kernel()


def load_catalogue(now: datetime) -> None:
    """Load the catalogue, or follow what changed. An empty one is fine: there may be no posts."""
    wiring.catalogue().refresh(now)


def check_vector_index(_now: datetime) -> None:
    """Ask Qdrant for a word. Feeds go on without it, so this says more than they need."""
    if index := wiring.vector_index():
        index.ping()


def register_health_checks() -> None:
    """Have these asked on every look at readiness."""
    health.register_health_check("kernel", run_kernel_selftest)
    health.register_health_check("catalogue", load_catalogue)
    if settings.ENV.qdrant_url:
        health.register_health_check("vector_index", check_vector_index)
