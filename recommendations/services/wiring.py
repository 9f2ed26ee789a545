"""Chooses the real parts, by the settings."""

from django.conf import settings

from recommendations.embedders.choosing import embedder_named
from recommendations.ports import Embedder


def embedder() -> Embedder:
    """Return the text embedder that EMBEDDER asks for, once a process."""
    return embedder_named(settings.ENV.embedder, settings.ENV.fastembed_model)
