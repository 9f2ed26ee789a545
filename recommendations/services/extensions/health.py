"""Health checks of recommendations: the kernel's results, the catalogue and the vector index."""

from datetime import datetime

from django.conf import settings

from monitoring import health
from recommendations.services import wiring
from recommendations.services.extensions import selftest


def run_kernel_selftest(_now: datetime) -> None:
    """Compare the kernel's results for a fixed query with the stored results."""
    selftest.check_kernel()


def load_catalogue(now: datetime) -> None:
    """Load or refresh the catalogue. An empty catalogue passes: there may be no posts."""
    wiring.catalogue().refresh(now)


def check_vector_index(_now: datetime) -> None:
    """Ping Qdrant."""
    if index := wiring.vector_index():
        index.ping()


def register() -> None:
    """Register these checks."""
    health.register_health_check("kernel", run_kernel_selftest, is_required=False)
    health.register_health_check("catalogue", load_catalogue, is_required=True)
    if settings.ENV.qdrant_url:
        health.register_health_check("vector_index", check_vector_index, is_required=False)
