"""What recommending needs in this process: an engine that counts right, and the posts it counts over."""

from monitoring import health
from recommendations.services import wiring


def engine() -> None:
    """Let the engine test itself."""
    wiring.engine_check()


def catalogue() -> None:
    """Load the catalogue if it isn't yet. An empty one is fine: there may be no posts."""
    wiring.catalogue_posts()


def register_checks() -> None:
    """Have these asked on every look at readiness."""
    health.register("engine", engine)
    health.register("catalogue", catalogue)
