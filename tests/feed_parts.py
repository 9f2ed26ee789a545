"""The parts that the feeds are made of, so that a test can tell whether it knows all of them."""

from __future__ import annotations

import inspect
from typing import Any

from recommendations import feeds
from recommendations.engines.plain import PlainEngine
from recommendations.pipeline.run import Pipeline

GIVEN: dict[str, Any] = {
    "engine": PlainEngine(8),
    "catalogue": object(),
    "non_resident_posts": feeds.NonResidentPosts(object(), object()),  # type: ignore[arg-type]
}
"""What a feed may ask for, by the name of its parameter. Nothing of it is used: the parts are not called."""


def pipelines() -> dict[str, Pipeline]:
    """Return every feed of `feeds.py` with all of its parts, by the name of its function."""
    functions = inspect.getmembers(feeds, inspect.isfunction)
    made = {name: feed for name, feed in functions if feed.__annotations__.get("return") == "Pipeline"}
    return {
        name: feed(**{key: GIVEN[key] for key in inspect.signature(feed).parameters}) for name, feed in made.items()
    }


def feed_parts(stage: str) -> list[Any]:
    """Return every part of a *stage* ("sources", "filters" …) of every feed; a part of two feeds comes twice."""
    return [part for pipeline in pipelines().values() for part in getattr(pipeline, stage)]


def part_name(part: Any) -> str:
    """Return the word for a part in metrics."""
    if origin := getattr(part, "origin", None):
        return str(origin.name).lower()
    return str(getattr(part, "name", None) or part.__name__)
