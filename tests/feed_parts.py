"""The components of all feeds, so that a test can check that its own list is complete."""

from __future__ import annotations

import inspect
from typing import Any

from recommendations import feeds
from recommendations.engines.plain import PlainEngine
from recommendations.pipeline.run import Pipeline

ARGUMENTS: dict[str, Any] = {
    "engine": PlainEngine(8),
    "catalogue": object(),
    "non_resident_posts": feeds.NonResidentPosts(object(), object()),  # type: ignore[arg-type]
}
"""The arguments of the feed functions, by parameter name. They are not used, since no component is called."""


def pipelines() -> dict[str, Pipeline]:
    """Return the pipeline of every feed in `feeds.py`, by the name of its function."""
    functions = inspect.getmembers(feeds, inspect.isfunction)
    feed_functions = {name: feed for name, feed in functions if feed.__annotations__.get("return") == "Pipeline"}
    return {
        name: feed(**{key: ARGUMENTS[key] for key in inspect.signature(feed).parameters})
        for name, feed in feed_functions.items()
    }


def feed_components(stage: str) -> list[Any]:
    """Return every component of a *stage* ("sources", "filters" …) of every feed, with duplicates."""
    return [component for pipeline in pipelines().values() for component in getattr(pipeline, stage)]


def component_name(component: Any) -> str:
    """Return the name of a component in metrics."""
    if origin := getattr(component, "origin", None):
        return str(origin.name).lower()
    return str(getattr(component, "name", None) or component.__name__)
